"""Processes that work on the same run, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from treadle import Engine
from treadle.events import Event
from treadle.ids import RunId

SCRIPT = str(Path(__file__).with_name("process.py"))
RUN = RunId("r")


class Worker:
    """Another process, that says what it does line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Worker]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the run is kept; ``marks`` is what its nodes leave, ``gate`` lets them go on."""
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    (tmp_path / "marks").touch()
    return tmp_path


@pytest.fixture
def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'runs.db'}"


@pytest.fixture
def worker(database: str) -> Iterator[Start]:
    """Starts a process, and returns once it has opened the store and waits for its ``go``."""
    with ExitStack() as stack:

        def start(verb: str, argument: str = "", *, run: str = RUN) -> Worker:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, SCRIPT, database, run, verb, argument],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=dict(os.environ),
                )
            )
            stack.callback(process.kill)
            begun = Worker(process)
            assert begun.says() == "open"
            return begun

        yield start


def count(folder: Path) -> Counter[str]:
    """How often each mark was left."""
    return Counter(line.split()[0] for line in (folder / "marks").read_text().splitlines())


def open_gate(folder: Path) -> None:
    (folder / "gate").touch()


def events(database: str, run: str = RUN) -> list[Event]:
    """The recorded events of the run."""

    async def read() -> list[Event]:
        async with Engine(database) as engine:
            return [one.event for one in await engine.store.read(RunId(run))]

    return anyio.run(read)


def kinds(database: str, run: str = RUN) -> Counter[str]:
    return Counter(type(event).__name__ for event in events(database, run))


def question(database: str) -> str:
    """The question of the run, once it is asked."""

    async def ask() -> str:
        async with Engine(database) as engine:
            with anyio.fail_after(20):
                while not (found := await engine.questions()):
                    await anyio.lowlevel.checkpoint()
            return found[0].id

    return anyio.run(ask)
