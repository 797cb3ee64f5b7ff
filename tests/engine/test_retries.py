"""What is tried again, how often and after what waits; what is stopped because it takes too long."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from treadle import (
    Ask,
    Budget,
    BudgetExceeded,
    Context,
    Engine,
    NodeFailed,
    Retry,
    Wait,
    fallback,
    graph,
    node,
    run,
    tool,
)
from treadle.errors import NodeTimeout, ProviderUnavailable, ReadFailed, RequestRejected, TreadleError
from treadle.events import AttemptFailed, Event
from treadle.retry import Retry as Policy
from treadle.testing import JumpingClock

if TYPE_CHECKING:
    from tests.engine.conftest import Calls, Place

pytestmark = pytest.mark.anyio

QUICK = Retry(attempts=3, wait=0.001)


class Odd(Exception):
    """A user's error."""


class Flaky:
    """A node that fails so often with an error, and notes the time of each try."""

    def __init__(self, clock: JumpingClock, times: int, error: Exception) -> None:
        self.times: list[float] = []
        self.clock = clock

        @node
        async def flaky(text: str) -> str:
            self.times.append(clock.now())
            if len(self.times) <= times:
                raise error
            return text

        self.node = flaky

    def graph(self, **policies: Any) -> Any:
        @graph
        def only(text: str) -> str:
            return self.node.using(**policies)(text)

        return only

    @property
    def waits(self) -> list[float]:
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


@pytest.mark.parametrize(
    "policy",
    [
        Retry(attempts=5),
        Retry(attempts=4, wait="2s"),
        Retry(attempts=5, wait=Wait(kind="incrementing", initial=1.0, jitter=0.0)),
        Retry(attempts=8, wait=Wait(initial=1.0, maximum=5.0, jitter=3.0)),
    ],
)
async def test_waits_are_those_of_the_policy_drawn_from_the_seed(policy: Policy) -> None:
    clock = JumpingClock()
    flaky = Flaky(clock, policy.attempts - 1, Odd("no"))
    only = flaky.graph(retry=policy)
    async with Engine(graphs=[only], clock=clock) as engine:
        handle = await engine.start(only, "a", run_id="r")
        assert await handle.result() == "a"
    expected = [policy.delay(attempt, seed="r:flaky") for attempt in range(1, policy.attempts)]
    assert flaky.waits == pytest.approx(expected)


async def test_attempts_are_used_up_and_the_last_error_is_told() -> None:
    clock = JumpingClock()
    flaky = Flaky(clock, 99, Odd("no"))
    only = flaky.graph(retry=Retry(attempts=4))
    async with Engine(graphs=[only], clock=clock) as engine:
        with pytest.raises(NodeFailed, match="attempt 4"):
            await (await engine.start(only, "a")).result()
    assert len(flaky.times) == 4


@pytest.mark.parametrize(
    ("error", "on", "tries"),
    [
        (Odd("no"), Odd, 3),
        (Odd("no"), KeyError, 1),
        (Odd("no"), (), 3),
        (RequestRejected("no key", provider="p", status=401), (), 1),
        (ProviderUnavailable("down", provider="p", status=503, retryable=True), (), 3),
        (ReadFailed("nothing there"), (), 1),
    ],
)
async def test_only_errors_that_may_pass_are_tried_again(error: Exception, on: Any, tries: int) -> None:
    clock = JumpingClock()
    flaky = Flaky(clock, 99, error)
    only = flaky.graph(retry=Retry(attempts=3, on=on))
    async with Engine(graphs=[only], clock=clock) as engine:
        with pytest.raises(TreadleError):
            await (await engine.start(only, "a")).result()
    assert len(flaky.times) == tries


