"""Programs that both type checkers must accept in their strictest setting.  Read, never run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Literal, assert_type

from pydantic import BaseModel

from treadle import (
    Ask,
    Budget,
    Context,
    Failure,
    Passage,
    Plan,
    Prompt,
    Retriever,
    Retry,
    agent,
    do,
    each,
    fallback,
    graph,
    human,
    is_none,
    loop,
    match,
    narrow,
    node,
    not_,
    race,
    some,
    tool,
    when,
)


class Ticket(BaseModel):
    customer: str
    body: str
    order: str | None = None


class Triage(BaseModel):
    question: str
    difficulty: Literal["easy", "hard", "person"]


class Reply(BaseModel):
    text: str


class Order(BaseModel):
    id: str
    amount: Decimal


@dataclass(frozen=True)
class Receipt:
    id: str


def quote(passages: list[Passage]) -> str:
    return "\n".join(passage.text for passage in passages)


@tool
async def find_order(order_id: str) -> Order:
    """Look up an order by its number."""
    return Order(id=order_id, amount=Decimal(1))


@tool(effect="once", in_doubt="ask")
async def refund(ctx: Context, order_id: str, amount: Decimal) -> Receipt:
    """Refund an amount on an order."""
    return Receipt(id=f"{ctx.idempotency_key} {order_id} {amount}")


@agent(model="auto:small")
async def triage(ticket: Ticket) -> Prompt[Triage]:
    return Prompt(f"Classify this ticket.\n\n{ticket.body}")


handbook = Retriever("handbook", index="handbook.sqlite")


@agent(model="auto:small")
async def quick(ticket: Ticket, passages: list[Passage]) -> Prompt[Reply]:
    return Prompt(f"Answer from these passages only.\n\n{quote(passages)}\n\n{ticket.body}")


@agent(model="auto", tools=[find_order, refund], budget=Budget(usd="0.05"), max_turns=8)
async def expert(ticket: Ticket, passages: list[Passage]) -> Prompt[Reply]:
    return Prompt(f"Solve this. Use the tools.\n\n{quote(passages)}\n\n{ticket.body}")


@human(to="support-leads", within="4h")
async def desk(ticket: Ticket) -> Ask[Reply]:
    return Ask(f"Answer {ticket.customer}", show=ticket)


@graph(budget=Budget(usd="0.20", seconds=120))
def support(ticket: Ticket) -> Reply:
    t = triage(ticket)
    passages = handbook(t.question, k=4)
    return match(
        t.difficulty,
        {
            "easy": quick(ticket, passages),
            "hard": fallback(expert(ticket, passages), desk(ticket)),
            "person": desk(ticket),
        },
    )


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Circle(BaseModel):
    radius: float


class Square(BaseModel):
    side: float


@node
async def shape(name: str) -> Circle | Square:
    return Circle(radius=1.0) if name == "circle" else Square(side=1.0)


@node(retry=Retry(attempts=3), timeout="10s")
async def area(ctx: Context, circle: Circle) -> float:
    ctx.progress("measuring")
    return 3.14 * circle.radius**2


@node
async def tell(text: str, *, loud: bool = False) -> None:
    del text, loud


@node
async def colour_of(ticket: Ticket) -> Colour:
    return Colour.RED if ticket.order else Colour.BLUE


@node
async def buy(ctx: Context, ticket: Ticket) -> str:
    order = await ctx.step(find_order, ticket.order or "")
    assert_type(order, Order)
    receipt = await ctx.step(refund, order.id, amount=order.amount)
    assert_type(receipt, Receipt)
    is_fine = await ctx.ask(Ask("Is it fine?", to="leads", answer=bool))
    assert_type(is_fine, bool)
    return receipt.id if is_fine else ""


@graph
def shapes(name: str) -> float:
    found = shape(name)
    return match(found, {Circle: area(narrow(found, Circle)), Square: narrow(found, Square).side})


@node
async def sizes(name: str) -> list[int] | None:
    return [1] if name else None


@node
async def largest(found: list[int]) -> int:
    return max(found)


@graph
def size(name: str) -> int:
    found = narrow(sizes(name), list[int])
    assert_type(found, list[int])
    return largest(found)


@graph(name="everything", on_failure="cancel")
def everything(ticket: Ticket, count: int = 1) -> str | None:
    order = find_order(some(ticket.order))
    assert_type(order, Order)
    big = (order.amount > 100) & not_(is_none(ticket.order)) | (count == 2)
    assert_type(big, bool)
    said = [tell.named(f"tell{i}")(order.id, loud=True) for i in range(3)]
    chosen = when(big, order.id, None)
    assert_type(chosen, str | None)
    reply = support(ticket)
    assert_type(reply, Reply)
    coloured = match(colour_of(ticket), {Colour.RED: 1, Colour.BLUE: 2})
    assert_type(coloured, int)
    other = match(count, {1: "one"}, otherwise=2)
    assert_type(other, str | int)
    return do(*said, coloured, other, tell(reply.text), chosen)


@node
async def split(ticket: Ticket) -> list[Ticket]:
    return [ticket]


@node
async def revise(reply: Reply, ticket: Ticket) -> Reply:
    return Reply(text=f"{ticket.body}: {reply.text}")


@node
async def polish(reply: Reply) -> Reply:
    return reply


@node
async def is_good(reply: Reply) -> bool:
    return bool(reply.text)


@node
async def order_or_triage(kept: list[Triage | Failure], dropped: list[Reply]) -> Triage | Order:
    for one in kept:
        if isinstance(one, Triage):
            return one
    return Order(id=dropped[0].text, amount=Decimal(0))


@graph
def repeated(ticket: Ticket) -> tuple[list[list[Reply]], Reply, Triage | Order]:
    tickets = split(ticket)
    triaged = each(triage, tickets)
    assert_type(triaged, list[Triage])
    kept = each(at_once=4, on_error="collect")(triage, tickets)
    assert_type(kept, list[Triage | Failure])
    dropped = each(on_error="drop")(support, tickets)
    assert_type(dropped, list[Reply])
    nested = each(several, tickets)
    assert_type(nested, list[list[Reply]])
    polished = loop(polish, support(ticket), until=is_good, at_most=3)
    assert_type(polished, Reply)
    shorter = loop(polish, polished, until=lambda one: one.text == "", at_most=3)
    assert_type(shorter, Reply)
    revised = loop(until=is_good, at_most=4)(revise, shorter, ticket)
    assert_type(revised, Reply)
    first = race(triaged[0], order_or_triage(kept, dropped))
    assert_type(first, Triage | Order)
    return nested, revised, first


@graph
def several(ticket: Ticket) -> list[Reply]:
    return each(at_once=2)(support, split(ticket))


retried = expert.using(retry=Retry(attempts=3), timeout="30s", model="openai:gpt-5", budget=Budget(calls=3))


@graph
def again(ticket: Ticket) -> Reply:
    return retried.named("again")(ticket, handbook(ticket.body))


def read(text: str) -> Plan:
    return Plan.from_json(text) if text else support.plan


async def call(ticket: Ticket) -> Prompt[Triage]:
    return await triage.function(ticket)
