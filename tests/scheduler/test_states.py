"""The table of states and moves says what vertices really do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import test_retry_and_people as questions
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import ROWS, Row
from table import Table
from test_failure import wanted_again as wanted_again  # noqa: PLC0414 - a fixture
from test_random_plans import LUCK, play

from treadle.events import RunResumed
from treadle.scheduler.demand import Demand
from treadle.scheduler.states import MEANINGS, MOVES, NAMES


class Watched(list[int]):
    """The states of vertices; it notes how they change."""

    seen: set[tuple[int, int]]

    def __setitem__(self, vertex: Any, state: Any) -> None:
        if self[vertex] != state:
            self.seen.add((self[vertex], state))
        super().__setitem__(vertex, state)

    def copy(self) -> Watched:
        return type(self)(self)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """The moves that vertices make in this test."""
    begin, moves = Demand.__init__, set[tuple[int, int]]()

    class Noting(Watched):
        seen = moves

    def watch(self: Demand, program: Any) -> None:
        begin(self, program)
        self.states = Noting(self.states)

    monkeypatch.setattr(Demand, "__init__", watch)
    return moves


def test_vertices_move_as_the_table_says_and_in_all_its_ways(
    seen: set[tuple[int, int]], wanted_again: Table
) -> None:
    @settings(max_examples=400, derandomize=True, database=None)
    @given(rows=ROWS, luck=LUCK, cancel_at=st.integers(-9, 9), crash_at=st.integers(-9, 9))
    def wander(rows: list[Row], luck: itertools.cycle[int], cancel_at: int, crash_at: int) -> None:
        driver, _ = play(rows, luck, cancel_at=cancel_at, crash_at=crash_at)
        if driver.end is not None and driver.end.status == "failed":
            driver.end = None
            driver.feed(RunResumed(at=driver.at, owner="other", fence=2, retry_failed=True))

    wander()
    questions.test_an_attempt_that_parks_while_the_run_drains_is_withdrawn()  # chance seldom meets these
    questions.test_questions_are_withdrawn_when_the_run_fails_or_is_cancelled()
    questions.test_a_doubt_is_waited_for_though_nobody_needs_its_attempt_any_more()
    wanted_again.fails("a")
    known = {(before, after) for before, after, _ in MOVES if before != after}
    assert {(NAMES[a], NAMES[b]) for a, b in seen - known} == set()
    assert {(NAMES[a], NAMES[b]) for a, b in known - seen} == set()


def test_every_state_has_a_meaning() -> None:
    assert sorted(MEANINGS) == list(range(len(NAMES)))
