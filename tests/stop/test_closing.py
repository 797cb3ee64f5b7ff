"""An engine that closes while it is about to begin with a run: quietly, and the run stays as it was."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from treadle import Ask, Engine, graph, human
from treadle.errors import EngineClosed
from treadle.ids import RunId
from treadle.stores import MemoryStore

pytestmark = pytest.mark.anyio


@human(to="maria")
async def agree(text: str) -> Ask[bool]:
    return Ask(text)


@graph
def asking(text: str) -> bool:
    return agree(text)


class SlowStore(MemoryStore):
    """Takes its time with one call, so that other things happen meanwhile.

    Attributes:
        slow: The name of the call.
        called: Set when it is made; it returns when ``may_return`` is.
    """

    slow = ""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.may_return = anyio.Event(), anyio.Event()

    async def _wait(self, name: str) -> None:
        if name == self.slow:
            self.called.set()
            with anyio.CancelScope(shield=True):  # as a thread that is at work
                await self.may_return.wait()

    async def create(self, started: Any) -> Any:
        log = await super().create(started)
        await self._wait("create")
        return log

    async def read(self, run_id: RunId, *, after: int = 0) -> Any:
        await self._wait("read")
        return await super().read(run_id, after=after)


async def test_an_engine_that_closes_while_it_brings_a_run_back_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = SlowStore()
    with caplog.at_level(logging.DEBUG, logger="treadle"):
        async with anyio.create_task_group() as group, Engine(store, graphs=[asking]) as engine:
            handle = await engine.start(asking, "Well?", run_id="r")
            await handle.settled()
            store.slow = "read"
            group.start_soon(lambda: engine.answer(handle.questions[0], True, by="maria"))
            await store.called.wait()
            group.start_soon(_let, store)
    assert caplog.records == []
    assert (await store.run(RunId("r"))).status == "pending"


async def _let(store: SlowStore) -> None:
    await anyio.wait_all_tasks_blocked()
    store.may_return.set()


async def test_a_run_that_is_recorded_while_the_engine_drains_is_kept_and_owned_by_nobody() -> None:
    store = SlowStore()
    store.slow = "create"
    async with Engine(store, graphs=[asking]) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(_refused, engine)
            await store.called.wait()
            await engine.drain()
            store.may_return.set()
        assert (await store.run(RunId("r"))).owner == ""
    async with Engine(store, graphs=[asking]) as engine:
        assert await (await engine.start(asking, "Well?", run_id="r")).settled() == "waiting"


async def _refused(engine: Engine) -> None:
    with pytest.raises(EngineClosed):
        await engine.start(asking, "Well?", run_id="r")


async def test_an_engine_that_is_not_open_starts_nothing() -> None:
    store = MemoryStore()
    with pytest.raises(EngineClosed, match="write: async with Engine"):
        await Engine(store).start(asking, "Well?")
    assert await store.runs() == []
