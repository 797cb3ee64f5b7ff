"""Orders: an item at a time, lists within lists, an item that fails and one that a person looks at."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from graphs.case import Case, Till
from treadle import Ask, Budget, Context, Failure, Prompt, agent, each, graph, human, match, node, tool
from treadle.messages import ModelRequest


class Order(BaseModel):
    """What somebody orders."""

    customer: str
    items: list[str]


@agent(model="auto")
async def stocked(item: str) -> Prompt[Literal["yes", "no", "ask"]]:
    return Prompt(f"Is there {item}?")


@node
async def plain(item: str) -> str:
    return f"1 {item}"


@node
async def missing(item: str) -> str:
    raise LookupError(f"no {item} left")


@human(to="clerks")
async def looked(item: str) -> Ask[str]:
    return Ask(f"Look for {item}", show=item)


@graph
def picked(item: str) -> str:
    return match(stocked(item), {"yes": plain(item), "no": missing(item), "ask": looked(item)})


@node
async def parted(order: Order) -> list[str]:
    return order.items


@tool(effect="once", in_doubt="ask")
async def ship(ctx: Context, order: Order, parcels: list[str | Failure]) -> str:
    """Send off what was found."""
    found = [parcel for parcel in parcels if isinstance(parcel, str)]
    what = f"{len(found)} of {len(parcels)} to {order.customer}"
    return ctx.resource(Till).act(ctx.idempotency_key, what, what)


@graph(budget=Budget(usd="0.40"))
def handled(order: Order) -> str:
    return ship(order, each(at_once=2, on_error="collect")(picked, parted(order)))


@node
async def read(letters: list[str]) -> list[Order]:
    return [Order(customer=letter[0], items=letter[1:].split()) for letter in letters]


@graph(budget=Budget(usd="2"))
def orders(letters: list[str]) -> list[str]:
    return each(handled, read(letters))


def says(request: ModelRequest) -> object:
    item = request.messages[0].text.removeprefix("Is there ").rstrip("?")
    return {"answer": {"salt": "no", "silk": "ask"}.get(item, "yes")}


CASE = Case(
    wired=orders, args=[["a tea salt silk", "b", "c tea tea"]], says=says, answers={"Look": "a bolt of silk"}
)
