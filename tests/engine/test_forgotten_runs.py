"""Of runs that have ended nothing is kept: no deadline, no share of a tenant, no graph."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from treadle import Budget, Engine, graph, node, tool
from treadle.engine.deadlines import Deadlines
from treadle.engine.loop import RunLoop
from treadle.ids import QuestionId, RunId
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@node
async def echo(x: int) -> int:
    return x


@tool(effect="once")
async def act(x: int) -> int:
    """Act."""
    await checkpoint()
    return x


@graph
def only(x: int) -> int:
    return echo(x)


@graph
def acting(x: int) -> int:
    return echo(act(x))


def _loops() -> list[RunLoop]:
    """The runs that anybody, other tests among them, still has in memory."""
    return [one for one in gc.get_objects() if type(one) is RunLoop]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is taken away but what nobody refers to any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/runs.db"])
async def test_a_run_that_is_over_goes_before_garbage_is_collected(url: str, tmp_path: Path) -> None:
    before = _loops()
    async with Engine(url.format(tmp_path)) as engine:
        for x in range(3):
            assert await (await engine.start(acting, x)).result() == x
        await checkpoint()  # the task that worked on it ends
        assert not [one for one in _loops() if one not in before]


async def test_the_deadlines_of_runs_that_have_ended_are_forgotten() -> None:
    clock = JumpingClock()
    async with Engine(graphs=[only], clock=clock) as engine:
        for x in range(50):
            handle = await engine.start(only, x, deadline=clock.now() + DAY)
            await handle.result()
        watched = engine._outside._deadlines
        assert (len(watched._heap), len(watched._known)) == (0, 0)


async def test_the_shares_of_runs_that_are_over_are_forgotten_and_what_they_spent_is_not() -> None:
    async with Engine(graphs=[only], budgets={"acme": Budget(calls=5)}) as engine:
        for x in range(5):
            await (await engine.start(only, x, tenant="acme")).result()
        assert engine._purse._shares == {}


async def test_a_deadline_that_was_forgotten_does_not_pass_and_the_others_do() -> None:
    clock, passed = JumpingClock(), list[str]()

    async def late(run_id: RunId, _question: QuestionId, _at: float) -> None:
        passed.append(run_id)

    deadlines = Deadlines(clock, late)
    for number in range(9):
        deadlines.add(RunId(f"r{number}"), QuestionId(""), clock.now() + 10.0 + number)
    for number in (1, 0, 7, 5):
        deadlines.forget(RunId(f"r{number}"))
    async with anyio.create_task_group() as group:
        deadlines.open(group)
    assert passed == ["r2", "r3", "r4", "r6", "r8"]
