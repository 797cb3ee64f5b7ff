"""To which opening of a question an answer is.

A question that was answered opens again where the answer led to another doubt, or did not fit its type.  Who
then sends the very same answer may only be repeating a request that was lost on its way back: it counts
for the new opening where it names that, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from treadle.engine.questions import request_to_answer
from treadle.errors import QuestionError
from treadle.events import QuestionAnswered
from treadle.ids import QuestionId, RunId
from treadle.interfaces import Question, Request, Store


async def put_answer(
    store: Store,
    question_id: QuestionId,
    value: object,
    *,
    at: float,
    by: str,
    reason: str,
    opening: int | None,
) -> RunId:
    """Put an answer to a question, and give the run that asks.

    Raises:
        QuestionError: There is no such question, the answer has another form, or as ``submit_answer``.
    """
    question = await store.question(question_id)
    request = request_to_answer(question, value, at=at, by=by, reason=reason)
    await submit_answer(store, question, request, opening)
    return question.run_id


async def submit_answer(store: Store, question: Question, request: Request, opening: int | None) -> None:
    """Submit an answer; one that the same person gave to an earlier opening is taken for a repetition.

    Args:
        question: As the store gave it just now.
        request: Made for its newest opening.
        opening: Which opening the answer is to, where whoever answers has said so.

    Raises:
        QuestionError: The same answer was given to an earlier opening, and does not say that it is to this
            one; or the store refuses it.
    """
    newest = question.opening
    if opening is not None and not 1 <= opening <= newest:
        raise _refused(question, f"there is no opening {opening} of it, the newest is {newest}")
    given = await _given_before(store, request) if newest > 1 else ()
    if opening in given:
        return
    if opening is None and given and question.state == "open":
        raise _refused(
            question,
            f"{request.by!r} gave this very answer to opening {given[-1]}, where it counted, and it was "
            f"opened again since. To give it to this opening too, say so: --opening {newest} of "
            f"`treadle answer` and `treadle doubt`, or engine.answer(..., opening={newest})",
        )
    await store.submit(request if opening is None else replace(request, opening=opening))


def _refused(question: Question, why: str) -> QuestionError:
    return QuestionError(f"the answer to question {question.id!r} was not taken: {why}")


async def _given_before(store: Store, request: Request) -> Sequence[int]:
    """The openings before this one to which the same person gave the same answer."""
    history = [recorded.event for recorded in await store.read(request.run_id)]
    answers = [event for event in history if isinstance(event, QuestionAnswered)]
    digest = None if request.value is None else request.value.digest
    return [
        one.opening
        for one in answers
        if (one.question, one.by, one.value.digest) == (request.question, request.by, digest)
        and one.opening < request.opening
    ]
