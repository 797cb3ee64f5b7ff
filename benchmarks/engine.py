"""The engine against an anyio task for each node with an event each, on the same graphs.

    python benchmarks/engine.py             # all tables
    python benchmarks/engine.py memory      # one of them: memory, sqlite, runs, imports
    python benchmarks/engine.py --json

Every figure is CPU time of this process (threads included) but where it says wall clock.  Both sides run
in one process, taking turns; a ratio is that of their medians.  ``raw`` is what one would write by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import apsw
from anyio.to_thread import run_sync

from treadle import Engine, graph, node, run, tool

NODES = 300
ROUNDS = 15


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
    layer = [step(x) for _ in range(10)]
    for _ in range(NODES // 10 - 1):
        layer = [mix(layer[i], layer[(i + 1) % 10], layer[(i + 2) % 10]) for i in range(10)]
    return join(layer)


@graph
def once_chain(x: int) -> int:
    for _ in range(100):
        x = act(x)
    return x


@graph
def ten(x: int) -> int:
    for _ in range(10):
        x = act(x)
    return x


SHORT_AND_LONG = {"10 steps": ten, "100 steps": once_chain}
"""Chains of ``once`` steps: where there are few in a run, its start and its end weigh as much as they do."""


async def raw(needs: list[list[int]]) -> None:
    """One task and one event for each node."""
    events = [anyio.Event() for _ in needs]
    results: list[int] = [0] * len(needs)

    async def body(x: int) -> int:
        return x

    async def one(index: int) -> None:
        for need in needs[index]:
            await events[need].wait()
        results[index] = await body(1)
        events[index].set()

    async with anyio.create_task_group() as group:
        for index in range(len(needs)):
            group.start_soon(one, index)


def wires(declared: Any) -> list[list[int]]:
    """The work nodes of a graph by number, with those each needs."""
    nodes = [planned for planned in declared.plan.nodes if planned.kind != "input"]
    number = {planned.id: index for index, planned in enumerate(nodes)}
    return [[number[need] for need in planned.needs if need in number] for planned in nodes]


async def cpu(work: Callable[[], Awaitable[Any]]) -> float:
    """CPU seconds of one round."""
    gc.collect()
    before = time.process_time()
    await work()
    return time.process_time() - before


async def memory() -> dict[str, Any]:
    """Chain, fan and layers of no-op nodes in memory, with all that ``run`` does by default."""
    table: dict[str, Any] = {}
    for declared in (chain, fan, layered):
        needs = wires(declared)
        ours: list[float] = []
        theirs: list[float] = []
        await run(declared, 1)
        for _ in range(ROUNDS):
            ours.append(await cpu(lambda declared=declared: run(declared, 1)) / len(needs) * 1e6)
            theirs.append(await cpu(lambda needs=needs: raw(needs)) / len(needs) * 1e6)
        us, raw_us = statistics.median(ours), statistics.median(theirs)
        table[declared.name] = {
            "nodes": len(needs),
            "us_per_node": round(us, 2),
            "raw_us_per_node": round(raw_us, 2),
            "ratio": round(us / raw_us, 3),
            "bar": 0.35,
        }
    return table


def bare(path: Path) -> apsw.Connection:
    """A database of one table, committed as the store commits what must be safe."""
    connection = apsw.Connection(str(path))
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table if not exists row(id integer primary key, body blob)")
    return connection


def bare_commits(connection: apsw.Connection, count: int) -> None:
    """A row and a commit that waits for the disk, for each step, and nothing else."""
    body = b"x" * 300
    for _ in range(count):
        connection.execute("begin immediate")
        connection.execute("insert into row(body) values(?)", (body,))
        connection.execute("commit")


async def sqlite() -> dict[str, Any]:
    """A chain of unpaid nodes, and a chain of ``once`` steps beside bare commits: both to fresh files; both
    to logs that are written over, as those of a process are after a while; and beside such commits from a
    thread, as one makes them by hand where no other task may stand still."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-bench-"))
    times: dict[str, list[float]] = {}
    kept = bare(folder / "kept.db")

    async def measure(name: str, work: Callable[[], Awaitable[Any]]) -> None:
        times.setdefault(name, []).append(await cpu(work) * 1e6)

    async def once_steps(engine: Engine, declared: Any = once_chain) -> None:
        await (await engine.start(declared, 1)).result()

    async def commits(connection: apsw.Connection) -> None:
        bare_commits(connection, 100)

    async def commits_in_thread() -> None:
        for _ in range(100):
            await run_sync(bare_commits, kept, 1)

    try:
        async with Engine(f"sqlite:///{folder / 'runs.db'}") as engine:
            for _ in range(10):  # till both logs have been written from the beginning again
                await once_steps(engine)
                bare_commits(kept, 200)
            for number in range(ROUNDS):
                await measure("unpaid", lambda: once_steps(engine, chain))
                async with Engine(f"sqlite:///{folder}/fresh-{number}.db") as other:
                    await measure("fresh", lambda other=other: once_steps(other))
                fresh = bare(folder / f"bare-{number}.db")
                await measure("bare fresh", lambda fresh=fresh: commits(fresh))
                fresh.close()
                await measure("over", lambda: once_steps(engine))
                await measure("bare over", lambda: commits(kept))
                await measure("in thread", commits_in_thread)
    finally:
        kept.close()
        shutil.rmtree(folder)
    unpaid = statistics.median(times.pop("unpaid")) / NODES
    us = {name: statistics.median(found) / 100 for name, found in times.items()}

    def beside(ours: str, theirs: str) -> dict[str, Any]:
        return {
            "us_per_step": round(us[ours], 1),
            "bare_us": round(us[theirs], 1),
            "ratio": round(us[ours] / us[theirs], 2),
        }

    return {
        "unpaid chain": {"us_per_node": round(unpaid, 1), "bar": 40},
        "once steps": beside("fresh", "bare fresh") | {"bar": 3},
        "once steps, logs written over": beside("over", "bare over"),
        "once steps, beside a thread": beside("over", "in thread"),
    }