@pytest.mark.parametrize(("asked", "waited"), [(7.0, 7.0), (1000.0, 60.0)])
async def test_what_the_other_side_asks_to_wait_is_waited_up_to_the_maximum(
    asked: float, waited: float
) -> None:
    clock = JumpingClock()
    error = ProviderUnavailable("busy", provider="p", status=503, retryable=True, retry_after=asked)
    flaky = Flaky(clock, 1, error)
    only = flaky.graph(retry=Retry(attempts=2))
    async with Engine(graphs=[only], clock=clock) as engine:
        await (await engine.start(only, "a")).result()
    assert flaky.waits == pytest.approx([waited])


async def test_a_backoff_survives_a_crash_and_does_not_start_over(place: Place) -> None:
    clock = JumpingClock()
    flaky = Flaky(clock, 1, Odd("no"))
    only = flaky.graph(retry=Retry(attempts=2, wait="1h"))
    await place.crash(only, "a", after=lambda event: isinstance(event, AttemptFailed), clock=clock)
    clock._now = flaky.times[0] + 600.0  # the process is gone for ten minutes
    assert await place.resume(only, clock=clock) == "a"
    assert flaky.waits == pytest.approx([3600.0])


async def test_a_backoff_that_ended_while_nobody_was_there_is_over(place: Place) -> None:
    clock = JumpingClock()
    flaky = Flaky(clock, 1, Odd("no"))
    only = flaky.graph(retry=Retry(attempts=2, wait="1h"))
    await place.crash(only, "a", after=lambda event: isinstance(event, AttemptFailed), clock=clock)
    clock._now = flaky.times[0] + 7200.0
    assert await place.resume(only, clock=clock) == "a"
    assert flaky.waits == pytest.approx([7200.0])


def is_failure(seen: Iterator[bool], event: Event) -> bool:
    return isinstance(event, AttemptFailed) and next(seen)


async def test_a_crash_neither_resets_nor_uses_up_attempts(place: Place, calls: Calls) -> None:
    calls.failing.add("a")

    @graph
    def only() -> str:
        return calls.work.using(retry=Retry(attempts=3, wait=0.001))("a")

    for _ in range(2):
        seen = iter([False, True] if not calls.made else [True])
        await place.crash(only, before=functools.partial(is_failure, seen))
    made = len(calls.made)
    with pytest.raises(NodeFailed, match="attempt 3"):
        await place.resume(only)
    assert len(calls.made) - made == 2  # attempt 2, which was never recorded, and attempt 3


async def test_a_node_that_waits_for_its_next_attempt_delays_nobody(calls: Calls) -> None:
    clock, flaky_done = JumpingClock(), list[float]()
    flaky = Flaky(clock, 1, Odd("no"))

    @node
    async def note(text: str) -> str:
        flaky_done.append(clock.now())
        return text

    @graph
    def both() -> list[str]:
        return [flaky.node.using(retry=Retry(attempts=2, wait="1h"))("a"), note(calls.work("b"))]

    start = clock.now()
    async with Engine(graphs=[both], clock=clock) as engine:
        assert await (await engine.start(both)).result() == ["a", "B"]
    assert flaky_done == [start]


async def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again() -> None:
    attempts: list[int] = []

    @node(timeout=0.05, retry=QUICK)
    async def slow(ctx: Context, text: str) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            await anyio.sleep_forever()
        return text

    @graph
    def only(text: str) -> str:
        return slow(text)

    assert await run(only, "a") == "a"
    assert attempts == [1, 2, 3]


async def test_another_try_at_a_step_is_no_other_attempt() -> None:
    seen: list[tuple[str, int]] = []

    @node(retry=Retry(attempts=2, wait=0.001, on=Odd))
    async def shaky(ctx: Context) -> str:
        seen.append(("step", ctx.attempt))
        if len(seen) < 5:
            raise Odd("not yet")
        return "done"

    @node(retry=Retry(attempts=2, wait=0.001, on=Odd))
    async def outer(ctx: Context) -> str:
        seen.append(("node", ctx.attempt))
        return await ctx.step(shaky)

    @graph
    def only() -> str:
        return outer()

    assert await run(only) == "done"
    assert seen == [("node", 1), ("step", 1), ("step", 1), ("node", 2), ("step", 2)]


