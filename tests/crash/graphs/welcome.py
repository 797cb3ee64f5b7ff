"""A new colleague: a body asks twice between its effects; an attempt fails after a step that is kept."""

from __future__ import annotations

from graphs.case import Case, Till
from treadle import Ask, Context, Prompt, Retry, agent, do, graph, human, node, tool, when
from treadle.messages import ModelRequest


class Busy(Exception):
    """The desk is busy: nothing was done."""


@tool(effect="once", in_doubt="ask", retry=Retry(attempts=3, wait=0.0, on=(Busy,)))
async def register(ctx: Context, name: str) -> int:
    """Give somebody a number."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"registered {name}", len(name))


@tool(effect="once", in_doubt="retry")
async def mail(ctx: Context, name: str, text: str) -> str:
    """Send a mail under a key: the same key again changes nothing."""
    return ctx.resource(Till).act_under_key(ctx.idempotency_key, f"mailed {name}: {text}", "sent")


@agent(model="auto")
async def greeting(name: str) -> Prompt[str]:
    return Prompt(f"Greet {name}.")


@node(retry=Retry(attempts=2, wait=0.0))
async def badge(ctx: Context, name: str) -> str:
    """Fails at its first attempt, after a step that is kept."""
    number = await ctx.step(register, f"badge of {name}")
    if ctx.attempt == 1:
        raise ConnectionError("the printer is offline")
    return f"badge {number}"


@node
async def settled(ctx: Context, name: str, text: str) -> list[str]:
    """Ask, act, ask again, act again."""
    desk = await ctx.ask(Ask("Desk for whom?", to="office", answer=str, show=name))
    number = await ctx.step(register, f"{name} at {desk}")
    keys = await ctx.ask(Ask("Keys wanted?", to="office", answer=bool, show=number))
    sent = await ctx.step(mail, name, f"{text} keys={keys}")
    return [desk, str(number), sent, await ctx.step(mail, "the team", f"{name} has come")]


@human(to="boss")
async def confirm(name: str) -> Ask[bool]:
    return Ask(f"Confirm {name}")


@graph
def welcome(name: str) -> list[object]:
    text = greeting(name)
    hired = confirm(name)
    return [when(hired, settled(name, text), [name]), do(text, badge(name))]


def says(request: ModelRequest) -> object:
    return f"Welcome! ({len(request.messages[0].text)})"


CASE = Case(wired=welcome, args=["mia"], says=says, answers={"Desk": "window", "Keys": True, "Confirm": True})
