"""A journey: bookings side by side in a task group, each of steps within steps, one of which fails first."""

from __future__ import annotations

import anyio

from graphs.case import Case, Till, turns
from treadle import Ask, Context, Prompt, agent, do, graph, node, tool, when
from treadle.messages import ModelRequest
from treadle.testing import call


@tool(effect="once", in_doubt="retry")
async def reserve(ctx: Context, what: str, nights: int) -> str:
    """Reserve something under a key: the same key again changes nothing."""
    return ctx.resource(Till).act_under_key(ctx.idempotency_key, f"reserved {what}", f"{what}/{nights}")


@tool(effect="once", in_doubt="ask")
async def charge(ctx: Context, what: str) -> int:
    """Charge the traveller."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"charged for {what}", len(what))


async def find_insurance(ctx: Context, town: str) -> str:
    """Find out whether a journey was insured."""
    return ctx.resource(Till).find(ctx.idempotency_key)


@tool(effect="once", in_doubt=find_insurance)
async def insure(ctx: Context, town: str) -> str:
    """Insure a journey; who asks twice is insured twice."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"insured {town}", f"policy of {town}")


@node
async def full(what: str) -> str:
    raise LookupError(f"{what} is full")


@node
async def priced(what: str, factor: int) -> int:
    return factor * len(what)


@agent(model="auto", tools=[reserve])
async def advise(town: str) -> Prompt[str]:
    return Prompt(f"Advise on {town}.")


@node
async def booked(ctx: Context, what: str) -> list[str]:
    """Ask for a price, and reserve; where one is full, take the next."""
    price = await ctx.step(priced, what, 2)
    if price > 10:
        try:
            await ctx.step(full, what)
        except Exception:
            what = f"small {what}"
    return [await ctx.step(reserve, what, 3), str(await ctx.step(priced, what, 3))]


@node
async def travel(ctx: Context, town: str) -> list[str]:
    """Book all at once, then charge once."""
    found: dict[str, list[str]] = {}

    async def book(what: str) -> None:
        found[what] = await ctx.step(booked, what)

    async with anyio.create_task_group() as tasks:
        for what in ("train", "hotel room", "bicycle"):
            tasks.start_soon(book, f"{what}")
        tasks.start_soon(ask, ctx, found)
    paid = await ctx.step(charge, town)
    policy = await ctx.step(insure, town)
    return [*(text for _, texts in sorted(found.items()) for text in texts), str(paid), policy]


async def ask(ctx: Context, found: dict[str, list[str]]) -> None:
    """Ask the traveller while the rest is booked."""
    found["wish"] = [await ctx.ask(Ask("Wishes for the journey?", to="traveller", answer=str))]


@graph
def tour(town: str) -> list[str]:
    advice = advise(town)
    return when(advice == "go", do(advice, travel(town)), booked(town))


def says(request: ModelRequest) -> object:
    return [call("reserve", what="a guide", nights=1), "go"][turns(request)]


CASE = Case(wired=tour, args=["Delft"], says=says, answers={"Wishes": "a seat at the window"})
