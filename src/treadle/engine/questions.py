"""The questions of a run and their answers, as its events tell them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from pydantic_core import to_json

from treadle import forms
from treadle.errors import QuestionError
from treadle.events import (
    CancelRequested,
    Event,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunEnded,
)
from treadle.ids import NodeId, QuestionId, StepId
from treadle.interfaces import Question, Request
from treadle.values import Payload, canonical, parse

THE_RUN: Final = QuestionId("")
"""Stands for the run itself among the questions whose deadlines are watched."""

Outer = CancelRequested | QuestionAnswered | QuestionWithdrawn
"""What reaches a run from outside of it."""


def event_of(request: Request) -> Outer:
    """The event a request comes to; the run fills in which node it concerns."""
    if request.kind == "late":
        return QuestionWithdrawn(at=request.at, node=NodeId(""), question=request.question, why="late")
    if request.kind == "cancel" or request.value is None:
        return CancelRequested(at=request.at, by=request.by, reason=request.reason)
    return QuestionAnswered(
        at=request.at,
        node=NodeId(""),
        question=request.question,
        value=request.value,
        by=request.by,
        reason=request.reason,
        opening=request.opening,
    )


def request_to_answer(question: Question, value: object, *, at: float, by: str, reason: str = "") -> Request:
    """Write an answer down as what is asked of the run.

    Args:
        value: A value of the asked type, or JSON data of its schema.

    Raises:
        QuestionError: It is not of the form that was stored with the question.
    """
    data = canonical(parse(to_json(value)))  # the same answer in other words is the same answer
    complaint = forms.complaint(question.schema, parse(data))
    if complaint:
        raise QuestionError(f"the answer to {question.id!r} does not fit its form: {complaint}")
    return Request(
        run_id=question.run_id,
        kind="answer",
        at=at,
        by=by,
        reason=reason,
        question=question.id,
        opening=question.opening,
        value=Payload(data=data),
    )


def request_to_close(question: Question) -> Request:
    """Ask of a run to go on without an answer to a question whose deadline has passed."""
    return Request(
        run_id=question.run_id,
        kind="late",
        at=question.deadline or 0.0,
        by="deadline",
        question=question.id,
        opening=question.opening,
    )


def overdue_run(now: float, deadline: float | None) -> list[Outer]:
    """What the deadline of a run comes to, where it has passed."""
    if deadline is None or deadline > now:
        return []
    return [CancelRequested(at=deadline, by="deadline", reason="the deadline of the run has passed")]


def in_order(answers: Iterable[Outer], late: Iterable[Outer]) -> list[Outer]:
    """Sort what came while nobody worked on a run by its time; an answer at the last moment counts."""
    events = [(event.at, 0, event) for event in answers] + [(event.at, 1, event) for event in late]
    return [event for _, _, event in sorted(events, key=lambda item: item[:2])]


class Questions:
    """What was asked, answered and withdrawn so far."""

    __slots__ = ("_answers", "_asked", "_doubts", "_late", "_open")

    def __init__(self) -> None:
        self._asked: dict[QuestionId, QuestionAsked] = {}
        self._answers: dict[QuestionId, QuestionAnswered] = {}
        self._open: dict[NodeId, set[QuestionId]] = {}
        self._doubts: dict[tuple[NodeId, StepId], QuestionId] = {}
        self._late: set[QuestionId] = set()

    def see(self, event: Event) -> None:
        """Take in an event that was appended."""
        if isinstance(event, QuestionAsked):
            self._close(event.question)
            self._asked[event.question] = event
            self._open.setdefault(event.node, set()).add(event.question)
            self._late.discard(event.question)
            if event.about == "doubt":
                self._doubts[event.node, event.step] = event.question
        elif isinstance(event, QuestionAnswered):
            self._answers[event.question] = event
            self._close(event.question)
        elif isinstance(event, QuestionWithdrawn):
            self._close(event.question)
            if event.why == "late":
                self._late.add(event.question)
        elif isinstance(event, RunEnded):
            self._open.clear()

    @property
    def open(self) -> list[QuestionId]:
        """Ids of the questions that wait for an answer, sorted."""
        return sorted(question for at_node in self._open.values() for question in at_node)

    def _close(self, question: QuestionId) -> None:
        asked = self._asked.get(question)
        at_node = self._open.get(asked.node) if asked is not None else None
        if asked is not None and at_node is not None:
            at_node.discard(question)
            if not at_node:
                del self._open[asked.node]

    @property
    def has_open(self) -> bool:
        """Whether anybody is asked."""
        return bool(self._open)

    def withdrawals(
        self, at: float, is_unneeded: Callable[[QuestionAsked], bool], *, node: NodeId | None = None
    ) -> list[QuestionWithdrawn]:
        """The closing of each open question that nobody needs; of those of one node, where it is given."""
        found = self.open if node is None else sorted(self._open.get(node, ()))
        unneeded = [asked for question in found if is_unneeded(asked := self._asked[question])]
        return [QuestionWithdrawn(at=at, node=asked.node, question=asked.question) for asked in unneeded]

    def is_open(self, question: QuestionId) -> bool:
        """Whether it waits for an answer."""
        asked = self._asked.get(question)
        return asked is not None and question in self._open.get(asked.node, ())

    def is_late(self, question: QuestionId, attempt: int) -> bool:
        """Whether its deadline passed without an answer; a later attempt may ask again."""
        return question in self._late and self._asked[question].attempt >= attempt

    def admits(self, event: QuestionAnswered | QuestionWithdrawn) -> QuestionAsked | None:
        """Give the opening that an answer or a passed deadline concerns; ``None`` where it came too late."""
        asked = self._asked.get(event.question)
        if asked is None or not self.is_open(event.question):
            return None
        if isinstance(event, QuestionAnswered):
            return asked if event.opening == asked.opening else None
        return asked if asked.deadline is not None and asked.deadline <= event.at else None

    def asked(self, question: QuestionId) -> QuestionAsked | None:
        """The newest opening of a question."""
        return self._asked.get(question)

    def said_of(self, node: NodeId, step: StepId) -> QuestionAnswered | None:
        """What was answered last when it was asked whether a call had happened."""
        about = StepId(f"{step}/doubt" if step else "doubt")
        question = self._doubts.get((node, about))
        return None if question is None else self.answer(question)

    def answer(self, question: QuestionId) -> QuestionAnswered | None:
        """The answer to the newest opening, where there is one."""
        asked, answer = self._asked.get(question), self._answers.get(question)
        return answer if asked and answer and answer.opening == asked.opening else None
