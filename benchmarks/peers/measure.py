"""What every side of the comparison does alike: it is told the work, and prints what a unit of it costs.

Imports nothing but the standard library, so that it runs in each environment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

NODES = 300
LAYERS = 30
WIDTH = 10
STEPS = 100
ROUNDS = 7

Work = Callable[[], Awaitable[object]]


def layered_needs() -> list[tuple[int, ...]]:
    """For each node of the layered graph those of the layer before that it takes, by number."""
    needs: list[tuple[int, ...]] = [()] * WIDTH
    for number in range(WIDTH, LAYERS * WIDTH):
        layer, place = divmod(number, WIDTH)
        needs.append(tuple((layer - 1) * WIDTH + (place + ahead) % WIDTH for ahead in range(3)))
    return needs


async def _measure(work: Work, units: int) -> dict[str, float]:
    await work()
    cpu: list[float] = []
    wall: list[float] = []
    for _ in range(ROUNDS):
        gc.collect()
        before, began = time.process_time(), time.perf_counter()
        await work()
        cpu.append((time.process_time() - before) / units * 1e6)
        wall.append((time.perf_counter() - began) / units * 1e6)
    return {"cpu_us": statistics.median(cpu), "wall_us": statistics.median(wall)}


async def _main(works: Mapping[str, tuple[Work, int]], name: str) -> None:
    if name not in works:
        print(json.dumps(None))
        return
    work, units = works[name]
    print(json.dumps(await _measure(work, units)), flush=True)


def main(works: Mapping[str, tuple[Work, int]]) -> None:
    """Measure the work named on the command line: what a node, or a step, costs of CPU and of wall clock."""
    asyncio.run(_main(works, sys.argv[1]))
