"""Failure is an outcome: whom it reaches, who takes it, and how a run ends by it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from table import Table, both, check, plus, source, sources

from treadle import do, fallback, graph, node, when
from treadle.events import Failure


class Two(BaseModel):
    left: int
    right: int


@node
async def two() -> Two:
    return Two(left=1, right=2)


def test_a_node_whose_input_failed_never_starts_and_the_run_fails_by_that_failure() -> None:
    @graph
    def g() -> int:
        return plus(plus.named("p")(source.named("a")()))

    t = Table(g)
    t.start()
    assert t.fails("a") == ["end failed"]
    assert [t.state("p"), t.state("plus")] == ["failed", "failed"]
    assert t.scheduler.failure is not None
    assert t.scheduler.failure.node == "a"


def test_rungs_are_needed_one_after_the_other() -> None:
    @graph
    def g() -> int:
        a, b, c = sources("a b c")
        return fallback(a, b, c)

    t = Table(g)
    assert t.start() == ["start a"]
    assert t.fails("a") == ["start b"]
    assert t.fails("b") == ["start c"]
    assert t.fails("c") == ["end failed"]
    assert t.scheduler.failure is not None
    assert t.scheduler.failure.node == "c"


def test_a_fallback_whose_first_rung_succeeds_needs_no_other() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(a, b)

    t = Table(g)
    t.start()
    assert t.done("a") == ["end completed"]
    assert t.state("b") == "idle"


@pytest.mark.parametrize(
    ("types", "commands"),
    [
        (("builtins.KeyError", "builtins.LookupError"), ["start b"]),
        (("builtins.ValueError",), ["end failed"]),
    ],
)
def test_a_fallback_takes_only_the_errors_it_names(types: tuple[str, ...], commands: list[str]) -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(a, b, on=LookupError)

    t = Table(g)
    t.start()
    assert t.fails("a", Failure(types=types, message="")) == commands


def test_what_may_not_be_taken_is_never_taken() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(plus(a), b)

    t = Table(g)
    t.start()
    assert t.fails("a", "fatal") == ["end failed"]


def test_a_failed_read_fails_those_who_need_it_alone() -> None:
    @graph
    def g() -> list[int]:
        pair = two()
        return [fallback(plus(pair.left), 0), plus.named("fine")(pair.right)]

    t = Table(g)
    t.start()
    assert t.done("two") == ["decide two.left", "decide two.right"]
    assert t.unreadable("two.left") == []
    assert t.decided("two.right") == ["start fine"]


def test_a_read_that_only_an_unchosen_branch_needs_is_never_tried() -> None:
    @graph
    def g() -> int:
        pair = two()
        return when(check(source()), plus(pair.left), 7)

    t = Table(g)
    t.start()
    t.done("source")
    t.done("check")
    assert t.decided("when", 1) == ["end completed"]
    assert t.state("two") == "idle"


def test_a_choice_that_cannot_be_made_fails() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(when(check(a), b, plus(b)), 7)

    t = Table(g)
    assert t.start() == ["start a", "start b"]
    t.done("a")
    t.done("check")
    assert t.unreadable("when") == ["cancel b"]
    assert t.gone("b") == ["end completed"]


def test_failure_reaches_who_comes_to_need_the_node_later() -> None:
    @graph
    def g() -> int:
        bad, slow = sources("bad slow")
        later = when(check(slow), plus.named("taker")(bad), 7)
        return do(fallback(bad, 0), later)

    t = Table(g)
    assert t.start() == ["start bad", "start slow"]
    assert t.fails("bad") == []
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == ["end failed"]
    assert t.state("taker") == "failed"


def test_a_fallback_demanded_after_its_first_rung_failed_goes_straight_to_the_next() -> None:
    @graph
    def g() -> int:
        bad, slow, other = sources("bad slow other")
        later = when(check(slow), fallback(plus(bad), other), 7)
        return do(fallback(bad, 0), later)

    t = Table(g)
    t.start()
    t.fails("bad")
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == ["start other"]


def test_two_failures_of_one_cause_move_a_fallback_by_one_rung() -> None:
    @graph
    def g() -> list[int] | int:
        bad, second = sources("bad second")
        return fallback([plus.named("p")(bad), plus.named("q")(bad)], second, 7)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["start second"]
    assert t.done("second") == ["end completed"]


def test_a_rung_that_is_needed_again_counts_afresh() -> None:
    @graph
    def g() -> list[int]:
        shared, bad, other = sources("shared bad other")
        return fallback([shared, bad], [shared, other])

    t = Table(g)
    assert t.start() == ["start shared", "start bad"]
    assert t.fails("bad") == ["start other"]
    assert t.done("shared") == []
    assert t.done("other") == ["end completed"]


# -- nobody needs it any more ----------------------------------------------------------------------


def test_a_running_node_nobody_needs_is_cancelled_and_a_shared_one_goes_on() -> None:
    @graph
    def g() -> int:
        alone, shared, bad = sources("alone shared bad")
        three = both.named("three")(both.named("two")(alone, shared), bad)
        return both(fallback(three, 0), shared)

    t = Table(g)
    assert t.start() == ["start alone", "start shared", "start bad"]
    assert t.fails("bad") == ["cancel alone"]
    assert t.gone("alone") == []
    assert t.done("shared") == ["start both"]


def test_a_cancelled_node_that_returns_all_the_same_is_done() -> None:
    @graph
    def g() -> int:
        a, bad = sources("a bad")
        return fallback(both(a, bad), 0)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["cancel a"]
    assert t.done("a") == ["end completed"]
    assert t.state("a") == "done"


def test_a_cancelled_node_that_fails_has_not_failed() -> None:
    @graph
    def g() -> int:
        a, bad = sources("a bad")
        return fallback(both(a, bad), 0)

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.fails("a") == ["end completed"]
    assert t.state("a") == "idle"


@pytest.fixture
def wanted_again() -> Table:
    """A run in which ``a`` was cancelled, is not gone yet, and is needed again."""

    @graph
    def g() -> int:
        a, bad, slow = sources("a bad slow")
        again = when(check(slow), plus.named("taker")(a), 7)
        return fallback(both(a, bad), again)

    t = Table(g)
    assert t.start() == ["start a", "start bad"]
    assert t.fails("bad") == ["start slow", "cancel a"]
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == []
    return t


def test_a_node_needed_again_while_it_is_cancelled_starts_again(wanted_again: Table) -> None:
    assert wanted_again.gone("a") == ["start a (2)"]
    assert wanted_again.done("a") == ["start taker"]


def test_a_node_needed_again_while_it_is_cancelled_may_still_return(wanted_again: Table) -> None:
    assert wanted_again.done("a") == ["start taker"]


def test_a_node_needed_again_while_it_is_cancelled_may_still_fail(wanted_again: Table) -> None:
    assert wanted_again.fails("a") == ["end failed"]


def test_a_choice_nobody_needs_any_more_lets_go_of_what_its_cases_share() -> None:
    @graph
    def g() -> int:
        a, bad, shared = sources("a bad shared")
        first = when(check(a), plus.named("p")(shared), plus.named("q")(shared))
        return fallback(both(first, bad), 0)

    t = Table(g)
    assert t.start() == ["start a", "start bad", "start shared"]
    t.done("a")
    assert t.done("check") == ["decide when"]
    assert t.fails("bad") == ["cancel shared"]
    assert t.decided("when", 0) == []
    assert t.gone("shared") == ["end completed"]


def test_a_choice_needed_again_is_decided_again() -> None:
    @graph
    def g() -> int:
        a, b, bad, slow = sources("a b bad slow")
        chosen = when(check(a), plus(b), 7)
        return fallback(both(chosen, bad), when(check.named("late")(slow), chosen, 7))

    t = Table(g)
    t.start()
    t.done("a")
    t.done("check")
    assert t.decided("when", 0) == ["start b"]
    assert t.fails("bad") == ["start slow", "cancel b"]
    assert t.gone("b") == []
    t.done("slow")
    t.done("late")
    assert t.decided("when.2", 0) == ["decide when"]
    assert t.decided("when", 0) == ["start b (2)"]


# -- how the run ends ------------------------------------------------------------------------------


def test_a_failing_run_drains() -> None:
    @graph
    def g() -> int:
        a, bad, c = sources("a bad c")
        return both(both.named("inner")(plus(a), c), bad)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["drop unstarted"]
    assert t.done("a") == []
    assert t.state("plus") == "idle"
    assert t.done("c") == ["end failed"]
    assert t.ended("failed") == []


def test_a_draining_run_ends_with_the_last_attempt_though_its_taker_was_ready() -> None:
    @graph
    def g() -> int:
        a, bad = sources("a bad")
        return both(plus(a), bad)

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.done("a") == ["end failed"]


def test_a_draining_run_gives_no_retry_and_takes_no_other_rung() -> None:
    @graph
    def g() -> int:
        bad, c, other = sources("bad c other")
        return both(fallback(c, other), bad)

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.fails("c") == ["end failed"]


def test_a_failure_that_ends_the_run_starts_nothing_on_its_way() -> None:
    @graph
    def g() -> int:
        bad, other = sources("bad other")
        return both(fallback(bad, other), bad)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["end failed"]


def test_a_graph_may_have_running_attempts_cancelled_on_failure() -> None:
    @graph(on_failure="cancel")
    def g() -> int:
        a, bad = sources("a bad")
        return both(a, bad)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["drop unstarted", "cancel a"]
    assert t.gone("a") == ["end failed"]


def test_cancelling_stops_everything() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return both(plus(a), b)

    t = Table(g)
    t.start()
    assert t.cancel() == ["drop unstarted", "cancel a", "cancel b"]
    assert t.done("a") == []
    assert t.gone("b") == ["end cancelled"]
    assert t.ended("cancelled") == []
    assert t.cancel() == []


def test_a_draining_run_can_be_cancelled() -> None:
    @graph
    def g() -> int:
        a, bad = sources("a bad")
        return both(a, bad)

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.cancel() == ["drop unstarted", "cancel a"]
    assert t.gone("a") == ["end cancelled"]