@pytest.mark.parametrize("swallows", ["and returns", "and raises"])
async def test_a_late_result_is_discarded(swallows: str) -> None:
    @node(timeout=0.02)
    async def stubborn(text: str) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if swallows == "and raises":
                raise Odd("late") from None
            return "too late"
        return text

    @graph
    def only(text: str) -> str:
        return stubborn(text)

    with pytest.raises(NodeTimeout, match="'stubborn' .attempt 1. was stopped after"):
        await run(only, "a")


async def test_a_timeout_of_a_graph_holds_for_each_of_its_nodes() -> None:
    @node
    async def slow(text: str) -> str:
        await anyio.sleep_forever()
        return text

    @graph(timeout=0.02)
    def only(text: str) -> str:
        return fallback(slow(text), slow.using(timeout=0.01)(text), text)

    assert await run(only, "a") == "a"


async def test_a_timeout_does_not_count_waiting_for_people() -> None:
    @node(timeout=0.3)
    async def asks(ctx: Context, text: str) -> str:
        first = await ctx.ask(Ask("one?", to="boss", answer=str))
        second = await ctx.ask(Ask("two?", to="boss", answer=str))
        return first + second

    @graph
    def only(text: str) -> str:
        return asks(text)

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "a")
        for answer in ("x", "y"):
            await handle.settled()
            await anyio.sleep(0.2)
            [question] = await engine.questions()
            await engine.answer(question.id, answer, by="ada")
        assert await handle.result() == "xy"


@pytest.mark.parametrize("above", ["run", "tenant"])
async def test_seconds_above_the_plan_stop_nodes_that_declare_nothing(above: str) -> None:
    @node
    async def slow(text: str) -> str:
        await anyio.sleep_forever()
        return text

    @graph
    def waiting(text: str) -> str:
        return slow(text)

    limit = Budget(seconds=0.05)
    async with Engine(budgets={"acme": limit}) as engine:
        if above == "run":
            handle = await engine.start(waiting, "a", budget=limit)
        else:
            handle = await engine.start(waiting, "a", tenant="acme")
        with anyio.fail_after(5), pytest.raises(BudgetExceeded, match=f"'{above}"):
            await handle.result()


async def test_seconds_of_a_budget_stop_what_runs_and_say_so() -> None:
    @node
    async def slow(text: str) -> str:
        await anyio.sleep_forever()
        return text

    @graph(budget=Budget(seconds=0.05))
    def only(text: str) -> str:
        return slow(text)

    with anyio.fail_after(5), pytest.raises(BudgetExceeded, match="seconds"):
        await run(only, "a")


async def test_a_tool_with_a_timeout_is_stopped_inside_a_body() -> None:
    @tool(timeout=0.02)
    async def slow(text: str) -> str:
        """Be slow."""
        await anyio.sleep_forever()
        return text

    @node
    async def outer(ctx: Context, text: str) -> str:
        try:
            return await ctx.step(slow, text)
        except NodeTimeout as error:
            return f"{error.node}: {type(error).__name__}"

    @graph
    def only(text: str) -> str:
        return outer(text)

    assert await run(only, "a") == "outer: NodeTimeout"


async def test_a_drain_does_not_wait_for_a_backoff_that_begins_during_it() -> None:
    begun, fails = anyio.Event(), anyio.Event()

    @node(retry=Retry(attempts=5, wait="1h"))
    async def flaky() -> str:
        begun.set()
        await fails.wait()
        raise ValueError("no")

    @graph
    def only() -> str:
        return flaky()

    async with Engine() as engine, anyio.create_task_group() as group:
        handle = await engine.start(only)
        await begun.wait()
        with anyio.fail_after(30):
            group.start_soon(engine.drain, 3600)
            await anyio.wait_all_tasks_blocked()
            fails.set()
            assert await handle.settled() == "running"
