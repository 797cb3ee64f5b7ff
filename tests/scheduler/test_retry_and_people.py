"""Attempts that are made again, and attempts that wait for people."""

from __future__ import annotations

import pytest
from driver import SEED
from table import Table, both, check, plus, source, sources

from treadle import Retry, Wait, fallback, graph, when
from treadle.events import Failure
from treadle.nodes.graph import Graph


def retrying(retry: Retry) -> Graph[[], int]:
    @graph
    def g() -> int:
        a = source.named("a").using(retry=retry)()
        b, c = sources("b c")
        return fallback(both(a, b), c)

    return g


def test_a_failed_attempt_is_made_again_after_its_wait_until_attempts_are_used_up() -> None:
    t = Table(retrying(Retry(attempts=3, wait=2.0)))
    assert t.start() == ["start a", "start b"]
    assert t.fails("a") == ["start a (2) at 102"]
    t.at = 110.0
    assert t.fails("a") == ["start a (3) at 112"]
    assert t.fails("a") == ["start c", "cancel b"]


def test_a_later_success_ends_the_tries() -> None:
    t = Table(retrying(Retry(attempts=3, wait=2.0)))
    t.start()
    t.fails("a")
    t.done("b")
    assert t.done("a") == ["start both"]


def test_waits_are_drawn_from_the_seed_of_the_run() -> None:
    retry = Retry(attempts=3, wait=Wait(initial=1.0, jitter=1.0))
    t = Table(retrying(retry))
    t.start()
    expected = t.at + retry.delay(1, seed=f"{SEED}:a")
    assert t.fails("a") == [f"start a (2) at {expected:g}"]
    assert 101.0 < expected < 102.0


@pytest.mark.parametrize(("asked", "waited"), [(30.0, 30.0), (1.0, 2.0), (900.0, 60.0)])
def test_retry_after_is_obeyed_up_to_the_longest_wait(asked: float, waited: float) -> None:
    t = Table(retrying(Retry(attempts=2, wait=2.0)))
    t.start()
    failure = Failure(types=("X",), message="", retry_after=asked)
    assert t.fails("a", failure) == [f"start a (2) at {t.at + waited:g}"]


@pytest.mark.parametrize(
    "failure",
    [
        Failure(types=("X",), message="", retryable=False),
        Failure(types=("X",), message="", takeable=False),
    ],
)
def test_what_will_not_pass_or_may_not_be_taken_is_not_tried_again(failure: Failure) -> None:
    t = Table(retrying(Retry(attempts=3, wait=2.0)))
    t.start()
    assert not any("start a" in word for word in t.fails("a", failure))


def test_only_the_named_errors_are_tried_again() -> None:
    t = Table(retrying(Retry(attempts=3, on=ConnectionError, wait=2.0)))
    t.start()
    lost = Failure(types=("builtins.ConnectionResetError", "builtins.ConnectionError"), message="")
    assert t.fails("a", lost) == ["start a (2) at 102"]
    assert t.fails("a", "A") == ["start c", "cancel b"]


def test_a_backoff_nobody_needs_any_more_is_cancelled() -> None:
    @graph
    def g() -> int:
        again = source.named("a").using(retry=Retry(attempts=2, wait=5.0))()
        return fallback(both(again, source.named("bad")()), 0)

    t = Table(g)
    t.start()
    t.fails("a")
    assert t.fails("bad") == ["cancel a"]
    assert t.gone("a") == ["end completed"]


def test_tries_are_counted_over_cancelled_attempts() -> None:
    @graph
    def g() -> int:
        a = source.named("a").using(retry=Retry(attempts=2, wait=5.0))()
        bad, slow = sources("bad slow")
        return fallback(both(a, bad), when(check(slow), plus(a), 7))

    t = Table(g)
    t.start()
    t.fails("a")
    t.fails("bad")
    t.gone("a")
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == ["start a (3)"]
    assert t.fails("a") == ["end failed"]


# -- people ----------------------------------------------------------------------------------------


def asking() -> Graph[[], int]:
    @graph
    def g() -> int:
        person, a = sources("person a")
        return both(person, plus(a))

    return g


def test_a_run_is_parked_once_nothing_else_is_under_way() -> None:
    t = Table(asking())
    t.start()
    assert t.parks("person") == []
    assert t.done("a") == ["start plus"]
    assert t.done("plus") == ["park"]
    assert t.answered("person") == ["start person"]
    assert t.attempt("person") == 1
    assert t.done("person") == ["start both"]


def test_an_attempt_may_park_again() -> None:
    t = Table(asking())
    t.start()
    t.done("a", "plus")
    assert t.parks("person", ["q1"]) == ["park"]
    t.answered("person", "q1")
    assert t.parks("person", ["q2"]) == ["park"]
    assert t.answered("person", "q2") == ["start person"]


def test_an_answer_to_a_body_that_still_runs_changes_nothing() -> None:
    t = Table(asking())
    t.start()
    t.done("a", "plus")
    assert t.answered("person", "q1") == []
    assert t.parks("person", ["q2"]) == ["park"]


def test_an_answer_that_comes_while_the_attempt_is_unwound_is_not_lost() -> None:
    t = Table(asking())
    t.start()
    t.done("a", "plus")
    assert t.answered("person", "q1") == []
    assert t.parks("person", ["q1"]) == ["start person"]
    assert t.parks("person", ["q1"]) == ["park"]


def test_a_question_whose_deadline_has_passed_brings_its_attempt_back() -> None:
    t = Table(asking())
    t.start()
    t.done("a", "plus")
    t.parks("person")
    assert t.withdrawn("person", "unneeded") == []
    assert t.withdrawn("person", "late") == ["start person"]


