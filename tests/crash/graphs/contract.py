"""A contract: drafted in rounds with a person in each, all clauses at once, after a race somebody lost."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from pydantic import BaseModel

from graphs.case import Case, Till
from treadle import (
    Ask,
    Budget,
    Context,
    Prompt,
    agent,
    each,
    fallback,
    graph,
    human,
    loop,
    node,
    race,
    tool,
)
from treadle.errors import LoopLimit
from treadle.messages import ModelRequest


class Draft(BaseModel):
    """A contract so far."""

    clauses: list[str]
    rounds: int = 0


@agent(model="auto", budget=Budget(usd="0.20"))
async def worded(clause: str, rounds: int) -> Prompt[str]:
    return Prompt(f"Word clause {clause} in round {rounds}.")


@tool(effect="once", in_doubt="ask")
async def filed(ctx: Context, clauses: list[str], said: str) -> list[str]:
    """Put clauses on file."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"filed {len(clauses)} after {said}", clauses)


@human(to="partners")
async def read_through(draft: Draft) -> Ask[str]:
    return Ask(f"Read draft {draft.rounds}", show=draft)


@node
async def put_together(draft: Draft, clauses: list[str]) -> Draft:
    return Draft(clauses=clauses, rounds=draft.rounds + 1)


@graph
def revised(draft: Draft) -> Draft:
    clauses = each(at_once=2)(worded, draft.clauses, rounds=draft.rounds)
    return put_together(draft, filed(clauses, read_through(draft)))


@node
async def never(topic: str) -> Draft:
    await anyio.sleep_forever()
    raise AssertionError(topic)


@node
async def forgotten(topic: str) -> Draft:
    raise LookupError(f"nobody remembers {topic}")


@node
async def outlined(topic: str) -> Draft:
    await anyio.lowlevel.checkpoint()
    return Draft(clauses=[f"{topic} {number}" for number in "ab"])


@node
async def given_up(topic: str) -> Draft:
    return Draft(clauses=[topic])


@graph(budget=Budget(usd="2"))
def contract(topic: str) -> list[Draft]:
    outline = race(never(topic), forgotten(topic), outlined(topic))
    good = loop(revised, outline, until=lambda draft: draft.rounds >= 2, at_most=3)
    endless = loop(revised, outline, until=lambda draft: draft.rounds > 5, at_most=1)
    return [good, fallback(endless, given_up(topic), on=LoopLimit)]


def says(request: ModelRequest) -> object:
    return request.messages[0].text[-30:]


CASE = Case(wired=contract, args=["rent"], says=says, answers={"Read": "no changes"})
