"""``treadle resume``: go on where runs stand."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from treadle.cli import offer
from treadle.cli.board import Board
from treadle.cli.load import AnyGraph, Loaded, load_file, named_graphs, project_files, split_reference, wire
from treadle.cli.offer import read_amount
from treadle.cli.options import (
    DEFAULT_STORE,
    ClaimOption,
    FreshOption,
    JsonOption,
    StoreOption,
    claims_in,
    existing_store,
    find_run,
    run_async,
)
from treadle.cli.perform import Task, perform, refuse
from treadle.cli.run import exit_code, report
from treadle.cli.stopping import DEFAULT_GRACE, GraceOption, read_grace, until_told_to_stop
from treadle.cli.totals import ResumeTotalOption, in_words, totals_of
from treadle.cli.words import console
from treadle.engine.engine import Engine
from treadle.errors import ConfigurationError
from treadle.interfaces import RunSummary
from treadle.views.table import Row


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("resume")(resume)


def resume(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Id of the run; else give --all.")] = None,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="The file with its graph; else those of [tool.treadle] graphs."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All runs that wait or were interrupted, and are not running.")
    ] = False,
    claim: ClaimOption = None,
    fresh: FreshOption = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 8,
    budget_usd: ResumeTotalOption = None,
    grace: GraceOption = DEFAULT_GRACE,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Go on where runs stand: after an answer, a crash, a failure or a pause.

    What is recorded never runs again.  A failed run runs again what failed, and what depends on it.  Where
    the graph was edited, `treadle check FILE --against RUN` shows first what is kept and what runs.

    Example: treadle resume --all examples/support.py
    """
    if everything and file is None and run is not None:
        file, run = run, None  # `resume --all FILE`
    _require_one(run, everything=everything)
    claims = claims_in(claim, fresh)
    if everything and claims:
        raise ConfigurationError("--claim and --fresh are for a single run: treadle resume RUN FILE")
    total, within = read_amount(budget_usd), read_grace(grace)
    found, failed = run_async(lambda: _find(store, run))
    if not found:
        typer.echo(f"nothing to resume: no run waits or was interrupted{_failed(failed)}", err=as_json)
        raise typer.Exit(0)
    if not everything and found[0].status in _OVER:
        require_claimable(found[0], claims)
        typer.echo(f"{found[0].id} is {found[0].status} already: nothing runs", err=True)
        if file is None:
            raise typer.Exit(0 if found[0].status == "completed" else 1)
    named, graph = (None, "") if file is None else split_reference(file)
    files = [load_file(path) for path in project_files(None if named is None else Path(named))]
    graphs = {name: one for loaded in files for name, one in named_graphs(loaded, graph).items()}
    is_single = not everything
    if everything:
        found = _of(graphs, found, as_json=as_json)
    rows, seconds = run_async(
        lambda: _resume(
            files,
            graphs,
            found,
            store,
            concurrency,
            total=total,
            grace=within,
            as_json=as_json,
            is_single=is_single,
            claims=claims,
        )
    )
    report(rows, seconds, file=file or "", store=store, as_json=as_json)
    raise typer.Exit(exit_code(rows, is_single=is_single))


_UNFINISHED: Final = ("waiting", "running", "pending")
_OVER: Final = ("completed", "cancelled")


def _require_one(run: str | None, *, everything: bool) -> None:
    if everything and run is not None:
        raise ConfigurationError("name the run to resume or give --all, not both: treadle resume --all FILE")
    if not everything and run is None:
        raise ConfigurationError("name the run to resume, or give --all: treadle resume RUN FILE")
    if run is not None and run.endswith(".py"):
        raise ConfigurationError(f"{run!r} is a file; name a run too, or all: treadle resume --all {run}")


def _failed(failed: Sequence[RunSummary]) -> str:
    """What to say of runs that failed, which are resumed one by one."""
    if not failed:
        return ""
    words = f"{len(failed)} run{'s' * (len(failed) != 1)} failed"
    return f" ({words}; what failed runs again with: treadle resume {failed[0].id} FILE)"


