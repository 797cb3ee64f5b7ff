"""Calls that must never be silently repeated: what puts them in doubt, and what settles it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from treadle import (
    Ask,
    Context,
    Engine,
    InDoubt,
    Prompt,
    Retry,
    agent,
    fallback,
    graph,
    human,
    node,
    run,
    tool,
    when,
)
from treadle.errors import NodeFailed, NodeTimeout, PlanError, ResultRefused
from treadle.events import StepFailed, StepStarted
from treadle.ids import RunId
from treadle.messages import ModelRequest
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock, ScriptedModel, call

if TYPE_CHECKING:
    from tests.engine.conftest import Place

pytestmark = pytest.mark.anyio

Shop = Graph[[int], str]


class Declined(Exception):
    """The bank says that it did nothing."""


class Broken(Exception):
    """Nobody knows what the bank did."""


class Bank:
    """Notes the key of every payment, and then does what the test wants.

    Args:
        then: For each payment in turn what follows: text to return, an error to raise, ``"hang"``;
            ``"paid"`` once there is nothing left.
    """

    def __init__(self, *then: str | Exception) -> None:
        self.keys: list[str] = []
        self.then = list(then)
        self.acting = anyio.Event()

    async def pay(self, key: str) -> str:
        self.keys.append(key)
        self.acting.set()
        then = self.then.pop(0) if self.then else "paid"
        if isinstance(then, Exception):
            raise then
        if then == "hang":
            await anyio.sleep_forever()
        return then


def as_node(pay: Any) -> Shop:
    @graph
    def shop(amount: int) -> str:
        return pay(amount)  # type: ignore[no-any-return]

    return shop


def as_step(pay: Any) -> Shop:
    @node
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)  # type: ignore[no-any-return]

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    return shop


def as_tool_of_an_agent(pay: Any) -> Shop:
    def respond(request: ModelRequest) -> object:
        told = [part for message in request.messages for part in message.parts if message.role == "tool"]
        return told[-1].content if told else call("pay", amount=3)  # type: ignore[union-attr]

    @agent(model=ScriptedModel(respond), tools=[pay])
    async def clerk(amount: int) -> Prompt[str]:
        return Prompt(f"pay {amount}")

    @graph
    def shop(amount: int) -> str:
        return clerk(amount)

    return shop


WAYS = [as_node, as_step, as_tool_of_an_agent]
Way = Callable[[Any], Shop]


def payment(bank: Bank, **policies: Any) -> Any:
    @tool(effect="once", **policies)
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount."""
        return await bank.pay(ctx.idempotency_key)

    return pay


async def the_question(engine: Engine) -> str:
    [question] = await engine.questions()
    assert question.about == "doubt"
    return question.id


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
            await engine.answer(question, {"outcome": "run_again"}, by="ada")
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


# -- fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ends", [Broken("?"), "hang"])
async def test_under_fail_nobody_takes_the_doubt_and_resuming_does_not_run_it_again(
    way: Way, ends: Any, place: Place
) -> None:
    bank = Bank(ends)
    inner = way(payment(bank, in_doubt="fail", timeout=0.05))

    @node
    async def instead() -> str:
        raise AssertionError("a fallback must not take an effect in doubt")

    @graph(retry=Retry(attempts=3, wait=0.001))
    def shop(amount: int) -> str:
        return fallback(inner(amount), instead())

    async with place.engine(shop) as engine:
        handle = await engine.start(shop, 3, run_id="r")
        with pytest.raises(InDoubt, match=r"idempotency key \w+") as doubt:
            await handle.result()
    assert doubt.value.idempotency_key == bank.keys[0]
    for _ in range(2):
        with pytest.raises(InDoubt):
            await place.resume(shop)
    assert len(bank.keys) == 1


async def test_a_doubt_is_not_told_to_a_model() -> None:
    bank = Bank(Broken("?"))
    model = ScriptedModel([call("pay", amount=3)])

    @agent(model=model, tools=[payment(bank, in_doubt="fail")])
    async def clerk(amount: int) -> Prompt[str]:
        return Prompt("pay")

    @graph
    def shop(amount: int) -> str:
        return clerk(amount)

    with pytest.raises(InDoubt):
        await run(shop, 3)
    assert len(model.requests) == 1


