"""The arithmetic of money: decimals, bounds, limits and seconds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.budget import NOTHING, Amounts, Bound, Budget, Meter, Price, Usage
from treadle.errors import ConfigurationError

PRICE = Price(
    input_mtok=Decimal("0.25"),
    output_mtok=Decimal(2),
    cache_read_mtok=Decimal("0.025"),
    cache_write_mtok=Decimal("0.30"),
)
COUNTS = st.integers(0, 10**9)


def test_money_is_exact_text() -> None:
    assert Budget(usd="0.20").usd == Decimal("0.20")
    assert Budget(usd=3).usd == Decimal(3)


@pytest.mark.parametrize("wrong", ["-1", "nan", "inf", "a lot"])
def test_what_is_no_amount_of_money_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"budget is finite|not an amount of money"):
        Budget(usd=wrong)


def test_a_float_of_money_is_refused_with_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match=r"usd='0.2'"):
        Budget(usd=0.2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - that is the test


@pytest.mark.parametrize("limits", [{"tokens": -1}, {"calls": -1}])
def test_limits_below_zero_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="a whole number of 0 or more"):
        Budget(tokens=limits.get("tokens"), calls=limits.get("calls"))


@pytest.mark.parametrize("soft", [0.0, -0.1, 1.1])
def test_the_soft_share_is_between_0_and_1(soft: float) -> None:
    with pytest.raises(ValueError, match="share between 0 and 1"):
        Budget(usd="1", soft=soft)


def test_seconds_may_be_written_as_text() -> None:
    assert Budget(seconds="2m").seconds == 120


def test_limits_are_only_those_that_calls_are_held_against() -> None:
    assert Budget(usd="1", calls=3, seconds=9).limits == (("usd", Decimal(1)), ("calls", Decimal(3)))
    assert Budget(seconds=9).limits == ()


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert Budget(usd=0, tokens=0).limits == (("usd", Decimal(0)), ("tokens", Decimal(0)))


@given(COUNTS, COUNTS, COUNTS)
def test_amounts_add_and_take_away_exactly(usd: int, tokens: int, calls: int) -> None:
    one = Amounts(usd=Decimal(usd) / 10**9, tokens=tokens, calls=calls)
    assert (one + one) - one == one
    assert one - one == NOTHING
    assert [one.of("tokens"), one.of("calls")] == [tokens, calls]


def test_cached_parts_cost_their_own_price() -> None:
    usage = Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=100, output_tokens=50)
    assert PRICE.cost(usage) == Decimal("0.00022")  # 300 * 0.25 + 600 * 0.025 + 100 * 0.30 + 50 * 2


@given(COUNTS, COUNTS, st.floats(0, 1), st.floats(0, 1))
def test_no_usage_costs_more_than_the_worst_case(sent: int, made: int, read: float, written: float) -> None:
    cached = int(sent * read)
    usage = Usage(
        input_tokens=sent,
        output_tokens=made,
        cache_read_tokens=cached,
        cache_write_tokens=int((sent - cached) * written),
    )
    assert PRICE.cost(usage) <= PRICE.worst(sent, made)


def test_a_bound_covers_what_is_known() -> None:
    known = Bound(input_tokens=100, price=PRICE)
    assert known.worst(10) == Amounts(usd=Decimal("0.00005"), tokens=110, calls=1)
    assert [known.covers("usd"), known.covers("tokens"), known.covers("calls")] == [True, True, True]
    priceless = Bound(input_tokens=100, price=None)
    assert [priceless.covers("usd"), priceless.covers("tokens")] == [False, True]
    endless = Bound(input_tokens=None, price=PRICE)
    assert [endless.covers("usd"), endless.covers("tokens"), endless.covers("calls")] == [False, False, True]


def test_the_meter_counts_parallel_things_once() -> None:
    meter = Meter()
    meter.started(0.0)
    meter.started(2.0)
    meter.stopped(5.0)
    assert meter.used(6.0) == 6
    meter.stopped(7.0)
    assert meter.used(100.0) == 7
    meter.started(100.0)
    assert meter.used(101.0) == 8


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    meter = Meter()
    meter.started(10.0)
    meter.stopped(4.0)
    assert meter.used(20.0) == 0
