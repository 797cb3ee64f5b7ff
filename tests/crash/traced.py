"""A run to be watched from outside: ``python traced.py DATABASE GRAPH MODEL_URL``.

What it does is written to standard output as it happens, so that it stands among the system calls.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from typing import Any

import anyio

from treadle import Budget, Context, Engine, Prompt, agent, graph, node, tool
from treadle.models import OpenAIModel, Price

LENGTH = 50


@node
async def following(number: int) -> int:
    return number + 1


@graph
def chain() -> int:
    """Fifty nodes in a row that nobody pays for."""
    number = 0
    for _ in range(LENGTH):
        number = following(number)
    return number


@tool
async def look(account: str) -> int:
    """Say what is in an account."""
    os.write(1, b"looked")
    return 12


@tool(effect="once")
async def pay(ctx: Context, account: str) -> str:
    """Pay into an account."""
    os.write(1, b"paid")
    return "paid"


@agent(model="auto", tools=[look, pay])
async def clerk() -> Prompt[int]:
    return Prompt("Look, pay, and answer.")


@graph(budget=Budget(usd="1"))
def paying() -> int:
    """Three requests, a tool that looks, and one that acts."""
    return clerk()


async def main(database: str, name: str, url: str) -> None:
    price = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
    model = OpenAIModel("scripted", base_url=url, api_key="-", price=price)
    wanted: Any = {"chain": chain, "paying": paying.using(model=model)}[name]
    async with Engine(f"sqlite:///{database}") as engine:
        os.write(1, b"begin")
        handle = await engine.start(wanted)
        os.write(1, b"started")
        await handle.result()
        os.write(1, b"end")
        await model.aclose()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
