"""``treadle show``: one run as a tree of what was done, with times, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from treadle.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    RunArgument,
    StoreOption,
    existing_store,
    find_run,
    run_async,
)
from treadle.cli.summary import doubt_words, store_option
from treadle.cli.words import (
    console,
    count,
    dollars,
    duration,
    moment,
    print_json,
    print_json_lines,
    status_style,
    table,
)
from treadle.events import Recorded
from treadle.interfaces import RunSummary
from treadle.views.cost import costs, costs_by_model
from treadle.views.table import summarise
from treadle.views.timeline import Span, timeline


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("show")(show)


def show(
    run: RunArgument,
    *,
    events: Annotated[bool, typer.Option("--events", help="List the recorded events instead.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one run: the tree of nodes, attempts and steps, with times, tokens and cost.

    Example: treadle show r-1a2b3c4d5
    """
    summary, history, asked = run_async(lambda: _read(store, run))
    if events:
        _print_events(history, as_json=as_json)
    elif as_json:
        _print_json(summary, history, asked)
    else:
        _print(summary, history, asked, store)


States = dict[str, str]
"""How the questions of a run stand, by their ids: one whose answer is not taken up yet is answered."""


async def _read(url: str, run_id: str) -> tuple[RunSummary, list[Recorded], States]:
    async with existing_store(url) as store:
        summary = await find_run(store, run_id)
        asked = {str(one.id): one.state for one in await store.questions(state=None, run_id=summary.id)}
        return summary, await store.read(summary.id), dict(asked)


def _print_json(summary: RunSummary, history: list[Recorded], asked: States) -> None:
    row = summarise(history)
    print_json(
        {
            "run": summary.id,
            **asdict(row),
            "status": summary.status,
            "waits": {one: to for one, to in row.waits.items() if asked.get(one) == "open"},
            "timeline": timeline(history),
            "costs": costs(history),
        }
    )


def _print_events(history: list[Recorded], *, as_json: bool) -> None:
    if as_json:
        print_json_lines(
            {
                "seq": one.seq,
                "at": one.event.at,
                "kind": one.event.kind,
                "node": getattr(one.event, "node", ""),
                "step": getattr(one.event, "step", ""),
                "hash": one.hash,
            }
            for one in history
        )
        return
    rows = table("seq", "at", "event", "call", "hash", right=("seq",), wrap=("call",))
    for one in history:
        node, step = getattr(one.event, "node", ""), getattr(one.event, "step", "")
        call = f"{node}/{step}" if step else node
        rows.add_row(str(one.seq), moment(one.event.at), one.event.kind, call, one.hash[:12])
    console().print(rows)


def _print(summary: RunSummary, history: list[Recorded], asked: States, store: str) -> None:
    out = console()
    root, row = timeline(history), summarise(history)
    head = Text.assemble(
        (f"{summary.graph} ", "bold"),
        f"{summary.id}  ",
        (summary.status, status_style(summary.status)),
        f"  {moment(root.started_at)}  {dollars(root.spent.usd)}  at work {duration(row.seconds) or '0 s'}",
    )
    out.print(head, soft_wrap=True)
    if root.note:
        out.print(root.note, style="dim")
    out.print()
    out.print(_tree(root, out))
    _print_costs(out, history)
    if row.answer:
        out.print(Text.assemble(("\nresult  ", "bold"), row.answer))
    if row.doubts:
        out.print(f"\n{doubt_words(row.doubts)}", style="bold red", soft_wrap=True)
    _print_next(out, summary, row.waits, asked, store_option(store))


def _tree(root: Span, out: Console) -> Any:
    """The tree as a table, so that times and cost stand under each other."""
    is_wide = out.width >= 100
    columns = ["step", "status", *(["at"] if is_wide else []), "took", "tokens", "cost", "note"]
    rows = table(*columns, right=("at", "took", "tokens", "cost"))
    rows.expand = True
    rows.columns[-1].ratio = 1
    for guide, span in _lines(root, ""):
        at = [f"+{span.started_at - root.started_at:.2f} s"] if is_wide else []
        name = Text.assemble((guide, "dim"), (span.name, "bold" if span.kind in {"node", "scope"} else ""))
        if span.callee and span.kind != "scope":
            name.append(f" {span.callee}", "dim")
        rows.add_row(
            name,
            Text(span.status, status_style(span.status)),
            *at,
            duration(span.seconds),
            count(span.usage.total_tokens),
            dollars(span.spent.usd) if span.spent.usd else "",
            Text(span.note, "dim"),
        )
    return rows


def _lines(span: Span, indent: str) -> Iterator[tuple[str, Span]]:
    for number, child in enumerate(span.children):
        is_last = number == len(span.children) - 1
        yield f"{indent}{'└─ ' if is_last else '├─ '}", child
        yield from _lines(child, indent + ("   " if is_last else "│  "))


def _print_costs(out: Console, history: list[Recorded]) -> None:
    lines = costs_by_model(history)
    if not lines:
        return
    rows = table(
        "model", "requests", "input", "output", "cost", "price", right=("requests", "input", "output", "cost")
    )
    for line in lines:
        lost = f" ({line.lost} lost, charged as held)" if line.lost else ""
        usage = line.usage
        rows.add_row(
            line.model,
            f"{line.requests}{lost}",
            count(usage.input_tokens),
            count(usage.output_tokens),
            dollars(line.usd),
            line.basis,
        )
    out.print()
    out.print(rows)


def _print_next(
    out: Console, summary: RunSummary, waits: Mapping[str, str], asked: States, option: str
) -> None:
    """Say what would make the run go on."""
    lines: list[str] = []
    resume = f"treadle resume {summary.id} FILE{option}"
    for question, to in waits.items():
        if asked.get(question) == "open":
            lines.append(f"waits for {to}: treadle answer {question} --value JSON --as NAME{option}")
        elif asked.get(question) == "answered":
            goes_on = "the process that runs it takes that up" if summary.owner else f"{resume} goes on"
            lines.append(f"{question} to {to} was answered: {goes_on}")
    if summary.status in ("running", "pending") and not summary.owner:
        lines.append(f"no process runs it: {resume} goes on where it stands")
    if summary.status == "failed":
        lines.append(f"{resume} runs again what failed, and only that")
    for line in lines:
        out.print(f"\n{line}", style="yellow", soft_wrap=True)