async def runs() -> dict[str, Any]:
    """100 runs at once, every step flushed: steps a second by the wall clock, start and end included."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-bench-"))
    table: dict[str, Any] = {}
    try:
        async with Engine(f"sqlite:///{folder / 'runs.db'}") as engine:
            for name, declared in SHORT_AND_LONG.items():
                await (await engine.start(declared, 1)).result()
                steps = 100 * len(declared.plan.nodes[1:])
                speeds = [steps / await _all_at_once(engine, declared) for _ in range(ROUNDS)]
                table[f"100 runs of {name}"] = {
                    "steps_per_second": round(statistics.median(speeds)),
                    "fastest": round(max(speeds)),
                    "bar": 10_000,
                }
    finally:
        shutil.rmtree(folder)
    return table


async def _all_at_once(engine: Engine, declared: Any) -> float:
    """Seconds that 100 runs of a graph take, begun at once."""

    async def one() -> None:
        await (await engine.start(declared, 1)).result()

    gc.collect()
    before = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(one)
    return time.perf_counter() - before


def _import_cpu(statement: str) -> float:
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(out.stdout) * 1000


async def imports() -> dict[str, Any]:
    """``import treadle`` over ``import anyio, pydantic``, in fresh processes taking turns."""
    ours: list[float] = []
    base: list[float] = []
    for _ in range(7):
        base.append(await asyncio.to_thread(_import_cpu, "import anyio, pydantic"))
        ours.append(await asyncio.to_thread(_import_cpu, "import anyio, pydantic, treadle"))
    over = statistics.median(ours) - statistics.median(base)
    return {"import treadle": {"ms_over_anyio_and_pydantic": round(over, 1), "bar": 40}}


TABLES: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "runs": runs,
    "imports": imports,
}


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help="which tables; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--backend", default="asyncio", choices=["asyncio", "trio"])
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name in options.tables or TABLES:
        found[name] = anyio.run(TABLES[name], backend="asyncio" if name == "imports" else options.backend)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, table in found.items():
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}")
        for row, figures in table.items():
            print(f"  {row:18}", "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
