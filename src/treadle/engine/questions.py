"""The questions of a run and their answers, as its events tell them."""

from __future__ import annotations

from treadle.events import CancelRequested, Event, QuestionAnswered, QuestionAsked, QuestionWithdrawn
from treadle.ids import NodeId, QuestionId
from treadle.interfaces import Request


def event_of(request: Request) -> CancelRequested | QuestionAnswered:
    """The event a request comes to; the run fills in which node it concerns."""
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


class Questions:
    """What was asked, answered and withdrawn so far."""

    __slots__ = ("_answers", "_asked", "_late", "_open")

    def __init__(self) -> None:
        self._asked: dict[QuestionId, QuestionAsked] = {}
        self._answers: dict[QuestionId, QuestionAnswered] = {}
        self._open: set[QuestionId] = set()
        self._late: set[QuestionId] = set()

    def see(self, event: Event) -> None:
        """Take in an event that was appended."""
        if isinstance(event, QuestionAsked):
            self._asked[event.question] = event
            self._open.add(event.question)
            self._late.discard(event.question)
        elif isinstance(event, QuestionAnswered):
            self._answers[event.question] = event
            self._open.discard(event.question)
        elif isinstance(event, QuestionWithdrawn):
            self._open.discard(event.question)
            if event.why == "late":
                self._late.add(event.question)

    @property
    def open(self) -> list[QuestionId]:
        """Ids of the questions that wait for an answer, sorted."""
        return sorted(self._open)

    def of(self, node: NodeId) -> list[QuestionId]:
        """The open questions of a node, sorted."""
        return [question for question in self.open if self._asked[question].node == node]

    def is_open(self, question: QuestionId) -> bool:
        """Whether it waits for an answer."""
        return question in self._open

    def is_late(self, question: QuestionId) -> bool:
        """Whether its deadline passed without an answer."""
        return question in self._late

    def asked(self, question: QuestionId) -> QuestionAsked | None:
        """The newest opening of a question."""
        return self._asked.get(question)

    def answer(self, question: QuestionId) -> QuestionAnswered | None:
        """The answer to the newest opening, where there is one."""
        asked, answer = self._asked.get(question), self._answers.get(question)
        return answer if asked and answer and answer.opening == asked.opening else None
