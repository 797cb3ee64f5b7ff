"""What grows: wide lists, many runs at once, large plans, long histories; and what should wait for nothing.

    python benchmarks/shapes.py             # all tables
    python benchmarks/shapes.py paths       # one of them: paths, wide, flight, plans, resume
    python benchmarks/shapes.py --json

CPU is that of this process, threads included; memory is what Python holds (tracemalloc), which leaves
the interpreter's own pools out.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from treadle import Engine, each, graph, node, run

TICK = 0.02
ROUNDS = 5


@node
async def slow(x: int) -> int:
    await anyio.sleep(10 * TICK)
    return x


@node
async def tick(x: int) -> int:
    await anyio.sleep(TICK)
    return x


@node
async def pair(a: int, b: int) -> int:
    return a + b


@graph
def beside(x: int) -> int:
    """A slow node beside a chain of quick ones, which take as long together."""
    y = x
    for _ in range(10):
        y = tick(y)
    return pair(slow(x), y)


@graph
def early(x: int) -> int:
    """A join of two quick nodes leads to a chain as long as a slow sibling of theirs."""
    y = pair(tick(x), tick(x))
    for _ in range(9):
        y = tick(y)
    return pair(slow(x), y)


async def paths() -> dict[str, Any]:
    """Wall clock over the critical path: nothing waits at a barrier for what it does not need."""
    table: dict[str, Any] = {}
    for declared, bodies in ((beside, 10), (early, 10)):
        took: list[float] = []
        hand: list[float] = []
        await run(declared, 1)
        for _ in range(ROUNDS):
            before = time.perf_counter()
            for _ in range(bodies):
                await anyio.sleep(TICK)
            hand.append(time.perf_counter() - before)
            before = time.perf_counter()
            await run(declared, 1)
            took.append(time.perf_counter() - before)
        over = statistics.median(took) / statistics.median(hand) - 1
        table[str(declared.name)] = {"percent_over_critical_path": round(100 * over, 2), "bar": 3}
    return table


@node
async def numbers(count: int) -> list[int]:
    return list(range(count))


@node
async def double(x: int) -> int:
    return 2 * x


@graph
def wide(count: int) -> list[int]:
    return each(double, numbers(count))


@asynccontextmanager
async def stored(*, is_stored: bool) -> AsyncGenerator[Engine]:
    """An engine in memory, or on a file that goes with it."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        async with Engine(f"sqlite:///{Path(folder) / 'runs.db'}" if is_stored else "memory:") as engine:
            yield engine


async def widths() -> dict[str, Any]:
    """``each`` over more and more items: CPU an item, and memory an item at its peak."""
    table: dict[str, Any] = {}
    for is_stored in (False, True):
        for count in (100, 1_000, 10_000):
            async with stored(is_stored=is_stored) as engine:
                await (await engine.start(wide, 100)).result()
                gc.collect()
                before = time.process_time()
                await (await engine.start(wide, count)).result()
                used = (time.process_time() - before) / count * 1e6
                tracemalloc.start()
                await (await engine.start(wide, count)).result()
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            name = f"{count:,} items, {'SQLite' if is_stored else 'memory'}"
            table[name] = {"us_per_item": round(used, 1), "peak_bytes_per_item": round(peak / count)}
    return table


async def flight() -> dict[str, Any]:
    """Runs of ten steps at once, each halfway: memory a run in flight, on SQLite."""
    gate = anyio.Event()

    @node
    async def wait(x: int) -> int:
        await gate.wait()
        return x

    @graph
    def ten(x: int) -> int:
        for _ in range(5):
            x = double(x)
        x = wait(x)
        for _ in range(4):
            x = double(x)
        return x

    table: dict[str, Any] = {}
    for count in (500, 5_000):
        gate = anyio.Event()
        async with stored(is_stored=True) as engine:
            gate.set()
            await (await engine.start(ten, 1)).result()
            gate = anyio.Event()
            gc.collect()
            tracemalloc.start()
            handles = [await engine.start(ten, number) for number in range(count)]
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            gate.set()
            for handle in handles:
                await handle.result()
        row: dict[str, Any] = {"kb_per_run": round(held / count / 1000, 1)}
        table[f"{count:,} runs"] = row | ({"bar": 12} if count == 500 else {})
    return table


def _chain(count: int) -> Any:
    @graph
    def chain(x: int) -> int:
        for _ in range(count):
            x = double(x)
        return x

    return chain


async def plans() -> dict[str, Any]:
    """Plans of more and more nodes: CPU a node to wire and check, and to run, in memory."""
    table: dict[str, Any] = {}
    for count in (1_000, 10_000, 100_000):
        chain = _chain(count)
        before = time.process_time()
        plan = chain.plan
        wired = time.process_time() - before
        before = time.process_time()
        _ = plan.digest
        digested = time.process_time() - before
        before = time.process_time()
        await run(chain, 0)
        ran = time.process_time() - before
        table[f"{count:,} nodes"] = {
            "us_per_node_wired": round(wired / count * 1e6, 1),
            "us_per_node_digested": round(digested / count * 1e6, 1),
            "us_per_node_run": round(ran / count * 1e6, 1),
        }
    return table


async def resume() -> dict[str, Any]:
    """Taking up a run of 10,000 events after its engine has gone: CPU an event."""
    gate: list[bool] = [False]

    @node
    async def stop(values: list[int]) -> int:
        if not gate[0]:
            raise ConnectionError("the first engine goes")
        return len(values)

    @graph
    def long(count: int) -> int:
        return stop(each(double, numbers(count)))

    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'runs.db'}"
        async with Engine(url, graphs=[long]) as engine:
            handle = await engine.start(long, 10_000, run_id="r-1")
            await handle.settled()
        gate[0] = True
        async with Engine(url, graphs=[long]) as engine:
            gc.collect()
            before = time.process_time()
            handle = await engine.resume("r-1")
            assert await handle.result() == 10_000
            used = time.process_time() - before
            events = len(await handle.history())
    return {"resume": {"events": events, "us_per_event": round(used / events * 1e6, 1)}}


TABLES: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "paths": paths,
    "wide": widths,
    "flight": flight,
    "plans": plans,
    "resume": resume,
}


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description="Measure what grows.")
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help="which tables; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {name: anyio.run(TABLES[name]) for name in options.tables or TABLES}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, table in found.items():
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}")
        for row, figures in table.items():
            print(f"  {row:22}", "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
