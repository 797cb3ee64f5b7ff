"""Seconds of subgraphs and items inside a graph in a step go on counting after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.conftest import Place, around
from tests.engine.timed import Timed

from treadle import Budget, BudgetExceeded, Context, Prompt, agent, each, graph, node
from treadle.errors import RateLimited
from treadle.events import Event, Progress, StepStarted
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio

MINUTE = Budget(seconds="1m")


def sleeping(clock: JumpingClock, name: str) -> Any:
    @node
    async def sleep(ctx: Context, seconds: float) -> float:
        await clock.sleep_until(clock.now() + seconds / 2)
        ctx.progress("half")
        await clock.sleep_until(clock.now() + seconds / 2)
        return seconds

    return sleep.named(name)


def in_a_step(inner: Graph[..., Any], argument: Any) -> Graph[[str], Any]:
    async def body(ctx: Context, text: str) -> Any:
        del text
        return await ctx.step(inner, argument)

    return around(body)


def begins(name: str, *, times: int = 1) -> Callable[[Event], bool]:
    """When a call has begun so many times."""
    left = [None] * times

    def has_begun(event: Event) -> bool:
        if isinstance(event, StepStarted) and name in event.step:
            left.pop()
        return not left

    return has_begun


async def resumed(
    clock: JumpingClock, inner: Graph[..., Any], argument: Any, *, after: Callable[[Event], bool]
) -> Any:
    """What it comes to, after a crash."""
    store = MemoryStore()
    place = Place(lambda: store)
    await place.crash(only := in_a_step(inner, argument), "a", after=after, clock=clock)
    return await place.resume(only, clock=clock)


async def test_what_ended_in_a_subgraph_before_the_crash_counts() -> None:
    clock = JumpingClock()
    first, second = sleeping(clock, "first"), sleeping(clock, "second")

    @graph(budget=MINUTE)
    def limited(seconds: float) -> float:
        return second(first(seconds))

    @graph
    def inner(seconds: float) -> float:
        return limited(seconds)

    with pytest.raises(BudgetExceeded, match="has run for 60.* of its 60 seconds"):
        await resumed(clock, inner, 40.0, after=begins("second"))


async def test_what_died_with_the_process_counts_up_to_its_last_sign_of_life() -> None:
    clock = JumpingClock()
    only = sleeping(clock, "only")

    @graph(budget=MINUTE)
    def limited(seconds: float) -> float:
        return only(seconds)

    @graph
    def inner(seconds: float) -> float:
        return limited(seconds)

    def is_half(event: Event) -> bool:
        return isinstance(event, Progress)

    with pytest.raises(BudgetExceeded, match="has run for 60.* of its 60 seconds"):
        await resumed(clock, inner, 50.0, after=is_half)


async def test_what_ran_side_by_side_counts_once() -> None:
    clock = JumpingClock()
    one, other = sleeping(clock, "one"), sleeping(clock, "other")

    @node
    async def last(ran: list[float]) -> list[float]:
        await clock.sleep_until(clock.now() + 8)
        return ran

    @graph(budget=MINUTE)
    def limited(seconds: float) -> list[float]:
        return last([one(seconds), other(seconds)])

    @graph
    def inner(seconds: float) -> list[float]:
        return limited(seconds)

    assert await resumed(clock, inner, 50.0, after=begins("last")) == [50.0, 50.0]


async def test_each_item_goes_on_with_its_own_seconds() -> None:
    clock = JumpingClock()
    first, second = sleeping(clock, "first"), sleeping(clock, "second")

    @graph(budget=MINUTE)
    def limited(seconds: float) -> float:
        return second(first(seconds))

    @graph
    def inner(items: list[float]) -> list[float]:
        return each(on_error="drop")(limited, items)

    assert await resumed(clock, inner, [10.0, 40.0], after=begins("second", times=2)) == [10.0]


async def test_what_a_call_waited_for_its_provider_counts_no_more_after_a_crash_than_before() -> None:
    clock = JumpingClock()
    busy = RateLimited("busy", provider="fake", status=429, retryable=True, retry_after=30)
    model = Timed(clock, lambda number, _: busy if number <= 2 else 1.0)

    @agent(model=model)
    async def ask(seconds: float) -> Prompt[str]:
        return Prompt(f"What of {seconds}?")

    @node
    async def tell(answer: str) -> str:
        await clock.sleep_until(clock.now() + 10)
        return answer

    @graph(budget=MINUTE)
    def inner(seconds: float) -> str:
        return tell(ask(seconds))

    assert await resumed(clock, inner, 1.0, after=begins("tell")) == "done"
