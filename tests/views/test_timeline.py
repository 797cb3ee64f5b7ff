"""The timeline: which spans there are, what they took, and how they stand."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from treadle.errors import FormatMismatch
from treadle.events import Event, NodeCompleted, Recorded, RunStarted, StepClaimed, StepStarted
from treadle.ids import NodeId, StepId
from treadle.values import JSON
from treadle.views.timeline import Span, timeline


def named(root: Span, name: str) -> Span:
    return next(span for span in root.walk() if span.name == name)


def test_a_node_tried_twice_holds_its_attempts(completed: list[Recorded]) -> None:
    triage = named(timeline(completed), "triage")
    assert [(span.name, span.status) for span in triage.children] == [
        ("attempt 1", "failed"),
        ("attempt 2", "completed"),
    ]
    assert triage.seconds == pytest.approx(3.0)
    assert triage.children[0].note == "RateLimited: slow down"


def test_a_node_tried_once_holds_its_steps(completed: list[Recorded]) -> None:
    expert = named(timeline(completed), "expert")
    assert [(span.kind, span.name, span.callee) for span in expert.children] == [("step", "small", "model")]


def test_nodes_of_a_subgraph_stand_in_its_scope(completed: list[Recorded]) -> None:
    root = timeline(completed)
    assert [(span.kind, span.name) for span in root.children] == [
        ("node", "triage"),
        ("scope", "inner"),
        ("node", "desk"),
    ]
    assert [span.name for span in named(root, "inner").children] == ["expert"]


def test_cost_and_tokens_add_up_to_the_run(completed: list[Recorded]) -> None:
    root = timeline(completed)
    assert root.spent.usd == Decimal("0.022")
    assert root.usage.total_tokens == 360
    assert sum(child.usage.total_tokens for child in root.children) == 360


def test_a_waiting_run_says_who_is_asked(waiting: list[Recorded]) -> None:
    root = timeline(waiting)
    assert (root.status, named(root, "desk").status) == ("waiting", "waiting")
    assert named(root, "q-4k7d2m9c").note == "to leads: Answer c-1"


def test_an_answered_question_says_who_answered(completed: list[Recorded]) -> None:
    root = timeline(completed)
    assert named(root, "q-4k7d2m9c").note == "answered by maria: Answer c-1"
    assert (root.status, root.note) == ("completed", "resumed")


def test_an_attempt_that_never_ended_is_lost_once_the_run_is_over(completed: list[Recorded]) -> None:
    without = [one for one in completed if not (one.event.kind == "node_completed" and one.event.at > 3000)]
    assert named(timeline(without), "desk").status == "lost"


def test_a_step_within_a_step_stands_below_it(
    completed: list[Recorded], recorded: Callable[[list[Event]], list[Recorded]]
) -> None:
    def step(path: str, callee: str) -> StepStarted:
        return StepStarted(
            at=101.0,
            node=NodeId("triage"),
            attempt=1,
            step=StepId(path),
            callee=callee,
            callee_kind="tool",
            definition="d",
            input_digest="i",
        )

    history = recorded([completed[0].event, step("outer#1:0", "outer"), step("outer#1:0/inner#1:0", "inner")])
    outer = named(timeline(history), "outer")
    assert [span.name for span in outer.children] == ["inner"]
    assert outer.status == "running"


def test_claimed_work_says_so_and_took_no_time(
    completed: list[Recorded], recorded: Callable[[list[Event]], list[Recorded]]
) -> None:
    node = NodeId("triage")
    claim = StepClaimed(
        at=201.0,
        node=node,
        attempt=2,
        step=StepId("a"),
        from_node=node,
        from_attempt=1,
        from_step=StepId("a"),
        callee="look",
        definition="d",
        input_digest="i",
        result=JSON.pack(1),
    )
    done = NodeCompleted(at=202.0, node=node, attempt=2, started_at=200.0, result=JSON.pack(1), claimed=9)
    root = timeline(recorded([completed[0].event, claim, done]))
    look = named(root, "look")
    assert (look.status, look.seconds, look.note) == ("claimed", None, "from attempt 1")
    assert (named(root, "triage").status, named(root, "triage").seconds) == ("claimed", None)


def test_a_plan_that_was_erased_leaves_the_rest_readable(
    completed: list[Recorded], recorded: Callable[[list[Event]], list[Recorded]]
) -> None:
    from treadle.values import Payload

    first = completed[0].event
    assert isinstance(first, RunStarted)
    erased = RunStarted(
        at=first.at, run_id=first.run_id, graph=first.graph, plan=Payload(digest="0" * 64), inputs={}, seed=""
    )
    history = recorded([erased, *(one.event for one in completed[1:])])
    assert named(timeline(history), "expert").status == "failed"


def test_a_history_without_its_start_is_refused(completed: list[Recorded]) -> None:
    with pytest.raises(FormatMismatch, match="treadle verify"):
        timeline(completed[1:])
