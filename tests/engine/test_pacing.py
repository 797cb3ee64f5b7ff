"""Rates and concurrency: whatever happens, no 60 seconds have more than allowed, and nothing is stuck."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from treadle.engine.pacing import Congestion, Entry, Window
from treadle.limits import MINUTE

LIMIT = 10


class WindowMachine(RuleBasedStateMachine):
    """Lets requests in when they fit, sends them later or never, and counts what was sent by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(LIMIT)
        self.now = 1000.0
        self.pending: list[Entry] = []
        self.sent: list[tuple[float, Entry]] = []

    @rule(amount=st.integers(1, LIMIT), share=st.sampled_from([1.0, 0.5, 0.1]))
    def let_in(self, amount: int, share: float) -> None:
        if self.window.fits(amount, self.now, share=share):
            self.pending.append(self.window.take(amount))

    @rule(number=st.integers(0, 99))
    def send(self, number: int) -> None:
        if self.pending:
            entry = self.pending.pop(number % len(self.pending))
            self.window.sent(entry, self.now)
            self.sent.append((self.now, entry))

    @rule(number=st.integers(0, 99))
    def give_up(self, number: int) -> None:
        if self.pending:
            self.window.drop(self.pending.pop(number % len(self.pending)))

    @rule(number=st.integers(0, 99), less=st.integers(0, LIMIT))
    def learn(self, number: int, less: int) -> None:
        if self.sent:
            entry = self.sent[number % len(self.sent)][1]
            self.window.correct(entry, max(0, entry.amount - less))

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(amount=st.integers(1, LIMIT))
    def wait_for_room(self, amount: int) -> None:
        at = self.window.fits_at(amount, self.now)
        if not self.window.fits(amount, self.now) and at != math.inf:
            assert at > self.now
            assert not self.window.fits(amount, (self.now + at) / 2) or (self.now + at) / 2 == at
            self.now = at
            assert self.window.fits(amount, self.now)

    @invariant()
    def no_minute_has_more(self) -> None:
        for start, _ in self.sent:
            within = sum(entry.amount for at, entry in self.sent if start <= at < start + MINUTE)
            assert within <= LIMIT

    @invariant()
    def counts_what_counts(self) -> None:
        lasting = sum(entry.amount for at, entry in self.sent if at + MINUTE > self.now)
        assert self.window.used(self.now) == lasting + sum(entry.amount for entry in self.pending)


TestWindow = WindowMachine.TestCase


def test_what_is_larger_than_the_limit_goes_alone() -> None:
    window = Window(5)
    assert window.fits(9, 0.0)
    window.sent(window.take(9), 0.0)
    assert not window.fits(1, 59.9)
    assert window.fits_at(9, 1.0) == 60.0


def test_room_that_only_a_pending_request_can_make_has_no_moment() -> None:
    window = Window(1)
    entry = window.take(1)
    assert window.fits_at(1, 0.0) == math.inf
    window.drop(entry)
    assert window.fits(1, 0.0)


def test_a_clock_that_goes_backwards_frees_nothing_and_stops_nothing() -> None:
    window = Window(1)
    window.sent(window.take(1), 100.0)
    assert not window.fits(1, 40.0)
    assert window.fits(1, 160.0)


def storm(congestion: Congestion, rounds: Iterable[int], under_way: int) -> None:
    for round_ in rounds:
        congestion.refused(round_, under_way)


def test_a_storm_of_refusals_halves_once() -> None:
    congestion = Congestion(32)
    storm(congestion, [0] * 32, 32)
    assert (congestion.limit, congestion.share, congestion.round) == (16, 0.5, 1)
    storm(congestion, [1], 16)
    assert (congestion.limit, congestion.share) == (8, 0.25)


def test_without_a_limit_it_begins_at_half_of_what_was_under_way() -> None:
    congestion = Congestion()
    congestion.refused(0, 40)
    assert congestion.limit == 20


def test_a_round_of_answers_at_the_limit_lets_one_more_go() -> None:
    congestion = Congestion(100)
    congestion.refused(0, 8)
    for _ in range(4):
        congestion.answered(4)
    assert 4.8 < congestion.limit <= 5
    congestion.answered(1)  # nobody needed more
    assert congestion.limit <= 5


def test_what_does_not_adapt_stays() -> None:
    congestion = Congestion(8, adaptive=False)
    congestion.refused(0, 8)
    assert (congestion.limit, congestion.share) == (8, 1.0)


@given(st.lists(st.tuples(st.sampled_from(["answered", "refused", "late"]), st.integers(1, 60))))
def test_it_stays_between_one_and_the_most_and_recovers(steps: list[tuple[str, int]]) -> None:
    congestion = Congestion(50)
    for what, under_way in steps:
        before = congestion.limit
        if what == "answered":
            congestion.answered(under_way)
            assert congestion.limit >= before
        else:
            congestion.refused(congestion.round - (what == "late"), under_way)
            assert congestion.limit <= before
        assert congestion.allows(0)
        assert 1 <= congestion.limit <= 50
        assert 0 < congestion.share <= 1
    for _ in range(3000):
        congestion.answered(int(congestion.limit))
    assert (congestion.limit, congestion.share) == (50, 1.0)
