"""``treadle run``: a graph on one value, or on every line of a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from treadle.budget import Budget
from treadle.cli import offer
from treadle.cli.board import Board
from treadle.cli.inputs import no_arguments, read_lines, read_value
from treadle.cli.load import Loaded, load_graph
from treadle.cli.offer import read_amount
from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, run_async
from treadle.cli.perform import Begin, Task, perform
from treadle.cli.stopping import DEFAULT_GRACE, GraceOption, read_grace, until_told_to_stop
from treadle.cli.summary import as_plain_data, print_failures, print_table, print_waiting
from treadle.cli.words import console, print_json_lines
from treadle.engine.engine import Engine
from treadle.errors import ConfigurationError
from treadle.ids import new_run_id
from treadle.nodes.graph import Graph
from treadle.views.table import Row, in_words

WAITS_FOR_A_PERSON = 3


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE[:GRAPH]", help="The file, and the graph where it has several.")
    ],
    *,
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="PATH", help="JSON lines, one run each; - is standard input."),
    ] = None,
    value: Annotated[str | None, typer.Option(metavar="JSON", help="The input of a single run.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 8,
    budget_usd: Annotated[
        str | None, typer.Option(metavar="X", help="The most that all runs together may cost, in US dollars.")
    ] = None,
    grace: GraceOption = DEFAULT_GRACE,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run a graph, on one value or on every line of a file.

    Every line is checked before anything runs.  Runs that wait for a person do not keep the command
    waiting: answer them later, and resume.

    Example: treadle run examples/support.py --input tickets.jsonl --concurrency 8
    """
    if source is not None and value is not None:
        raise ConfigurationError("give either --input or --value, not both")
    total, within = read_amount(budget_usd), read_grace(grace)
    loaded, graph = load_graph(file)
    _ = graph.plan  # every fault of it, before inputs are read
    if source is not None:
        inputs = read_lines(graph, source)
    else:
        inputs = [no_arguments(graph) if value is None else read_value(graph, value)]
    rows, seconds = run_async(
        lambda: _run(loaded, graph, inputs, store, concurrency, total, grace=within, as_json=as_json)
    )
    report(rows, seconds, file=file, store=store, as_json=as_json)
    raise typer.Exit(exit_code(rows, is_single=source is None))


def exit_code(rows: Sequence[Row], *, is_single: bool) -> int:
    """0 done, 1 something failed, 3 a single run waits for a person."""
    if any(row.status in {"failed", "cancelled"} for row in rows):
        return 1
    return WAITS_FOR_A_PERSON if is_single and any(row.waits for row in rows) else 0


async def _run(
    loaded: Loaded,
    graph: Graph[..., Any],
    inputs: Sequence[dict[str, Any]],
    store: str,
    at_once: int,
    total: Decimal | None,
    *,
    grace: float,
    as_json: bool,
) -> tuple[list[Row], float]:
    out = console(err=as_json)
    tenant = "" if total is None else f"treadle run --budget-usd {new_run_id()}"  # they share it
    budgets = {} if total is None else {tenant: Budget(usd=total)}
    unopened = Engine(store, graphs=[graph], tenant=tenant, budgets=budgets)
    choices = await offer.choose(graph.plan, loaded.rehearsal)
    out.print(offer.line(choices, graph, runs=len(inputs), total=total), style="bold", soft_wrap=True)
    began = time.monotonic()
    async with unopened as engine:
        tasks = [Task(begin=_begin(engine, graph, one), message=_message(graph, one)) for one in inputs]
        with Board(out, len(tasks)) as board:
            rows = await until_told_to_stop(
                engine, lambda: perform(tasks, board, engine.store, at_once=at_once), grace=grace
            )
    return rows, time.monotonic() - began


def _begin(engine: Engine, graph: Graph[..., Any], arguments: dict[str, Any]) -> Begin:
    return lambda: engine.start(graph, **arguments)


def _message(graph: Graph[..., Any], arguments: dict[str, Any]) -> str:
    """What a run is about: its first input in words."""
    return next((in_words(payload) for payload in graph.bind((), arguments).values()), "")


def report(rows: Sequence[Row], seconds: float, *, file: str, store: str, as_json: bool) -> None:
    """Print what came of runs, and what to do about those that wait."""
    if as_json:
        print_json_lines(as_plain_data(row) for row in rows)
        return
    out = console()
    print_table(out, rows, seconds=seconds)
    print_failures(out, rows, store=store)
    print_waiting(out, rows, file=file, store=store)
