"""Treadle's side: what its README shows, with all that it does by default."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import LAYERS, NODES, STEPS, WIDTH, layered_needs, main

from treadle import Engine, graph, node, run, tool

FOLDER = Path(sys.argv[2])


@node
async def step(x: int) -> int:
    return x


@node
async def join(values: list[int]) -> int:
    return len(values)


@node
async def mix(a: int, b: int, c: int) -> int:
    return a + b - c


@tool(effect="once")
async def act(x: int) -> int:
    """Act once."""
    return x


@graph
def chain(x: int) -> int:
    for _ in range(NODES):
        x = step(x)
    return x


@graph
def fan(x: int) -> int:
    return join([step(x) for _ in range(NODES - 1)])


@graph
def layered(x: int) -> int:
    nodes: list[int] = []
    for needs in layered_needs():
        nodes.append(mix(nodes[needs[0]], nodes[needs[1]], nodes[needs[2]]) if needs else step(x))
    return join(nodes[-WIDTH:])


@graph
def durable(x: int) -> int:
    for _ in range(STEPS):
        x = act(x)
    return x


async def stored() -> None:
    async with Engine(f"sqlite:///{FOLDER / 'treadle.db'}", graphs=[durable]) as engine:
        await (await engine.start(durable, 1)).result()


main(
    {
        "chain": (lambda: run(chain, 1), NODES),
        "fan": (lambda: run(fan, 1), NODES),
        "layered": (lambda: run(layered, 1), LAYERS * WIDTH + 1),
        "durable": (stored, STEPS),
    }
)
