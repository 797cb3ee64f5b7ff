"""What stops one run, and what only looks as if it had stopped."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tests.engine.conftest import Place

from treadle import Context, Engine, NodeFailed, fallback, graph, node, run
from treadle.engine.loop import RunLoop
from treadle.errors import InternalError
from treadle.events import Event

pytestmark = pytest.mark.anyio


@node
async def other(text: str) -> str:
    return f"other {text}"


async def test_a_bug_of_ours_stops_the_run_it_is_in_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    @graph
    def only(text: str) -> str:
        return other(text)

    take = RunLoop.take

    def breaks(loop: RunLoop, event: Event, *, is_recorded: bool = False) -> None:
        if loop.run_id == "bad":
            raise KeyError("broken")
        take(loop, event, is_recorded=is_recorded)

    monkeypatch.setattr(RunLoop, "take", breaks)
    async with Engine("memory:") as engine:
        bad = await engine.start(only, "a", run_id="bad")
        with pytest.raises(InternalError, match=r"KeyError.*please report"):
            await bad.result()
        assert await (await engine.start(only, "b")).result() == "other b"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_body_that_awaits_a_cancelled_task_has_failed() -> None:
    @node
    async def waits(text: str) -> str:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task
        return text

    @graph
    def alone(text: str) -> str:
        return waits(text)

    @graph
    def safe(text: str) -> str:
        return fallback(waits(text), other(text))

    with pytest.raises(NodeFailed, match="cancelled by others"):
        await run(alone, "a")
    assert await run(safe, "a") == "other a"


async def test_events_of_a_run_that_was_lost_end_in_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = anyio.Event()

    @node
    async def hangs(text: str) -> str:
        reached.set()
        await anyio.sleep_forever()
        return text

    @graph
    def only(text: str) -> str:
        return hangs(text)

    async with Engine("memory:") as engine:
        handle = await engine.start(only, "a")
        await reached.wait()
        broken = (_ for _ in ()).throw
        monkeypatch.setattr(RunLoop, "feed", lambda _self, _event: broken(InternalError("broken")))
        await handle.cancel()
        with anyio.fail_after(5), pytest.raises(InternalError, match="broken"):
            async for _ in handle.events():
                pass


async def test_a_resumed_body_may_be_busy_on_its_own_between_two_calls(place: Place) -> None:
    reached, hangs = anyio.Event(), [True]

    @node
    async def step(text: str) -> str:
        if text == "late" and hangs[0]:
            reached.set()
            await anyio.sleep_forever()
        return text

    @node
    async def body(ctx: Context, text: str) -> str:
        async def slow() -> None:
            await ctx.step(step, "first")
            await anyio.sleep(1.5 if not hangs[0] else 0)
            await ctx.step(step, "second")

        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            await anyio.sleep(0.1 if hangs[0] else 0)
            await ctx.step(step, "late")
        return text

    @graph
    def only(text: str) -> str:
        return body(text)

    await place.crash(only, "a", dies=reached)
    hangs[0] = False
    assert await place.resume(only) == "a"
