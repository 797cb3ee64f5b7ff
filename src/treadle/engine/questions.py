"""The questions of a run and their answers, as its events tell them."""

from __future__ import annotations

from treadle.events import Event, QuestionAnswered, QuestionAsked, QuestionWithdrawn
from treadle.ids import NodeId, QuestionId


class Questions:
    """What was asked, answered and withdrawn so far."""

    __slots__ = ("_answers", "_asked", "_open")

    def __init__(self) -> None:
        self._asked: dict[QuestionId, QuestionAsked] = {}
        self._answers: dict[QuestionId, QuestionAnswered] = {}
        self._open: set[QuestionId] = set()

    def see(self, event: Event) -> None:
        """Take in an event that was appended."""
        if isinstance(event, QuestionAsked):
            self._asked[event.question] = event
            self._open.add(event.question)
        elif isinstance(event, QuestionAnswered):
            self._answers[event.question] = event
            self._open.discard(event.question)
        elif isinstance(event, QuestionWithdrawn):
            self._open.discard(event.question)

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

    def asked(self, question: QuestionId) -> QuestionAsked | None:
        """The newest opening of a question."""
        return self._asked.get(question)

    def answer(self, question: QuestionId) -> QuestionAnswered | None:
        """The answer to the newest opening, where there is one."""
        asked, answer = self._asked.get(question), self._answers.get(question)
        return answer if asked and answer and answer.opening == asked.opening else None
