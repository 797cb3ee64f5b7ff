"""Holds, lines and settlements: no limit is ever passed, nobody is passed over, nobody waits for ever."""

from __future__ import annotations

from decimal import Decimal

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

from treadle.budget import NOTHING, Amounts, Bound, Budget, Price
from treadle.engine import money
from treadle.engine.money import Account, Hold, hold, settle
from treadle.errors import BudgetExceeded, InternalError

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))


def tokens(count: int, *, price: Price | None = PRICE) -> Bound:
    return Bound(input_tokens=count, price=price, model="m")


def limited(name: str, **limits: int) -> Account:
    return Account(name, Budget(tokens=limits.get("tokens"), calls=limits.get("calls")))


async def take(account: Account, count: int, *, output: int = 10, least: int = 10) -> Hold:
    return await hold([account], tokens(count), max_output=output, min_output=least)


async def test_a_hold_takes_its_worst_case_from_every_account() -> None:
    run, node = Account("run", Budget(usd="1")), limited("node a", tokens=100)
    held = await hold([run, node], tokens(50), max_output=20)
    assert run.held == node.held == Amounts(usd=Decimal("0.00009"), tokens=70, calls=1)
    settle(held, Amounts(usd=Decimal("0.00001"), tokens=10, calls=1))
    assert (run.held, run.spent.tokens, node.spent.tokens) == (NOTHING, 10, 10)


async def test_an_account_without_a_budget_counts_and_never_waits() -> None:
    run = Account("run")
    held = await hold([run], tokens(10**9, price=None), max_output=10**9)
    settle(held, Amounts(tokens=7, calls=1))
    assert run.spent == Amounts(tokens=7, calls=1)


async def test_the_limit_itself_can_be_reached_exactly() -> None:
    account = limited("run", tokens=20)
    held = await take(account, 10)
    assert held.max_output == 10
    assert account.held.tokens == 20


async def test_waiting_is_first_come_first_served() -> None:
    account, order = limited("run", tokens=100), list[int]()

    async def ask(number: int, size: int) -> None:
        held = await take(account, size)
        order.append(number)
        settle(held, NOTHING)

    first = await take(account, 80)
    async with anyio.create_task_group() as tasks:
        for number, size in enumerate([90, 0, 90]):  # the second would fit at once, and stands in line
            tasks.start_soon(ask, number, size)
            await wait_all_tasks_blocked()
        assert order == []
        settle(first, NOTHING)
    assert order == [0, 1, 2]


async def test_a_younger_request_that_needs_other_money_does_not_wait_behind() -> None:
    run, left, right = limited("run", tokens=100), limited("node l", tokens=30), limited("node r", tokens=30)
    held = await hold([run, left], tokens(20), max_output=10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: hold([run, left], tokens(20), max_output=10))
        await wait_all_tasks_blocked()
        other = await hold([run, right], tokens(20), max_output=10)
        settle(held, NOTHING)
    assert not other.is_settled


async def test_the_line_is_at_the_outermost_short_account() -> None:
    run, node = limited("run", tokens=50), limited("node a", tokens=50)
    held = await hold([run, node], tokens(30), max_output=10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: hold([run, node], tokens(30), max_output=10, min_output=10))
        await wait_all_tasks_blocked()
        assert (len(run.line), len(node.line)) == (1, 0)
        settle(held, NOTHING)


async def test_a_cancelled_waiter_leaves_the_line_and_the_next_is_served() -> None:
    account = limited("run", tokens=100)
    first = await take(account, 60)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take, account, 80)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert account.line == []
    assert (await take(account, 20)).amounts.tokens == 30
    assert account.held.tokens == first.amounts.tokens + 30


async def test_who_stood_behind_a_cancelled_one_is_served_without_any_settlement() -> None:
    account, scope = limited("run", tokens=100), anyio.CancelScope()
    first = await take(account, 60)

    async def large() -> None:
        with scope:
            await take(account, 80)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(large)
        await wait_all_tasks_blocked()
        tasks.start_soon(take, account, 20)
        await wait_all_tasks_blocked()
        assert account.held == first.amounts
        scope.cancel()
    assert account.held.tokens == 100


