"""An effect under way that nobody needs any more: it is not cut off, and a doubt about it is settled."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest
from tests.engine.conftest import Bank, Broken, Place, When, payment, the_question

from treadle import Context, Engine, Prompt, Retry, agent, fallback, graph, node
from treadle.events import AttemptCancelled, AttemptParked, NodeCompleted, RunEnded, StepCompleted, StepFailed
from treadle.nodes.graph import Graph
from treadle.testing import ScriptedModel, call
from treadle.views.doubts import doubts

pytestmark = pytest.mark.anyio

Shop = Graph[[int], str]


class Gated(Bank):
    """A bank that answers once it is told to."""

    def __init__(self, *then: str | Exception, answers: bool = True) -> None:
        super().__init__(*then)
        self.open = anyio.Event()
        self.answers = answers

    async def pay(self, key: str) -> str:
        said = self.then.pop(0) if self.then else "paid"
        self.then.insert(0, "paid")
        self.keys.append(key)
        self.acting.set()
        await self.open.wait()
        if isinstance(said, Exception):
            raise said
        return said


async def reaches(handle: Any, is_there: When) -> None:
    """Wait until a run has recorded such an event."""
    async with aclosing(handle.events()) as events:
        async for one in events:
            if is_there(one.event):
                return


def beside(bank: Gated, paying: Any) -> Shop:
    """What pays fails beside another node, and the fallback goes on without it."""

    @node
    async def fail() -> str:
        await bank.acting.wait()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @node
    async def instead(amount: int) -> str:
        if bank.answers:
            bank.open.set()
        return "instead"

    @graph
    def shop(amount: int) -> str:
        return fallback(join(paying(amount), fail()), instead(amount))

    return shop


def of_node(pay: Any) -> Any:
    return pay


def of_step(pay: Any) -> Any:
    @node
    async def order(ctx: Context, amount: int) -> str:
        await ctx.step(pay, amount)
        await anyio.sleep_forever()
        return "never"

    return order


def of_agent(pay: Any) -> Any:
    def respond(request: Any) -> object:
        assert len(request.messages) == 1, "an agent that nobody needs asks no model"
        return call("pay", amount=3)

    @agent(model=ScriptedModel(respond), tools=[pay])
    async def clerk(amount: int) -> Prompt[str]:
        return Prompt(f"pay {amount}")

    return clerk


def of_graph(pay: Any) -> Any:
    @graph
    def inside(amount: int) -> str:
        return pay(amount)  # type: ignore[no-any-return]

    return of_step(inside)


PLACES = [of_node, of_step, of_agent, of_graph]


@pytest.mark.parametrize("place_of", PLACES)
async def test_an_effect_that_nobody_needs_any_more_runs_to_its_end_and_is_recorded(place_of: Any) -> None:
    bank = Gated()
    shop = beside(bank, place_of(payment(bank)))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.result() == "instead"
        history = await handle.history()
    events = [one.event for one in history]
    done = [one for one in events if isinstance(one, StepCompleted | NodeCompleted)]
    paid = [one for one in done if one.result.json() == "paid"]
    assert len(bank.keys) == 1
    assert paid
    assert not [one for one in events if isinstance(one, StepFailed)]
    assert doubts(history) == ()
    ends = [type(one) for one in events if isinstance(one, AttemptCancelled | NodeCompleted | RunEnded)]
    assert ends[-1] is RunEnded


@pytest.mark.parametrize("place_of", PLACES)
@pytest.mark.parametrize("answer", ["run_again", "did_not_happen"])
async def test_a_doubt_about_an_effect_that_nobody_needs_is_asked_about_before_the_run_ends(
    place_of: Any, answer: str
) -> None:
    bank = Gated(Broken("?"))
    shop = beside(bank, place_of(payment(bank)))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": answer}, by="ada")
        assert await handle.result() == "instead"
        assert doubts(await handle.history()) == ()
    assert len(bank.keys) == 1 + (answer == "run_again")


@pytest.mark.parametrize("place_of", PLACES)
async def test_a_doubt_that_was_asked_about_before_nobody_needed_it_stays_open(place_of: Any) -> None:
    bank = Gated(Broken("?"))
    bank.open.set()
    slow = anyio.Event()
    paying = place_of(payment(bank))

    @node
    async def fail() -> str:
        await slow.wait()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @graph
    def shop(amount: int) -> str:
        return fallback(join(paying(amount), fail()), "instead")

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        await reaches(handle, lambda event: isinstance(event, AttemptParked))
        slow.set()
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "run_again"}, by="ada")
        assert await handle.result() == "instead"
    assert len(bank.keys) == 2


@pytest.mark.parametrize("place_of", PLACES)
async def test_under_fail_a_doubt_that_nobody_needs_fails_the_run_and_does_so_again_when_it_is_resumed(
    place_of: Any,
) -> None:
    bank = Gated(Broken("?"))
    shop = beside(bank, place_of(payment(bank, in_doubt="fail")))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "failed"
        assert doubts(await handle.history()) == ("pay",)
        again = await engine.resume(handle.id)
        assert await again.settled() == "failed"
    assert len(bank.keys) == 1


@pytest.mark.parametrize("place_of", PLACES)
async def test_under_retry_an_effect_in_doubt_is_made_again_though_nobody_needs_it(place_of: Any) -> None:
    bank = Gated(Broken("?"))
    shop = beside(bank, place_of(payment(bank, in_doubt="retry", retry=Retry(attempts=2, wait=0.0))))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.result() == "instead"
        assert doubts(await handle.history()) == ()
    assert (len(bank.keys), len(set(bank.keys))) == (2, 1)


@pytest.mark.parametrize("place_of", PLACES)
async def test_its_timeout_still_cuts_it_and_then_a_person_is_asked(place_of: Any) -> None:
    bank = Gated(answers=False)
    shop = beside(bank, place_of(payment(bank, timeout=0.05)))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "did_not_happen"}, by="ada")
        assert await handle.result() == "instead"


@pytest.mark.parametrize("place_of", PLACES)
async def test_a_crash_while_it_acts_leaves_it_to_its_policy(place_of: Any, place: Place) -> None:
    bank = Gated(answers=False)
    shop = beside(bank, place_of(payment(bank)))
    await place.crash(shop, 3, after=lambda event: getattr(event, "node", "") == "instead")
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "instead"
        assert doubts(await handle.history()) == ()
    assert len(bank.keys) == 1


async def test_a_cancelled_run_cuts_it_off_at_once() -> None:
    bank = Gated(answers=False)
    shop = beside(bank, payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        await reaches(handle, lambda event: getattr(event, "node", "") == "instead")
        await handle.cancel(by="ada")
        with anyio.fail_after(5):
            assert await handle.settled() == "cancelled"
        assert doubts(await handle.history()) == ("pay",)


def of_retried(pay: Any) -> Any:
    tried: list[int] = []

    @node(retry=Retry(attempts=2, wait=0.01))
    async def order(ctx: Context, amount: int) -> str:
        tried.append(amount)
        if len(tried) == 1:
            raise ValueError("once more")
        return await ctx.step(pay, amount)

    return order


@pytest.mark.parametrize("place_of", [*PLACES, of_retried])
async def test_a_doubt_that_nobody_needs_before_its_attempt_begins_again_is_settled(
    place_of: Any, place: Place
) -> None:
    bank = Gated(answers=False)
    paying, lives = place_of(payment(bank)), 1

    @node
    async def fail() -> str:
        if lives == 1:
            await anyio.sleep_forever()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @graph
    def shop(amount: int) -> str:
        failed = fail()  # its turn comes first
        return fallback(join(failed, paying(amount)), "instead")

    await place.crash(shop, 3, dies=bank.acting)
    lives = 2
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "instead"
        assert doubts(await handle.history()) == ()
    assert len(bank.keys) == 1


def failing_later(bank: Gated, paying: Any, mended: list[bool], **policies: Any) -> Shop:
    """As ``beside``; and the run fails at its end, until that is mended."""
    before = beside(bank, paying)

    @node
    async def last(text: str) -> str:
        if not mended:
            raise ValueError("later")
        return text

    @graph(**policies)
    def shop(amount: int) -> str:
        return last(before(amount))

    return shop


async def settles_when_mended(handle: Any, engine: Engine, mended: list[bool]) -> None:
    """Resume a run that has failed: a person is asked, and it completes."""
    mended.append(True)
    again = await engine.resume(handle.id)
    assert await again.settled() == "waiting"
    await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
    assert await again.result() == "instead"
    assert doubts(await again.history()) == ()


@pytest.mark.parametrize("place_of", PLACES)
async def test_a_doubt_that_nobody_needs_is_settled_when_a_run_that_failed_elsewhere_is_resumed(
    place_of: Any,
) -> None:
    bank, mended = Gated(Broken("?")), list[bool]()
    shop = failing_later(bank, place_of(payment(bank)), mended)
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "failed"
        await settles_when_mended(handle, engine, mended)
    assert len(bank.keys) == 1


@pytest.mark.parametrize("place_of", PLACES)
async def test_an_effect_that_nobody_needs_and_a_failure_cuts_off_is_settled_when_the_run_is_resumed(
    place_of: Any,
) -> None:
    bank, mended = Gated(answers=False), list[bool]()
    shop = failing_later(bank, place_of(payment(bank)), mended, on_failure="cancel")
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "failed"
        await settles_when_mended(handle, engine, mended)
    assert len(bank.keys) == 1


@pytest.mark.parametrize("place_of", PLACES)
async def test_an_effect_that_nobody_needs_and_a_crash_cuts_off_in_a_run_that_fails_is_settled(
    place_of: Any, place: Place
) -> None:
    bank, mended = Gated(answers=False), list[bool]()
    shop = failing_later(bank, place_of(payment(bank)), mended)
    await place.crash(shop, 3, after=lambda event: getattr(event, "node", "") == "last")
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "failed"
        await settles_when_mended(handle, engine, mended)
    assert len(bank.keys) == 1
