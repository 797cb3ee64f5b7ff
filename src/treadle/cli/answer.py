"""``treadle answer``: give a person's answer; no code of the graph is needed."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from treadle import forms
from treadle.cli.inbox import example, is_unfilled
from treadle.cli.inputs import read_json
from treadle.cli.options import DEFAULT_STORE, StoreOption, existing_store, run_async
from treadle.cli.summary import store_option
from treadle.cli.words import console, moment, shorten
from treadle.engine.openings import submit_answer
from treadle.engine.questions import request_to_answer
from treadle.errors import ConfigurationError, QuestionError
from treadle.events import QuestionAnswered
from treadle.ids import QuestionId
from treadle.interfaces import Question, Request, RunSummary, Store

_MOST_SHOWN = 80
SHORTEST = 6
"""Characters that are typed of an id, at least, where not all of it is: ``q-4k7d``."""


OpeningOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Which opening of the question it is to: to give an answer again after it was opened again.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("answer")(answer)


def answer(
    question: Annotated[
        str,
        typer.Argument(
            metavar="QUESTION", help="Id of the question, as in `treadle inbox`, or its beginning."
        ),
    ],
    *,
    value: Annotated[
        str, typer.Option(metavar="JSON", help="The answer, as JSON of the form that was asked for.")
    ],
    by: Annotated[str, typer.Option("--as", metavar="NAME", help="Who answers; it is recorded.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    opening: OpeningOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Answer a question.  The answer is checked against the form that was stored with the question.

    Example: treadle answer q-4k7d2m9c --value '{"answer": "It is on its way."}' --as maria
    """
    require_name(by, who="who answers")
    give(store, question, parse(value), by, reason, opening=opening)


def require_name(by: str, *, who: str) -> None:
    """Refuse a name that is none, the one in the commands that are printed to be filled in among them.

    Raises:
        ConfigurationError: It is none.
    """
    if not by.strip():
        raise ConfigurationError(f"say {who}, with --as NAME; it is recorded")
    if by.strip() == "NAME":
        raise ConfigurationError(f"--as NAME is to be filled in: say {who}; it is recorded")


def give(store: str, question: str, value: Any, by: str, reason: str, *, opening: int | None = None) -> None:
    """Record an answer, and say how the run goes on.

    Raises:
        QuestionError: It was refused.
    """
    asked, run = run_async(lambda: _submit(store, question, value, by, reason, opening))

    out = console()
    out.print(f"recorded: {asked.id} answered by {by}", style="green")
    if run.status in {"completed", "failed", "cancelled"}:
        out.print(f"{run.id} has taken it up, and is {run.status}")
    elif run.owner:
        out.print(f"{run.id} is running and takes it up by itself")
    else:
        out.print(f"go on with: treadle resume {run.id} FILE{store_option(store)}", soft_wrap=True)


def parse(value: str, *, option: str = "--value") -> Any:
    """Read what an option gives as JSON.

    Raises:
        QuestionError: It is none.
    """
    try:
        return read_json(value)
    except ValueError as error:
        quoted = json.dumps(shorten(value, _MOST_SHOWN), ensure_ascii=False)
        raise QuestionError(
            f"{option} is not JSON ({error}); text stands in quotes of its own, as in {option} '{quoted}', "
            "and true, false and numbers without"
        ) from error


async def _submit(
    url: str, question_id: str, value: Any, by: str, reason: str, opening: int | None
) -> tuple[Question, RunSummary]:
    async with existing_store(url) as store:
        question = await find_question(store, question_id)
        _check(question, value)
        request = request_to_answer(question, value, at=time.time(), by=by, reason=reason)
        if question.state == "answered":
            await _refuse_another(store, request)
        await submit_answer(store, question, request, opening)
        return question, await store.run(question.run_id)


async def find_question(store: Store, typed: str) -> Question:
    """Give the question of an id, or the only open one whose id begins like that.

    Raises:
        QuestionError: There is none, or several begin so.
    """
    try:
        return await store.question(QuestionId(typed))
    except QuestionError:
        found = [one for one in await store.questions() if one.id.startswith(typed)]
        if not found or len(typed) < SHORTEST:
            raise
    if len(found) > 1:
        names = ", ".join(one.id for one in found[:5])
        raise QuestionError(
            f"{typed!r} is the beginning of {len(found)} questions, {names}; write more of it"
        )
    return found[0]


async def _refuse_another(store: Store, request: Request) -> None:
    """Refuse an answer to a question that has another one, and say who gave that, and when.

    Raises:
        QuestionError: There is another one.
    """
    history = [recorded.event for recorded in await store.read(request.run_id)]
    given: list[QuestionAnswered | Request] = [one for one in history if isinstance(one, QuestionAnswered)]
    given += [one for one in await store.requests(request.run_id) if one.kind == "answer"]
    to_it = [one for one in given if (one.question, one.opening) == (request.question, request.opening)]
    if not to_it or request.value is None:
        return
    last = to_it[-1]
    if last.by != request.by or last.value is None or last.value.digest != request.value.digest:
        raise QuestionError(
            f"the answer to question {request.question!r} was not taken: {last.by!r} has answered it "
            f"at {moment(last.at)}; `treadle show {request.run_id}` says how the run stands"
        )


def _check(question: Question, value: Any) -> None:
    """Refuse an answer that is not of the stored form.

    Raises:
        QuestionError: It is not.
    """
    complaint = forms.complaint(question.schema, value)
    if not complaint and is_unfilled(question.schema, value):
        raise QuestionError(
            f"the answer to {question.id} was not recorded: --value is the form as it was printed, to be "
            "filled in"
        )
    if complaint:
        form = example(question.schema)
        raise QuestionError(
            f"the answer to {question.id} has another form than was asked for, and was not recorded: "
            f"{complaint}; fill in --value '{form}'"
        )
