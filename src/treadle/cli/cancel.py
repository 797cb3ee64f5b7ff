"""``treadle cancel``: stop a run; what it has finished is kept."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.load import AnyGraph, load_file, named_graphs, split_reference
from treadle.cli.options import DEFAULT_STORE, RunArgument, StoreOption, existing_store, find_run, run_async
from treadle.cli.perform import finish
from treadle.cli.resume import require_graphs
from treadle.cli.summary import doubt_line
from treadle.engine.engine import Engine
from treadle.errors import ConfigurationError
from treadle.interfaces import Request, RunSummary
from treadle.views.doubts import doubts


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("cancel")(cancel)


def cancel(
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:GRAPH]", help="The file with its graph, to cancel a run that no process runs."
        ),
    ] = None,
    *,
    by: Annotated[str, typer.Option("--as", metavar="NAME", help="Who cancels; it is recorded.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Cancel a run.  What it has finished is kept, and its open questions are withdrawn.

    The process that runs it stops it within a second.  Where none does, name the FILE with its graph,
    or the run is cancelled as soon as somebody resumes it.

    Example: treadle cancel r-1a2b3c4d5 examples/support.py --reason "the customer called"
    """
    graphs = None if file is None else _graphs(file)  # before anything is recorded
    summary = run_async(lambda: _submit(store, run, by or getpass.getuser(), reason, graphs))
    doubts: tuple[str, ...] = ()
    if graphs is not None and not summary.owner:
        summary, doubts = run_async(lambda: _take_up(store, summary, graphs))
    if summary.status == "cancelled":
        typer.echo(f"{summary.id}: cancelled")
        if doubts:
            typer.echo(doubt_line(summary.id, doubts, store=store))
    elif summary.owner:
        typer.echo(f"{summary.id}: the process that runs it ({summary.owner}) stops it")
    else:
        typer.echo(f"{summary.id}: recorded; `treadle resume {summary.id} FILE` carries it out")


def _graphs(file: str) -> dict[str, AnyGraph]:
    path, name = split_reference(file)
    return named_graphs(load_file(Path(path)), name)


async def _submit(
    url: str, run_id: str, by: str, reason: str, graphs: dict[str, AnyGraph] | None
) -> RunSummary:
    async with existing_store(url) as store:
        summary = await find_run(store, run_id)
        if summary.status in {"completed", "failed", "cancelled"}:
            raise ConfigurationError(f"{summary.id} is over already: {summary.status}; nothing was changed")
        if graphs is not None:
            require_graphs(graphs, [summary])
        await store.submit(Request(run_id=summary.id, kind="cancel", at=time.time(), by=by, reason=reason))
        return summary


async def _take_up(
    url: str, summary: RunSummary, graphs: dict[str, AnyGraph]
) -> tuple[RunSummary, tuple[str, ...]]:
    """Carry a recorded cancellation out; give the calls left in doubt too."""
    async with Engine(url, graphs=list(graphs.values())) as engine:
        handle = await engine.resume(summary.id)
        await finish(handle, engine.store)
    async with existing_store(url) as store:
        return await store.run(summary.id), doubts(await store.read(summary.id))
