"""Items, rounds and runners: graphs wired for real, events by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from table import Table, plus, source, sources

from treadle import Failure, each, fallback, graph, loop, node, race, when
from treadle.nodes.graph import Graph


@node
async def numbers() -> list[int]:
    return [1, 2, 3]


@graph
def twice(item: int) -> int:
    return plus.named("second")(plus.named("first")(item))


def going(made: Graph[[], Any], *, items: int) -> Table:
    """A run of a graph whose ``each`` has begun, with so many items."""
    t = Table(made)
    t.start()
    t.done("numbers")
    t.decided("each", items)
    return t


@pytest.fixture
def two_at_once() -> Graph[[], list[int]]:
    @graph
    def g() -> list[int]:
        return each(at_once=2)(plus, numbers())

    return g


@pytest.fixture
def collecting() -> Graph[[], list[int | Failure]]:
    @graph
    def g() -> list[int | Failure]:
        return each(at_once=2, on_error="collect")(plus, numbers())

    return g


def test_items_begin_as_there_is_room_for_them(two_at_once: Graph[[], list[int]]) -> None:
    t = Table(two_at_once)
    t.start()
    assert t.done("numbers") == ["decide each"]
    begun = ["enter each(0)", "start each(0)/plus", "enter each(1)", "start each(1)/plus"]
    assert t.decided("each", 3) == begun
    assert t.done("each(1)/plus") == ["leave each(1)", "enter each(2)", "start each(2)/plus"]
    assert t.done("each(0)/plus") == ["leave each(0)"]
    assert t.done("each(2)/plus") == ["leave each(2)", "end completed"]


def test_an_empty_list_is_done_at_once(two_at_once: Graph[[], list[int]]) -> None:
    t = Table(two_at_once)
    t.start()
    t.done("numbers")
    assert t.decided("each", 0) == ["end completed"]


def test_a_failed_item_cancels_the_others_and_begins_no_more(two_at_once: Graph[[], list[int]]) -> None:
    t = going(two_at_once, items=9)
    assert t.fails("each(0)/plus") == ["drop unstarted"]
    assert t.done("each(1)/plus") == ["end failed"]
    assert t.scheduler.failure is not None
    assert t.scheduler.failure.node == "each(0)/plus"


def test_where_the_failure_is_taken_the_other_items_are_cancelled() -> None:
    @graph
    def g() -> list[int]:
        return fallback(each(at_once=2)(plus, numbers()), [0])

    t = going(g, items=9)
    assert t.fails("each(0)/plus") == ["cancel each(1)/plus"]
    assert t.gone("each(1)/plus") == ["end completed"]


def test_a_collected_failure_makes_room_for_the_next_item(
    collecting: Graph[[], list[int | Failure]],
) -> None:
    t = going(collecting, items=3)
    assert t.fails("each(0)/plus") == ["leave each(0)", "enter each(2)", "start each(2)/plus"]


def test_a_failure_that_nobody_may_take_is_not_collected(
    collecting: Graph[[], list[int | Failure]],
) -> None:
    t = going(collecting, items=3)
    assert t.fails("each(0)/plus", "fatal") == ["drop unstarted"]
    assert t.done("each(1)/plus") == ["end failed"]


def test_a_resumed_run_tries_the_failed_item_again_and_no_other(two_at_once: Graph[[], list[int]]) -> None:
    t = going(two_at_once, items=3)
    t.done("each(0)/plus")
    t.fails("each(1)/plus")
    t.done("each(2)/plus")
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start each(1)/plus (2)", "leave each(2)"]
    assert t.done("each(1)/plus") == ["leave each(1)", "end completed"]


def test_a_question_in_an_item_holds_up_no_other() -> None:
    @graph
    def g() -> list[int]:
        return each(at_once=2)(twice, numbers())

    t = going(g, items=2)
    assert t.parks("each(0)/first") == []
    assert t.done("each(1)/first") == ["start each(1)/second"]
    assert t.done("each(1)/second") == ["leave each(1)", "park"]
    assert t.answered("each(0)/first") == ["start each(0)/first"]


def test_rounds_follow_each_other_until_the_last_is_known() -> None:
    @graph
    def g() -> int:
        return loop(plus, source(), until=lambda x: x > 8, at_most=3)

    t = Table(g)
    t.start()
    assert t.done("source") == ["enter loop(1)", "start loop(1)/plus"]
    assert t.done("loop(1)/plus") == ["decide loop(1)/greater"]
    assert t.decided("loop(1)/greater") == ["leave loop(1)", "decide loop"]
    assert t.decided("loop", 0) == ["enter loop(2)", "start loop(2)/plus"]
    t.done("loop(2)/plus")
    t.decided("loop(2)/greater")
    assert t.decided("loop", 1) == ["end completed"]


def test_a_loop_at_its_limit_fails_and_may_be_taken() -> None:
    @graph
    def g() -> int:
        return fallback(loop(plus, source(), until=lambda x: x > 8, at_most=1), 0)

    t = Table(g)
    t.start()
    t.done("source", "loop(1)/plus")
    t.decided("loop(1)/greater")
    assert t.unreadable("loop") == ["end completed"]


# -- races -------------------------------------------------------------------------------------------------


def test_the_first_runner_wins_and_the_others_are_cancelled() -> None:
    @graph
    def g() -> int:
        a, b, c = sources("a b c")
        return race(plus(a), b, c)

    t = Table(g)
    assert t.start() == ["start a", "start b", "start c"]
    assert t.done("b") == ["cancel c", "cancel a"]
    t.gone("a")
    assert t.gone("c") == ["end completed"]


def test_a_runner_that_something_else_needs_goes_on() -> None:
    @graph
    def g() -> tuple[int, int]:
        a, b = sources("a b")
        return race(a, b), plus(b)

    t = Table(g)
    t.start()
    assert t.done("a") == []
    assert t.done("b") == ["start plus"]


def test_a_race_fails_with_all_its_runners() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return race(a, b)

    t = Table(g)
    t.start()
    assert t.fails("a") == []
    assert t.fails("b", "B") == ["end failed"]
    assert t.scheduler.failure is not None
    assert t.scheduler.failure.types[0] == "treadle.errors.AllFailed"
    assert "a: A; b: B" in t.scheduler.failure.message


def test_a_failure_that_nobody_may_take_loses_the_race_for_all() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(race(a, b), 7)

    t = Table(g)
    t.start()
    assert t.fails("a", "fatal") == ["drop unstarted"]
    assert t.done("b") == ["end failed"]


def test_what_fails_in_an_item_is_named_as_the_run_names_it() -> None:
    @graph
    def runners(item: int) -> int:
        return race(plus.named("a")(item), plus.named("b")(item))

    @graph
    def g() -> list[int]:
        return each(runners, numbers())

    t = going(g, items=1)
    t.fails("each(0)/a")
    t.fails("each(0)/b")
    assert t.scheduler.failure is not None
    assert t.scheduler.failure.node == "each(0)/race"


# -- what is kept ------------------------------------------------------------------------------------------


def kept_through(made: Graph[[], Any], items: int, end: Callable[[Table, int], object]) -> int:
    """Go through items one after the other, and say how many parts were kept at most."""
    t, most = Table(made, is_replayed=False), 0
    t.start()
    t.done("numbers")
    t.decided("each", items)
    for number in range(items):
        end(t, number)
        most = max(most, len(t.scheduler._course.parts))
    assert t.scheduler._course.end is not None
    return most


def test_of_ten_thousand_items_those_under_way_are_kept(
    collecting: Graph[[], list[int | Failure]],
) -> None:
    def end(t: Table, number: int) -> None:
        node = f"each({number})/plus"
        t.fails(node) if number % 3 == 0 else t.done(node)

    assert kept_through(collecting, 10_000, end) <= 4


def test_items_that_an_item_has_given_up_are_forgotten_with_it() -> None:
    @graph
    def inner(item: int) -> list[int]:
        return fallback(each(at_once=2)(plus, numbers.named("inner")()), [item])

    @graph
    def g() -> list[list[int]]:
        return each(at_once=1)(inner, numbers())

    def end(t: Table, number: int) -> None:
        inside = f"each({number})/each"
        t.done(f"each({number})/inner")
        t.decided(inside, 5)
        t.fails(f"{inside}(0)/plus")
        t.gone(f"{inside}(1)/plus")

    assert kept_through(g, 50, end) <= 7


def test_a_loser_that_is_still_being_cancelled_keeps_its_item_and_no_longer() -> None:
    @graph
    def runners(item: int) -> int:
        return race(plus.named("a")(item), plus.named("b")(item))

    @graph
    def g() -> list[int]:
        return each(at_once=1)(runners, numbers())

    t = going(g, items=2)
    assert t.done("each(0)/a")[:2] == ["leave each(0)", "enter each(1)"]
    assert t.done("each(1)/a") == ["leave each(1)", "cancel each(1)/b"]
    assert t.state("each(0)/b") == "cancelling"
    t.gone("each(0)/b")
    assert t.done("each(1)/b") == ["end completed"]


def test_an_unneeded_branch_begins_no_items() -> None:
    @graph
    def g() -> list[int]:
        return when(source() == 2, each(plus, numbers()), [0])

    t = Table(g)
    assert t.start() == ["start source"]
