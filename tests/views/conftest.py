"""A history written by hand: one attempt fails, the expert goes over budget, a person is asked."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from treadle.budget import Amounts, Usage
from treadle.events import (
    AttemptFailed,
    AttemptParked,
    Decided,
    Event,
    Failure,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    Recorded,
    RunEnded,
    RunResumed,
    RunStarted,
    StepCompleted,
    StepStarted,
)
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.plan.parts import Argument, Case, Definition, PlanNode, Read, Scope, Wire
from treadle.plan.plan import Plan
from treadle.values import JSON

TRIAGE, EXPERT, DESK = NodeId("triage"), NodeId("inner/expert"), NodeId("desk")
QUESTION = QuestionId("q-4k7d2m9c")


def work(node: NodeId, kind: str, scope: str = "") -> PlanNode:
    return PlanNode(
        id=node,
        kind=kind,  # type: ignore[arg-type]  # one of the work kinds
        scope=scope,
        definition=Definition(kind=kind, name=node.rpartition("/")[2]),
        arguments=(Argument("ticket", Wire(NodeId("ticket"))),),
    )


def case(node: str, label: str) -> Case:
    return Case(binding=Wire(NodeId(node)), test="equal", label=label)


def plan() -> Plan:
    level = PlanNode(
        id=NodeId("level"),
        kind="expression",
        operation="read",
        path=(Read("level", True),),
        arguments=(Argument("value", Wire(TRIAGE)),),
    )
    fallback = PlanNode(
        id=NodeId("fallback"), kind="fallback", cases=(Case(binding=Wire(EXPERT)), Case(binding=Wire(DESK)))
    )
    match = PlanNode(
        id=NodeId("match"),
        kind="match",
        subject=Wire(level.id),
        cases=(case("fallback", "hard"), case("desk", "person")),
    )
    nodes = (
        PlanNode(id=NodeId("ticket"), kind="input"),
        work(TRIAGE, "agent"),
        level,
        work(EXPERT, "agent", "inner"),
        work(DESK, "human"),
        fallback,
        match,
    )
    scopes = (Scope(id="inner", graph="inner"),)
    return Plan(name="support", nodes=nodes, scopes=scopes, result=Wire(match.id))


def failure(text: str) -> Failure:
    return Failure(types=("treadle.errors.RateLimited",), message=text)


def model_call(node: NodeId, attempt: int, at: float, cost: str, *, step: str = "model#1:0") -> list[Event]:
    where = {"node": node, "attempt": attempt, "step": StepId(step)}
    account = ("run",)
    usage = Usage(input_tokens=100, output_tokens=20)
    amounts = Amounts(usd=Decimal(cost), tokens=120, calls=1)
    return [
        StepStarted(
            at=at,
            callee="small",
            callee_kind="model",
            definition="d",
            input_digest="i",
            resolved={"model": "small"},
            **where,
        ),
        MoneyHeld(at=at, request=1, accounts=account, held=amounts, model="small", provider="p", **where),
        MoneySettled(
            at=at + 1,
            request=1,
            accounts=account,
            charged=amounts,
            started_at=at,
            usage=usage,
            model="small",
            basis="given",
            **where,
        ),
        StepCompleted(at=at + 1, started_at=at, result=JSON.pack({}), **where),
    ]


def started() -> RunStarted:
    ticket = JSON.pack({"customer": "c-1", "body": "Where is\nmy card?"})
    return RunStarted(
        at=100.0,
        run_id=RunId("r-1"),
        graph="support",
        plan=plan().payload,
        inputs={"ticket": ticket},
        seed="s",
    )


def until_waiting() -> list[Event]:
    return [
        started(),
        *model_call(TRIAGE, 1, 100.0, "0.001"),
        AttemptFailed(
            at=101.0, node=TRIAGE, attempt=1, started_at=100.0, failure=failure("slow down\nplease")
        ),
        *model_call(TRIAGE, 2, 102.0, "0.001"),
        NodeCompleted(
            at=103.0, node=TRIAGE, attempt=2, started_at=102.0, result=JSON.pack({"level": "hard"})
        ),
        Decided(at=103.0, node=NodeId("match"), choice=0),
        *model_call(EXPERT, 1, 103.0, "0.02"),
        AttemptFailed(at=105.0, node=EXPERT, attempt=1, started_at=103.0, failure=failure("too dear")),
        QuestionAsked(
            at=105.0,
            node=DESK,
            attempt=1,
            step=StepId(""),
            question=QUESTION,
            to="leads",
            prompt="Answer c-1",
            schema=JSON.pack({"type": "string"}),
        ),
        AttemptParked(at=105.5, node=DESK, attempt=1, questions=(QUESTION,)),
    ]


def after_answer() -> list[Event]:
    reply = JSON.pack({"answer": "It is on its way."})
    return [
        RunResumed(at=4000.0, owner="me", fence=2),
        QuestionAnswered(at=4000.0, node=DESK, question=QUESTION, value=reply, by="maria"),
        NodeCompleted(at=4000.5, node=DESK, attempt=1, started_at=105.0, result=reply),
        RunEnded(at=4000.5, status="completed", result=reply),
    ]


def edited(at: float, *without: NodeId) -> RunResumed:
    """The run is taken up under a plan that does not have some nodes."""
    made = plan()
    nodes = tuple(
        node for node in made.nodes if node.id not in without and node.kind in {"input", "agent", "human"}
    )
    result = Wire(next(node.id for node in reversed(nodes)))
    now = Plan(name="support", nodes=nodes, scopes=made.scopes, result=result)
    return RunResumed(at=at, owner="me", fence=2, plan=now.payload)


def record(events: list[Event]) -> list[Recorded]:
    return [Recorded(seq=seq, hash="", event=event) for seq, event in enumerate(events, start=1)]


@pytest.fixture
def waiting() -> list[Recorded]:
    """The run as it waits for a person."""
    return record(until_waiting())


@pytest.fixture
def completed() -> list[Recorded]:
    """The run after the person answered, from another process."""
    return record([*until_waiting(), *after_answer()])


@pytest.fixture
def recorded() -> Callable[[list[Event]], list[Recorded]]:
    """Turns events into a history."""
    return record
