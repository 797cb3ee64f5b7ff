"""Calls that must never be silently repeated: what puts them in doubt, and what settles it."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.engine.conftest import (
    WAYS,
    Bank,
    Broken,
    Declined,
    Place,
    Way,
    as_node,
    as_step,
    as_tool_of_an_agent,
    payment,
    the_question,
)

from treadle import Context, Engine, Retry, node, tool
from treadle.errors import NodeFailed, NodeTimeout
from treadle.events import StepFailed, StepStarted
from treadle.ids import RunId
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("way", WAYS)
async def test_the_intent_is_recorded_and_safe_before_the_call_acts(way: Way, place: Place) -> None:
    seen: list[StepStarted] = []

    class Watched(Bank):
        async def pay(self, key: str) -> str:
            events = [one.event for one in await engine.store.read(RunId("r"))]
            seen.extend(event for event in events if isinstance(event, StepStarted) and event.once)
            return await super().pay(key)

    bank = Watched()
    shop = way(payment(bank))
    async with place.engine(shop) as engine:
        handle = await engine.start(shop, 3, run_id="r")
        assert await handle.result() == "paid"
    assert [event.idempotency_key for event in seen] == bank.keys
    assert len(bank.keys) == 1


OUTCOMES = [
    ({"outcome": "happened", "result": "yes"}, "yes", 1),
    ({"outcome": "did_not_happen"}, NodeFailed, 1),
    ({"outcome": "run_again"}, "paid", 2),
]


async def check_outcome(
    engine: Engine, handle: Any, answer: Any, expected: Any, bank: Bank, times: int
) -> None:
    await engine.answer(await the_question(engine), answer, by="ada")
    if isinstance(expected, str):
        assert await handle.result() == expected
    else:
        with pytest.raises(expected, match="did not happen"):
            await handle.result()
    assert len(bank.keys) == times
    assert len(set(bank.keys)) == 1


@pytest.mark.parametrize("way", [as_node, as_step])
@pytest.mark.parametrize(("answer", "expected", "times"), OUTCOMES)
async def test_after_death_a_person_says_what_happened(
    way: Way, answer: Any, expected: Any, times: int, place: Place
) -> None:
    bank = Bank("hang")
    shop = way(payment(bank))
    await place.crash(shop, 3, dies=bank.acting)
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "waiting"
        assert len(bank.keys) == 1
        await check_outcome(engine, handle, answer, expected, bank, times)


@pytest.mark.parametrize("way", [as_node, as_step])
@pytest.mark.parametrize("ends", ["raises", "times out"])
@pytest.mark.parametrize(("answer", "expected", "times"), OUTCOMES)
async def test_an_error_that_is_not_listed_and_a_timeout_leave_it_in_doubt(
    way: Way, ends: str, answer: Any, expected: Any, times: int
) -> None:
    bank = Bank(Broken("?") if ends == "raises" else "hang")
    shop = way(payment(bank, timeout=0.05, retry=Retry(attempts=3, on=Declined, wait=0.001)))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        assert len(bank.keys) == 1
        await check_outcome(engine, handle, answer, expected, bank, times)


async def test_an_agent_waits_for_the_settlement_and_goes_on_with_it() -> None:
    bank = Bank(Broken("?"))
    shop = as_tool_of_an_agent(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "sent"}, by="ada")
        assert await handle.result() == "sent"
    assert len(bank.keys) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_that_is_listed_did_nothing_and_is_tried_again_under_the_same_key(way: Way) -> None:
    bank, clock = Bank(Declined("no"), Declined("no")), JumpingClock()
    shop = way(payment(bank, retry=Retry(attempts=3, on=Declined)))
    async with Engine(graphs=[shop], clock=clock) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.result() == "paid"
        history = [one.event for one in await handle.history()]
    assert (len(bank.keys), len(set(bank.keys))) == (3, 1)
    assert not [event for event in history if isinstance(event, StepFailed) and event.in_doubt]
    assert len(clock.jumps) == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("listed", [OSError, TimeoutError, NodeTimeout])
@pytest.mark.parametrize("limit", ["timeout", "idle"])
async def test_a_call_cut_off_by_its_own_limit_is_in_doubt_whatever_its_retry_lists(
    way: Way, listed: type[Exception], limit: str
) -> None:
    bank = Bank("hang")
    shop = way(payment(bank, retry=Retry(attempts=3, on=listed, wait=0.001), **{limit: 0.02}))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        assert await the_question(engine)
    assert len(bank.keys) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_listed_error_of_a_step_inside_says_nothing_of_what_the_body_did_before(way: Way) -> None:
    bank = Bank()

    @node
    async def note() -> str:
        raise Declined("by the notary, not by the bank")

    @tool(effect="once", retry=Retry(attempts=3, on=Declined, wait=0.001))
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount, and have it noted."""
        await bank.pay(ctx.idempotency_key)
        return await ctx.step(note)

    shop = way(pay)
    async with Engine(graphs=[shop]) as engine:
        assert await (await engine.start(shop, 3)).settled() == "waiting"
        assert await the_question(engine)
    assert len(bank.keys) == 1


async def test_an_answer_to_run_it_again_holds_for_one_time_only() -> None:
    bank = Bank(Broken("1"), Broken("2"), "third")
    shop = as_node(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        for times in (1, 2):
            assert await handle.settled() == "waiting"
            assert len(bank.keys) == times
            question = await the_question(engine)
            assert (await engine.questions())[0].opening == times
            await engine.answer(question, {"outcome": "run_again"}, by="ada", opening=times)
            while handle.status == "waiting":
                await anyio.lowlevel.checkpoint()
        assert await handle.result() == "third"
    assert len(set(bank.keys)) == 1


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_what_ran_again_and_died_is_asked_about_again(way: Way, place: Place) -> None:
    bank = Bank("hang", "hang", "third")
    shop = way(payment(bank))
    await place.crash(shop, 3, dies=bank.acting)
    async with place.engine(shop) as engine:
        await (await engine.resume("r")).settled()
        bank.acting = anyio.Event()
        await engine.answer(await the_question(engine), {"outcome": "run_again"}, by="ada")
        await bank.acting.wait()
    for _ in range(2):
        async with place.engine(shop) as engine:
            handle = await engine.resume("r")
            assert await handle.settled() == "waiting"
            assert len(bank.keys) == 2
    async with place.engine(shop) as engine:
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await (await engine.resume("r")).result() == "yes"
    assert len(set(bank.keys)) == 1


async def test_a_settlement_of_the_wrong_type_is_refused() -> None:
    bank = Bank(Broken("?"))
    shop = as_node(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        await (await engine.start(shop, 3)).settled()
        question = await the_question(engine)
        with pytest.raises(Exception, match="does not fit its form"):
            await engine.answer(question, {"outcome": "happened", "result": 7}, by="ada")
        with pytest.raises(Exception, match="does not fit its form"):
            await engine.answer(question, {"outcome": "perhaps"}, by="ada")
