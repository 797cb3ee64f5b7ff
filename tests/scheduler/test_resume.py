"""Taking a run up again, whatever it was about when its owner went."""

from __future__ import annotations

import pytest
from driver import SEED, started
from table import Table, both, check, plus, source, sources

from treadle import Retry, each, fallback, graph, when
from treadle.errors import InternalError
from treadle.events import RunResumed
from treadle.nodes.graph import Graph
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.scheduler.scheduler import Scheduler


def pair() -> Graph[[], int]:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return both(plus(a), b)

    return g


def test_running_attempts_are_asked_for_again_under_their_numbers() -> None:
    t = Table(pair())
    t.start()
    t.done("a")
    assert t.resume() == ["start b", "start plus"]
    assert t.resume() == ["start b", "start plus"]
    assert t.done("b", "plus") == ["start both"]


def test_a_decision_that_was_not_recorded_is_asked_for_again() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return when(check(a), b, 7)

    t = Table(g)
    t.start()
    t.done("a")
    assert t.done("check") == ["decide when"]
    assert t.resume() == ["decide when"]
    assert t.decided("when", 1) == ["end completed"]


def test_a_backoff_ends_when_it_would_have_ended() -> None:
    @graph
    def g() -> int:
        return source.named("a").using(retry=Retry(attempts=3, wait=9.0))()

    t = Table(g)
    t.start()
    t.fails("a")
    t.at = 105.0
    assert t.resume() == ["start a (2) at 109"]
    t.at = 120.0
    assert t.fails("a") == ["start a (3) at 129"]


def test_an_attempt_that_was_being_cancelled_is_over_and_starts_again_where_it_is_needed() -> None:
    @graph
    def g() -> int:
        a, bad, slow = sources("a bad slow")
        return fallback(both(a, bad), when(check(slow), plus(a), 7))

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.resume() == ["settle a", "start slow"]
    assert t.gone("a") == []
    t.done("slow")
    t.done("check")
    assert t.decided("when", 0) == ["start a (2)"]
    t = Table(g)
    t.start()
    t.fails("bad")
    t.done("slow")
    t.done("check")
    t.decided("when", 0)
    assert t.resume() == ["start a (2)"]


def test_a_run_whose_last_attempt_was_being_cancelled_completes() -> None:
    @graph
    def g() -> int:
        a, bad = sources("a bad")
        return fallback(both(a, bad), 0)

    t = Table(g)
    t.start()
    t.fails("bad")
    assert t.resume() == ["settle a"]
    assert t.gone("a") == ["end completed"]


def test_a_waiting_run_waits_on() -> None:
    @graph
    def g() -> int:
        return source.named("person")()

    t = Table(g)
    t.start()
    t.parks("person")
    assert t.resume() == ["park"]
    assert t.answered("person") == ["start person"]


def test_an_answer_given_before_the_crash_is_no_answer_to_a_later_question() -> None:
    @graph
    def g() -> int:
        return source.named("person")()

    t = Table(g)
    t.start()
    t.answered("person")
    assert t.resume() == ["start person"]
    assert t.parks("person") == ["park"]


def test_a_draining_run_ends_without_what_was_still_running() -> None:
    t = Table(pair())
    t.start()
    t.fails("a")
    assert t.resume() == ["end failed"]
    assert t.ended("failed") == []


def test_a_draining_run_may_be_told_to_try_again() -> None:
    t = Table(pair())
    t.start()
    t.fails("a")
    assert t.resume(retry_failed=True) == ["start a (2)", "start b (2)"]


def test_a_run_that_was_being_cancelled_is_cancelled() -> None:
    t = Table(pair())
    t.start()
    t.cancel()
    assert t.resume(retry_failed=True) == ["end cancelled"]


def test_a_failure_while_a_run_is_cancelled_does_not_bring_it_back() -> None:
    t = Table(pair())
    t.start()
    t.cancel()
    t.fails("a")
    assert t.gone("b") == ["end cancelled"]
    t.ended("cancelled")
    assert t.resume(retry_failed=True) == []


@pytest.mark.parametrize("retry_failed", [False, True])
def test_an_end_that_was_not_recorded_is_asked_for_again(retry_failed: bool) -> None:
    t = Table(pair())
    t.start()
    t.done("a", "b", "plus")
    assert t.done("both") == ["end completed"]
    assert t.resume(retry_failed=retry_failed) == ["end completed"]
    assert t.ended("completed") == []


def test_a_failed_end_that_was_not_recorded_is_asked_for_again() -> None:
    t = Table(pair())
    t.start()
    t.done("b")
    assert t.fails("a") == ["end failed"]
    assert t.resume() == ["end failed"]


def test_of_a_failed_run_only_what_failed_and_what_depends_on_it_runs() -> None:
    t = Table(pair())
    t.start()
    t.done("a", "b")
    assert t.fails("plus") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start plus (2)"]
    assert t.done("plus") == ["start both"]
    assert t.done("both") == ["end completed"]


def test_a_failed_run_gets_fresh_attempts() -> None:
    @graph
    def g() -> int:
        return source.named("a").using(retry=Retry(attempts=2, wait=1.0))()

    t = Table(g)
    t.start()
    t.fails("a")
    assert t.fails("a") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start a (3)"]
    assert t.fails("a") == ["start a (4) at 101"]


def test_what_a_fallback_came_to_is_kept_while_others_try_again() -> None:
    @graph
    def g() -> int:
        bad, other = sources("bad other")
        return both(fallback(bad, other), plus(bad))

    t = Table(g)
    t.start()
    assert t.fails("bad") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start bad (2)"]


