"""``treadle doubt``: effects that may have happened, and the word of whoever looked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from treadle import forms
from treadle.cli import answer
from treadle.cli.inbox import as_form, skeleton
from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, existing_store, find_run, run_async
from treadle.cli.summary import store_option
from treadle.cli.words import ago, console, print_json_lines
from treadle.errors import ConfigurationError, QuestionError
from treadle.interfaces import Question, RunSummary
from treadle.views.doubts import Doubt, effects_in_doubt

Found = list[tuple[RunSummary, Doubt, Question | None]]

PAGE: Final = 100_000
"""Runs that are looked through at most; a store of more is one to ask run by run."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doubt")(doubt)


def doubt(
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="Id of the question about an effect, to settle it."),
    ] = None,
    *,
    happened: Annotated[
        str | None, typer.Option(metavar="JSON", help="It happened; this is what the call would have given.")
    ] = None,
    did_not_happen: Annotated[
        bool, typer.Option("--did-not-happen", help="It did not happen: the call fails.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Make the call again, under the same idempotency key.")
    ] = False,
    by: Annotated[str, typer.Option("--as", metavar="NAME", help="Who says so; it is recorded.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    opening: answer.OpeningOption = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="List only what this run left.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List effects in doubt, or settle one.

    An effect is in doubt where a call declared effect="once" began, and nobody recorded how it ended.

    Example: treadle doubt

    Example: treadle doubt q-4k7d2m9c --happened '{"number": 7}' --as maria
    """
    said = _said(happened, did_not_happen=did_not_happen, again=again)
    if question is not None:
        _settle(store, question, said, by, reason, opening)
        return
    if said:
        raise ConfigurationError("name the QUESTION to be settled; `treadle doubt` lists them")
    found = run_async(lambda: _read(store, run))
    if as_json:
        _print_json(found)
    else:
        _print(found, store)


def _said(happened: str | None, *, did_not_happen: bool, again: bool) -> list[dict[str, Any]]:
    """What is said about the effect: one outcome, where it is said well.

    Raises:
        QuestionError: The value is not JSON.
    """
    said: list[dict[str, Any]] = []
    if happened is not None:
        said.append({"outcome": "happened", "result": answer.parse(happened, option="--happened")})
    if did_not_happen:
        said.append({"outcome": "did_not_happen"})
    if again:
        said.append({"outcome": "run_again"})
    return said


# -- settling --------------------------------------------------------------------------------------------


def _settle(
    url: str, question: str, said: list[dict[str, Any]], by: str, reason: str, opening: int | None
) -> None:
    if len(said) != 1:
        raise ConfigurationError("say one of --happened JSON, --did-not-happen and --again")
    answer.require_name(by, who="who says so")
    run_async(lambda: _check(url, question, said[0]))
    answer.give(url, question, said[0], by, reason, opening=opening)


async def _check(url: str, question_id: str, said: dict[str, Any]) -> None:
    """Refuse to settle what is no effect in doubt, or with a result of another form.

    Raises:
        QuestionError: As said above.
    """
    async with existing_store(url) as store:
        question = await answer.find_question(store, question_id)
    if question.about != "doubt":
        raise QuestionError(
            f"{question.id} is not about an effect in doubt; answer it with `treadle answer {question.id}`"
        )
    complaint = forms.complaint(question.schema, said)
    if complaint:
        raise QuestionError(
            f"{question.id} was not settled: {complaint}; fill in --happened '{_example(question)}'"
        )


def _example(question: Question) -> str:
    """A result of the right form, to be filled in."""
    return as_form(skeleton(question.schema)["result"])


# -- listing ---------------------------------------------------------------------------------------------


async def _read(url: str, run: str | None) -> Found:
    """What is in doubt, of the newest run first, with the questions about it."""
    found: Found = []
    async with existing_store(url) as store:
        runs = await store.runs(limit=PAGE) if run is None else [await find_run(store, run)]
        asked = {question.id: question for question in await store.questions() if question.about == "doubt"}
        for one in runs:
            history = await store.read(one.id)
            for effect in effects_in_doubt(history, is_owned=bool(one.owner)):
                found.append((one, effect, asked.get(effect.question)))
    return found


def _print_json(found: Found) -> None:
    print_json_lines(
        {
            "run": run.id,
            "graph": run.graph,
            "status": run.status,
            "node": effect.node,
            "call": effect.callee,
            "arguments": None if effect.arguments is None else effect.arguments.json(),
            "idempotency_key": effect.idempotency_key,
            "began_at": effect.began_at,
            "ended": "" if effect.failure is None else f"{effect.failure.type}: {effect.failure.message}",
            "question": None if question is None else question.id,
        }
        for run, effect, question in found
    )


def _print(found: Found, url: str) -> None:
    out = console()
    if not found:
        out.print(f"nothing is in doubt in {url}")
    for run, effect, question in found:
        heading = Text.assemble(
            (effect.callee, "bold red"),
            f"  in {run.graph} {run.id}, node {effect.node}  ",
            (f"began {ago(effect.began_at, now=time.time())}", "dim"),
        )
        out.print(heading)
        if effect.arguments is not None:
            out.print(f"  called with {effect.arguments.data.decode()}", soft_wrap=True)
        out.print(f"  idempotency key {effect.idempotency_key}")
        if effect.failure is not None:
            out.print(f"  it ended with {effect.failure.type}: {effect.failure.message}", soft_wrap=True)
        for line in _what_to_do(run, effect, question, url):
            out.print(f"  {line}", style="cyan", soft_wrap=True)
        out.print()


def _what_to_do(run: RunSummary, effect: Doubt, question: Question | None, url: str) -> Iterator[str]:
    option = store_option(url)
    if question is not None and question.opening > 1:
        option = f" --opening {question.opening}{option}"
    if question is not None:
        settle = f"treadle doubt {question.id}"
        yield f"{settle} --happened '{_example(question)}' --as NAME{option}"
        yield f"or {settle} --did-not-happen --as NAME{option}"
        yield f"or {settle} --again --as NAME{option}"
    elif effect.question:
        yield f"settled already; treadle resume {run.id} FILE{option} goes on"
    elif run.status in {"completed", "cancelled"}:
        yield "the run is over, and nothing makes the call again; look it up by its key"
    elif run.status == "failed":
        resume = f"treadle resume {run.id} FILE{option}"
        yield f"look it up by its key; declared in_doubt='ask', {resume} asks what happened"
        if effect.failed:
            yield f"but first mend node {effect.failed}: while it fails the run, there is no time to answer"
    elif run.owner:
        yield "the process that runs it is settling it"
    else:
        yield f"treadle resume {run.id} FILE{option} settles it as its in_doubt= says, or asks"
