"""Other processes, what they say, and what they leave behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from treadle import Engine
from treadle.events import Event
from treadle.ids import RunId

SERVICE = str(Path(__file__).with_name("service.py"))


class Child:
    """Another process, that says what it does line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def until(self, words: str) -> None:
        """Read on to a line with these words."""
        while words not in (line := self.says()):
            assert line or self.process.poll() is None, self.ended()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def complains(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().strip()

    def has_complained(self, *, within: float) -> bool:
        """Whether something is there to read on standard error, now or in so many seconds."""
        return bool(select.select([self.process.stderr], [], [], within)[0])

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, and the rest of what it said."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(), out, err


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nodes leave a line each time they run, here and in other processes."""
    path = tmp_path / "marks.txt"
    path.touch()
    monkeypatch.setenv("MARKS", str(path))
    return path


@pytest.fixture
def child(marks: Path) -> Generator[Callable[..., Child]]:
    """Starts processes, and ends those that are left."""
    with ExitStack() as stack:

        def start(*command: str, **environment: str) -> Child:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                )
            )
            stack.callback(process.kill)
            return Child(process)

        yield start


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """What the other process runs on."""
    return request.param


def count(marks: Path) -> Counter[str]:
    return Counter(marks.read_text().split())


async def events_of(database: str, run: str = "r") -> list[Event]:
    """The recorded events of a run that no process here works on."""
    async with Engine(database) as engine:
        return [one.event for one in await engine.store.read(RunId(run))]