async def test_of_several_lines_the_oldest_head_is_served_first() -> None:
    run, node = limited("run", tokens=100), limited("node a", tokens=50)
    held = await hold([run, node], tokens(40), max_output=10)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: hold([run, node], tokens(30), max_output=10))
            await wait_all_tasks_blocked()
            tasks.start_soon(take, run, 70)
            await wait_all_tasks_blocked()
            assert (len(node.line), len(run.line)) == (1, 1)
            settle(held, NOTHING)
            await wait_all_tasks_blocked()
            assert (node.held.tokens, run.held.tokens, len(run.line)) == (40, 40, 1)
            scope.cancel()


async def test_who_is_cancelled_as_it_is_served_holds_nothing_or_is_given_the_hold() -> None:
    account = limited("run", tokens=100)
    first = await take(account, 80)

    async def ask() -> None:
        held = await take(account, 80)
        try:
            await anyio.sleep_forever()
        finally:
            settle(held, NOTHING)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await wait_all_tasks_blocked()
            settle(first, NOTHING)
            scope.cancel()
    assert account.held == NOTHING


async def test_the_output_limit_is_lowered_only_when_no_other_hold_remains() -> None:
    account, granted = limited("run", tokens=100), list[Hold]()

    async def ask() -> None:
        granted.append(await take(account, 40, output=100, least=10))

    first = await take(account, 20)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        assert granted == []  # 20 would fit beside the hold, but more may come back
        settle(first, Amounts(tokens=5))
    assert [held.max_output for held in granted] == [55]


async def test_lowering_finds_the_largest_limit_that_the_money_pays() -> None:
    account = Account("run", Budget(usd="0.001"))
    held = await hold([account], tokens(100), max_output=4096, min_output=1)
    assert held.max_output == 450  # 100 input at 1 and 450 output at 2 dollars a million
    assert held.amounts.usd == Decimal("0.001")


async def test_what_does_not_fit_is_refused_with_all_its_figures() -> None:
    account = limited("node expert", tokens=100)
    settle(await take(account, 30), Amounts(tokens=40, calls=1))
    with pytest.raises(BudgetExceeded, match="'node expert' has 60 left of 100") as caught:
        await take(account, 80)
    error = caught.value
    assert (error.account, error.measure, error.limit) == ("node expert", "tokens", 100)
    assert (error.spent, error.held, error.needed) == (40, 0, 90)
    assert "raise Budget(tokens=...)" in str(error)


async def test_what_can_never_fit_is_refused_without_waiting_for_others() -> None:
    account = limited("run", tokens=100)
    held = await take(account, 50)
    with pytest.raises(BudgetExceeded):
        await take(account, 200)
    assert not held.is_settled


async def test_requests_are_counted_and_the_last_one_too_many_is_refused() -> None:
    account = limited("run", calls=2)
    for _ in range(2):
        settle(await take(account, 10**6), Amounts(calls=1))
    with pytest.raises(BudgetExceeded) as caught:
        await take(account, 1)
    assert caught.value.measure == "calls"


async def test_an_unknown_price_is_refused_under_a_money_budget_with_the_line_to_add() -> None:
    with pytest.raises(BudgetExceeded, match=r"price=Price\(input_mtok=") as caught:
        await hold([Account("run", Budget(usd="1"))], tokens(1, price=None), max_output=1)
    assert caught.value.needed is None


async def test_an_unknown_price_is_fine_where_tokens_are_limited() -> None:
    held = await hold([limited("run", tokens=10)], tokens(1, price=None), max_output=1)
    assert held.amounts.tokens == 2


async def test_a_part_without_a_bound_is_refused_under_any_limit_it_could_pass() -> None:
    unbounded = Bound(input_tokens=None, price=PRICE, model="m")
    with pytest.raises(BudgetExceeded, match="part of unknown size"):
        await hold([limited("run", tokens=10)], unbounded, max_output=1)
    assert (await hold([limited("run", calls=1)], unbounded, max_output=1)).amounts.calls == 1


async def test_usage_above_the_hold_is_charged_and_closes_the_account() -> None:
    account = limited("run", tokens=1000)
    assert settle(await take(account, 10), Amounts(tokens=21, calls=1)) is True
    assert account.spent.tokens == 21
    with pytest.raises(BudgetExceeded, match="is closed"):
        await take(account, 1)


