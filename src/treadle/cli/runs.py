"""``treadle runs``: what has run, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, existing_store, run_async
from treadle.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from treadle.interfaces import RunSummary

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
    found = run_async(lambda: _read(store, status, graph, limit))
    if as_json:
        _print_json(found)
    elif found:
        _print_table(found)
    else:
        given = [f"--{name} {value}" for name, value in (("status", status), ("graph", graph)) if value]
        typer.echo(f"no runs match {' '.join(given)} in {store}" if given else f"no runs in {store}")


async def _read(url: str, status: str | None, graph: str | None, limit: int) -> list[RunSummary]:
    async with existing_store(url) as store:
        return await store.runs(status=status, graph=graph, limit=limit)


def _print_json(found: list[RunSummary]) -> None:
    from treadle.cli.words import print_json_lines

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
        }
        for run in found
    )


def _print_table(found: list[RunSummary]) -> None:
    import time

    from rich.text import Text

    from treadle.cli.words import ago, console, count, dollars, duration, status_style, table

    rows = table(
        "run", "graph", "status", "started", "took", "tokens", "cost", "waits", right=("tokens", "cost")
    )
    for run in found:
        rows.add_row(
            run.id,
            run.graph,
            Text(run.status, status_style(run.status)),
            ago(run.started_at, now=time.time()),
            duration(run.updated_at - run.started_at),
            count(run.spent.tokens),
            dollars(run.spent.usd),
            f"{run.questions} question{'s' * (run.questions != 1)}" if run.questions else "",
        )
    console().print(rows)
