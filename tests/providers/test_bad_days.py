"""Each bad day, for each interface, streamed and not, ends in the right answer or in one typed error.

Requests stay within the policy and are reported, each is charged once, and nothing waits that need not.
"""

from __future__ import annotations

import itertools
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bad_days import DAYS, Day, Provider
from interfaces import ALL, Interface, Serve
from pydantic import BaseModel

from treadle import Budget, Engine, Prompt, agent, graph, tool
from treadle.budget import NOTHING, Amounts, Price
from treadle.errors import TreadleError
from treadle.events import Event, MoneyHeld, MoneySettled, RunEnded
from treadle.messages import Piece
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock, ScriptedModel

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
TIMEOUT = 0.5  # seconds, where the first request is to run into it
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "bad-days.md"


class Answer(BaseModel):
    said: str


@tool
async def find(key: str) -> str:
    """Find it."""
    return key


def pipeline(model: Any) -> Any:
    @agent(model=model, tools=[find])
    async def clerk(question: str) -> Prompt[Answer]:
        return Prompt(question)

    @graph(budget=Budget(usd="0.10", calls=20))
    def desk(question: str) -> Answer:
        return clerk(question)

    return desk


async def live(day: Day, interface: Interface, serve: Serve) -> tuple[Any, list[Event], int, JumpingClock]:
    """Live through a day; gives the answer or error, the history, the requests that arrived, the clock."""
    replies = day.replies(Provider(interface))
    server = serve(
        ScriptedModel(lambda _: Answer(said="It is on its way.")),
        faults=lambda number: replies[number - 1] if number <= len(replies) else None,
    )
    options: dict[str, Any] = {"timeout": TIMEOUT} if day.slow else {}
    model, clock = interface.model(server, price=PRICE, **options), JumpingClock()
    try:
        async with Engine(MemoryStore(), clock=clock) as engine:
            handle = await engine.start(pipeline(model), "where is it?")
            events: list[Event] = []
            if interface.streamed:
                heard = [item async for item in handle.events(pieces=True)]
                events = [item.event for item in heard if not isinstance(item, Piece)]
            else:
                events = [item.event async for item in handle.events()]
            try:
                return await handle.result(), events, server.count, clock
            except TreadleError as error:
                return error, events, server.count, clock
    finally:
        for reply in replies:
            if reply.hold is not None:
                reply.hold.set()


def due(day: Day, held: list[MoneyHeld], settled: list[MoneySettled]) -> list[Amounts]:
    """What each request has to be charged."""
    result: list[Amounts] = []
    for kind, hold, settlement in zip(day.charged, held, settled, strict=True):
        counted = Amounts(usd=PRICE.cost(settlement.usage), tokens=settlement.usage.total_tokens, calls=1)
        result.append({"call": Amounts(calls=1), "held": hold.held, "usage": counted}[kind])
    return result


def cases() -> list[tuple[Day, Interface, str]]:
    """Each day for each interface, on one event loop and the other in turn; in the long form on both."""
    every = list(itertools.product([day for day in DAYS if not day.slow], ALL))
    if os.environ.get("TREADLE_ATTACK"):
        return [(day, interface, loop) for day, interface in every for loop in ("asyncio", "trio")]
    loops = itertools.cycle(["asyncio", "trio", "trio", "asyncio", "asyncio"])
    return [(day, interface, loop) for (day, interface), loop in zip(every, loops, strict=False)]


@pytest.mark.attack
@pytest.mark.parametrize(("day", "interface", "anyio_backend"), cases(), ids=str)
async def test_a_bad_day_ends_well(day: Day, interface: Interface, serve: Serve) -> None:
    await _ends_well(day, interface, serve)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("interface", ALL, ids=str)
@pytest.mark.parametrize("day", [day for day in DAYS if day.slow], ids=str)
async def test_a_slow_day_ends_well(day: Day, interface: Interface, serve: Serve) -> None:
    await _ends_well(day, interface, serve)


async def _ends_well(day: Day, interface: Interface, serve: Serve) -> None:
    outcome, events, arrived, clock = await live(day, interface, serve)
    if day.error is None:
        assert outcome == Answer(said="It is on its way.")
    else:
        assert type(outcome) is day.error
        assert day.says in str(outcome)
    held = [event for event in events if isinstance(event, MoneyHeld)]
    settled = [event for event in events if isinstance(event, MoneySettled)]
    assert arrived == day.requests == len(held) == len(settled)
    assert [event.charged for event in settled] == due(day, held, settled)
    [ended] = [event for event in events if isinstance(event, RunEnded)]
    assert ended.spent == sum((event.charged for event in settled), NOTHING)
    waited = clock.now() - JumpingClock().now()
    least, most = day.waits or (0, 0)
    assert least <= round(waited, 3) <= most


def test_the_documentation_tells_each_day_and_how_it_ends() -> None:
    rows = {
        cells[0]: cells[1:]
        for line in DOCS.read_text().splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    for day in DAYS:
        ends, requests, charged = rows[day.name][:3]
        assert ends == ("the right answer" if day.error is None else f"`{day.error.__name__}`"), day.name
        assert (int(requests), charged) == (day.requests, " + ".join(day.charged)), day.name
