"""``treadle run``: a graph on one value, or on every line of a file."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Any

import typer

from treadle.budget import Budget
from treadle.cli import offer
from treadle.cli.batch import (
    DEFAULT_CONCURRENCY,
    Command,
    Known,
    can_be_marked,
    how_far,
    look_up,
    new_batch,
    read_batch,
)
from treadle.cli.board import Board
from treadle.cli.inputs import no_arguments, read_lines, read_value
from treadle.cli.load import Loaded, load_graph
from treadle.cli.offer import read_amount
from treadle.cli.options import DEFAULT_STORE, JsonOption, StoreOption, opened, run_async
from treadle.cli.perform import Task, perform, refuse
from treadle.cli.stopping import DEFAULT_GRACE, GraceOption, Stopped, read_grace, until_told_to_stop
from treadle.cli.summary import as_plain_data, is_gone, print_failures, print_table, print_waiting
from treadle.cli.totals import in_words as totals_in_words
from treadle.cli.totals import tenant_of, totals_of
from treadle.cli.words import console, print_json_lines
from treadle.compose import open_store
from treadle.engine.engine import Engine
from treadle.engine.handle import RunHandle
from treadle.errors import ConfigurationError, TreadleError
from treadle.interfaces import Store
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
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Go on with an earlier --input: what it has begun is not begun twice."
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs at once.")] = DEFAULT_CONCURRENCY,
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

    The messages of a file are a batch.  A command that is stopped says how far it came and what its batch
    is called; the same command with --batch NAME goes on from there, and so does one whose process was
    killed.

    Example: treadle run examples/support.py --input tickets.jsonl --concurrency 8
    """
    if source is not None and value is not None:
        raise ConfigurationError("give either --input or --value, not both")
    total, within = read_amount(budget_usd), read_grace(grace)
    loaded, graph = load_graph(file)
    _ = graph.plan  # every fault of it, before inputs are read
    command = Command(
        file=file,
        source=source,
        batch=read_batch(batch, graph, is_file=source is not None),
        concurrency=concurrency,
        budget_usd=budget_usd,
        grace=grace,
        store=store,
        as_json=as_json,
        is_named=batch is not None,
    )
    if source is not None:
        inputs = read_lines(graph, source)
    else:
        inputs = {0: no_arguments(graph) if value is None else read_value(graph, value)}
    progress = Progress()
    try:
        run_async(
            lambda: _run(loaded, graph, inputs, command, total, grace=within, progress=progress),
            kept=command.kept,
        )
    except (typer.Exit, TreadleError) as error:
        if isinstance(error, Stopped):
            error.take_time()
        if source is not None and progress.began is not None:
            _report_stop(command, inputs, progress)
        raise
    rows = progress.rows
    report(rows, progress.seconds, file=file, store=store, as_json=as_json)
    raise typer.Exit(exit_code(rows, is_single=source is None))


