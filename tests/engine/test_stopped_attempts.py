"""An attempt that is stopped, whatever its body makes of that: the rest of the run goes on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
import sniffio

from treadle import Context, Engine, fallback, graph, node, tool
from treadle.engine.workers import NODES_PER_PASS
from treadle.events import AttemptCancelled, NodeCompleted

pytestmark = pytest.mark.anyio


async def _goes() -> None:
    await anyio.sleep_forever()


async def _fails() -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("instead")


async def _fails_beside() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        tasks.start_soon(_fails)


async def _is_cancelled_by_others_too() -> None:
    try:
        await anyio.sleep_forever()
    finally:
        if sniffio.current_async_library() == "asyncio":
            raise asyncio.CancelledError("by somebody else")


async def _waits_on() -> None:
    with anyio.CancelScope(shield=True):
        try:
            await anyio.sleep(0.3)  # longer than it takes to record that the run is to be cancelled
        finally:
            await anyio.lowlevel.checkpoint()
    await anyio.sleep_forever()


async def _returns() -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(0.3)


_WAYS = [_goes, _fails, _fails_beside, _is_cancelled_by_others_too, _waits_on]


@node
async def refuse() -> str:
    await anyio.wait_all_tasks_blocked()
    raise ValueError("no")


@node
async def join(a: str, b: str) -> str:
    return a + b


@node
async def following(ctx: Context, number: int) -> int:
    return number + 1


@node
async def instead() -> str:
    return "instead"


@node
async def louder(ctx: Context, text: str) -> str:
    await anyio.lowlevel.checkpoint()
    return f"{text}!"


@pytest.mark.parametrize("way", _WAYS)
async def test_what_a_stopped_body_raises_is_of_no_account(way: Callable[[], Awaitable[None]]) -> None:
    @node
    async def loser(ctx: Context) -> str:
        await way()
        return "lost"

    @graph
    def only() -> str:
        return louder(louder(fallback(join(loser(), refuse()), instead())))

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        with anyio.fail_after(5):
            assert await handle.result() == "instead!!"
        events = [one.event for one in await handle.history()]
    assert [e.node for e in events if isinstance(e, AttemptCancelled)] == ["loser"]


@pytest.mark.parametrize("way", _WAYS)
async def test_a_run_is_cancelled_whatever_its_bodies_make_of_it(way: Callable[[], Awaitable[None]]) -> None:
    @node
    async def hang(ctx: Context, number: int) -> int:
        await way()
        return number

    @graph
    def only() -> list[int]:
        return [hang(number) for number in range(3)]

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):
            await handle.cancel()
            assert await handle.settled() == "cancelled"
        assert not engine.loops


async def test_of_a_run_that_is_left_while_it_is_being_cancelled_nothing_more_is_recorded(
    tmp_path: Path,
) -> None:
    @node
    async def hang(ctx: Context) -> int:
        await _waits_on()
        return 1

    @graph
    def only() -> int:
        return hang()

    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, graphs=[only]) as engine:
        handle = await engine.start(only, run_id="r")
        await anyio.wait_all_tasks_blocked()
        await handle.cancel()
    async with Engine(url, graphs=[only]) as engine:
        again = await engine.resume("r")
        assert await again.settled() == "cancelled"
        kinds = [one.event.kind for one in await again.history()]
    assert kinds == ["run_started", "cancel_requested", "run_resumed", "run_ended"]


@pytest.mark.parametrize("place", [NODES_PER_PASS - 1, NODES_PER_PASS, NODES_PER_PASS + 1])
async def test_an_effect_that_returns_is_done_in_a_run_that_is_left_while_it_is_cancelled_too(
    tmp_path: Path, place: int
) -> None:
    @tool(effect="once")
    async def act(number: int) -> str:
        """Act once."""
        entered.set()
        await _returns()
        return "done"

    @graph
    def only() -> str:
        number = following(0)
        for _ in range(place - 2):
            number = following(number)
        return louder(act(number))

    entered, url = anyio.Event(), f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, graphs=[only]) as engine:
        handle = await engine.start(only, run_id="r")
        await entered.wait()
        await handle.cancel()
    async with Engine(url, graphs=[only]) as engine:
        events = [one.event for one in await engine.store.read(handle.id)]
    assert [e.node for e in events if isinstance(e, NodeCompleted) and e.node == "act"] == ["act"]


async def test_an_effect_that_returns_though_it_was_stopped_is_done() -> None:
    @tool(effect="once")
    async def act() -> str:
        """Act once."""
        await _returns()
        return "done"

    @graph
    def only() -> str:
        return louder(act())

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        await anyio.wait_all_tasks_blocked()
        await handle.cancel()
        with anyio.fail_after(2):
            assert await handle.settled() == "cancelled"
        events = [one.event for one in await handle.history()]
    assert [e.result.json() for e in events if isinstance(e, NodeCompleted)] == ["done"]
