"""The tasks of the shop's customers, an agent that solves them, and the model that tells it how."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

from retail_desk import LOOKING, WRITING
from retail_shop import DATA, Changes, Record, stated

from treadle import Prompt, agent, graph
from treadle.events import Event, StepCompleted, StepFailed, StepStarted
from treadle.ids import NodeId, StepId
from treadle.messages import ModelRequest
from treadle.models import OpenAIModel, Price, ToolCall
from treadle.nodes.graph import Graph
from treadle.testing import openapi_check

PRICE: Final = Price(input_mtok=Decimal(1), output_mtok=Decimal(4))
GOODBYE: Final = "Is there anything else I can do for you?"
MOST_TURNS: Final = 20
SCHEMA: Final = openapi_check(DATA.parent / "openai" / "openapi_subset.json.gz")
"""Judges requests to the model by what its provider has published."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a customer wants.

    Attributes:
        said: What the customer says.
        calls: The calls that solve it, by name and arguments.
    """

    id: str
    said: str
    calls: tuple[tuple[str, Record], ...]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What it must come to; made by others.

    Attributes:
        went_well: Whether each call does.
        changed: The records that differ afterwards, by kind and id.
    """

    went_well: tuple[bool, ...]
    changed: Changes


@cache
def tasks() -> dict[str, Task]:
    """All tasks by id."""
    return {line["id"]: _task(line) for line in lines(DATA / "tasks.jsonl.gz")}


def _task(line: Record) -> Task:
    told = line["user_scenario"]["instructions"]
    said = f"Task {line['id']}. {told['reason_for_call']} {told['known_info']}"
    actions = line["evaluation_criteria"]["actions"]
    calls = tuple((action["name"], action["arguments"]) for action in actions)
    return Task(id=line["id"], said=said, calls=calls)


@cache
def expected() -> dict[str, Expected]:
    """What each task must come to."""
    return {
        line["task"]: Expected(
            went_well=tuple(result["ok"] for result in line["results"]),
            changed={
                (kind, key): stated(record)
                for kind, records in line["expected_changed_records"].items()
                for key, record in records.items()
            },
        )
        for line in lines(DATA / "expected_state.jsonl.gz")
    }


def lines(path: Path) -> Iterator[Record]:
    """The lines of a packed file."""
    for line in gzip.decompress(path.read_bytes()).splitlines():
        yield json.loads(line)


def answer(request: ModelRequest) -> object:
    """Make the next call of the task that the request is about, or say goodbye."""
    said = next(message.text for message in request.messages if message.role == "user")
    task = tasks()[said.removeprefix("Task ").partition(".")[0]]
    done = sum(message.role == "tool" for message in request.messages)
    if done == len(task.calls):
        return GOODBYE
    name, arguments = task.calls[done]
    return ToolCall(id=f"call_{task.id}_{done}", name=name, arguments=json.dumps(arguments))


def clerk(url: str) -> Graph[[str], str]:
    """An agent that serves customers, with a model at an address."""
    policy = gzip.decompress((DATA / "policy.md.gz").read_bytes()).decode()
    model = OpenAIModel("scripted", base_url=url, api_key="none", price=PRICE)

    @agent(model=model, tools=(*LOOKING, *WRITING), max_turns=MOST_TURNS, instructions=policy)
    async def serve(said: str) -> Prompt[str]:
        return Prompt(said)

    @graph
    def shop(said: str) -> str:
        return serve(said)

    return shop


def went_well(events: list[Event]) -> tuple[bool, ...]:
    """Whether each call of a tool did, in the order they were made."""
    started: dict[tuple[NodeId, int, StepId], None] = {}
    ended: dict[tuple[NodeId, int, StepId], bool] = {}
    for event in events:
        if isinstance(event, StepStarted) and event.callee_kind == "tool":
            started[event.node, event.attempt, event.step] = None
        elif isinstance(event, StepCompleted | StepFailed):
            ended[event.node, event.attempt, event.step] = isinstance(event, StepCompleted)
    return tuple(ended[key] for key in started if key in ended)
