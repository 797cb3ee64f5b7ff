"""Effects in doubt: nobody takes them, and they outlive their attempt, their run and their process."""

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
    payment,
    the_question,
)

from treadle import (
    Ask,
    Budget,
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
from treadle.errors import NodeTimeout, PlanError, ResultRefused
from treadle.events import Event, NodeCompleted, RunStarted, StepCompleted, StepFailed, StepStarted
from treadle.ids import RunId
from treadle.interfaces import RunLog
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock, ScriptedModel, call
from treadle.views.doubts import effects_in_doubt
from treadle.views.timeline import timeline

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_died_with_its_process_is_listed_unless_a_process_is_making_it(
    way: Way, place: Place
) -> None:
    bank = Bank("hang")
    shop = way(payment(bank))
    await place.crash(shop, 3, dies=bank.acting)
    async with place.engine(shop) as engine:
        history = await engine.store.read(RunId("r"))
    assert [doubt.callee for doubt in effects_in_doubt(history)] == ["pay"]
    assert effects_in_doubt(history, is_owned=True) == ()


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
        await bank.acting.wait()
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

    for attempt in (1, 2):
        async with place.engine(shop) as engine:
            handle = await (engine.start(shop, 3, run_id="r") if attempt == 1 else engine.resume("r"))
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


async def test_a_node_not_needed_while_it_acted_and_needed_again_is_asked_about() -> None:
    bank = Bank("hang")
    pay = payment(bank, timeout=0.1)

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


class SlowDisk(MemoryStore):
    """A store in which the intent of an effect is never safe."""

    async def create(self, started: RunStarted) -> Any:
        return _SlowLog(await super().create(started))


class _SlowLog:
    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._newest: Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *events: Event) -> None:
        self._log.append(*events)
        self._newest = events[-1]

    async def flush(self) -> None:
        if isinstance(self._newest, StepStarted) and self._newest.once:
            await anyio.sleep_forever()


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_a_call_cut_off_before_its_body_began_is_not_in_doubt(way: Way) -> None:
    bank = Bank()
    shop = way(payment(bank))
    limited = graph(budget=Budget(seconds=0.05))(shop.function)
    async with Engine(SlowDisk(), graphs=[limited]) as engine:
        handle = await engine.start(limited, 3)
        assert await handle.settled() == "failed"
        assert effects_in_doubt(await handle.history()) == ()
    assert bank.keys == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_run_says_that_its_call_is_in_doubt(way: Way) -> None:
    bank = Bank("hang")
    shop = way(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        await bank.acting.wait()
        await handle.cancel(by="ada")
        assert await handle.settled() == "cancelled"
        recorded = await handle.history()
    assert [one.event.in_doubt for one in recorded if isinstance(one.event, StepFailed)] == [True]
    assert "in doubt" in {span.status for span in timeline(recorded).walk()}
    assert [doubt.idempotency_key for doubt in effects_in_doubt(recorded)] == bank.keys


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


async def test_seconds_used_up_while_a_call_acts_leave_it_in_doubt_and_not_to_a_fallback() -> None:
    bank = Bank("hang")
    pay = payment(bank)

    @node
    async def instead() -> str:
        return "instead"

    @graph(budget=Budget(seconds=0.1))
    def shop(amount: int) -> str:
        return fallback(pay(amount), instead())

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        assert await the_question(engine)
    assert len(bank.keys) == 1


def order_by(inner: Any) -> Any:
    """A graph of one node that goes on without the step where it fails."""

    @node
    async def order(ctx: Context, amount: int) -> str:
        try:
            return await ctx.step(inner, amount)  # type: ignore[no-any-return]
        except Exception as error:
            return f"without: {type(error).__name__}"

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    return shop


async def test_a_step_cut_off_around_an_effect_asks_before_the_body_learns_that_it_failed(
    place: Place,
) -> None:
    bank = Bank("hang")
    pay = payment(bank)

    @node(timeout=0.05)
    async def inner(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)  # type: ignore[no-any-return]

    shop = order_by(inner)
    async with place.engine(shop) as engine:
        handle = await engine.start(shop, 3, run_id="r")
        assert await handle.settled() == "waiting"
    async with place.engine(shop) as engine:
        handle = await engine.resume("r")
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "yes"
    assert len(bank.keys) == 1


async def test_a_body_that_catches_a_doubt_does_not_make_its_node_complete() -> None:
    bank = Bank(Broken("?"))
    with pytest.raises(InDoubt, match="'pay'"):
        await run(order_by(payment(bank, in_doubt="fail")), 3)
    assert len(bank.keys) == 1


async def test_a_body_that_survives_the_call_that_cut_an_effect_off_asks_about_it_before_it_is_done() -> None:
    bank = Bank("hang")
    pay = payment(bank)

    @node
    async def order(ctx: Context, amount: int) -> str:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ctx.step, pay, amount)
                await bank.acting.wait()
                scope.cancel()
        return "ordered"

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "ordered"
        assert effects_in_doubt(await handle.history()) == ()
    assert len(bank.keys) == 1


async def test_what_a_person_said_about_a_node_is_told_by_its_completion_alone() -> None:
    bank = Bank(Broken("?"))
    shop = as_node(payment(bank))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.settled() == "waiting"
        await engine.answer(await the_question(engine), {"outcome": "happened", "result": "yes"}, by="ada")
        assert await handle.result() == "yes"
        history = await handle.history()
    told = [type(one.event) for one in history if isinstance(one.event, StepCompleted | NodeCompleted)]
    assert (told, effects_in_doubt(history)) == ([NodeCompleted], ())
    assert "in doubt" not in {span.status for span in timeline(history).walk()}