@pytest.mark.parametrize("siblings", [0, 1])
async def test_a_doubt_inside_a_task_group_is_taken_by_nobody(siblings: int) -> None:
    bank = Bank(Broken("?"))
    pay = payment(bank, in_doubt="fail")

    async def fail() -> None:
        raise ValueError("beside it")

    @node
    async def order(ctx: Context, amount: int) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.step, pay, 3)
            for _ in range(siblings):
                tasks.start_soon(fail)
        return "ordered"

    @graph(retry=Retry(attempts=2, wait=0.001))
    def shop(amount: int) -> str:
        return fallback(order(amount), order.named("again")(amount))

    with pytest.raises(InDoubt):
        await run(shop, 3)
    assert len(bank.keys) == 1


# -- retry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_under_retry_a_call_that_died_runs_again_under_its_key(way: Way, place: Place) -> None:
    bank = Bank("hang")
    shop = way(payment(bank, in_doubt="retry"))
    await place.crash(shop, 3, dies=bank.acting)
    assert await place.resume(shop) == "paid"
    assert (len(bank.keys), len(set(bank.keys))) == (2, 1)


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_under_retry_it_runs_again_so_often_and_then_is_in_doubt(way: Way) -> None:
    bank, clock = Bank(*[Broken("?")] * 9), JumpingClock()
    shop = way(payment(bank, in_doubt="retry", retry=Retry(attempts=4, on=Declined)))
    async with Engine(graphs=[shop], clock=clock) as engine:
        with pytest.raises(InDoubt):
            await (await engine.start(shop, 3)).result()
    assert (len(bank.keys), len(set(bank.keys)), len(clock.jumps)) == (4, 1, 3)


