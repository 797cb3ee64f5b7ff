"""Whether a request may be put: one rule for every store.

An answer is refused once the question is answered or withdrawn, or its deadline has passed; the same
answer by the same person again changes nothing, whenever it comes.  A question is closed for its deadline
only where no answer waits to be taken up: of the two the first one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from treadle.errors import QuestionError, RunExists, UnknownRun, nearest
from treadle.ids import QuestionId, RunId
from treadle.interfaces import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a question stands when an answer comes.

    Attributes:
        answered_by, answer: Who answered, and the digest of the answer; ``""`` where nobody has.
        pending: Who has an answer to this opening waiting to be taken up, with its digest.
        is_late: Whether this opening is about to be closed because its deadline has passed.
    """

    run_id: RunId
    state: str
    opening: int
    deadline: float | None = None
    answered_by: str = ""
    answer: str = ""
    pending: Sequence[tuple[str, str]] = ()
    is_late: bool = False


def is_new(request: Request, standing: Standing) -> bool:
    """Tell whether an answer is to be recorded; ``False``: the very same one is there already.

    So it is told of the closing of a question that is late; ``False``: it needs none any more.

    Raises:
        QuestionError: An answer comes too late, or to another opening, or somebody has answered.
    """
    if request.kind == "late":
        is_open = standing.state == "open" and request.opening == standing.opening
        return is_open and not standing.pending and not standing.is_late
    given = (request.by, "" if request.value is None else request.value.digest)
    if given in standing.pending or (standing.state == "answered" and given == _last(standing)):
        return False
    complaint = _complaint(request, standing)
    if complaint:
        raise QuestionError(f"the answer to question {request.question!r} was not taken: {complaint}")
    return True


def _last(standing: Standing) -> tuple[str, str]:
    return standing.answered_by, standing.answer


def _complaint(request: Request, standing: Standing) -> str:
    if request.run_id != standing.run_id:
        return f"it belongs to run {standing.run_id!r}, not to {request.run_id!r}"
    if standing.state == "answered":
        return f"{standing.answered_by!r} has answered it; `treadle show {standing.run_id}` says what"
    if standing.state == "withdrawn":
        return "it was withdrawn; what is asked now stands in `treadle inbox`"
    if standing.pending:
        return f"{standing.pending[0][0]!r} has answered it already"
    if request.opening != standing.opening:
        return (
            f"it was opened again since (opening {standing.opening}, the answer is to {request.opening}); "
            "read it again with `treadle inbox`"
        )
    if standing.deadline is not None and (standing.is_late or request.at > standing.deadline):
        return f"its deadline was {_moment(standing.deadline)}; the run has gone on without an answer"
    return ""


def unknown_question(question_id: QuestionId, known: Sequence[str]) -> QuestionError:
    """Make the error for a question that does not exist."""
    return QuestionError(
        f"there is no question {question_id!r}{nearest(question_id, known)}; "
        "`treadle inbox` lists the open ones"
    )


def unknown_run(run_id: RunId, known: Sequence[str] = ()) -> UnknownRun:
    """Make the error for a run that does not exist."""
    return UnknownRun(
        f"there is no run {run_id!r}{nearest(run_id, known)}; `treadle runs` lists those there are"
    )


def run_exists(run_id: RunId) -> RunExists:
    """Make the error for a run id that is taken."""
    return RunExists(f"there is a run {run_id!r} already; choose another id, or resume that one")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
