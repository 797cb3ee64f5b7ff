"""The seconds of a budget that a history shows are those that were counted while it was made."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place
from tests.engine.timed import Timed, always

from treadle import Ask, Budget, Context, Engine, Prompt, Retry, agent, graph, human, node, tool
from treadle.engine.loop import RunLoop
from treadle.engine.times import covered, read_times
from treadle.errors import RateLimited
from treadle.events import MoneyHeld
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock, ScriptedModel

pytestmark = pytest.mark.anyio

LIMIT = Budget(seconds=1000)


@human(to="maria")
async def desk(text: str) -> Ask[str]:
    return Ask(f"Is {text} right?")


class Shop:
    """Nodes that take time on a clock that jumps."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.failures = [RateLimited("busy", provider="p", status=429, retryable=True, retry_after=30)]

    async def work(self, seconds: float) -> str:
        await self.clock.sleep_until(self.clock.now() + seconds)
        return "done"

    async def fails_once(self) -> str:
        await self.work(5)
        if self.failures:
            raise self.failures.pop()
        return "ok"

    def backoff(self) -> Graph[..., Any]:
        @tool(retry=Retry(attempts=2, wait=300))
        async def flaky() -> str:
            """Fail once."""
            return await self.fails_once()

        @node
        async def body(ctx: Context) -> str:
            return await ctx.step(desk, await ctx.step(flaky))

        @graph(budget=LIMIT)
        def shop() -> str:
            return body()

        return shop

    def beside(self, seconds: float) -> Graph[..., Any]:
        """A question, and beside it a tool at work and another that waits for its next try."""

        @tool(retry=Retry(attempts=2, wait=20))
        async def flaky() -> str:
            """Fail once."""
            return await self.fails_once()

        @tool
        async def long() -> str:
            """Take long."""
            return await self.work(seconds)

        @node
        async def body(ctx: Context) -> str:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ctx.step, flaky)
                tasks.start_soon(ctx.step, long)
                tasks.start_soon(ctx.step, desk, "it")
            return await self.work(3)

        @graph(budget=LIMIT)
        def shop() -> str:
            return body()

        return shop

    def model(self) -> Graph[..., Any]:
        model = ScriptedModel(lambda _: "yes")
        answer = model.complete

        async def complete(request: Any) -> Any:
            await self.fails_once()
            return await answer(request)

        model.complete = complete  # type: ignore[method-assign]  # its answers take time here

        @agent(model=model)
        async def ask() -> Prompt[str]:
            return Prompt("?")

        @graph(budget=LIMIT)
        def shop() -> str:
            return desk(ask())

        return shop


class Loops(dict[RunId, RunLoop]):
    """Knows the loop that was begun last, when it has ended too."""

    newest: RunLoop

    def __setitem__(self, run_id: RunId, loop: RunLoop) -> None:
        self.newest = loop
        super().__setitem__(run_id, loop)


async def live_and_recorded(
    shop: Graph[..., Any], clock: JumpingClock, answered: float
) -> tuple[float, float]:
    """Run it, with the question answered so many seconds later; the seconds counted, and those recorded."""
    async with Engine("memory:", clock=clock) as engine:
        engine.loops = loops = Loops()
        handle = await engine.start(shop)
        begun = clock.now()
        while not (questions := await engine.questions()):
            await anyio.wait_all_tasks_blocked()
        await clock.sleep_until(begun + answered)
        await engine.answer(questions[0].id, "yes", by="maria")
        await handle.result()
        events = [recorded.event for recorded in await handle.history()]
    return loops.newest.accounts.run.meter.used(clock.now()), covered(
        [one for ran in read_times(events).nodes.values() for one in ran]
    )


@pytest.mark.parametrize(
    ("name", "answered", "seconds"),
    [("backoff", 900, 10), ("model", 900, 10), ("beside", 50, 103), ("beside", 5000, 103)],
)
async def test_a_history_shows_the_seconds_that_were_counted(
    name: str, answered: float, seconds: float
) -> None:
    clock = JumpingClock()
    shop = Shop(clock)
    made = shop.beside(100) if name == "beside" else getattr(shop, name)()
    counted, recorded = await live_and_recorded(made, clock, answered)
    assert recorded == pytest.approx(seconds, abs=0.01)
    if answered < 100:
        assert counted == pytest.approx(seconds, abs=0.01)


async def test_the_time_in_which_no_process_was_there_is_not_counted(memory: Place) -> None:
    clock = JumpingClock()

    @agent(model=Timed(clock, always(50.0)))
    async def ask() -> Prompt[str]:
        return Prompt("?")

    @graph(budget=Budget(seconds=120))
    def shop() -> str:
        return ask()

    await memory.crash(shop, after=lambda event: isinstance(event, MoneyHeld), clock=clock)
    clock.advance(3600)
    assert await memory.resume(shop, clock=clock) == "done"
