"""A cancellation that a crash cut short is carried out by whoever takes the run up, under whatever plan."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Calls, MortalStore

from treadle import Engine, graph
from treadle.errors import RunCancelled
from treadle.events import CancelRequested, Event, RunEnded
from treadle.ids import RunId
from treadle.stores import MemoryStore

pytestmark = pytest.mark.anyio


class Site:
    """A run in memory that is cancelled and loses its process before its end is recorded, again and again."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.calls = Calls()
        self.calls.gates["a"] = anyio.Event()  # hangs

    def graph(self, *names: str) -> Any:
        @graph
        def only() -> list[str]:
            return [self.calls.work(name) for name in names]

        return only

    async def cancel_and_crash(self, only: Any) -> None:
        mortal = MortalStore(self.store, before=_ends)
        async with Engine(mortal, graphs=[only]) as engine:
            handle = await engine.start(only, run_id="r")
            await anyio.wait_all_tasks_blocked()
            await handle.cancel(by="maria")
            await _dies(mortal)

    async def resume_and_crash(self, only: Any) -> None:
        mortal = MortalStore(self.store, before=_ends)
        async with Engine(mortal, graphs=[only]) as engine:
            await engine.resume("r")
            await _dies(mortal)

    async def cancellations(self) -> list[str]:
        recorded = await self.store.read(RunId("r"))
        return [one.event.by for one in recorded if isinstance(one.event, CancelRequested)]


def _ends(event: Event) -> bool:
    return isinstance(event, RunEnded)


async def _dies(store: MortalStore) -> None:
    with anyio.fail_after(10):
        await store.dead.wait()
    store.die()


async def is_cancelled(site: Site, only: Any) -> bool:
    async with Engine(site.store, graphs=[only]) as engine:
        handle = await engine.resume("r")
        with anyio.fail_after(10), pytest.raises(RunCancelled):
            await handle.result()
        return handle.status == "cancelled"


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("b",)], ids=["same", "added to", "replaced"])
async def test_it_is_carried_out_under_an_edited_plan_too(names: tuple[str, ...]) -> None:
    site = Site()
    await site.cancel_and_crash(site.graph("a"))
    assert await is_cancelled(site, site.graph(*names))


async def test_it_outlives_several_edits_and_crashes() -> None:
    site = Site()
    await site.cancel_and_crash(site.graph("a"))
    await site.resume_and_crash(site.graph("a", "b"))
    await site.resume_and_crash(site.graph("a", "b"))
    assert await is_cancelled(site, site.graph("b"))
    assert set(await site.cancellations()) == {"maria"}


async def test_a_run_that_was_cancelled_and_ended_is_not_cancelled_again() -> None:
    site = Site()
    only = site.graph("a")
    async with Engine(site.store, graphs=[only]) as engine:
        handle = await engine.start(only, run_id="r")
        await anyio.wait_all_tasks_blocked()
        await handle.cancel(by="maria")
        assert await handle.settled() == "cancelled"
    assert await is_cancelled(site, site.graph("b"))
    assert await site.cancellations() == ["maria"]