def test_an_answer_to_no_node_of_the_plan_is_passed_over() -> None:
    t = Table(asking())
    t.start()
    assert t.answered("somebody else") == []


def test_a_question_nobody_needs_any_more_is_withdrawn() -> None:
    @graph
    def g() -> int:
        person, bad, slow = sources("person bad slow")
        return both(fallback(both.named("inner")(person, bad), 0), slow)

    t = Table(g)
    t.start()
    t.parks("person")
    assert t.fails("bad") == ["withdraw person"]
    assert t.answered("person") == []
    assert t.done("slow") == ["start both"]


def test_a_question_is_asked_anew_where_it_is_needed_again() -> None:
    @graph
    def g() -> int:
        person, bad, slow = sources("person bad slow")
        return fallback(both(person, bad), when(check(slow), plus(person), 7))

    t = Table(g)
    t.start()
    t.parks("person")
    assert t.fails("bad") == ["start slow", "withdraw person"]
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == ["start person (2)"]


def test_an_attempt_that_parks_while_it_is_cancelled_is_withdrawn() -> None:
    @graph
    def g() -> int:
        person, bad = sources("person bad")
        return fallback(both(person, bad), 0)

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["cancel person"]
    assert t.parks("person") == ["withdraw person", "end completed"]


def test_questions_are_withdrawn_when_the_run_fails_or_is_cancelled() -> None:
    t = Table(asking())
    t.start()
    t.parks("person")
    assert t.fails("a") == ["withdraw person", "end failed"]
    t = Table(asking())
    t.start()
    t.parks("person")
    t.done("a", "plus")
    assert t.cancel() == ["withdraw person", "end cancelled"]


def test_an_attempt_that_parks_while_the_run_drains_is_withdrawn() -> None:
    t = Table(asking())
    t.start()
    t.fails("a")
    assert t.parks("person") == ["withdraw person", "end failed"]


# -- effects in doubt ------------------------------------------------------------------------------


def paying() -> Table:
    """A run in which ``pay`` runs beside what fails."""

    @graph
    def g() -> int:
        pay, bad = sources("pay bad")
        return fallback(both(pay, bad), 0)

    t = Table(g)
    t.start()
    return t


def test_a_doubt_is_waited_for_though_nobody_needs_its_attempt_any_more() -> None:
    t = paying()
    assert t.fails("bad") == ["cancel pay"]
    assert t.parks("pay", in_doubt=True) == ["park"]
    assert t.answered("pay") == ["settle pay"]
    assert t.gone("pay") == ["end completed"]


def test_a_doubt_that_is_waited_for_already_stays_when_nobody_needs_its_attempt_any_more() -> None:
    t = paying()
    assert t.parks("pay", in_doubt=True) == []
    assert t.fails("bad") == ["park"]
    assert t.resume() == ["park"]
    assert t.answered("pay") == ["settle pay"]
    assert t.done("pay") == ["end completed"]


def test_an_answer_about_a_doubt_that_comes_while_the_attempt_is_unwound_is_not_lost() -> None:
    t = paying()
    t.fails("bad")
    assert t.answered("pay") == []
    assert t.parks("pay", in_doubt=True) == ["settle pay"]


def test_a_doubt_that_nobody_settles_and_nobody_needs_fails_the_run_until_it_is_settled() -> None:
    t = paying()
    t.fails("bad")
    doubt = Failure(types=("treadle.errors.InDoubt",), message="?", takeable=False)
    assert t.fails("pay", doubt) == ["end failed"]
    assert t.scheduler._course.end is not None
    assert t.scheduler._course.end.failure == doubt
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["settle pay (2)"]
    assert t.gone("pay") == ["end completed"]


def test_a_cancelled_run_cuts_off_what_was_left_to_end() -> None:
    t = paying()
    t.fails("bad")
    assert t.cancel() == ["drop unstarted", "cancel pay"]


def paying_before(last: str = "last") -> Table:
    """A run in which ``pay`` is not needed any more while ``last`` runs, with which the run fails."""

    @graph
    def g() -> int:
        pay, bad = sources("pay bad")
        return plus.named(last)(fallback(both(pay, bad), source()))

    t = Table(g)
    t.start()
    return t


def test_a_doubt_that_is_waited_for_when_the_run_fails_elsewhere_is_settled_once_it_is_resumed() -> None:
    t = paying_before()
    t.parks("pay", in_doubt=True)
    t.fails("bad")
    t.done("source")
    assert t.fails("last") == ["withdraw pay", "end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["settle pay", "start last (2)"]


def test_a_doubt_that_comes_up_while_the_run_drains_is_settled_once_it_is_resumed() -> None:
    doubt = Failure(types=("treadle.errors.InDoubt",), message="?", takeable=False)
    for ends, number in (("parks", ""), ("fails", " (2)"), ("gone", " (2)")):
        t = paying_before()
        t.fails("bad")
        t.done("source")
        assert t.fails("last") == ["drop unstarted"]
        if ends == "parks":
            t.parks("pay", in_doubt=True)
        elif ends == "fails":
            t.fails("pay", doubt)
        else:
            t.gone("pay")
        t.ended("failed")
        assert t.resume(retry_failed=True) == [f"settle pay{number}", "start last (2)"]
        t.gone("pay")
        assert t.done("last") == ["end completed"]


def test_what_was_under_way_when_the_owner_of_a_draining_run_went_may_be_in_doubt() -> None:
    t = paying_before()
    t.fails("bad")
    t.done("source")
    t.fails("last")
    assert t.resume() == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["settle pay", "start last (2)"]
