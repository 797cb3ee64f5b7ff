"""A store that dies at a chosen event, and a way to go on after it: crashes within one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from treadle import Engine
from treadle.events import Event, RunStarted
from treadle.ids import RunId
from treadle.interfaces import Clock, RunLog
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore, SqliteStore

When = Callable[[Event], bool]


class MortalLog:
    """Takes appends until its store has died; what comes after is lost, as in a crash."""

    def __init__(self, log: RunLog, store: MortalStore) -> None:
        self._log = log
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *events: Event) -> None:
        store = self._store
        if not store.is_dead and any(store.dies_before(event) for event in events):
            store.die()
        if not store.is_dead:
            self._log.append(*events)
        if not store.is_dead and any(store.dies_after(event) for event in events):
            store.die()

    async def flush(self) -> None:
        if self._store.is_dead:
            await anyio.sleep_forever()
        await self._log.flush()


class MortalStore:
    """Another store that takes nothing more from the event on that kills it.

    Attributes:
        dead: Set when it has died.
    """

    def __init__(self, store: Any, *, before: When | None = None, after: When | None = None) -> None:
        self._store = store
        self.dies_before: When = before or (lambda _event: False)
        self.dies_after: When = after or (lambda _event: False)
        self.dead = anyio.Event()
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def die(self) -> None:
        self.is_dead = True
        self.dead.set()

    async def create(self, started: RunStarted) -> Any:
        return MortalLog(await self._store.create(started), self)

    async def own(self, run_id: RunId) -> Any:
        return MortalLog(await self._store.own(run_id), self)


class Place:
    """Where runs are kept between the lives of engines: a store object, or the path of a file."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open_store = open_store

    @asynccontextmanager
    async def engine(
        self, *graphs: Graph[..., Any], clock: Clock | None = None, resources: tuple[object, ...] = ()
    ) -> AsyncIterator[Engine]:
        """An engine that lives on."""
        async with Engine(self._open_store(), graphs=graphs, clock=clock, resources=resources) as engine:
            yield engine

    async def crash(
        self,
        graph: Graph[..., Any],
        *args: Any,
        before: When | None = None,
        after: When | None = None,
        dies: anyio.Event | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start or resume run ``"r"``, and lose the engine at an event, or when ``dies`` is set."""
        store = MortalStore(self._open_store(), before=before, after=after)
        async with Engine(store, graphs=[graph], clock=clock) as engine:
            await engine.start(graph, *args, run_id="r")
            with anyio.fail_after(10):
                await (store.dead if dies is None else dies).wait()
            store.die()

    async def resume(self, graph: Graph[..., Any], *, clock: Clock | None = None) -> Any:
        """Resume run ``"r"`` in a new engine and give its result."""
        async with self.engine(graph, clock=clock) as engine:
            handle = await engine.resume("r")
            with anyio.fail_after(20):
                return await handle.result()

    async def events(self, graph: Graph[..., Any], kind: type | None = None) -> list[Any]:
        """The recorded events of run ``"r"``."""
        async with self.engine(graph) as engine:
            recorded = [one.event for one in await engine.store.read(RunId("r"))]
        return [event for event in recorded if kind is None or isinstance(event, kind)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file of runs; each engine opens it anew."""
    return Place(lambda: SqliteStore(str(tmp_path / "runs.db")))


@pytest.fixture
def memory() -> Place:
    """Runs in memory that outlive their engine."""
    store = MemoryStore()
    return Place(lambda: store)
