"""What a store costs: CPU for each event, bytes for each step, fsyncs for each flush.

    python benchmarks/store.py [--json]

Fsyncs need strace, and are left out where it is missing.  Figures are CPU of the whole process, so
encoding, hashing, inserting and the hand-over to the thread are all in.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio

from treadle.events import NodeCompleted, RunStarted, StepCompleted, StepStarted
from treadle.ids import NodeId, RunId, StepId, new_run_id
from treadle.interfaces import RunLog, Store
from treadle.stores import MemoryStore, SqliteStore
from treadle.values import Payload, codec

EVENTS = 20_000
ROUNDS = 5
TEXT = codec(str)

Found = dict[str, dict[str, Any]]
"""Figures by what was measured."""


def started(run_id: RunId) -> RunStarted:
    """A run that has begun."""
    plan = Payload(data=b'{"nodes":[]}')
    return RunStarted(at=time.time(), run_id=run_id, graph="chain", plan=plan, inputs={}, seed="s")


def completed(index: int, result: Payload) -> NodeCompleted:
    """A node that is done."""
    now = time.time()
    return NodeCompleted(at=now, node=NodeId(f"node.{index}"), attempt=1, started_at=now, result=result)


def step(index: int, content: str) -> tuple[StepStarted, StepCompleted]:
    """A recorded call with a result of its own."""
    now, name = time.time(), StepId(f"search#1f0c9a:{index}")
    begun = StepStarted(
        at=now,
        node=NodeId("expert"),
        attempt=1,
        step=name,
        callee="search",
        callee_kind="tool",
        definition=os.urandom(32).hex(),
        input_digest=os.urandom(32).hex(),
    )
    ended = StepCompleted(
        at=now,
        node=NodeId("expert"),
        attempt=1,
        step=name,
        started_at=now,
        result=TEXT.pack(content),
    )
    return begun, ended


async def chain(log: RunLog) -> None:
    """Unpaid nodes one after the other: nobody waits for the record."""
    for index in range(EVENTS):
        log.append(completed(index, Payload(index, codec(int))))
        if index % 64 == 0:
            await anyio.lowlevel.checkpoint()
            await log.drained(1024)
    await log.drained(1)


async def making(_log: RunLog) -> None:
    """The same events without a store, to be taken off."""
    for index in range(EVENTS):
        completed(index, Payload(index, codec(int)))
        if index % 64 == 0:
            await anyio.lowlevel.checkpoint()


async def cost(store: Store, work: Callable[[RunLog], Awaitable[None]]) -> float:
    """CPU in microseconds for each event."""
    log = await store.create(started(new_run_id()))
    begun = time.process_time()
    await work(log)
    spent = time.process_time() - begun
    await log.release()
    return spent / EVENTS * 1e6


async def chains(store: Store) -> Found:
    """What an event costs that nobody waits for."""
    await store.open()
    base = [await cost(store, making) for _ in range(ROUNDS)]
    full = [await cost(store, chain) for _ in range(ROUNDS)]
    begun = time.process_time()
    run = (await store.runs(limit=1))[0]
    events = await store.read(run.id)
    reading = (time.process_time() - begun) / len(events) * 1e6
    await store.aclose()
    return {
        f"{type(store).__name__}, append, nobody waits": {
            "us_per_event": round(min(full) - min(base), 2),
            "median_us_per_event": round(statistics.median(full) - statistics.median(base), 2),
            "us_per_event_read": round(reading, 2),
        }
    }


async def flushes(path: Path, runs: int, steps: int) -> Found:
    """What steps cost where every one is flushed, by one run or by many at once."""
    store = SqliteStore(str(path))
    await store.open()
    logs = [await store.create(started(new_run_id())) for _ in range(runs)]

    async def work(log: RunLog) -> None:
        for index in range(steps):
            log.append(*step(index, "ok"))
            await log.flush()

    cpu, wall = time.process_time(), time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for log in logs:
            tasks.start_soon(work, log)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    count = runs * steps
    await store.aclose()
    figures = {"steps_per_second": round(count / wall), "us_per_step": round(cpu / count * 1e6, 1)}
    return {f"{runs} run{'s' * (runs != 1)}, each step flushed": figures}


def bare(path: Path, count: int = 1000) -> Found:
    """What a bare insert and FULL commit costs."""
    import apsw

    connection = apsw.Connection(str(path))
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (a, b)"):
        connection.execute(statement).fetchall()
    begun = time.process_time()
    for index in range(count):
        connection.execute("INSERT INTO t VALUES (?, ?)", (index, b"x" * 300))
    spent = (time.process_time() - begun) / count * 1e6
    connection.close()
    return {"bare insert and FULL commit": {"us_per_commit": round(spent, 1)}}


CONTENTS: dict[str, Callable[[], str]] = {
    "words": lambda: " ".join(WORDS[b % len(WORDS)] + str(b) for b in os.urandom(300))[:1024],
    "hexadecimal": lambda: os.urandom(512).hex(),
    "incompressible": lambda: (
        "".join(chr(33 + b % 90) for b in os.urandom(1024)).replace("\\", "|").replace('"', "'")
    ),
}
WORDS: Final = ("customer", "wrote", "card", "was", "charged", "twice", "on", "monday", "money", "back")


async def sizes(folder: Path) -> Found:
    """The bytes of 200 steps with 1 KB of new content each."""
    found: Found = {}
    for name, make in CONTENTS.items():
        empty, full = SqliteStore(str(folder / f"{name}.empty.db")), SqliteStore(str(folder / f"{name}.db"))
        for store, count in ((empty, 0), (full, 200)):
            await store.open()
            log = await store.create(started(new_run_id()))
            for index in range(count):
                log.append(*step(index, make()))
            await store.aclose()
        whole = (folder / f"{name}.db").stat().st_size
        grown = whole - (folder / f"{name}.empty.db").stat().st_size
        found[f"200 steps of 1 KB, {name}"] = {
            "kb_per_step": round(grown / 200 / 1024, 2),
            "kb_per_step_with_empty_tables": round(whole / 200 / 1024, 2),
        }
    return found


async def traced(path: str, count: int) -> None:
    """What strace looks at: one run, a number of flushes, killed before it closes."""
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started(new_run_id()))
    print("begin", flush=True)
    for index in range(200):
        log.append(completed(index, Payload(index, codec(int))))
        await log.drained(1)
        if index < count:
            await log.flush()
    print("end", flush=True)
    os._exit(0)


def fsyncs(folder: Path, count: int) -> Found:
    """The fsyncs of 200 commits, some of them flushed."""
    trace = folder / f"trace.{count}"
    calls = "trace=fsync,fdatasync,write"
    command = [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        calls,
        sys.executable,
        __file__,
        "traced",
        str(folder / f"traced.{count}.db"),
        str(count),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    between = re.split(r'"(?:begin|end)(?:\\n)?"', trace.read_text())[1]
    syncs = len(re.findall(r"\bf(?:data)?sync\(", between))
    return {f"200 commits, {count} of them flushed": {"fsyncs": syncs}}


def measure(folder: Path) -> Found:
    """All of it."""
    found = anyio.run(chains, MemoryStore()) | anyio.run(chains, SqliteStore(str(folder / "chain.db")))
    found |= bare(folder / "bare.db")
    found |= anyio.run(flushes, folder / "one.db", 1, 1000)
    found |= anyio.run(flushes, folder / "many.db", 100, 100)
    found |= anyio.run(sizes, folder)
    if shutil.which("strace"):
        for count in (0, 1, 100):
            found |= fsyncs(folder, count)
    return found


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description="Measure the stores.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for row, figures in found.items():
        print(f"{row:42}", "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["traced"]:
        anyio.run(traced, sys.argv[2], int(sys.argv[3]))
    else:
        main()
