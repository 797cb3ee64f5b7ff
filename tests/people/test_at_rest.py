"""A run that waits for a person is nothing but rows in the store, until the answer comes."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from asking import article, calls

from treadle import Engine
from treadle.engine.attempt import Attempt
from treadle.engine.body import Body
from treadle.engine.calls import Calls
from treadle.engine.handle import RunHandle
from treadle.engine.loop import RunLoop
from treadle.engine.tracked import Tracked
from treadle.events import RunEnded
from treadle.scheduler.scheduler import Scheduler

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

OF_A_RUN = (RunLoop, Scheduler, Attempt, Calls, Body)
SCRIPT = str(Path(__file__).with_name("answering_process.py"))


def count_tasks() -> int:
    """The tasks of this event loop, whichever it is."""
    if "trio" in sys.modules:
        import trio

        try:
            return trio.lowlevel.current_statistics().tasks_living
        except RuntimeError:
            pass
    import asyncio

    return len(asyncio.all_tasks())


def count_objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, OF_A_RUN))


async def start_many(engine: Engine, count: int) -> None:
    """Start runs, fifty at a time, and let go of each once it waits."""
    for first in range(0, count, 50):
        handles = [await engine.start(article, f"topic {number}") for number in range(first, first + 50)]
        for handle in handles:
            assert await handle.settled() == "waiting"


async def become_quiet(tasks: int, objects: Counter[str]) -> None:
    """Return once there are so many tasks and objects; the last runs may still be on their way to rest."""
    with anyio.fail_after(10):
        while (count_tasks(), count_objects()) != (tasks, objects):
            await anyio.lowlevel.checkpoint()


async def answer(database: str, count: int) -> dict[str, float]:
    """Answer from another process, by the function behind the command; give when each was recorded."""
    command = [sys.executable, SCRIPT, database, str(count)]
    found = await anyio.run_process(command, stderr=None)
    lines = [line.split() for line in found.stdout.decode().splitlines()]
    return {run: float(at) for run, at in lines}


async def answer_by_command(engine: Engine, database: str) -> None:
    treadle = str(Path(sys.executable).with_name("treadle"))
    [question] = await engine.questions()
    value = ["--value", '{"ok": true}', "--as", "bob", "--store", database]
    said = await anyio.run_process([treadle, "answer", question.id, *value])
    assert b"recorded" in said.stdout


async def end_times(engine: Engine) -> dict[str, float]:
    """When each run ended, once all have."""
    runs = await engine.store.runs(limit=10_000)
    for run in runs:
        async for recorded in RunHandle(engine, Tracked(run.id, run.graph, "waiting")).events():
            last = recorded
        assert isinstance(last.event, RunEnded)
    return {run.id: run.updated_at for run in await engine.store.runs(limit=10_000)}


async def test_a_thousand_waiting_runs_hold_no_task_and_no_object(
    database: str, anyio_backend: tuple[str, dict[str, bool]], long_form: bool
) -> None:
    count = 1000 if anyio_backend == ("asyncio", {}) or long_form else 100
    calls.clear()
    async with Engine(database, graphs=[article]) as engine:
        tasks, objects = count_tasks(), count_objects()
        await start_many(engine, 50)
        await become_quiet(tasks, objects)
        with traced() as grown:
            await start_many(engine, count - 50)
            await become_quiet(tasks, objects)
        assert grown() < 100_000 + 300 * count, "bytes for all runs that wait"
        with anyio.fail_after(120):
            answered = await answer(database, count - 1)
            await answer_by_command(engine, database)
            ended = await end_times(engine)
        delays = sorted(ended[run] - at for run, at in answered.items())
        assert delays[-1] < 1.5
        assert calls == {"write": count, "publish": count}
        await become_quiet(tasks, objects)


@contextmanager
def traced() -> Generator[Callable[[], int]]:
    """Count the bytes that are still taken at the end."""
    gc.collect()
    tracemalloc.start()
    before, after = tracemalloc.get_traced_memory()[0], 0
    yield lambda: after - before
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
