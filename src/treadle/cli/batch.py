"""A file of messages as one batch of runs: the same batch again begins no message twice.

The id of a run is made of the name of its batch and the number of its line.  So whatever ends a command, a
signal, a full disk or SIGKILL, the store says which lines were begun, and the same batch goes on from there.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.cli.options import existing_store
from treadle.cli.stopping import DEFAULT_GRACE
from treadle.cli.summary import GONE, is_gone, store_option
from treadle.cli.totals import TOTAL
from treadle.errors import ConfigurationError
from treadle.events import RunStarted
from treadle.ids import RunId, new_run_id, run_id_made_of
from treadle.interfaces import RunSummary, Store
from treadle.nodes.graph import Graph
from treadle.views.table import Row, summarise

DEFAULT_CONCURRENCY: Final = 8

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_MADE: Final = re.compile(r"b-[0-9a-z]{9}[0-9a-f]{4}")
"""What ``new_batch`` makes."""

_TOLD: Final = 5
"""Batches that an error names at most."""

_PAGE: Final = 100_000
"""Runs that are looked through for the names of batches."""

_MARKS: Final = ("run_id", "labels")
"""What a run of a batch is started with: an input of such a name would get it instead."""

_OVER: Final = ("completed", "failed", "cancelled")


def new_batch() -> str:
    """Name a batch: by the time it begins, and four random characters."""
    return f"b-{new_run_id()[2:11]}{secrets.token_hex(2)}"


def read_batch(name: str | None, graph: Graph[..., Any], *, is_file: bool) -> str:
    """Read ``--batch``, or name a new one; ``""`` where runs of the graph cannot be marked.

    Raises:
        ConfigurationError: It is no name, there is no file, or the runs of the graph cannot be marked.
    """
    if name is None:
        return new_batch() if can_be_marked(graph) else ""
    if not is_file:
        raise ConfigurationError("--batch is for the lines of a file; give --input PATH with it")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"--batch {name!r} is no name; write at most 64 letters, digits, dots, dashes and underscores"
        )
    if not can_be_marked(graph):
        raise ConfigurationError(
            f"--batch: an input of graph {graph.name!r} is named {' or '.join(map(repr, _MARKS))}, so its "
            "runs cannot be marked; name that input otherwise"
        )
    return name


def can_be_marked(graph: Graph[..., Any]) -> bool:
    """Whether a run of a graph can be given an id and labels."""
    return not any(parameter.name in _MARKS for parameter in graph.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What ``treadle run`` was told, as far as it is to be told again.

    Attributes:
        file: The file as it was named, with its graph where that was.
        source: Path of the messages, ``"-"`` for standard input, or ``None`` for a single run.
        batch: What its runs are called together, or ``""`` where they cannot be marked.
        is_named: Whether the batch was named by who gave the command.
        budget_usd: The total, as it was written.
    """

    file: str
    source: str | None
    batch: str
    concurrency: int
    budget_usd: str | None
    grace: str
    store: str
    as_json: bool
    is_named: bool = False

    @property
    def is_batch(self) -> bool:
        """Whether the same command, with its batch, goes on where this one stands."""
        return self.source is not None and bool(self.batch)

    @property
    def again(self) -> str:
        """The command that goes on where this one stands; for a single run, the one that resumes it."""
        if self.source is None or not self.batch:
            return resume_command(self.file, self.store)
        return self._run(self.source, ["--batch", self.batch])

    def begin(self, *, is_known: bool) -> str:
        """The command that does a file: under its batch, unless the store does not know a name made here."""
        return self.again if is_known or self.is_named else self._run(self.source or "", [])

    def _run(self, source: str, batch: list[str]) -> str:
        words = ["treadle", "run", self.file, "--input", source, *batch]
        words += [] if self.concurrency == DEFAULT_CONCURRENCY else ["--concurrency", str(self.concurrency)]
        words += [] if self.budget_usd is None else ["--budget-usd", self.budget_usd]
        words += [] if self.grace == DEFAULT_GRACE else ["--grace", self.grace]
        words += ["--json"] * self.as_json
        return shlex.join(words) + store_option(self.store)

    @property
    def kept(self) -> str:
        """What stands of its runs when it is stopped, and how they go on."""
        if is_gone(self.store):
            return f"its runs are {GONE}"
        return f"what was recorded is kept, and `{self.again}` goes on from there"

    def labels(self, line: int) -> dict[str, str]:
        """What marks the run of a line."""
        labels = {"line": str(line), "batch": self.batch, "input": self.source or ""} if self.is_batch else {}
        return labels | ({} if self.budget_usd is None else {TOTAL: self.budget_usd})

    def run_id(self, line: int) -> RunId | None:
        """The id of the run of a line; ``None`` where it may be any."""
        return run_id_made_of(self.batch, str(line)) if self.is_batch else None


