"""A run that never waits holds nobody up: other tasks get their turn, and it can be cancelled."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from treadle import Ask, Context, Engine, RunCancelled, graph, human, node

pytestmark = pytest.mark.anyio

CALLS = 3000


@node
async def next_number(number: int) -> int:
    return number + 1


@node
async def counting(ctx: Context, start: int) -> int:
    number = start
    for _ in range(CALLS):
        number = await ctx.step(next_number, number)
    return number


@graph
def counted(start: int) -> int:
    return counting(start)


async def test_other_tasks_run_between_many_calls_of_a_body() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with Engine() as engine, anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        handle = await engine.start(counted, 0)
        assert await handle.result() == CALLS
        tasks.cancel_scope.cancel()
    assert turns > CALLS / 100


async def test_a_body_that_only_makes_calls_is_cancelled_between_them() -> None:
    async with Engine() as engine:
        handle = await engine.start(counted, 0)
        await checkpoint()
        await handle.cancel(by="joe")
        with pytest.raises(RunCancelled):
            await handle.result()
        assert len(await handle.history()) < CALLS


async def test_the_queue_of_the_store_stays_short_under_many_calls(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path / 'runs.db'}") as engine:
        handle = await engine.start(counted, 0)
        longest = 0
        while handle.status == "running":
            loop = engine.loops.get(handle.id)
            longest = max(longest, 0 if loop is None else loop.log.queued)
            await checkpoint()
        assert await handle.result() == CALLS
    assert longest < 2500


@human(to="anybody")
async def somebody(number: int) -> Ask[int]:
    return Ask("How many?", show=number)


@graph
def asked(number: int) -> list[int]:
    return [somebody(number), somebody(number)]


async def test_who_asks_again_and_again_how_a_run_stands_holds_it_up_for_nothing() -> None:
    async with Engine() as engine:
        handle = await engine.start(asked, 1)
        while await handle.settled() == "waiting":
            for question in await engine.questions():
                await engine.answer(question.id, 2, by="maria")
        assert await handle.result() == [2, 2]
