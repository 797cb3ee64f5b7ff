"""Graphs that a server offers: one answers, one fails, one asks a person, one never ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel

from treadle import Ask, Context, graph, human, match, node


class Order(BaseModel):
    """An order of cloth.

    Attributes:
        ells: How much.
    """

    ells: int
    colour: Literal["red", "blue"] = "red"


class Receipt(BaseModel):
    """What was done."""

    words: str


@node
async def sort(order: Order) -> Literal["small", "large", "none", "endless"]:
    if order.ells < 0:
        return "endless"
    if order.ells == 0:
        return "none"
    return "small" if order.ells < 10 else "large"


@node
async def weave(order: Order) -> Receipt:
    return Receipt(words=f"{order.ells} ells of {order.colour}")


@node
async def refuse(order: Order) -> Receipt:
    raise ValueError("no cloth has no length")


def stopped() -> None:
    Path(os.environ["SPUN"]).write_text("stopped")


@node
async def spin(ctx: Context, order: Order) -> Receipt:
    ctx.progress("spinning", 0.5)
    try:
        await anyio.sleep_forever()
    finally:
        stopped()
    return Receipt(words="")


@human(to="master")
async def ask_master(order: Order) -> Ask[Receipt]:
    return Ask(f"May we weave {order.ells} ells?", show=order)


@graph
def loom(order: Order) -> Receipt:
    """Weave cloth to order.

    Args:
        order: What is wanted.
    """
    return match(
        sort(order),
        {"small": weave(order), "large": ask_master(order), "none": refuse(order), "endless": spin(order)},
    )


@node
async def double(x: int) -> int:
    print("this is no message of the protocol")
    return 2 * x


@graph
def doubled(x: int) -> int:
    return double(x)
