"""``treadle inbox``: what waits for people."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Final, cast

import typer
from rich.text import Text

from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, existing_store, run_async
from treadle.cli.summary import store_option
from treadle.cli.words import ago, console, moment, print_json_lines, status_style
from treadle.ids import RunId
from treadle.interfaces import Question


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inbox")(inbox)


def inbox(
    *,
    to: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this person or group is asked.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only the questions of this run.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Answered and withdrawn questions too.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the questions that wait for an answer, the oldest first.

    Example: treadle inbox --to support-leads
    """
    found = run_async(lambda: _read(store, to, run, everything=everything))
    if as_json:
        _print_json(found)
    else:
        _print(found, store, to)


async def _read(url: str, to: str | None, run: str | None, *, everything: bool) -> list[Question]:
    async with existing_store(url) as store:
        state = None if everything else "open"
        return await store.questions(state=state, to=to, run_id=RunId(run) if run else None)


def _print_json(found: list[Question]) -> None:
    print_json_lines(found)


def _print(found: list[Question], url: str, to: str | None) -> None:
    out = console()
    if not found:
        out.print(f"nothing waits for {to or 'anybody'} in {url}")
        return
    for question in found:
        heading = Text.assemble(
            (question.id, "bold yellow"),
            f"  to {question.to}  ",
            (ago(question.asked_at, now=time.time()), "dim"),
        )
        if question.state != "open":
            heading.append(f"  {question.state}", status_style(question.state))
        if question.deadline is not None:
            heading.append(f"  due {moment(question.deadline)}")
        out.print(heading)
        out.print(f"  {question.prompt}")
        if question.known:
            out.print(f"  {question.known}", style="red")
        if question.complaint:
            out.print(f"  the last answer was refused: {question.complaint}", style="red")
        for line in shown_lines(question.shown):
            out.print(f"    {line}", style="dim", overflow="ellipsis", no_wrap=True)
        out.print(f"  {question.graph} {question.run_id}, node {question.node}", style="dim")
        if question.state == "open":
            form = example(question.schema)
            again = f" --opening {question.opening}" if question.opening > 1 else ""
            out.print(
                f"  treadle answer {question.id} --value '{form}' --as NAME{again}{store_option(url)}",
                style="cyan",
                soft_wrap=True,
            )
            for line in _other_answers(question):
                out.print(line, style="cyan", soft_wrap=True)
            out.print()


def _other_answers(question: Question) -> list[str]:
    """What else may be said about a call in doubt."""
    if question.about != "doubt":
        return []
    forms = question.schema.get("anyOf", [])[1:]
    texts = [example(form, question.schema) for form in forms]
    return ["    " + ", ".join(f"or '{text}'" for text in texts)] if texts else []


def shown_lines(shown: Any) -> list[str]:
    """What was shown with a question, a line for each field."""
    if shown is None:
        return []
    if isinstance(shown, dict):
        fields = cast("dict[str, Any]", shown)
        return [f"{name}: {_plain(value)}" for name, value in fields.items()]
    return [_plain(shown)]


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())


def example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> str:
    """An answer of the right form to be filled in, as text.

    It decides nothing: what it has in place of a yes, a number or a choice is no answer.
    """
    return as_form(skeleton(schema, root))


def as_form(data: Any) -> str:
    """Write the data of an answer to be filled in: what is no text there stands without quotes."""
    text = json.dumps(data, ensure_ascii=False)
    return text.replace('"true|false"', "true|false").replace('"NUMBER"', "NUMBER")


def is_unfilled(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is the answer to be filled in, and nobody has written a text in its place."""
    return value == skeleton(schema) and json.dumps(BLANK_TEXT) in json.dumps(value)


def skeleton(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """The data of an answer to be filled in, from the JSON Schema of a question."""
    root = root or schema
    found = _resolved(schema, root)
    if "default" in found:
        return found["default"]
    if "const" in found:
        return found["const"]
    if "enum" in found:
        return " or ".join(map(str, found["enum"]))
    for word in ("anyOf", "oneOf"):
        if word in found:
            return skeleton(found[word][0], root)
    if found.get("type") == "object":
        properties = cast("dict[str, dict[str, Any]]", found.get("properties", {}))
        wanted = cast("list[str]", found.get("required") or list(properties))
        return {name: skeleton(properties[name], root) for name in wanted if name in properties}
    return _BLANK.get(str(found.get("type", "")), BLANK_TEXT)


BLANK_TEXT: Final = "..."
"""What stands where a text is to be filled in."""

_BLANK: dict[str, Any] = {
    "string": BLANK_TEXT,
    "integer": "NUMBER",
    "number": "NUMBER",
    "boolean": "true|false",
    "array": [],
    "null": None,
}


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return cast("dict[str, Any]", found)
