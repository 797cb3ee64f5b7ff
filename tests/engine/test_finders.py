"""A function that finds out whether a call in doubt happened: when it is asked, and what follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
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

from treadle import Budget, Context, Engine, NodeFailed, PlanError, Retry, fallback, graph, node, run, tool
from treadle.errors import DidNotHappen, NodeTimeout, WiringError
from treadle.events import StepCompleted, StepStarted
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


class Ledger:
    """What the bank says about payments: by turns text, or an error to raise.

    Attributes:
        asked: The key and the amount of each look.
    """

    def __init__(self, *says: str | Exception) -> None:
        self.says = list(says)
        self.asked: list[tuple[str, int]] = []
        self.threads: list[int] = []

    def _say(self, key: str, amount: int) -> str:
        self.asked.append((key, amount))
        self.threads.append(threading.get_ident())
        says = self.says.pop(0)
        if isinstance(says, Exception):
            raise says
        return says

    @property
    def look(self) -> Callable[..., Any]:
        async def find_payment(ctx: Context, amount: int) -> str:
            return self._say(ctx.idempotency_key, amount)

        return find_payment

    @property
    def look_in_a_thread(self) -> Callable[..., Any]:
        def find_payment(ctx: Context, amount: int) -> str:
            return self._say(ctx.idempotency_key, amount)

        return find_payment


NOT_DONE = DidNotHappen("the bank knows nothing of it")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("says", "expected", "times"), [("found", "found", 1), (NOT_DONE, "paid", 2)])
async def test_after_death_it_is_asked_and_the_call_made_only_where_it_did_not_happen(
    way: Way, says: Any, expected: str, times: int, place: Place
) -> None:
    bank, ledger = Bank("hang"), Ledger(says)
    shop = way(payment(bank, in_doubt=ledger.look))
    await place.crash(shop, 3, dies=bank.acting)
    assert await place.resume(shop) == expected
    assert (len(bank.keys), len(set(bank.keys))) == (times, 1)
    assert ledger.asked == [(bank.keys[0], 3)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ends", [Broken("?"), "hang"])
async def test_an_error_and_a_timeout_have_it_asked_at_once(way: Way, ends: Any) -> None:
    bank, ledger = Bank(ends), Ledger("found")
    assert await run(way(payment(bank, in_doubt=ledger.look, timeout=0.05)), 3) == "found"
    assert len(bank.keys) == len(ledger.asked) == 1


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_what_is_known_not_to_have_happened_is_an_ordinary_failure(way: Way) -> None:
    inner = way(payment(Bank(Broken("no line")), in_doubt=Ledger(NOT_DONE).look))

    @node
    async def instead(error: str) -> str:
        return error

    @graph
    def shop(amount: int) -> str:
        return fallback(inner(amount), instead("by letter"))

    assert await run(shop, 3) == "by letter"
    with pytest.raises(NodeFailed, match="Broken: no line") as failed:
        await run(way(payment(Bank(Broken("no line")), in_doubt=Ledger(NOT_DONE).look)), 3)
    assert isinstance(failed.value.__cause__, Broken)


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_it_is_then_tried_again_as_often_as_its_retry_says(way: Way) -> None:
    bank, ledger, clock = Bank(*[Broken("?")] * 9), Ledger(*[NOT_DONE] * 9), JumpingClock()
    shop = way(payment(bank, in_doubt=ledger.look, retry=Retry(attempts=3, on=Declined)))
    async with Engine(graphs=[shop], clock=clock) as engine:
        with pytest.raises(NodeFailed, match="Broken"):
            await (await engine.start(shop, 3)).result()
    assert (len(bank.keys), len(set(bank.keys)), len(ledger.asked), len(clock.jumps)) == (3, 1, 3, 2)


async def test_a_function_that_is_not_async_runs_in_a_thread() -> None:
    ledger = Ledger("found")
    assert await run(as_step(payment(Bank(Broken("?")), in_doubt=ledger.look_in_a_thread)), 3) == "found"
    assert ledger.threads != [threading.get_ident()]


@pytest.mark.parametrize("way", [as_node, as_step])
async def test_where_it_cannot_tell_a_person_is_asked_and_told_why(way: Way, place: Place) -> None:
    bank, ledger = Bank(Broken("no line")), Ledger(OSError("the bank is closed"))
    shop = way(payment(bank, in_doubt=ledger.look))
    for _ in range(2):
        async with place.engine(shop) as engine:
            handle = await engine.start(shop, 3, run_id="r")
            assert await handle.settled() == "waiting"
            [question] = await engine.questions()
            ended, looked = question.known.split("; ")
            assert ended == "it ended with Broken: no line"
            assert looked == "'find_payment' could not find out: OSError: the bank is closed"
    async with place.engine(shop) as engine:
        answer = {"outcome": "happened", "result": "yes"}
        await engine.answer(await the_question(engine), answer, by="ada")
        assert await (await engine.resume("r")).result() == "yes"
    assert len(bank.keys) == len(ledger.asked) == 1


@pytest.mark.parametrize("way", [as_node, as_step])
@pytest.mark.parametrize(("says", "expected", "times"), [("found", "found", 1), (NOT_DONE, "paid", 2)])
async def test_what_it_found_is_recorded_as_a_step_and_not_asked_again(
    way: Way, says: Any, expected: str, times: int, place: Place
) -> None:
    bank, ledger = Bank("hang"), Ledger(says)
    shop = way(payment(bank, in_doubt=ledger.look))
    await place.crash(shop, 3, dies=bank.acting)

    def has_found(event: Any) -> bool:
        return bool(getattr(event, "step", "").endswith("doubt:1")) and not isinstance(event, StepStarted)

    await place.crash(shop, 3, after=has_found)
    assert await place.resume(shop) == expected
    assert (len(bank.keys), len(ledger.asked)) == (times, 1)


async def test_a_node_that_finds_out_keeps_to_its_own_retry() -> None:
    ledger, clock = Ledger(OSError("closed"), OSError("closed"), "found"), JumpingClock()
    find_payment = node(retry=Retry(attempts=3))(ledger.look)
    shop = as_step(payment(Bank(Broken("?")), in_doubt=find_payment))
    async with Engine(graphs=[shop], clock=clock) as engine:
        assert await (await engine.start(shop, 3)).result() == "found"
    assert (len(ledger.asked), len(clock.jumps)) == (3, 2)


async def test_what_a_step_of_it_says_about_another_call_is_not_about_this_one() -> None:
    bank = Bank(Broken("?"))

    @node
    async def other() -> str:
        raise NOT_DONE

    async def find_payment(ctx: Context, amount: int) -> str:
        return await ctx.step(other)

    shop = as_step(payment(bank, in_doubt=find_payment, retry=Retry(attempts=3)))
    async with Engine(graphs=[shop]) as engine:
        assert await (await engine.start(shop, 3)).settled() == "waiting"
        assert await the_question(engine)
    assert len(bank.keys) == 1


async def test_its_own_steps_are_not_repeated_after_a_crash(place: Place) -> None:
    bank, looks, reached = Bank("hang"), list[str](), anyio.Event()

    @node
    async def page(number: int) -> str:
        looks.append(f"page {number}")
        if number == 2 and looks.count("page 2") == 1:
            reached.set()
            await anyio.sleep_forever()
        return f"page {number}"

    async def find_payment(ctx: Context, amount: int) -> str:
        return await ctx.step(page, 1) + await ctx.step(page, 2)

    shop = as_step(payment(bank, in_doubt=find_payment))
    await place.crash(shop, 3, dies=bank.acting)
    await place.crash(shop, 3, dies=reached)
    assert await place.resume(shop) == "page 1page 2"
    assert (looks, len(bank.keys)) == (["page 1", "page 2", "page 2"], 1)


@pytest.mark.parametrize("says", ["found", NOT_DONE])
async def test_an_attempt_that_ran_out_of_time_settles_first_and_fails_then(says: Any) -> None:
    bank, ledger = Bank("hang"), Ledger(says)
    pay = payment(bank, in_doubt=ledger.look)

    @node(timeout=0.05)
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def shop(amount: int) -> str:
        return fallback(order(amount), instead())

    assert await run(shop, 3) == "instead"
    assert (len(bank.keys), len(ledger.asked)) == (1, 1)


async def test_the_next_attempt_claims_what_was_found_after_the_one_before() -> None:
    bank, ledger = Bank("hang"), Ledger("found")
    pay = payment(bank, in_doubt=ledger.look)

    @node(timeout=0.05, retry=Retry(attempts=2, on=NodeTimeout, wait=0.001))
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    assert await run(shop, 3) == "found"
    assert (len(bank.keys), len(ledger.asked)) == (1, 1)


async def test_a_call_that_was_cut_off_and_did_not_happen_is_as_if_it_had_never_been_made() -> None:
    bank, ledger = Bank("hang"), Ledger(NOT_DONE)
    pay, tries = payment(bank, in_doubt=ledger.look), list[int]()

    @node(retry=Retry(attempts=2, wait=0.001))
    async def order(ctx: Context, amount: int) -> str:
        tries.append(amount)
        if len(tries) == 2:
            return await ctx.step(pay, amount)  # type: ignore[no-any-return]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.step, pay, amount)
            await bank.acting.wait()
            raise ValueError("beside it")

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    assert await run(shop, 3) == "paid"
    assert (len(bank.keys), len(set(bank.keys)), len(ledger.asked)) == (2, 1, 1)


async def test_under_retry_an_attempt_that_ran_out_of_time_makes_the_call_again_before_it_fails() -> None:
    bank = Bank("hang")
    pay = payment(bank, in_doubt="retry")

    @node(timeout=0.05)
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def shop(amount: int) -> str:
        return fallback(order(amount), instead())

    assert await run(shop, 3) == "instead"
    assert (len(bank.keys), len(set(bank.keys))) == (2, 1)


async def test_a_node_cut_off_by_a_budget_of_seconds_is_done_where_it_happened() -> None:
    bank = Bank("hang")
    pay = payment(bank, in_doubt=Ledger("found").look)

    @graph(budget=Budget(seconds=0.1))
    def shop(amount: int) -> str:
        return pay(amount)

    assert await run(shop, 3) == "found"
    assert len(bank.keys) == 1


async def test_a_run_that_is_cancelled_does_not_wait_for_it() -> None:
    bank, looking = Bank("hang"), anyio.Event()

    async def find_payment(amount: int) -> str:
        looking.set()
        await anyio.sleep_forever()
        return "never"

    pay = payment(bank, in_doubt=find_payment)

    @node(timeout=0.05)
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        await looking.wait()
        await handle.cancel(by="ada")
        with anyio.fail_after(5):
            assert await handle.settled() == "cancelled"


async def test_a_body_may_say_itself_that_it_did_nothing() -> None:
    bank = Bank(DidNotHappen("the till is closed"))
    shop = as_step(payment(bank, retry=Retry(attempts=2, wait=0.001)))
    async with Engine(graphs=[shop]) as engine:
        handle = await engine.start(shop, 3)
        assert await handle.result() == "paid"
        steps = [one.event for one in await handle.history() if isinstance(one.event, StepCompleted)]
    assert (len(bank.keys), len(set(bank.keys)), len(steps)) == (2, 1, 1)


def test_a_finder_of_another_signature_is_a_fault_of_the_plan() -> None:
    async def find(amount: str) -> str:
        return amount

    async def find_too(amount: int) -> int:
        return amount

    async def broken(amount: int):
        return amount

    said = {find: "takes amount: str; it is given", find_too: "gives int, not str", broken: "has no type"}
    for finder, fault in said.items():
        shop = as_node(payment(Bank(), in_doubt=finder))
        with pytest.raises(PlanError, match=f"'{finder.__name__}', which finds out about it.*{fault}"):
            _ = shop.plan


def test_a_finder_that_acts_itself_or_is_called_like_a_policy_is_refused() -> None:
    @tool(effect="once")
    async def pay_again(amount: int) -> str:
        """Pay."""
        return "paid"

    async def ask(amount: int) -> str:
        return "paid"

    with pytest.raises(WiringError, match="'pay_again' cannot find out"):
        payment(Bank(), in_doubt=pay_again)
    with pytest.raises(ValueError, match="something else than a policy"):
        payment(Bank(), in_doubt=ask)
    with pytest.raises(ValueError, match="one of 'ask', 'retry', 'fail'"):
        payment(Bank(), in_doubt="asks")


def test_the_plan_names_the_function() -> None:
    shop = as_node(payment(Bank(), in_doubt=Ledger("x").look))
    assert '"in_doubt":"find_payment"' in shop.plan.to_json().replace(" ", "")