def exit_code(rows: Sequence[Row], *, is_single: bool) -> int:
    """0 done, 1 something failed, 3 a single run waits for a person."""
    if any(row.status in {"failed", "cancelled"} for row in rows):
        return 1
    return WAITS_FOR_A_PERSON if is_single and any(row.waits for row in rows) else 0


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a command has come, for whoever looks when it was stopped.

    Attributes:
        began: When it began to work, on the monotonic clock; ``None`` before.
        before: Rows of the lines that earlier commands of the batch brought to an end.
        lines: The other lines, in order.
        now: Rows of these, by their number among them.
        reached: The last line that was begun, or about to be.
    """

    began: float | None = None
    before: Mapping[int, Row] = field(default_factory=dict[int, Row])
    lines: Sequence[int] = ()
    now: dict[int, Row] = field(default_factory=dict[int, Row])
    reached: int = 0

    @property
    def rows(self) -> list[Row]:
        """The rows there are, in the order of the file."""
        found = {**self.before, **{self.lines[number]: row for number, row in self.now.items()}}
        return [found[line] for line in sorted(found)]

    @property
    def seconds(self) -> float:
        """How long it has worked."""
        return 0.0 if self.began is None else time.monotonic() - self.began


async def _run(
    loaded: Loaded,
    graph: Graph[..., Any],
    inputs: Mapping[int, dict[str, Any]],
    command: Command,
    total: Decimal | None,
    *,
    grace: float,
    progress: Progress,
) -> None:
    out = console(err=command.as_json)
    choices = await offer.choose(graph.plan, loaded.rehearsal)
    store = open_store(command.store)
    async with opened(store):
        known = await look_up(store, graph, command, inputs)
        progress.before, progress.lines = known.rows, [line for line in inputs if line not in known.rows]
        tenant, budgets, command = _total(command, known, total)
        limit = budgets[tenant].usd if budgets else None
        engine = Engine(store, graphs=[graph], tenant=tenant, budgets=budgets)
        out.print(
            offer.line(choices, graph, runs=len(progress.lines), total=limit), style="bold", soft_wrap=True
        )
        if known.runs:
            await _say_known(known, len(inputs), budgets, store, out)
        progress.began = time.monotonic()
        async with engine:
            tasks = [
                _task(engine, graph, command, line, inputs[line], known, progress) for line in progress.lines
            ]
            with Board(out, len(tasks)) as board:
                await until_told_to_stop(
                    engine,
                    lambda: perform(tasks, board, store, at_once=command.concurrency, rows=progress.now),
                    grace=grace,
                    kept=command.kept,
                )


def _total(command: Command, known: Known, total: Decimal | None) -> tuple[str, dict[str, Budget], Command]:
    """The account that its runs share, its limit, and the command that says it; none without a limit."""
    budgets = totals_of(known.runs.values(), total)
    if not budgets and total is not None:
        budgets = {tenant_of(command.batch or new_batch()): Budget(usd=total)}
    if not budgets:
        return "", {}, command
    [(tenant, budget)] = budgets.items()
    return tenant, budgets, replace(command, budget_usd=str(budget.usd))


async def _say_known(known: Known, messages: int, budgets: dict[str, Budget], store: Store, out: Any) -> None:
    lines = [f"{len(known.runs)} of {messages} messages were begun before, {len(known.rows)} of them over"]
    for line in [*lines, *await totals_in_words(budgets, store)]:
        out.print(line, soft_wrap=True)


def _task(
    engine: Engine,
    graph: Graph[..., Any],
    command: Command,
    line: int,
    arguments: dict[str, Any],
    known: Known,
    progress: Progress,
) -> Task:
    options: dict[str, Any] = {}
    if (labels := command.labels(line)) and can_be_marked(graph):
        options = {"run_id": command.run_id(line), "labels": labels}
    message = _message(graph, arguments)

    def begin() -> Awaitable[RunHandle[Any]]:
        progress.reached = max(progress.reached, line)
        return engine.start(graph, **arguments, **options)

    run = known.runs.get(line)
    refused = None if run is None else functools.partial(refuse, run, message)
    return Task(begin=begin, message=message, refused=refused)


def _message(graph: Graph[..., Any], arguments: dict[str, Any]) -> str:
    """What a run is about: its first input in words."""
    return next((in_words(payload) for payload in graph.bind((), arguments).values()), "")


def _report_stop(command: Command, inputs: Mapping[int, object], progress: Progress) -> None:
    """Print what came of a file up to where its command was stopped, and what does the rest."""
    if progress.rows:
        report(
            progress.rows, progress.seconds, file=command.file, store=command.store, as_json=command.as_json
        )
    if is_gone(command.store):
        return
    if not command.is_batch:
        words = (
            f"the last message that was begun, of {len(inputs)}, stands at line {progress.reached}; to run "
            "those after it, put them into a file of their own"
        )
        typer.echo(words, err=True)
        return
    try:
        typer.echo(run_async(lambda: how_far(command, inputs), kept=command.kept), err=True)
    except TreadleError as error:
        typer.echo(f"{command.again} goes on once the store can be read: {error}", err=True)


def report(rows: Sequence[Row], seconds: float, *, file: str, store: str, as_json: bool) -> None:
    """Print what came of runs, and what to do about those that wait."""
    if as_json:
        print_json_lines(as_plain_data(row) for row in rows)
        return
    out = console()
    print_table(out, rows, seconds=seconds)
    print_failures(out, rows, store=store)
    print_waiting(out, rows, file=file, store=store)
