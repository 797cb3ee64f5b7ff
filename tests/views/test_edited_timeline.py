"""The timeline of a run that went on under an edited plan: each attempt has its own times."""

from __future__ import annotations

import pytest
from tests.views.conftest import DESK, QUESTION, TRIAGE, edited, record, until_waiting

from treadle.events import AttemptParked, Event, NodeCompleted, QuestionAsked, RunEnded
from treadle.ids import NodeId, StepId
from treadle.values import JSON
from treadle.views.table import summarise
from treadle.views.timeline import Span, timeline

ANSWER = JSON.pack("x")


def after(*events: Event) -> Span:
    return timeline(record([*until_waiting(), *events]))


def named(root: Span, name: str) -> Span:
    return next(span for span in root.walk() if span.name == name)


def kept(node: NodeId, seq: int, at: float) -> NodeCompleted:
    return NodeCompleted(at=at, node=node, attempt=1, started_at=at, result=ANSWER, claimed=seq)


def completed(node: NodeId, started_at: float, at: float) -> NodeCompleted:
    return NodeCompleted(at=at, node=node, attempt=1, started_at=started_at, result=ANSWER)


def done_at(events: list[Event], node: NodeId) -> int:
    return next(n for n, one in enumerate(events, 1) if isinstance(one, NodeCompleted) and one.node == node)


def test_what_is_kept_is_told_once_with_the_times_it_had() -> None:
    seq = done_at(until_waiting(), TRIAGE)
    before = named(after(), "triage")
    assert named(after(edited(4000.0), kept(TRIAGE, seq, 4000.1)), "triage") == before
    twice = after(edited(4000.0), kept(TRIAGE, seq, 4000.1), edited(5000.0), kept(TRIAGE, seq, 5000.1))
    assert named(twice, "triage") == before


def test_what_takes_the_record_of_another_node_is_claimed_when_it_takes_it() -> None:
    seq = done_at(until_waiting(), TRIAGE)
    desk = named(after(edited(4000.0, TRIAGE), kept(NodeId("sort"), seq, 4000.1)), "sort")
    assert (desk.status, desk.started_at, desk.seconds) == ("claimed", 4000.1, None)


def test_what_runs_again_took_its_own_time_and_the_earlier_attempts_stand_below() -> None:
    triage = named(after(edited(4000.0), completed(TRIAGE, 4000.1, 4001.6)), "triage")
    assert (triage.status, triage.started_at, triage.seconds) == ("completed", 4000.1, pytest.approx(1.5))
    assert [(one.name, one.started_at, one.note) for one in triage.children] == [
        ("attempt 1", 100.0, "under an earlier plan: RateLimited: slow down"),
        ("attempt 2", 102.0, "under an earlier plan"),
        ("attempt 1", 4000.1, ""),
    ]


def test_what_was_paid_under_an_earlier_plan_counts_all_the_same() -> None:
    events = [edited(4000.0), completed(TRIAGE, 4000.1, 4001.6)]
    assert after(*events).spent == after().spent


def test_a_question_asked_again_after_an_edit_adds_no_time_at_work() -> None:
    asked = QuestionAsked(
        at=4000.0, node=DESK, attempt=1, step=StepId(""), question=QUESTION, to="leads",
        prompt="Answer c-1", schema=ANSWER,
    )  # fmt: skip
    parked = AttemptParked(at=4000.5, node=DESK, attempt=1, questions=(QUESTION,))
    history = record([*until_waiting(), edited(4000.0), asked, parked])
    assert summarise(history).seconds == pytest.approx(summarise(record(until_waiting())).seconds + 0.5)
    assert (timeline(history).status, named(timeline(history), "desk").status) == ("waiting", "waiting")


def test_what_waited_and_is_not_in_the_plan_any_more_waits_no_more() -> None:
    root = after(edited(4000.0, DESK), completed(TRIAGE, 4000.1, 4001.6))
    assert (named(root, "desk").status, named(root, "desk").callee) == ("withdrawn", "person")
    ended = after(edited(4000.0, DESK), RunEnded(at=4002.0, status="completed", result=ANSWER))
    assert named(ended, "desk").status == "withdrawn"
