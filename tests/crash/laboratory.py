"""A laboratory of processes: a model server, and pipelines that are killed and taken up again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from treadle.errors import UnknownRun
from treadle.events import Event, Recorded, RunEnded
from treadle.ids import RunId
from treadle.interfaces import Fault, LedgerLine
from treadle.stores import SqliteStore
from treadle.testing import ServerProcess

RUN = RunId("r-crash")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a database holds of the run.

    Attributes:
        rows: Every row of the bank but the idempotency keys' deliveries.
        deliveries: How often the bank was asked for each change it made.
    """

    recorded: Sequence[Recorded] = ()
    ledger: Sequence[LedgerLine] = ()
    faults: Sequence[Fault] = ()
    rows: Sequence[object] = ()
    deliveries: Sequence[int] = ()

    @property
    def events(self) -> list[Event]:
        return [record.event for record in self.recorded]

    @property
    def has_ended(self) -> bool:
        return any(isinstance(event, RunEnded) for event in self.events)


@dataclass(kw_only=True)
class Site:
    """The files of one run, and the processes that work on it one after another."""

    laboratory: Laboratory
    graph: str
    name: str
    results: list[Path] = field(default_factory=list)

    def process(self, *, mode: str = "", at: int = 0, backend: str = "asyncio") -> dict[str, int]:
        """Run a process to its end, and say how it ended."""
        home = self.laboratory.folder / self.name
        home.mkdir(exist_ok=True)
        self.results.append(home / f"{len(self.results)}.json")
        root = self.laboratory.server.url.removesuffix("/v1")
        return self.laboratory.order(
            graph=self.graph,
            url=f"{root}/{self.name}/v1",
            database=str(home / "runs.db"),
            bank=str(home / "bank.db"),
            result=str(self.results[-1]),
            mode=mode,
            at=at,
            backend=backend,
        )

    @property
    def result(self) -> dict[str, Any]:
        """What the last process came to."""
        return json.loads(self.results[-1].read_text())

    @property
    def sent(self) -> list[str]:
        """The requests that have reached the model server: digests of their bodies."""
        return self.laboratory.server.digests(below=f"/{self.name}/")

    def kept(self) -> Kept:
        """Read what is there now."""
        home = self.laboratory.folder / self.name
        rows, deliveries = bank_rows(home / "bank.db")
        recorded, ledger, faults = anyio.run(read_run, home / "runs.db")
        return Kept(recorded=recorded, ledger=ledger, faults=faults, rows=rows, deliveries=deliveries)


@dataclass(eq=False, kw_only=True)
class Laboratory:
    """One model server, and one process that forks all others."""

    folder: Path
    server: ServerProcess
    forker: subprocess.Popen[str]

    def order(self, **order: Any) -> dict[str, int]:
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        self.forker.stdin.write(json.dumps(order) + "\n")
        self.forker.stdin.flush()
        return json.loads(self.forker.stdout.readline())

    def site(self, graph: str, name: str) -> Site:
        return Site(laboratory=self, graph=graph, name=name)


async def read_run(database: Path) -> tuple[list[Recorded], list[LedgerLine], list[Fault]]:
    """Read the run with its ledger, and verify it; nothing where it was never recorded."""
    store = SqliteStore(str(database))
    await store.open()
    try:
        recorded = await store.read(RUN)
        return recorded, await store.ledger(RUN), await store.verify(RUN, head=recorded[-1].hash)
    except UnknownRun:
        return [], [], []
    finally:
        await store.aclose()


def bank_rows(path: Path) -> tuple[list[object], list[int]]:
    """Give all rows of a bank, and how often each change came in."""
    if not path.exists():
        return [], []
    bank = sqlite3.connect(path)
    try:
        tables = ("customer", "card", "payment")
        rows: list[object] = [row for t in tables for row in bank.execute(f"select * from {t} order by id")]
        changes = [row for t in ("card_order", "refund") for row in bank.execute(f"select * from {t}")]
    finally:
        bank.close()
    return [*rows, *(row[:-1] for row in changes)], [row[-1] for row in changes]
