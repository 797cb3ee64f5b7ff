"""Random batches on several runs, compared with plain lists."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import StoreError
from treadle.events import Event, Progress
from treadle.ids import NodeId, RunId
from treadle.interfaces import RunLog, Store
from treadle.stores import MemoryStore, SqliteStore
from treadle.testing.store_samples import completed, settled, started

RUNS = [RunId("r-1"), RunId("r-2"), RunId("r-3")]
BAD = Progress(at=1.0, node=NodeId("a"), attempt=1, message="\ud800")
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "several", "flush", "bad", "release", "reopen"]),
        st.integers(0, 2),
        st.integers(0, 5),
    ),
    max_size=40,
)


class Model:
    """Drives a store, and keeps what it must contain."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.logs: dict[RunId, RunLog] = {}
        self.expected: dict[RunId, list[Event]] = {}
        self.number = 0

    async def begin(self) -> None:
        for run_id in RUNS:
            self.logs[run_id] = await self.store.create(started(run_id))
            self.expected[run_id] = [started(run_id)]

    async def do(self, action: str, run_id: RunId, size: int) -> None:
        log = self.logs[run_id]
        if action in {"append", "several"}:
            events = self.events(1 if action == "append" else size)
            log.append(*events)
            self.expected[run_id] += events
        elif action == "bad":
            await self.fail(log, run_id, self.events(size))
        elif action == "flush":
            await log.flush()
        elif action == "release":
            await log.release()
            self.logs[run_id] = await self.store.own(run_id)
        elif action == "reopen":
            await self.store.aclose()
            await self.store.open()
            self.logs = {run_id: await self.store.own(run_id) for run_id in RUNS}

    async def fail(self, log: RunLog, run_id: RunId, events: list[Event]) -> None:
        if not log.is_durable:  # what is kept as an object is refused only when it is read
            return
        log.append(*events, BAD)
        with pytest.raises(StoreError):
            await log.flush()
        with pytest.raises(StoreError):
            await log.release()
        self.logs[run_id] = await self.store.own(run_id)

    def events(self, count: int) -> list[Event]:
        self.number += 1
        sizes = (10, 500, 5000)
        return [
            settled("0.01", request=self.number + n) if n == 2 else completed(n, str(n) * sizes[n % 3])
            for n in range(count)
        ]

    async def check(self) -> None:
        for run_id, expected in self.expected.items():
            await self.logs[run_id].flush()
            recorded = await self.store.read(run_id)
            assert [r.event for r in recorded] == expected
            assert [r.seq for r in recorded] == list(range(1, len(expected) + 1))
            assert await self.store.verify(run_id, head=recorded[-1].hash) == []


async def drive(store: Store, actions: list[tuple[str, int, int]]) -> list[str]:
    await store.open()
    model = Model(store)
    await model.begin()
    for action, run, size in actions:
        await model.do(action, RUNS[run], size)
    await model.check()
    heads = [(await store.run(run_id)).head for run_id in RUNS]
    await store.aclose()
    return heads


@settings(max_examples=40)
@given(actions=ACTIONS, backend=st.sampled_from(["asyncio", "trio"]))
def test_both_stores_hold_what_was_appended(actions: list[tuple[str, int, int]], backend: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = anyio.run(drive, SqliteStore(str(Path(folder) / "runs.db")), actions, backend=backend)
    assert sqlite == anyio.run(drive, MemoryStore(), actions, backend=backend)