# -- what is not in doubt --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_a_body_that_returned_is_done_even_if_its_result_is_refused(way: Way, place: Place) -> None:
    bank = Bank()

    @tool(effect="once")
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount."""
        await bank.pay(ctx.idempotency_key)
        return 7  # type: ignore[return-value]  # the point of the test

    inner = way(pay)

    @graph(retry=Retry(attempts=3, on=(ResultRefused, Declined), wait=0.001))
    def shop(amount: int) -> str:
        return inner(amount)

    for _ in range(2):
        async with place.engine(shop) as engine:
            handle = await engine.start(shop, 3, run_id="r")
            assert await handle.settled() == "failed"
            with pytest.raises(ResultRefused, match="has acted.*7"):
                await handle.result()
            assert await engine.questions() == []
    assert len(bank.keys) == 1


async def test_a_call_that_returns_too_late_is_done_all_the_same() -> None:
    bank = Bank()

    @tool(effect="once", timeout=0.02)
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount."""
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
            return await bank.pay(ctx.idempotency_key)

    assert [await run(as_node(pay), 3), await run(as_step(pay), 3)] == ["paid", "paid"]
    assert len(bank.keys) == 2


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_body_that_must_not_be_repeated_may_not_ask_a_person_at_any_depth(depth: int) -> None:
    @human(to="boss")
    async def boss() -> Ask[str]:
        return Ask("may I?")

    @node
    async def middle(ctx: Context, depth: int) -> str:
        if depth == 0:
            return await ctx.ask(Ask("may I?", to="boss", answer=str))
        if depth == 1:
            return await ctx.step(boss)
        return await ctx.step(middle, depth - 1)

    @tool(effect="once")
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount."""
        return await ctx.step(middle, depth)

    @node
    async def instead() -> str:
        return "a mistake in the program is not taken"

    @graph
    def shop(amount: int) -> str:
        return fallback(pay(amount), instead())

    with pytest.raises(PlanError, match="effect='once'"):
        await run(shop, 3)


# -- doubts that outlive their attempt -------------------------------------------------------------------


async def test_an_attempt_stopped_while_a_call_acts_asks_before_anything_else_happens(place: Place) -> None:
    bank = Bank("hang")
    pay = payment(bank)

    @node(timeout=0.05, retry=Retry(attempts=3, wait=0.001))
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)  # type: ignore[no-any-return]

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def shop(amount: int) -> str:
        return fallback(order(amount), instead())

    async with place.engine(shop) as engine:
        handle = await engine.start(shop, 3, run_id="r")
        assert await handle.settled() == "waiting"
        assert len(bank.keys) == 1
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "yes"
    assert len(bank.keys) == 1


async def test_a_call_cut_off_by_a_sibling_that_failed_is_asked_about_before_the_failure_counts() -> None:
    bank = Bank("hang")
    pay = payment(bank)
    failed: list[int] = []

    @node
    async def fail() -> None:
        await bank.acting.wait()
        failed.append(1)
        raise ValueError("beside it")

    @node
    async def order(ctx: Context, amount: int) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.step, pay, amount)
            tasks.start_soon(ctx.step, fail)
        return "ordered"

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def shop(amount: int) -> str:
        return fallback(order(amount), instead())

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "instead"
    assert (len(bank.keys), failed) == (1, [1])


async def test_a_node_cancelled_while_it_acted_and_needed_again_is_asked_about() -> None:
    bank = Bank("hang")
    pay = payment(bank)

    @node
    async def fail() -> str:
        await bank.acting.wait()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @node
    async def is_open() -> bool:
        return True

    @graph
    def shop(amount: int) -> str:
        paid = pay(amount)
        return fallback(join(paid, fail()), when(is_open(), paid, "closed"))

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        assert len(bank.keys) == 1
        await engine.answer(await the_question(engine), {"outcome": "run_again"}, by="ada")
        assert await handle.result() == "paid"
    assert (len(bank.keys), len(set(bank.keys))) == (2, 1)


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_a_cancelled_run_says_that_its_call_is_in_doubt(way: Way) -> None:
    bank = Bank("hang")
    shop = way(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        await bank.acting.wait()
        await handle.cancel(by="ada")
        assert await handle.settled() == "cancelled"
        history = [one.event for one in await handle.history()]
    assert [event.in_doubt for event in history if isinstance(event, StepFailed)] == [True]


async def test_a_call_that_runs_again_does_not_repeat_what_it_had_done_inside() -> None:
    inner, outer = Bank(), Bank(Broken("?"))
    reserve = payment(inner)

    @tool(effect="once")
    async def book(ctx: Context, amount: int) -> str:
        """Reserve, then book."""
        await ctx.step(reserve, amount)
        return await outer.pay(ctx.idempotency_key)

    shops = as_node(book), as_step(book)
    for number, shop in enumerate(shops, 1):
        outer.then = [Broken("?")]
        async with Engine(graphs=[shop]) as engine:
            handle = await engine.start(shop, 3)
            assert await handle.settled() == "waiting"
            await engine.answer(await the_question(engine), {"outcome": "run_again"}, by="ada")
            assert await handle.result() == "paid"
        assert (len(inner.keys), len(outer.keys)) == (number, 2 * number)


async def test_a_step_that_is_tried_again_does_not_repeat_the_effects_inside_it() -> None:
    bank, tries = Bank(), list[int]()
    pay = payment(bank)

    @node(retry=Retry(attempts=3, wait=0.001))
    async def flaky(ctx: Context, amount: int) -> str:
        paid: str = await ctx.step(pay, amount)
        tries.append(amount)
        if len(tries) < 3:
            raise ValueError("not yet")
        return paid

    assert await run(as_step(flaky), 3) == "paid"
    assert (len(bank.keys), len(tries)) == (1, 3)


async def test_a_new_attempt_claims_the_effects_of_the_one_before() -> None:
    bank, tries = Bank(), list[int]()
    pay = payment(bank)

    @node(retry=Retry(attempts=3, wait=0.001))
    async def flaky(ctx: Context, amount: int) -> str:
        paid: str = await ctx.step(pay, amount)
        tries.append(amount)
        if len(tries) < 3:
            raise ValueError("not yet")
        return paid

    assert await run(as_node(flaky), 3) == "paid"
    assert (len(bank.keys), len(tries)) == (1, 3)


async def test_a_timeout_of_a_repeatable_node_is_no_doubt() -> None:
    @node(timeout=0.02)
    async def slow(amount: int) -> str:
        await anyio.sleep_forever()
        return "never"

    with pytest.raises(NodeTimeout):
        await run(as_node(slow), 3)
