"""``ctx`` in a body: calls that are recorded, and what else a context gives."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Calls, around

from treadle import Context, Engine, NodeFailed, Retry, run
from treadle.errors import ConfigurationError, NodeTimeout, WiringError
from treadle.events import (
    Progress,
    StepCompleted,
    StepStarted,
)
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


async def test_a_step_is_recorded_with_its_arguments_and_its_result(calls: Calls) -> None:
    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(calls.work, text)

    only = around(body)
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "a")
        assert await handle.result() == "A"
        events = [one.event for one in await handle.history()]
    [started] = [event for event in events if isinstance(event, StepStarted)]
    [completed] = [event for event in events if isinstance(event, StepCompleted)]
    assert (started.callee, started.arguments.json(), completed.result.json()) == ("work", {"name": "a"}, "A")
    assert started.step == completed.step


async def test_steps_go_through_loops_branches_and_except_clauses(calls: Calls) -> None:
    calls.failing.add("c")

    async def body(ctx: Context, text: str) -> list[str]:
        found: list[str] = []
        for letter in text:
            try:
                found.append(await ctx.step(calls.work, letter))
            except NodeFailed as error:
                found.append(str(error.__cause__))
        return found

    assert await run(around(body), "abca") == ["A", "B", "no c", "A"]
    assert calls.made == list("abca")


async def test_a_failed_step_says_which_call_failed_where_and_why(calls: Calls) -> None:
    calls.failing.add("a")

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(calls.work, text)

    with pytest.raises(NodeFailed, match=r"ValueError: no a at .*conftest\.py:\d+") as failed:
        await run(around(body), "a")
    assert isinstance(failed.value.__cause__, ValueError)
    assert (failed.value.node, failed.value.attempt) == ("body", 1)


async def test_parallel_steps_need_no_keys_even_where_they_are_equal(calls: Calls) -> None:
    async def body(ctx: Context, text: str) -> list[str]:
        found: list[str] = []

        async def one(letter: str) -> None:
            found.append(await ctx.step(calls.work, letter))

        async with anyio.create_task_group() as tasks:
            for letter in text:
                tasks.start_soon(one, letter)
        return sorted(found)

    only = around(body)
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "aab")
        assert await handle.result() == ["A", "A", "B"]
        steps = {one.event.step for one in await handle.history() if isinstance(one.event, StepStarted)}
    assert len(steps) == 3


async def test_a_step_with_a_timeout_or_a_retry_keeps_to_it(calls: Calls) -> None:
    calls.gates["slow"] = anyio.Event()
    calls.failing.add("bad")

    async def body(ctx: Context, text: str) -> str:
        try:
            await ctx.step(calls.work.using(timeout=0.02), "slow")
        except NodeTimeout as error:
            try:
                await ctx.step(calls.work.using(retry=Retry(attempts=3)), "bad")
            except NodeFailed:
                return str(error)
        return "neither"

    only, clock = around(body), JumpingClock()
    async with Engine(graphs=[only], clock=clock) as engine:
        assert "0.02 s" in await (await engine.start(only, "")).result()
    assert calls.made == ["slow", "bad", "bad", "bad"]
    assert len(clock.jumps) == 3  # the timeout, and two waits between tries


async def test_a_body_that_is_cancelled_makes_no_more_calls(calls: Calls) -> None:
    async def body(ctx: Context, text: str) -> str:
        with anyio.CancelScope() as scope:
            for letter in text:
                if letter == "c":
                    scope.cancel()
                await ctx.step(calls.work, letter)
        return "stopped"

    assert await run(around(body), "abcd") == "stopped"
    assert calls.made == ["a", "b"]


async def test_only_nodes_can_be_steps() -> None:
    async def plain(text: str) -> str:
        return text

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(plain, text)

    with pytest.raises(WiringError, match="plain is not a node; declare it"):
        await run(around(body), "a")


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [((), {}, "'name' .*missing"), (("a", "b"), {}, "takes 1"), (("a",), {"name": "b"}, "twice"),
     ((), {"nam": "a"}, "did you mean 'name'")],
)  # fmt: skip
async def test_wrong_arguments_of_a_step_are_refused(args: Any, kwargs: Any, said: str, calls: Calls) -> None:
    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(calls.work, *args, **kwargs)  # type: ignore[no-any-return]

    with pytest.raises(WiringError, match=said):
        await run(around(body), "a")


async def test_chance_goes_on_from_draw_to_draw_and_differs_between_attempts() -> None:
    seen: list[list[float]] = []

    async def body(ctx: Context, text: str) -> list[float]:
        seen.append([ctx.random.random(), ctx.random.random()])
        if ctx.attempt == 1:
            raise ValueError("again")
        return seen[-1]

    await run(around(body, retry=Retry(attempts=2, wait=0.001)), "a")
    assert len({draw for draws in seen for draw in draws}) == 4


async def test_progress_is_recorded_for_people() -> None:
    async def body(ctx: Context, text: str) -> str:
        ctx.progress("half way", 0.5)
        return text

    only = around(body)
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "a")
        await handle.result()
        told = [one.event for one in await handle.history() if isinstance(one.event, Progress)]
    assert [(event.node, event.message, event.fraction) for event in told] == [("body", "half way", 0.5)]


async def test_a_resource_is_given_by_its_type_or_the_mend_is_said() -> None:
    class Pool:
        name = "pool"

    async def body(ctx: Context, text: str) -> str:
        return ctx.resource(Pool).name

    only = around(body)
    async with Engine(graphs=[only], resources=[object(), Pool()]) as engine:
        assert await (await engine.start(only, "a")).result() == "pool"
    with pytest.raises(ConfigurationError, match=r"no resource of type Pool.*resources="):
        await run(only, "a")
