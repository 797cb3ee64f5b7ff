"""The graphs that the tests of this room ask people with."""

from __future__ import annotations

from collections import Counter
from typing import Any

from anyio import create_task_group
from pydantic import BaseModel, field_validator

from treadle import Ask, Context, fallback, graph, human, node

calls: Counter[str] = Counter()
"""How often each body ran."""


class Draft(BaseModel):
    text: str
    price: int = 0


class Verdict(BaseModel):
    ok: bool
    why: str = ""

    @field_validator("why")
    @classmethod
    def _says_something(cls, why: str) -> str:
        if why == "because":
            raise ValueError("say more than 'because'")
        return why


@node
async def write(topic: str) -> Draft:
    calls["write"] += 1
    return Draft(text=f"on {topic}", price=len(topic))


@human(to="editors")
async def review(draft: Draft) -> Ask[Verdict]:
    return Ask(f"Is this good? {draft.text}", show=draft)


@node
async def publish(draft: Draft, verdict: Verdict) -> str:
    calls["publish"] += 1
    return f"{draft.text}: {verdict.ok}"


@graph
def article(topic: str) -> str:
    draft = write(topic)
    return publish(draft, review(draft))


@human(to="desk", within="1h")
async def desk(question: str) -> Ask[str]:
    return Ask(question)


@human(to="boss", within="2h")
async def boss(question: str) -> Ask[str]:
    return Ask(question)


@graph
def escalated(question: str) -> str:
    return fallback(desk(question), boss(question))


@graph
def asked_once(question: str) -> str:
    return desk(question)


@node
async def dear(text: str) -> str:
    calls["dear"] += 1
    return text.upper()


@node
async def both(ctx: Context, text: str) -> str:
    """Two people and a dear call, all at once."""
    calls["both"] += 1
    said: dict[str, Any] = {}

    async def ask(who: str) -> None:
        said[who] = await ctx.ask(Ask(f"{who}, is {text} fine?", to=who, answer=bool))

    async def work() -> None:
        said["dear"] = await ctx.step(dear, text)

    async with create_task_group() as group:
        group.start_soon(ask, "ann")
        group.start_soon(ask, "bob")
        group.start_soon(work)
    return f"{said['ann']} {said['bob']} {said['dear']} {ctx.attempt}"


@graph
def both_at_once(text: str) -> str:
    return both(text)


@node
async def through_steps(ctx: Context, text: str) -> str:
    """A person as a step, between two dear calls."""
    before = await ctx.step(dear, text)
    verdict = await ctx.step(review, Draft(text=before))
    after = await ctx.step(dear, f"{before}!")
    return f"{after} {verdict.ok} {ctx.attempt}"


@graph
def stepwise(text: str) -> str:
    return through_steps(text)
