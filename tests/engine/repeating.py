"""A process that is to be killed in the middle of 200 items: ``python repeating.py DATABASE MARKS``.

Items from the hundredth on never end there.  Once they are what is left, and all before them is recorded,
it says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

from treadle import Engine, each, graph, node
from treadle.events import NodeCompleted
from treadle.nodes.graph import Graph

ITEMS, DONE, AT_ONCE = 200, 100, 8


def made(marks: Path, *, last: int) -> Graph[[int], int]:
    """A graph that notes each item it works on; those from ``last`` on never end."""

    @node
    async def numbers(count: int) -> list[int]:
        return list(range(count))

    @node
    async def work(item: int) -> int:
        with marks.open("a") as file:
            file.write(f"{item}\n")
        if item >= last:
            await anyio.sleep_forever()
        return item + 1

    @node
    async def total(found: list[int]) -> int:
        return sum(found)

    @graph
    def summing(count: int) -> int:
        return total(each(at_once=AT_ONCE)(work, numbers(count)))

    return summing


async def work_until_killed(database: str, marks: Path) -> None:
    graph = made(marks, last=DONE)
    async with Engine(database, graphs=[graph]) as engine:
        handle = await engine.start(graph, ITEMS, run_id="r")
        finished = 0
        async for record in handle.events():
            event = record.event
            finished += isinstance(event, NodeCompleted) and event.node.startswith("each")
            if finished == DONE:
                break
        while len(marks.read_text().split()) < DONE + AT_ONCE:  # noqa: ASYNC240 - nothing else is to do
            await checkpoint()
        print("recorded", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(work_until_killed, sys.argv[1], Path(sys.argv[2]))
