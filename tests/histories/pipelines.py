"""The graphs whose histories are kept: agents, people, effects, subgraphs, failures, retries, steps, edits.

A history names nodes and types, and no code; so what is here may grow, and must not change.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import anyio
from pydantic import BaseModel

from treadle import (
    Ask,
    Budget,
    Context,
    Prompt,
    Retry,
    agent,
    do,
    each,
    fallback,
    graph,
    human,
    loop,
    match,
    node,
    race,
    tool,
    when,
)
from treadle.budget import Price
from treadle.events import Failure
from treadle.messages import ModelRequest
from treadle.testing import ScriptedModel, call

RAN: list[str] = []
"""What was really done since the module was loaded."""

IS_BROKEN = False
"""Whether ``fragile`` fails for good."""

STUCK: list[str] = []
"""Calls that hang, as those of a process that is about to die do."""


class Ticket(BaseModel):
    customer: str
    body: str


class Reply(BaseModel):
    text: str
    refunded: Decimal | None = None


@tool
async def find_order(customer: str) -> str:
    """Find the newest order of a customer."""
    RAN.append(f"find_order {customer}")
    return f"order of {customer}: 2 lamps, one broken"


@tool(effect="once", in_doubt="ask")
async def refund(ctx: Context, customer: str, amount: Decimal) -> str:
    """Refund an amount to a customer."""
    RAN.append(f"refund {customer} {amount}")
    if "refund" in STUCK:
        await anyio.sleep_forever()
    return f"refunded {amount} ({ctx.idempotency_key[:6]})"


def answers(request: ModelRequest) -> object:
    """A model that looks an order up and sorts it, refunds, and replies; it looks at the request alone."""
    told = [part for message in request.messages if message.role == "tool" for part in message.parts]
    if not told:
        return [call("find_order", customer="ada")]
    if len(told) == 1:
        return [call("find_order", customer="bob"), call("refund", customer="ada", amount="10.50")]
    return Reply(text="We have refunded the broken lamp.", refunded=Decimal("10.50"))


MODEL = ScriptedModel(answers, price=Price(input_mtok=Decimal(3), output_mtok=Decimal(15)))


@agent(model=MODEL, tools=[find_order, refund], budget=Budget(usd="0.50"), max_turns=5)
async def clerk(ticket: Ticket) -> Prompt[Reply]:
    return Prompt(f"Solve this: {ticket.body}")


@human(to="leads")
async def approve(reply: Reply) -> Ask[Literal["send", "drop"]]:
    return Ask("May this be sent?", show=reply)


@node
async def sort(ticket: Ticket) -> Literal["complaint", "praise"]:
    RAN.append("sort")
    return "complaint" if "broken" in ticket.body else "praise"


@node
async def thank(ticket: Ticket, warmly: bool = True) -> Reply:
    RAN.append("thank")
    return Reply(text=f"Thank you, {ticket.customer}{'!' if warmly else '.'}")


@node(retry=Retry(attempts=3, wait=3600))
async def fragile(ctx: Context, text: str) -> str:
    RAN.append(f"fragile {text}")
    if IS_BROKEN or ctx.attempt == 1:
        raise ValueError(f"no luck with {text}")
    return text.upper()


@node
async def plain(text: str) -> str:
    RAN.append(f"plain {text}")
    return f"<{text}>"


@node
async def steps(ctx: Context, text: str) -> str:
    first = await ctx.step(plain, text)
    drawn, at = ctx.random.randint(1, 6), ctx.now().isoformat()
    second = await ctx.step(plain, f"{first} {drawn}")
    said = await ctx.ask(Ask("Go on?", to="leads", show=second, answer=str))
    return f"{second} {at[:10]} {said}"


@graph
def handling(ticket: Ticket) -> Reply:
    return match(sort(ticket), {"complaint": clerk(ticket), "praise": thank(ticket)})


@graph(budget=Budget(usd="1.00"))
def support(ticket: Ticket) -> Reply:
    reply = handling(ticket)
    verdict = approve(reply)
    return when(verdict == "send", do(plain(reply.text), reply), thank(ticket, warmly=False))


@graph(name="support", budget=Budget(usd="1.00"))
def support_edited(ticket: Ticket) -> Reply:
    reply = clerk.named("desk")(ticket)
    verdict = approve.named("lead")(reply)
    return when(verdict == "send", do(plain(reply.text), plain(ticket.body), reply), thank(ticket))


@graph
def trying(text: str) -> str:
    return fallback(fragile(text), plain("given up"), on=KeyError)


@graph
def stepping(text: str) -> str:
    return steps(plain(text))


@graph
def paying(customer: str) -> list[str]:
    return together([refund(customer, Decimal(5)), plain(customer)])


@node
async def together(parts: list[str]) -> list[str]:
    return parts


@node
async def longer(text: str) -> str:
    RAN.append(f"longer {text}")
    return text + text[-1]


@graph
def part(text: str) -> str:
    return plain(loop(longer, text, until=lambda found: found == "bbbb", at_most=5))


@human(to="leads")
async def release(parts: list[str | Failure]) -> Ask[str]:
    return Ask("Release them?", show=[part if isinstance(part, str) else part.type for part in parts])


@graph
def listing(texts: list[str]) -> str:
    return release(each(on_error="collect")(part, texts))


@graph(name="listing")
def listing_edited(texts: list[str]) -> str:
    first = race(plain("a"), plain.named("other")("a"))
    return release.named("again")(each(on_error="collect", at_once=2)(part, ["bbb", first]))
