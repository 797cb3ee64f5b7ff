"""Events and requests of one small run, for tests of stores."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from treadle.budget import Amounts, Usage
from treadle.events import MoneySettled, NodeCompleted, QuestionAnswered, QuestionAsked, RunEnded, RunStarted
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.interfaces import Request
from treadle.values import JSON, Payload

RUN: Final = RunId("r-1")
QUESTION: Final = QuestionId("q-4k7d2m9c")
NOBODY: Final = RunId("r-nobody")


def started(run_id: RunId = RUN, *, graph: str = "support", at: float = 100.0) -> RunStarted:
    """The first event of a run."""
    return RunStarted(
        at=at,
        run_id=run_id,
        graph=graph,
        plan=Payload(data=b'{"nodes":[]}'),
        inputs={"ticket": Payload(data=b'"where is my card"')},
        seed="7",
        labels={"team": "cards"},
    )


def completed(number: int, result: object = "done") -> NodeCompleted:
    """A node that is done; ``number`` tells it from others."""
    return NodeCompleted(
        at=100.0 + number,
        node=NodeId(f"node.{number}"),
        attempt=1,
        started_at=99.0 + number,
        result=JSON.pack(result),
    )


def asked(*, opening: int = 1, deadline: float | None = None, to: str = "leads") -> QuestionAsked:
    """A question to people."""
    return QuestionAsked(
        at=110.0,
        node=NodeId("desk"),
        attempt=1,
        step=StepId(""),
        question=QUESTION,
        to=to,
        prompt="May we refund this?",
        schema=Payload(data=b'{"type":"boolean"}'),
        shown=Payload(data=b'{"amount":"12.50"}'),
        deadline=deadline,
        opening=opening,
    )


def answered(by: str = "maria", value: bytes = b"true") -> QuestionAnswered:
    """The event that takes an answer up."""
    return QuestionAnswered(
        at=120.0, node=NodeId("desk"), question=QUESTION, value=Payload(data=value), by=by
    )


def answer(by: str = "maria", value: bytes = b"true", *, at: float = 115.0, opening: int = 1) -> Request:
    """What another process puts for a question."""
    return Request(
        run_id=RUN, kind="answer", at=at, by=by, question=QUESTION, opening=opening, value=Payload(data=value)
    )


def late(*, opening: int = 1) -> Request:
    """What whoever looks at the clock puts for a question without an answer."""
    return Request(run_id=RUN, kind="late", at=116.0, by="deadline", question=QUESTION, opening=opening)


def cancel(by: str = "maria", run_id: RunId = RUN) -> Request:
    """What another process puts to end a run."""
    return Request(run_id=run_id, kind="cancel", at=115.0, by=by, reason="sent twice")


def settled(usd: str, *, node: str = "expert", request: int = 1) -> MoneySettled:
    """A model call that was charged to the run and to its node."""
    return MoneySettled(
        at=130.0,
        node=NodeId(node),
        attempt=1,
        step=StepId("model:0"),
        request=request,
        accounts=("run", f"node {node}"),
        charged=Amounts(usd=Decimal(usd), tokens=30, calls=1),
        started_at=129.0,
        usage=Usage(input_tokens=20, output_tokens=10),
        model="gpt-5-mini",
        provider="openai",
    )


def ended(status: Literal["completed", "failed", "cancelled"] = "completed") -> RunEnded:
    """The last event of a run."""
    return RunEnded(at=200.0, status=status)


HEAD: Final = "8055ecbb897e47e82dbbc1fa245d0bf1d892669b69a0c90ecb966f3de6bc0fc4"
"""The head of a short history, worked out once: the format must not change unnoticed."""
