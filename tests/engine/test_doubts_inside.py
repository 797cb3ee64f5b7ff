"""A graph in a step is taken up beside an effect in doubt: what ended after it had begun waits for nobody."""

from __future__ import annotations

import math

import anyio
import pytest
from tests.engine.conftest import MortalStore

from treadle import Context, Engine, graph, node, tool
from treadle.engine import turns
from treadle.events import StepCompleted
from treadle.stores import MemoryStore

pytestmark = pytest.mark.anyio


async def test_an_effect_in_doubt_is_made_again_before_what_ended_beside_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", math.inf)
    began, is_slow = anyio.Event(), True

    @tool(effect="once", in_doubt="retry")
    async def pay() -> str:
        """Pay."""
        began.set()
        if is_slow:
            await anyio.sleep_forever()
        return "paid"

    @node
    async def note() -> str:
        await began.wait()
        return "noted"

    @graph
    def inside() -> list[str]:
        return [note(), pay()]

    @node
    async def body(ctx: Context) -> list[str]:
        return await ctx.step(inside)

    @graph
    def around() -> list[str]:
        return body()

    store = MemoryStore()
    mortal = MortalStore(store, after=lambda event: isinstance(event, StepCompleted))
    async with Engine(mortal, graphs=[around]) as engine:
        await engine.start(around, run_id="r")
        await mortal.dead.wait()
        mortal.die()
    is_slow = False
    async with Engine(store, graphs=[around]) as engine:
        with anyio.fail_after(10):
            assert await (await engine.resume("r")).result() == ["noted", "paid"]
