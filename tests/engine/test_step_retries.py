"""A step that is tried again: how often and when stands in the history, and its timeout counts work alone."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Bank, Calls, Declined, Place, around, as_step, payment

from treadle import Ask, Context, Engine, NodeFailed, Retry, human, node
from treadle.errors import NodeTimeout
from treadle.events import (
    Event,
    QuestionAsked,
    RunStarted,
    StepClaimed,
    StepCompleted,
    StepStarted,
    StepTried,
)
from treadle.ids import RunId
from treadle.interfaces import RunLog
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock
from treadle.views.timeline import timeline

pytestmark = pytest.mark.anyio


def is_tried(event: object) -> bool:
    return isinstance(event, StepTried)


async def test_a_crash_does_not_reset_the_count_of_tries(calls: Calls, place: Place) -> None:
    calls.failing.add("a")
    work = calls.work.using(retry=Retry(attempts=3, wait=0.001))

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(work, text)

    only = around(body)
    await place.crash(only, "a", after=is_tried)
    with pytest.raises(NodeFailed, match="no a"):
        await place.resume(only)
    assert len(calls.made) == 3
    async with place.engine(only) as engine:
        tree = timeline(await engine.store.read(RunId("r")))
    [note] = [span.note for span in tree.walk() if span.kind == "step"]
    assert note.startswith("try 3: ValueError: no a (at ")


async def test_a_backoff_goes_on_after_a_crash_and_does_not_start_over(calls: Calls, place: Place) -> None:
    calls.failing.add("a")
    work, clock = calls.work.using(retry=Retry(attempts=2, wait="1h")), JumpingClock()

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(work, text)

    only = around(body)
    await place.crash(only, "a", after=is_tried, clock=clock)
    [tried] = await place.events(only, StepTried)
    calls.failing.clear()
    clock.advance(tried.at + 600 - clock.now())
    assert await place.resume(only, clock=clock) == "A"
    assert clock.now() == pytest.approx(tried.at + 3600, abs=1)


async def test_a_call_that_did_nothing_and_waits_for_its_next_try_is_not_in_doubt(place: Place) -> None:
    bank, clock = Bank(Declined("no")), JumpingClock()
    shop = as_step(payment(bank, retry=Retry(attempts=2, on=Declined, wait="1h")))
    await place.crash(shop, 3, after=is_tried, clock=clock)
    assert await place.resume(shop, clock=clock) == "paid"
    assert (len(bank.keys), len(set(bank.keys))) == (2, 1)
    assert not await place.events(shop, QuestionAsked)


async def test_a_call_that_died_in_its_second_try_is_in_doubt(place: Place) -> None:
    bank, clock = Bank(Declined("no"), "hang"), JumpingClock()
    shop = as_step(payment(bank, retry=Retry(attempts=3, on=Declined)))
    started = 0

    def is_acting(event: object) -> bool:
        nonlocal started
        started += isinstance(event, StepStarted) and event.once
        return started == 2

    await place.crash(shop, 3, after=is_acting, clock=clock)
    async with place.engine(shop) as engine:
        assert await (await engine.resume("r")).settled() == "waiting"


class SlowDisk(MemoryStore):
    """A store in which the intent of a second try is never safe."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = anyio.Event()

    async def create(self, started: RunStarted) -> Any:
        return SlowLog(await super().create(started), self.hangs)


class SlowLog:
    """The log of one run in it."""

    def __init__(self, log: RunLog, hangs: anyio.Event) -> None:
        self._log = log
        self._hangs = hangs
        self._has_tried = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *events: Event) -> None:
        self._log.append(*events)
        self._has_tried = self._has_tried or any(map(is_tried, events))

    async def flush(self) -> None:
        if self._has_tried:
            self._hangs.set()
            await anyio.sleep_forever()


async def test_a_try_cut_off_before_it_began_leaves_the_count_as_it_is() -> None:
    bank, store = Bank(Declined("no"), Declined("no"), Declined("no")), SlowDisk()
    shop = as_step(payment(bank, retry=Retry(attempts=2, wait=0.001, on=Declined)))
    async with Engine(store, graphs=[shop]) as engine:
        await engine.start(shop, 3, run_id="r")
        await store.hangs.wait()
    async with Engine(store, graphs=[shop]) as engine:
        assert await (await engine.resume("r")).settled() == "failed"
    assert len(bank.keys) == 2


async def test_the_next_try_claims_what_the_last_one_had_done_and_makes_again_what_ended_it(
    calls: Calls, place: Place
) -> None:
    calls.failing.add("b")

    @node(retry=Retry(attempts=3, wait=0.001))
    async def both(ctx: Context, text: str) -> str:
        return await ctx.step(calls.work, "a") + await ctx.step(calls.work, "b")

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(both, text)

    only = around(body)
    await place.crash(only, "", after=is_tried)
    calls.failing.clear()
    assert await place.resume(only) == "AB"
    assert calls.made == ["a", "b", "b"]
    [claimed] = await place.events(only, StepClaimed)
    assert claimed.result.json() == "A"


async def test_a_crash_in_a_later_try_repeats_nothing_that_is_recorded(calls: Calls, place: Place) -> None:
    calls.failing.add("c")

    @node(retry=Retry(attempts=3, wait=0.001))
    async def three(ctx: Context, text: str) -> str:
        found = [await ctx.step(calls.work, letter) for letter in "ab"]
        try:
            found.append(await ctx.step(calls.other, "c"))
        except NodeFailed:
            calls.failing.clear()
            raise
        return "".join([*found, await ctx.step(calls.work, "d")])

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(three, text)

    def is_done(event: Any) -> bool:
        return isinstance(event, StepCompleted) and event.result.json() == "C"

    only = around(body)
    await place.crash(only, "", after=is_done)
    before = len(calls.made)
    assert await place.resume(only) == "ABCD"
    assert calls.made[:4] == ["a", "b", "c", "c"]
    assert calls.made[before:] == ["d"]


async def test_the_timeout_of_a_step_stands_still_while_it_only_waits_for_people(calls: Calls) -> None:
    calls.gates["slow"] = anyio.Event()
    asked = anyio.Event()

    @human(to="boss")
    async def boss() -> Ask[str]:
        asked.set()
        return Ask("may I?")

    @node(timeout=0.05)
    async def approved(ctx: Context) -> str:
        return await ctx.step(boss)

    async def body(ctx: Context, text: str) -> str:
        said: list[str] = []

        async def ask() -> None:
            said.append(await ctx.step(approved))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with pytest.raises(NodeTimeout):
                await ctx.step(calls.work.using(timeout=0.2), "slow")
        return said[0]

    only = around(body)
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "")
        assert await handle.settled() == "waiting"
        await engine.answer((await engine.questions())[0].id, "yes", by="ada")
        assert await handle.result() == "yes"


async def test_the_timeout_of_a_step_goes_on_after_a_wait(calls: Calls) -> None:
    """A retry inside it waits for an hour of the engine's clock, which is not counted; work is."""
    calls.gates["slow"] = anyio.Event()
    calls.failing.add("a")

    @node(timeout=0.1)
    async def both(ctx: Context) -> str:
        with pytest.raises(NodeFailed):
            await ctx.step(calls.work.using(retry=Retry(attempts=2, wait="1h")), "a")
        return await ctx.step(calls.work, "slow")

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(both)

    only = around(body)
    async with Engine(graphs=[only], clock=JumpingClock()) as engine:
        with pytest.raises(NodeTimeout, match="'both'"):
            await (await engine.start(only, "")).result()
