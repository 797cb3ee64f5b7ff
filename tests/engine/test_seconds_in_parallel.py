"""Parallel attempts share the seconds of a budget: what one uses while another waits is gone for that one."""

from __future__ import annotations

import pytest

from treadle import Budget, BudgetExceeded, Context, Engine, Retry, graph, node, tool
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("limit", "is_enough"), [(1, False), (2, True)])
async def test_an_attempt_that_waited_has_only_what_the_others_left(limit: int, is_enough: bool) -> None:
    clock, tries = JumpingClock(), iter(range(2))

    @tool(retry=Retry(attempts=2, wait=1.2))
    async def flaky() -> str:
        """Fail once."""
        if not next(tries):
            raise ConnectionError("not yet")
        return "ok"

    @node
    async def waits(ctx: Context) -> str:
        await ctx.step(flaky)
        return await works.function("after a wait")

    @node
    async def works(name: str) -> str:
        await clock.sleep_until(clock.now() + 0.9)
        return name

    @node
    async def both(one: str, other: str) -> str:
        return f"{one}, {other}"

    @graph(budget=Budget(seconds=limit))
    def pair() -> str:
        return both(waits(), works("at once"))

    async with Engine("memory:", clock=clock) as engine:
        handle = await engine.start(pair)
        if is_enough:
            assert await handle.result() == "after a wait, at once"
        else:
            with pytest.raises(BudgetExceeded, match="'run' has run for 1.00 of its 1 seconds"):
                await handle.result()
