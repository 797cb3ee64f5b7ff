"""A workshop of processes that run the graphs to crash, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from graphs.case import Till

from treadle.errors import UnknownRun
from treadle.events import MoneyHeld, QuestionAnswered, Recorded, RunEnded, RunResumed, StepStarted
from treadle.ids import RunId
from treadle.interfaces import Request
from treadle.stores import SqliteStore
from treadle.testing.outcomes import Outcome, differences, read_outcome

RUN: Final = RunId("r-crash")
WORKER: Final = Path(__file__).with_name("worker.py")
WRITES: Final = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlink")
"""The system calls by which an SQLite database changes on the disk."""

PATIENCE: Final = 60.0


@dataclass(eq=False, kw_only=True)
class Workshop:
    """One process that forks all others, one at a time.

    Attributes:
        folder: Where the tills stand, and what processes were told.
    """

    folder: Path
    forker: subprocess.Popen[str]

    def start(self, **order: Any) -> int:
        """Begin an order, and give the number of its process."""
        assert self.forker.stdin is not None
        self.forker.stdin.write(json.dumps(order) + "\n")
        self.forker.stdin.flush()
        return int(self._line())

    def ended(self) -> dict[str, int]:
        """Wait for the process, and say how it ended."""
        return json.loads(self._line())

    def bench(self, case: str, name: str, *, is_new: bool = False) -> Bench:
        """A place for one run, with a database that holds no run yet, or none at all."""
        home = self.folder / name
        home.mkdir()
        bench = Bench(workshop=self, case=case, home=home, database=home / "runs.db")
        if not is_new:
            anyio.run(_prepare, bench.database)
        return bench

    def _line(self) -> str:
        assert self.forker.stdout is not None
        return self.forker.stdout.readline()


@dataclass(kw_only=True)
class Bench:
    """The files of one run, and the processes that work on it one after another."""

    workshop: Workshop
    case: str
    home: Path
    database: Path
    traces: list[Path] = field(default_factory=list)

    def order(self, **more: Any) -> dict[str, Any]:
        """What a process is told to do."""
        files = {"till": str(self.home / "till.db"), "told": str(self.home / "told")}
        return {"case": self.case, "database": str(self.database), **files, **more}

    def process(self, **more: Any) -> dict[str, int]:
        """Run a process to its end, and say how it ended."""
        self.workshop.start(**self.order(**more))
        return self.workshop.ended()

    def traced(self, *inject: str, **more: Any) -> dict[str, int]:
        """Run a process under strace, which tampers with what it writes to the database.

        Args:
            inject: Expressions of ``strace -e inject=``; none to look on.
        """
        number = self.workshop.start(**self.order(stops=True, **more))
        _wait_stopped(number)
        trace = self.home / f"trace-{len(self.traces)}"
        self.traces.append(trace)
        paths = [f"{self.database}{end}" for end in ("", "-wal", "-journal", "-locks")]
        tracer = subprocess.Popen(
            [
                *("strace", "-f", "-p", str(number), "-o", str(trace)),
                *(part for path in paths for part in ("-P", path)),
                *("-e", f"trace={','.join(WRITES)}"),
                *(part for expression in inject for part in ("-e", f"inject={expression}")),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tracer.stderr is not None
        said = ""
        while "attached" not in said:
            line = tracer.stderr.readline()
            assert line, f"strace could not attach: {said}"
            said += line
        os.kill(number, signal.SIGCONT)
        ended = self.workshop.ended()
        tracer.communicate(timeout=PATIENCE)
        return ended

    @property
    def writes(self) -> Counter[str]:
        """How many writes each thread has made in the newest trace, by its number."""
        made = re.findall(rf"^(\d+) +(?:{'|'.join(WRITES)})\(", self.traces[-1].read_text(), re.MULTILINE)
        return Counter(made)

    @property
    def told(self) -> list[list[Any]]:
        """What its processes were told is safe, in order."""
        file = self.home / "told"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def till(self) -> Till:
        """The world outside."""
        return Till(str(self.home / "till.db"))

    def recorded(self) -> list[Recorded]:
        """What the database holds of the run; nothing where it was never recorded."""
        return anyio.run(_read, self.database)

    def outcome(self) -> Outcome:
        """What the run came to."""
        till = self.till()
        [*_, (_, value)] = [what for what in self.told if what[0] == "result"]
        found = anyio.run(_outcome, self.database, value, till.done)
        held = sum(isinstance(event, MoneyHeld) for event in found.events)
        assert till.requests <= held, f"{till.requests} requests left, and {held} were held for"
        till.close()
        return found

    def check(self, wanted: Outcome, before: Sequence[Recorded]) -> None:
        """Demand that crashes have made no difference."""
        found = self.outcome()
        assert list(differences(wanted, before, found)) == []
        self.check_told()

    def check_taken_up(self, wanted: Outcome) -> None:
        """Demand the same of a run that its own process took up after its store had failed."""
        found = self.outcome()
        taken_up = [place for place, event in enumerate(found.events) if isinstance(event, RunResumed)]
        self.check(wanted, found.history[: max(taken_up, default=0)])

    @property
    def failures(self) -> list[str]:
        """What its processes were told by a store that failed."""
        return [text for kind, *texts in self.told if kind == "failed" for text in texts]

    def check_told(self) -> None:
        """Demand that everything a process was told, and everything it did outside, is in the history."""
        recorded, till = self.recorded(), self.till()
        hashes = {record.seq: record.hash for record in recorded}
        events = [record.event for record in recorded]
        asked = anyio.run(_requests, self.database)
        answers = {(e.question, e.opening) for e in events if isinstance(e, QuestionAnswered)}
        answers |= {(request.question, request.opening) for request in asked}
        for kind, *what in self.told:
            if kind == "started":
                assert recorded, "a started run is not there"
            elif kind == "event":
                assert hashes.get(what[0]) == what[1], f"event {what[0]} was shown, and is not there"
            elif kind == "answered":
                assert (what[0], what[1]) in answers, f"the answer to {what[0]} was taken, and is not there"
            elif kind == "result":
                assert isinstance(events[-1], RunEnded), "a result was given, and the run has not ended"
        keys = {event.idempotency_key for event in events if isinstance(event, StepStarted) and event.once}
        strays = till.keys - keys
        held = sum(isinstance(event, MoneyHeld) for event in events)
        assert not strays, f"effects {strays} were had, and their intent is not there"
        assert till.requests <= held, f"{till.requests} requests left, and {held} are there"
        till.close()


def open_workshop(folder: Path) -> Workshop:
    """Start a workshop; it ends when its process's standard input is closed."""
    forker = subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return Workshop(folder=folder, forker=forker)


def close_workshop(workshop: Workshop) -> None:
    """Let the process end."""
    assert workshop.forker.stdin is not None
    assert workshop.forker.stdout is not None
    workshop.forker.stdin.close()
    workshop.forker.wait(PATIENCE)
    workshop.forker.stdout.close()


async def _prepare(database: Path) -> None:
    store = SqliteStore(str(database))
    await store.open()
    await store.aclose()


async def _read(database: Path) -> list[Recorded]:
    store = SqliteStore(str(database))
    await store.open()
    try:
        return await store.read(RUN)
    except UnknownRun:
        return []
    finally:
        await store.aclose()


async def _requests(database: Path) -> list[Request]:
    store = SqliteStore(str(database))
    await store.open()
    try:
        return await store.requests()
    finally:
        await store.aclose()


async def _outcome(database: Path, value: object, effects: object) -> Outcome:
    store = SqliteStore(str(database))
    await store.open()
    try:
        return await read_outcome(store, RUN, value=value, effects=effects)
    finally:
        await store.aclose()


def _wait_stopped(number: int) -> None:
    """Return when a process has stopped itself."""
    until = time.monotonic() + PATIENCE
    while Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until, f"process {number} did not stop"
        os.sched_yield()
