"""What it costs to find the open questions of a node: nothing that grows with those of others."""

from __future__ import annotations

from treadle.engine.questions import Questions
from treadle.events import QuestionAsked, QuestionWithdrawn
from treadle.ids import NodeId, QuestionId, StepId
from treadle.values import JSON


def asked(node: str, question: str, opening: int = 1) -> QuestionAsked:
    return QuestionAsked(
        at=1.0,
        node=NodeId(node),
        attempt=1,
        step=StepId("ask"),
        question=QuestionId(question),
        to="ada",
        prompt="?",
        schema=JSON.pack({}),
        opening=opening,
    )


def test_only_the_questions_of_the_node_are_looked_at() -> None:
    questions, looked = Questions(), list[str]()
    for number in range(100):
        questions.see(asked(f"each({number})/desk", f"q-{number}"))

    def is_unneeded(one: QuestionAsked) -> bool:
        looked.append(one.node)
        return True

    [withdrawn] = questions.withdrawals(2.0, is_unneeded, node=NodeId("each(7)/desk"))
    assert (withdrawn.question, looked) == ("q-7", ["each(7)/desk"])


def test_a_question_that_another_node_asks_again_is_open_there_alone() -> None:
    questions = Questions()
    questions.see(asked("desk", "q"))
    questions.see(asked("office", "q", opening=2))
    assert questions.withdrawals(2.0, lambda _one: True, node=NodeId("desk")) == []
    questions.see(QuestionWithdrawn(at=2.0, node=NodeId("office"), question=QuestionId("q")))
    assert (questions.has_open, questions.open, questions.is_open(QuestionId("q"))) == (False, [], False)
