"""The histories that are kept, and how they are told apart: files of this folder, one for each format."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle import Engine, Plan
from treadle.events import Event
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.testing import JumpingClock
from treadle.values import canonical, digest

FOLDER = Path(__file__).parent
DATABASES = sorted(FOLDER.glob("*.db"))
LATER = 1_900_000_000.0
"""When the kept runs are resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a kept run.

    Attributes:
        graph: The name in ``pipelines.py`` of the graph it is resumed with.
        commands: Digest of the commands that its events lead to.
        answers: What people say once it is resumed, in the order of the questions.
        result: What it comes to then, as JSON data; ``None`` where it is over for good.
        runs: What is really done on the way.
    """

    run_id: str
    graph: str
    status: str
    events: int
    head: str
    commands: str
    answers: list[Any]
    result: Any
    runs: list[str]


def kept(database: Path) -> list[Kept]:
    """The runs of a database."""
    return [Kept(**one) for one in json.loads(database.with_suffix(".json").read_text())]


def pipelines() -> Any:
    """The graphs, loaded anew and under a name that is the same everywhere: failures name file and line."""
    source = FOLDER / "pipelines.py"
    module = types.ModuleType("pipelines")
    module.__spec__ = importlib.util.spec_from_loader("pipelines", loader=None)
    sys.modules["pipelines"] = module
    exec(compile(source.read_text(encoding="utf-8"), "pipelines.py", "exec"), module.__dict__)
    return module


def commands(events: Sequence[Event]) -> str:
    """The digest of all commands that events lead to."""
    _, led_to = replay(events, lambda document: compile_plan(Plan.from_json(document.data)))
    named = [[_named(command) for command in several] for several in led_to]
    return digest(canonical(named))


def _named(command: Any) -> list[Any]:
    return [
        type(command).__name__,
        *(getattr(command, name, None) for name in ("node", "attempt", "not_before")),
    ]


async def finish(url: str, graph: Graph[..., Any], run_id: str, answers: Sequence[Any]) -> Any:
    """Resume a run, answer what it asks, and give its result as JSON data."""
    left = list(answers)
    async with Engine(url, graphs=[graph], clock=JumpingClock(start=LATER)) as engine:
        handle = await engine.resume(run_id)
        while await handle.settled() == "waiting":
            question = (await engine.questions(run_id=run_id))[0]
            await engine.answer(question.id, left.pop(0), by="ada", reason="kept", opening=question.opening)
        await handle.result()
        ended = [one.event for one in await engine.store.read(RunId(run_id))][-1]
        result: Any = ended.result.json()  # type: ignore[union-attr]  # it completed
        return result