async def _find(url: str, run_id: str | None) -> tuple[list[RunSummary], list[RunSummary]]:
    """The runs to resume, the oldest first; and those that failed, the newest first."""
    async with existing_store(url) as store:
        if run_id is not None:
            return [await find_run(store, run_id)], []
        found: list[RunSummary] = []
        for status in _UNFINISHED:
            found += [run for run in await store.runs(status=status, limit=100_000) if not run.owner]
        failed = await store.runs(status="failed", limit=100_000)
    return sorted(found, key=lambda run: run.started_at), failed


def _of(graphs: Mapping[str, AnyGraph], found: Sequence[RunSummary], *, as_json: bool) -> list[RunSummary]:
    """The runs of these graphs; of others, which are left alone, it says so.

    Raises:
        typer.Exit: There are none.
    """
    others = [run for run in found if run.graph not in graphs]
    if others:
        names = ", ".join(sorted({repr(run.graph) for run in others}))
        some = f"{len(others)} run{'s' * (len(others) != 1)}"
        typer.echo(f"left alone: {some} of {names}, which is not in what was given", err=as_json)
    if len(others) == len(found):
        typer.echo("nothing to resume: no run of these files waits or was interrupted", err=as_json)
        raise typer.Exit(0)
    return [run for run in found if run.graph in graphs]


async def _resume(
    files: Sequence[Loaded],
    graphs: dict[str, AnyGraph],
    found: Sequence[RunSummary],
    store: str,
    at_once: int,
    *,
    total: Decimal | None,
    grace: float,
    as_json: bool,
    is_single: bool,
    claims: Mapping[str, str | None],
) -> tuple[list[Row], float]:
    require_graphs(graphs, found)
    totals = totals_of(found, total)
    graphs = {name: graph for name, graph in graphs.items() if name in {run.graph for run in found}}
    for needed in graphs.values():
        wire(needed)
    out = console(err=as_json)
    await _say_models(files, set(graphs), out)
    began = time.monotonic()
    async with Engine(store, graphs=list(graphs.values()), budgets=totals) as engine:
        for line in await in_words(totals, engine.store):
            out.print(line, soft_wrap=True)
        tasks = [_task(engine, run, is_single=is_single, claims=claims) for run in found]
        with Board(out, len(tasks)) as board:
            rows = await until_told_to_stop(
                engine, lambda: perform(tasks, board, engine.store, at_once=at_once), grace=grace
            )
    return rows, time.monotonic() - began


def _task(engine: Engine, run: RunSummary, *, is_single: bool, claims: Mapping[str, str | None]) -> Task:
    """One of several runs that cannot go on is a row of its own; the others go on."""
    message = f"{run.graph} {run.id}"
    refused = None if is_single else functools.partial(refuse, run, message)
    return Task(begin=lambda: engine.resume(run.id, claims=claims), message=message, refused=refused)


def require_claimable(run: RunSummary, claims: Mapping[str, str | None]) -> None:
    """Refuse what is said of the calls of a run that is over: it makes none any more."""
    if claims and run.status in _OVER:
        raise ConfigurationError(
            f"{run.id} is {run.status}: nothing of it is to be claimed; leave --claim and --fresh out"
        )


def require_graphs(graphs: dict[str, Any], found: Sequence[RunSummary]) -> None:
    """Refuse to go on where the graph of a run is not at hand."""
    missing = sorted({run.graph for run in found} - graphs.keys())
    if missing:
        known = ", ".join(graphs)
        raise ConfigurationError(
            f"the runs need graph {', '.join(map(repr, missing))}, and the files given have {known}; "
            "name the file they were started from"
        )


async def _say_models(files: Sequence[Loaded], graphs: set[str], out: Any) -> None:
    """Say which models will answer, before anything is spent."""
    for loaded in files:
        for name in sorted(graphs & loaded.graphs.keys()):
            plan = loaded.graphs[name].plan
            choices = await offer.choose(plan, loaded.rehearsal)
            out.print(offer.models_in_words(choices, plan), style="bold", soft_wrap=True)
