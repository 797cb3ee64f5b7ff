"""What a store must do to keep its runs in order: what it refuses, whose time is up, who was abandoned.

Part of ``treadle.testing.store_contract.StoreContract``, which own stores subclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from treadle.errors import StoreError
from treadle.events import Event, Progress, RunResumed
from treadle.ids import NodeId, RunId
from treadle.interfaces import RunLog, Store
from treadle.testing.store_samples import RUN, asked, cancel, completed, ended, started


class UpkeepContract(ABC):
    """How a store keeps its runs in order."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def new_store(self, folder: Path) -> Store:
        """Make a store that is not open yet; the same folder gives the same data where it is kept."""

    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncGenerator[Store]:
        """An open store for the length of a test."""
        store = self.new_store(folder)
        await store.open()
        try:
            yield store
        finally:
            await store.aclose()

    @asynccontextmanager
    async def run(self, folder: Path, *events: Event) -> AsyncGenerator[tuple[Store, RunLog]]:
        """An open store and a run in it, with some events appended and flushed."""
        async with self.opened(folder) as store:
            log = await store.create(started())
            for event in events:
                log.append(event)
            await log.flush()
            yield store, log

    # What is refused

    async def test_a_run_starts_only_once(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            with pytest.raises(StoreError, match="has started already"):
                await _put(log, started())
            await self.is_refused_until_it_is_reloaded(store, log)

    async def test_a_question_id_of_another_run_is_refused(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, _log):
            other = await store.create(started(RunId("r-2")))
            with pytest.raises(StoreError, match="belongs to another run"):
                await _put(other, asked())
            assert [question.run_id for question in await store.questions()] == [RUN]
            await self.is_refused_until_it_is_reloaded(store, other)

    async def test_what_cannot_be_written_is_refused_when_it_is_read_at_the_latest(
        self, tmp_path: Path
    ) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(Progress(at=1.0, node=NodeId("a"), attempt=1, message="\ud800"))
            with suppress(StoreError):
                await log.flush()
            assert [recorded.event for recorded in await store.read(RUN)] == [started()]
            await self.is_refused_until_it_is_reloaded(store, log)

    async def is_refused_until_it_is_reloaded(self, store: Store, log: RunLog) -> None:
        """Check that nothing follows what was refused, until somebody owns the run anew."""
        with pytest.raises(StoreError):
            log.append(completed(1))
        with pytest.raises(StoreError):
            await log.release()
        again = await store.own(log.run_id)
        again.append(completed(1))
        await again.flush()
        assert [recorded.event for recorded in await store.read(log.run_id, after=1)] == [completed(1)]
        assert await store.verify(log.run_id) == []

    async def test_a_cancellation_that_came_before_a_run_ended_does_not_cancel_it_when_it_is_resumed(
        self, tmp_path: Path
    ) -> None:
        async with self.run(tmp_path) as (store, log):
            await store.submit(cancel())
            log.append(ended("failed"))
            log.append(RunResumed(at=210.0, owner="x", fence=log.fence))
            await log.flush()
            assert await store.requests() == []
            await store.submit(cancel())
            assert len(await store.requests()) == 1

    # Deadlines and owners

    async def test_runs_are_due_by_their_deadlines_until_they_have_ended(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for number, deadline in enumerate((None, 900.0, 300.0, 500.0)):
                await store.create(replace(started(RunId(f"r-{number}")), deadline=deadline))
            assert await store.due_runs(299.0) == []
            assert [(run.id, run.graph, run.deadline) for run in await store.due_runs(500.0)] == [
                ("r-2", "support", 300.0),
                ("r-3", "support", 500.0),
            ]

    async def test_a_run_that_has_ended_is_due_again_only_once_it_is_resumed(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            log = await store.create(replace(started(), deadline=300.0))
            log.append(ended("failed"))
            await log.flush()
            assert await store.due_runs(400.0) == []
            log.append(RunResumed(at=210.0, owner="x", fence=log.fence))
            await log.flush()
            assert [run.id for run in await store.due_runs(400.0)] == [RUN]

    async def test_a_run_that_was_let_go_was_not_abandoned(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            assert not log.was_abandoned
            await log.release()
            assert not (await store.own(RUN)).was_abandoned


async def _put(log: RunLog, event: Event) -> None:
    log.append(event)
    await log.flush()
