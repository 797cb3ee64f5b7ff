"""One line for a run: route, answer, time at work, and who is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.events import AttemptFailed, Event, Failure, Recorded, RunResumed
from treadle.ids import NodeId
from treadle.values import JSON, Payload
from treadle.views.cost import costs, costs_by_model, costs_by_node
from treadle.views.table import in_words, summarise, union_length

EXPERT = NodeId("inner/expert")


def test_a_waiting_run_names_the_branch_and_the_person(waiting: list[Recorded]) -> None:
    row = summarise(waiting)
    assert (row.status, row.route, row.answer) == ("waiting", "hard → desk", "")
    assert row.waits == {"q-4k7d2m9c": "leads"}


def test_a_completed_run_shows_what_came_in_and_out(completed: list[Recorded]) -> None:
    row = summarise(completed)
    assert (row.message, row.answer) == ("Where is my card?", "It is on its way.")
    assert (row.models, row.tokens, row.cost_usd) == (("small",), 360, Decimal("0.022"))
    assert row.waits == {}


def test_the_first_rung_that_gave_a_result_is_the_route(completed: list[Recorded]) -> None:
    assert summarise(completed).route == "hard → desk"
    without_failure = [
        one for one in completed if not (one.event.kind == "attempt_failed" and one.event.at == 105.0)
    ]
    until = [one for one in without_failure if one.event.at <= 104.0]
    assert summarise(until).route == "hard → expert"


def test_time_waiting_for_a_person_is_not_time_at_work(completed: list[Recorded]) -> None:
    row = summarise(completed)
    assert row.seconds == pytest.approx(1 + 1 + 2 + 0.5 + 0.5)


def test_time_after_an_answer_that_nobody_takes_up_is_not_time_at_work(completed: list[Recorded]) -> None:
    early = [
        replace(one, event=replace(one.event, at=1000.0)) if one.event.kind == "question_answered" else one
        for one in completed
    ]
    assert summarise(early).seconds == summarise(completed).seconds


def test_time_between_a_crash_and_resuming_is_not_time_at_work(
    waiting: list[Recorded], recorded: Callable[[list[Event]], list[Recorded]]
) -> None:
    died = [one.event for one in waiting if one.event.at < 104.0]
    resumed = RunResumed(at=9000.0, owner="me", fence=2)
    ended = AttemptFailed(
        at=9001.0, node=EXPERT, attempt=1, started_at=103.0, failure=Failure(types=("E",), message="no")
    )
    assert summarise(recorded([*died, resumed, ended])).seconds == pytest.approx(1 + 1 + 0 + 1)


def test_costs_are_listed_by_node_and_model_the_dearest_first(completed: list[Recorded]) -> None:
    assert [(line.node, line.requests) for line in costs(completed)] == [("inner/expert", 1), ("triage", 2)]
    assert [line.usd for line in costs_by_node(completed)] == [Decimal("0.02"), Decimal("0.002")]
    assert [(line.model, line.requests, line.basis) for line in costs_by_model(completed)] == [
        ("small", 3, "given")
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a  b", "a b"),
        ({"id": "x", "body": "longer\ntext"}, "longer text"),
        ([1, 2], "[1, 2]"),
        (None, "null"),
    ],
)
def test_values_are_put_into_words(value: object, words: str) -> None:
    assert in_words(JSON.pack(value)) == words


def test_an_erased_value_says_so() -> None:
    assert in_words(Payload(digest="0" * 64)) == "(erased)"


stretch = st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(stretch))
def test_the_union_of_stretches_counts_every_second_once(stretches: list[tuple[int, int]]) -> None:
    covered = {second for start, end in stretches for second in range(start, end)}
    assert union_length(stretches) == len(covered)