def resume_command(file: str, store: str) -> str:
    """The command that goes on with all runs of a file that wait or were interrupted."""
    return shlex.join(["treadle", "resume", "--all", file]) + store_option(store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store holds of a batch before a command, by line.

    Attributes:
        runs: Those that were begun.
        rows: Those of them that are over.
    """

    runs: Mapping[int, RunSummary]
    rows: Mapping[int, Row]


async def look_up(
    store: Store, graph: Graph[..., Any], command: Command, inputs: Mapping[int, dict[str, Any]]
) -> Known:
    """Find the runs that earlier commands began of a batch.

    Raises:
        ConfigurationError: A line was begun with another message, or another graph; or a batch was named
            that seems to be another one, and is not there.
    """
    runs = await _begun(store, command, inputs)
    if command.is_named and not runs:
        await _require_meant(store, command.batch)
    rows: dict[int, Row] = {}
    for line, run in runs.items():
        history = await store.read(run.id)
        started = history[0].event
        if not _is_same(started, graph, inputs[line]):
            raise ConfigurationError(
                f"line {line} of {command.source} is not what batch {command.batch!r} began there (run "
                f"{run.id}); nothing was run or spent: name another --batch, or give the file and the graph "
                "that it began with"
            )
        if run.status in _OVER:
            rows[line] = summarise(history)
    return Known(runs=runs, rows=rows)


async def _require_meant(store: Store, name: str) -> None:
    """Refuse the name of a batch that is not there, and is the beginning of one or was made by a command.

    Raises:
        ConfigurationError: It is: taken for a new one, it would have messages run that have run already.
    """
    labels = [run.labels for run in await store.runs(limit=_PAGE)]
    known = list(dict.fromkeys(one["batch"] for one in labels if "batch" in one))
    alike = [one for one in known if one.startswith(name)]
    if name in known or not (alike or _MADE.fullmatch(name)):
        return
    meant = alike or known
    some = f"{', '.join(meant[:_TOLD])}{', ...' * (len(meant) > _TOLD)}"
    told = f"{'those that begin so' if alike else 'those there are'}: {some}" if meant else "there is none"
    raise ConfigurationError(
        f"--batch: no run in {store.url} is of batch {name!r}, {told}; nothing was run or spent: write the "
        "whole name of a batch to go on with it, another name or no --batch to begin a new one"
    )


def _is_same(event: object, graph: Graph[..., Any], arguments: dict[str, Any]) -> bool:
    inputs = graph.bind((), arguments)
    return isinstance(event, RunStarted) and event.graph == graph.name and event.inputs == inputs


async def _begun(store: Store, command: Command, lines: Iterable[int]) -> dict[int, RunSummary]:
    ids = {run_id: line for line in lines if (run_id := command.run_id(line)) is not None}
    found = await store.runs(ids=list(ids), limit=len(ids)) if ids else []
    return dict(sorted((ids[run.id], run) for run in found))


async def how_far(command: Command, lines: Iterable[int]) -> str:
    """Say which messages of a stopped batch were begun, and what goes on with them and with the others.

    Raises:
        TreadleError: The store cannot be read.
    """
    lines = list(lines)
    async with existing_store(command.store) as store:
        runs = (await _begun(store, command, lines)).values()
    over = sum(run.status in _OVER for run in runs)
    waiting = sum(run.status == "waiting" for run in runs)
    parts = ((over, "over"), (waiting, "waiting for people"), (len(runs) - over - waiting, "on their way"))
    states = ", ".join(f"{number} {words}" for number, words in parts if number)
    does = "All of them go on, and none is begun twice, with"
    return (
        f"{len(runs)} of {len(lines)} messages were begun{f' ({states})' * bool(states)}, "
        f"{len(lines) - len(runs)} were not.  {does}\n"
        f"  {command.begin(is_known=bool(runs))}\nand those that were begun, alone, with\n"
        f"  {resume_command(command.file, command.store)}"
    )
