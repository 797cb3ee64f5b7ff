"""When an attempt runs, and when it only waits."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.budget import Budget
from treadle.engine.activity import Activity, running
from treadle.engine.money import Account


@dataclass
class Clock:
    at: float = 0.0

    def now(self) -> float:
        return self.at

    async def sleep_until(self, moment: float) -> None:
        self.at = moment


def test_an_attempt_waits_while_it_says_so() -> None:
    seen: list[bool] = []
    activity = Activity(seen.append)
    with activity.waiting(), activity.waiting():
        assert activity.is_waiting
    assert seen == [True, False]


def test_an_attempt_waits_only_while_all_its_calls_do() -> None:
    seen: list[bool] = []
    activity = Activity(seen.append)
    with activity.call() as one, activity.call() as two, one.waiting():
        assert not activity.is_waiting
        with two.waiting():
            assert activity.is_waiting
        assert not activity.is_waiting
    assert seen == [True, False]


def test_a_call_that_ends_leaves_those_that_wait() -> None:
    activity = Activity(lambda _: None)
    with activity.call() as one, one.waiting():
        with activity.call():
            assert not activity.is_waiting
        assert activity.is_waiting
    assert not activity.is_waiting


def test_waiting_deep_inside_is_waiting_at_the_top() -> None:
    activity = Activity(lambda _: None)
    with activity.call() as outer, outer.call() as inner, inner.waiting():
        assert activity.is_waiting
    assert not activity.is_waiting


def test_an_error_inside_leaves_no_call_behind() -> None:
    activity = Activity(lambda _: None)
    try:
        with activity.call() as inner, inner.waiting():
            raise KeyError
    except KeyError:
        pass
    assert not activity.is_waiting
    with activity.call() as inner, inner.waiting():
        assert activity.is_waiting


def test_seconds_run_without_the_waits_and_parallel_attempts_count_once() -> None:
    account, clock = Account("run", Budget(seconds=100)), Clock()
    with running([account], clock) as one, running([account], clock):
        clock.at = 10.0
        with one.waiting():
            clock.at = 15.0  # the other one runs
    with running([account], clock) as one:
        clock.at = 20.0
        with one.waiting():
            clock.at = 50.0
        clock.at = 52.0
    assert account.meter.used(60.0) == 22


def test_an_attempt_cancelled_while_it_waits_stops_counting() -> None:
    account, clock, told = Account("run", Budget(seconds=100)), Clock(), list[bool]()
    try:
        with running([account], clock, told.append) as activity, activity.waiting():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        clock.at = 30.0
    assert account.meter.used(40.0) == 0
    assert told == [True, False]
