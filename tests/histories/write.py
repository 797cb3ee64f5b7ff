"""Writes the histories of this release: ``python -m tests.histories.write tests/histories/1.db``.

The same every time: times, ids and seeds are fixed, and failures name files without their folders.  A
released file is never written again; a later format gets a file of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from pydantic_core import to_json
from tests.engine.conftest import MortalStore
from tests.histories.keeping import Kept, commands, finish, pipelines

from treadle import Engine
from treadle.cli.options import existing_store
from treadle.events import AttemptFailed, Event, NodeCompleted, StepStarted
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.stores import SqliteStore
from treadle.testing import JumpingClock

COMPLAINT = {"customer": "ada", "body": "one lamp is broken"}
PRAISE = {"customer": "bob", "body": "lovely lamps"}


class Writer:
    """Writes runs into one database.

    Attributes:
        kept: What is known of them.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(f"{path} is there; write a new file, or remove it if it was never released")
        self.path = path
        self.url = f"sqlite:///{path}"
        self.graphs = pipelines()
        self.kept: list[Kept] = []

    async def live(
        self, graph: str, run_id: str, *inputs: Any, until: Callable[[Event], bool] | None
    ) -> None:
        """Start or resume a run, until it is over or waits, or is lost with its process after an event."""
        wired: Graph[..., Any] = getattr(self.graphs, graph)
        store = MortalStore(SqliteStore(str(self.path)), after=until)
        engine = Engine(store, graphs=[wired], clock=JumpingClock())
        engine._owner = "writer:1"  # pyright: ignore[reportPrivateUsage] - the same on every machine
        async with engine:
            if inputs:
                handle = await engine.start(wired, *inputs, run_id=run_id)
            else:
                handle = await engine.resume(run_id)
            if until is None:
                await handle.settled()
            else:
                await store.dead.wait()

    async def keep(self, run_id: str, graph: str, *answers: Any, is_over: bool = False) -> None:
        """Note how a run stands, and what it comes to when a copy of it is resumed."""
        async with existing_store(self.url) as store:
            summary = await store.run(RunId(run_id))
            events = [one.event for one in await store.read(RunId(run_id))]
        result, runs = None, list[str]()
        if not is_over:
            result, runs = await self._rehearse(graph, run_id, answers)
        self.kept.append(
            Kept(
                run_id=run_id,
                graph=graph,
                status=summary.status,
                events=summary.events,
                head=summary.head,
                commands=commands(events),
                answers=list(answers),
                result=result,
                runs=runs,
            )
        )

    async def _rehearse(self, graph: str, run_id: str, answers: tuple[Any, ...]) -> tuple[Any, list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.db"
            shutil.copy(self.path, copy)
            later = pipelines()
            result = await finish(f"sqlite:///{copy}", getattr(later, graph), run_id, answers)
            return result, sorted(later.RAN)


def began(name: str) -> Callable[[Event], bool]:
    """Whether an event says that a call of this name is about to be made."""
    return lambda event: isinstance(event, StepStarted) and event.callee == name


async def answer(writer: Writer, graph: str, run_id: str, value: Any) -> None:
    """Have a person answer the only question of a run, and let it go on."""
    async with existing_store(writer.url) as store:
        [question] = await store.questions(run_id=RunId(run_id))
    wired: Graph[..., Any] = getattr(writer.graphs, graph)
    engine = Engine(writer.url, graphs=[wired], clock=JumpingClock())
    engine._owner = "writer:1"  # pyright: ignore[reportPrivateUsage] - as above
    async with engine:
        await engine.answer(question.id, value, by="maria", reason="seen")
        await (await engine.resume(run_id)).settled()


# -- the runs --------------------------------------------------------------------------------------------


async def completed(writer: Writer) -> None:
    await writer.live("support", "completed", writer.graphs.Ticket(**COMPLAINT), until=None)
    await answer(writer, "support", "completed", "send")
    await writer.keep("completed", "support", is_over=True)


async def waiting(writer: Writer) -> None:
    await writer.live("support", "waiting", writer.graphs.Ticket(**PRAISE), until=None)
    await writer.keep("waiting", "support", "drop")


async def agent_cut_off(writer: Writer) -> None:
    ticket = writer.graphs.Ticket(**COMPLAINT)
    await writer.live("support", "agent-cut-off", ticket, until=began("refund"))
    await writer.keep("agent-cut-off", "support", {"outcome": "happened", "result": "refunded"}, "send")


async def effect_in_doubt(writer: Writer) -> None:
    writer.graphs.STUCK.append("refund")
    await writer.live("paying", "effect-in-doubt", "ada", until=began("refund"))
    writer.graphs.STUCK.clear()
    await writer.live("paying", "effect-in-doubt", until=None)
    await writer.keep("effect-in-doubt", "paying", {"outcome": "run_again"})


async def edited(writer: Writer) -> None:
    await writer.live("support", "edited", writer.graphs.Ticket(**COMPLAINT), until=None)
    await writer.live("support_edited", "edited", until=None)
    await writer.keep("edited", "support_edited", "send")


async def edit_to_come(writer: Writer) -> None:
    await writer.live("support", "edit-to-come", writer.graphs.Ticket(**COMPLAINT), until=None)
    await writer.keep("edit-to-come", "support_edited", "drop")


async def failed(writer: Writer) -> None:
    writer.graphs.IS_BROKEN = True
    await writer.live("trying", "failed", "lamps", until=None)
    writer.graphs.IS_BROKEN = False
    await writer.keep("failed", "trying")


async def backing_off(writer: Writer) -> None:
    await writer.live("trying", "backing-off", "lamps", until=lambda event: isinstance(event, AttemptFailed))
    await writer.keep("backing-off", "trying")


async def stepping(writer: Writer) -> None:
    await writer.live("stepping", "stepping", "lamps", until=None)
    await writer.keep("stepping", "stepping", "yes")


async def items(writer: Writer) -> None:
    await writer.live("listing", "items", ["a", "b", "bbb"], until=None)
    await writer.keep("items", "listing", "yes")


async def items_edited(writer: Writer) -> None:
    await writer.live("listing", "items-edited", ["a", "b", "bbb"], until=None)
    await writer.live("listing_edited", "items-edited", until=None)
    await writer.keep("items-edited", "listing_edited", "no")


async def items_cut_off(writer: Writer) -> None:
    third = iter(range(4))
    await writer.live(
        "listing",
        "items-cut-off",
        ["a", "b", "bbb"],
        until=lambda event: isinstance(event, NodeCompleted) and next(third) == 3,
    )
    await writer.keep("items-cut-off", "listing", "yes")


async def cancelled(writer: Writer) -> None:
    await writer.live("stepping", "cancelled", "lamps", until=None)
    wired = writer.graphs.stepping
    engine = Engine(writer.url, graphs=[wired], clock=JumpingClock())
    engine._owner = "writer:1"  # pyright: ignore[reportPrivateUsage] - as above
    async with engine:
        await engine.cancel("cancelled", by="maria", reason="too late")
        await (await engine.resume("cancelled")).settled()
    await writer.keep("cancelled", "stepping", is_over=True)


RUNS: tuple[Callable[[Writer], Awaitable[None]], ...] = (
    completed, waiting, agent_cut_off, effect_in_doubt, edited, edit_to_come, failed, backing_off, stepping,
    cancelled, items, items_edited, items_cut_off,
)  # fmt: skip


async def write(path: Path) -> None:
    """Write a database and what is known of it beside.

    Raises:
        FileExistsError: It is there; what a release has written stays as it is.
    """
    writer = Writer(path)
    for run in RUNS:
        await run(writer)
    _sum_up(writer)


def _sum_up(writer: Writer) -> None:
    known = to_json([asdict(one) for one in writer.kept], indent=1)
    writer.path.with_suffix(".json").write_bytes(known + b"\n")
    for left in ("-locks", "-wal", "-shm"):
        Path(f"{writer.path}{left}").unlink(missing_ok=True)


if __name__ == "__main__":
    anyio.run(write, Path(sys.argv[1]))