async def test_closing_an_account_refuses_those_in_its_line() -> None:
    account, refused = limited("run", tokens=30), list[str]()

    async def ask() -> None:
        with pytest.raises(BudgetExceeded) as caught:
            await take(account, 15)
        refused.append(str(caught.value))

    held = await take(account, 10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        settle(held, Amounts(tokens=25))
    assert "is closed" in refused[0]


async def test_a_surprise_in_a_measure_nobody_limits_closes_nothing() -> None:
    account = limited("run", calls=5)
    assert settle(await take(account, 10), Amounts(tokens=10**6, calls=1)) is False
    assert not account.closed


async def test_a_request_within_an_ancestors_hold_does_not_wait_for_it() -> None:
    account = limited("run", tokens=100)
    outer = await take(account, 50)
    inner = await hold([account], tokens(10), max_output=100, min_output=5, within=outer)
    assert inner.max_output == 30


async def test_two_that_hold_and_wait_for_each_other_are_told_so() -> None:
    account, ends = limited("run", tokens=100), list[str]()

    async def ask(outer: Hold) -> None:
        try:
            held = await hold([account], tokens(30), max_output=10, min_output=10, within=outer)
            settle(held, NOTHING)
            ends.append("granted")
        except BudgetExceeded:
            ends.append("refused")
        settle(outer, NOTHING)

    holds = [await take(account, 40), await take(account, 40)]
    async with anyio.create_task_group() as tasks:
        for outer in holds:
            tasks.start_soon(ask, outer)
    assert sorted(ends) == ["granted", "refused"]
    assert account.held == NOTHING


async def test_a_request_within_a_hold_goes_before_those_that_hold_nothing() -> None:
    account = limited("run", tokens=100)
    outer = await take(account, 60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, account, 50)
        await wait_all_tasks_blocked()
        inner = await hold([account], tokens(10), max_output=10, within=outer)
        settle(inner, NOTHING)
        settle(outer, NOTHING)


async def test_settling_twice_is_our_bug() -> None:
    held = await take(limited("run", tokens=100), 10)
    settle(held, NOTHING)
    with pytest.raises(InternalError):
        settle(held, NOTHING)


async def test_a_thousand_waiters_are_all_served() -> None:
    account, done = limited("run", tokens=100_000, calls=2000), list[int]()

    async def ask(number: int) -> None:
        held = await take(account, 29_990)
        await anyio.lowlevel.checkpoint()
        settle(held, Amounts(tokens=1, calls=1))
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(ask, number)
    assert len(done) == 1000
    assert account.spent == Amounts(tokens=1000, calls=1000)


def test_seconds_are_cut_to_the_account_that_has_least() -> None:
    run, node = Account("run", Budget(seconds=100)), Account("node a", Budget(seconds=10))
    run.meter.add(95)
    assert money.seconds_left([run, node, Account("x")], 0.0) == 5
    assert money.seconds_left([Account("x")], 0.0) is None
    assert money.timed([run, Account("x"), node]) == (run, node)


def test_an_account_out_of_seconds_says_which_and_how_to_mend_it() -> None:
    run = Account("run", Budget(seconds="2m"))
    assert money.out_of_time([run], 0.0) is None
    run.meter.started(0.0)
    error = money.out_of_time([run], 121.0)
    assert error is not None
    assert (error.account, error.measure, error.limit, error.spent) == ("run", "seconds", 120, 121)
    assert "raise Budget(seconds=...)" in str(error)


@pytest.mark.parametrize(
    ("budget", "spent", "at", "soft"),
    [
        (Budget(usd="1", soft=0.8), Amounts(usd=Decimal("0.79")), 0.0, False),
        (Budget(usd="1", soft=0.8), Amounts(usd=Decimal("0.80")), 0.0, True),
        (Budget(usd="1"), Amounts(usd=Decimal(1)), 0.0, False),
        (Budget(seconds=10, soft=0.5), NOTHING, 5.0, True),
        (Budget(seconds=10, soft=0.5), NOTHING, 4.9, False),
    ],
)
def test_the_soft_limit_is_a_share_of_any_limit(
    budget: Budget, spent: Amounts, at: float, soft: bool
) -> None:
    account = Account("run", budget, spent=spent)
    account.meter.started(0.0)
    assert account.is_soft(at) is soft


def test_past_a_soft_limit_the_innermost_account_names_the_model() -> None:
    outer = Account("run", Budget(calls=1, soft=0.5, on_soft="cheap"), spent=Amounts(calls=1))
    inner = Account("node a", Budget(calls=2, soft=0.5, on_soft="cheaper"))
    assert money.soft_model([outer, inner], 0.0) == "cheap"
    inner.spent = Amounts(calls=1)
    assert money.soft_model([outer, inner], 0.0) == "cheaper"
