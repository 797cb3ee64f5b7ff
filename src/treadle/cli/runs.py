"""``treadle runs``: what has run, newest first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, existing_store, run_async
from treadle.cli.summary import death_line, doubt_line
from treadle.cli.words import (
    ago,
    console,
    count,
    dollars,
    duration,
    print_json_lines,
    shorten,
    status_style,
    table,
)
from treadle.errors import ConfigurationError, nearest
from treadle.ids import RunId
from treadle.interfaces import RunSummary
from treadle.views.deaths import deaths
from treadle.views.doubts import doubts

Read = tuple[list[RunSummary], dict[RunId, tuple[str, ...]], dict[RunId, int]]

STATUSES: Final = ("pending", "running", "waiting", "completed", "failed", "cancelled")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("runs")(runs)


def runs(
    *,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help=f"Only runs that are {', '.join(STATUSES)}.")
    ] = None,
    graph: Annotated[str | None, typer.Option(help="Only runs of this graph.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first.

    Example: treadle runs --status waiting
    """
    if status is not None and status not in STATUSES:
        raise ConfigurationError(
            f"there is no status {status!r}{nearest(status, STATUSES)}; a run is {', '.join(STATUSES)}"
        )
    found, doubts, deaths = run_async(lambda: _read(store, status, graph, limit))
    if as_json:
        _print_json(found, deaths)
    elif found:
        _print_table(found, deaths)
        for run_id, number in deaths.items():
            typer.echo(death_line(run_id, number, store=store))
        for run_id, names in doubts.items():
            typer.echo(doubt_line(run_id, names, store=store))
    else:
        given = [f"--{name} {value}" for name, value in (("status", status), ("graph", graph)) if value]
        typer.echo(f"no runs match {' '.join(given)} in {store}" if given else f"no runs in {store}")


async def _read(url: str, status: str | None, graph: str | None, limit: int) -> Read:
    """The runs, what those that broke off have left in doubt, and how many processes they have killed."""
    async with existing_store(url) as store:
        found = await store.runs(status=status, graph=graph, limit=limit)
        broken = [run.id for run in found if run.status in {"failed", "cancelled"}]
        histories = {run_id: await store.read(run_id) for run_id in broken}
    left = {run_id: names for run_id, history in histories.items() if (names := doubts(history))}
    return found, left, {run_id: n for run_id, history in histories.items() if (n := deaths(history))}


def _print_json(found: list[RunSummary], deaths: Mapping[RunId, int]) -> None:
    print_json_lines(
        {
            "run": run.id,
            "graph": run.graph,
            "status": run.status,
            "started_at": run.started_at,
            "updated_at": run.updated_at,
            "cost_usd": run.spent.usd,
            "tokens": run.spent.tokens,
            "calls": run.spent.calls,
            "questions": run.questions,
            "events": run.events,
            "head": run.head,
            "owner": run.owner,
            "labels": run.labels,
            **({"deaths": deaths[run.id]} if run.id in deaths else {}),
        }
        for run in found
    )


def _print_table(found: list[RunSummary], deaths: Mapping[RunId, int]) -> None:
    """Print a line for each run; where not all of it fits, the names of batches stand below, whole."""
    out = console()
    labels = [run.labels for run in found if _is_of_batch(run)]
    batches = Counter((one["batch"], one.get("input", "")) for one in labels)
    for hidden in ((), ("input",)) if batches else ((),):
        rows = _table(found, deaths, hidden)
        if not batches or out.measure(rows, options=out.options.update(width=_ANY)).maximum <= out.width:
            out.print(rows)
            return
    out.print(_table(found, deaths, ("batch", "input")))
    for (name, source), number in batches.items():
        of = f" of {source}" if source else ""
        out.print(f"batch {name}: {number} run{'s' * (number != 1)}{of}", soft_wrap=True)


_ANY: Final = 10_000
"""More columns than a table takes."""


def _is_of_batch(run: RunSummary) -> bool:
    return "batch" in run.labels


def _table(found: list[RunSummary], deaths: Mapping[RunId, int], hidden: Sequence[str]) -> Table:
    """The runs; of those of batches without the labels in ``hidden``."""
    shown = {run.id: _labels(run.labels, hidden if _is_of_batch(run) else ()) for run in found}
    marked = ["labels"] if any(shown.values()) else []
    rows = table(
        "run", "graph", "status", "started", "took", "tokens", "cost", "waits", *marked,
        right=("tokens", "cost"), whole=("run",),
    )  # fmt: skip
    for run in found:
        labels = [shown[run.id]] if marked else []
        rows.add_row(
            run.id,
            run.graph,
            Text("worker lost" if run.id in deaths else run.status, status_style(run.status)),
            ago(run.started_at, now=time.time()),
            duration(run.updated_at - run.started_at),
            count(run.spent.tokens),
            dollars(run.spent.usd),
            f"{run.questions} question{'s' * (run.questions != 1)}" if run.questions else "",
            *labels,
        )
    return rows


def _labels(labels: Mapping[str, str], hidden: Sequence[str]) -> str:
    """Labels on one line; of a batch's run its line and its batch first, which are not shortened."""
    texts = {name: f"{name}={value}" for name, value in labels.items() if name not in hidden}
    first = " ".join(texts.pop(name) for name in _FIRST if name in texts)
    room = _LABELS - len(first) - 1
    rest = shorten(" ".join(texts.values()), room) if room > 1 else ""
    return f"{first} {rest}".strip()


_FIRST: Final = ("line", "batch")

_LABELS: Final = 36
"""Columns that labels take, unless the first ones take more."""