def test_a_failed_run_is_left_alone_unless_told_otherwise() -> None:
    t = Table(pair())
    t.start()
    t.done("b")
    t.fails("a")
    t.ended("failed")
    assert t.resume() == []


@pytest.mark.parametrize("retry_failed", [False, True])
def test_a_completed_run_is_left_alone(retry_failed: bool) -> None:
    t = Table(pair())
    t.start()
    t.done("a", "b", "plus", "both")
    t.ended("completed")
    assert t.resume(retry_failed=retry_failed) == []


def test_a_result_that_was_refused_is_asked_for_again() -> None:
    t = Table(pair())
    t.start()
    t.done("a", "b", "plus", "both")
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["end completed"]


def test_another_plan_starts_afresh() -> None:
    t = Table(pair())
    programs = {"the plan": t.program, "edited": compile_plan(edited().plan)}
    events = [
        started(),
        t.completed("b"),
        RunResumed(at=1.0, owner="o", fence=2, plan=edited().plan.payload),
    ]
    scheduler, commands = replay(
        events, lambda payload: programs["edited" if payload == edited().plan.payload else "the plan"]
    )
    assert [command.node for command in commands[-1] if hasattr(command, "node")] == ["b", "c"]
    assert scheduler.state_of(edited().plan.nodes[0].id) == "running"


def edited() -> Graph[[], int]:
    @graph
    def g() -> int:
        b, c = sources("b c")
        return both(b, c)

    return g


# -- what cannot be --------------------------------------------------------------------------------


def test_events_that_cannot_follow_are_refused_with_the_story() -> None:
    t = Table(pair())
    with pytest.raises(InternalError, match="run new"):
        t.scheduler.handle(t.completed("a"))
    t.start()
    with pytest.raises(InternalError, match=r"RunStarted cannot be: the run is active.*2 busy; a=running"):
        t.scheduler.handle(started())
    with pytest.raises(InternalError, match=r"node 'plus' is waiting.*please report"):
        t.scheduler.handle(t.completed("plus"))
    with pytest.raises(InternalError, match="node 'b' is running"):
        t.decided("b")
    with pytest.raises(InternalError, match="has no node 'z'"):
        t.decided("z")
    with pytest.raises(InternalError, match="RunEnded cannot be"):
        t.ended("completed")
    t.done("a")
    with pytest.raises(InternalError, match="node 'a' is done"):
        t.fails("a")


def test_a_result_of_another_attempt_is_refused() -> None:
    t = Table(pair())
    t.start()
    late = t.completed("a")
    late.attempt = 2  # type: ignore[misc]  # facts are frozen for checkers alone
    with pytest.raises(InternalError, match=r"node 'a' is running \(attempt 1\)"):
        t.scheduler.handle(late)


@pytest.mark.parametrize("choice", [-1, 2])
def test_a_case_that_is_not_there_is_refused(choice: int) -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return when(check(a), b, 7)

    t = Table(g)
    t.start()
    t.done("a", "check")
    with pytest.raises(InternalError, match="none of 0 to 1"):
        t.decided("when", choice)


def test_a_history_without_a_beginning_is_refused() -> None:
    t = Table(pair())
    with pytest.raises(InternalError, match="begins with RunStarted"):
        replay([t.completed("a")], lambda _: t.program)
    with pytest.raises(InternalError, match="begins with RunStarted"):
        replay([], lambda _: t.program)


def test_events_about_work_and_money_lead_to_nothing() -> None:
    from treadle.events import Progress

    t = Table(pair())
    t.start()
    assert t.feed(Progress(at=1.0, node=t.program.ids[0], attempt=1, message="half")) == []


def test_the_same_seed_is_the_same_run() -> None:
    program = compile_plan(pair().plan)
    one, two = Scheduler(program, seed=SEED), Scheduler(program, seed=SEED)
    assert one.handle(started()) == two.handle(started())


def test_a_failed_run_goes_on_with_the_rung_that_its_fallback_had_reached() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return fallback(a, plus(b))

    t = Table(g)
    t.start()
    assert t.fails("a") == ["start b"]
    t.done("b")
    assert t.fails("plus") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start plus (2)"]
    assert t.fails("plus") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start plus (3)"]


def test_a_rung_that_runs_again_for_somebody_else_is_not_gone_back_to() -> None:
    @graph
    def g() -> int:
        a, b, slow = sources("a b slow")
        return both(fallback(a, plus(b)), both.named("late")(slow, a))

    t = Table(g)
    t.start()
    assert t.done("slow") == []
    assert t.fails("a") == ["end failed"]  # it ends the run at once, and nothing of the next rung has begun
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start a (2)"]
    assert t.done("a") == ["start late"]


def test_a_round_goes_on_with_the_rung_that_its_fallback_had_reached() -> None:
    @graph
    def one(x: int) -> int:
        return fallback(plus.named("a")(x), plus.named("use")(plus.named("b")(x)))

    @graph
    def g() -> list[int]:
        return each(one, [1])

    t = Table(g)
    t.start()
    t.decided("each", 1)
    assert t.fails("each(0)/a") == ["start each(0)/b"]
    t.done("each(0)/b")
    assert t.fails("each(0)/use") == ["end failed"]
    t.ended("failed")
    assert t.resume(retry_failed=True) == ["start each(0)/use (2)"]
