"""How long an attempt may take: its timeout, and the time in which it must give a sign of life."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from treadle import Ask, Context, Engine, NodeTimeout, Retry, fallback, graph, node, tool
from treadle.errors import InDoubt, NodeFailed
from treadle.events import AttemptFailed, NodeCompleted
from treadle.plan.plan import Plan
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio

HOUR = 3600.0


class Worker:
    """A body that works for so many hours, and says so now and then.

    Args:
        clock: The time it works by.
        says_every: Hours between two signs of life.
    """

    def __init__(self, clock: JumpingClock, *, hours: float, says_every: float = 0.0) -> None:
        self.clock = clock
        self.attempts = 0
        self.inside = 0

        @node
        async def work(ctx: Context, text: str) -> str:
            self.attempts += 1
            self.inside += 1
            try:
                await self._work(ctx, hours, says_every)
            finally:
                self.inside -= 1
            return text

        self.node = work

    async def _work(self, ctx: Context, hours: float, says_every: float) -> None:
        until = self.clock.now() + hours * HOUR
        while (now := self.clock.now()) < until:
            await self.clock.sleep_until(min(until, now + (says_every or hours) * HOUR))
            if says_every:
                ctx.progress("still at it")

    def graph(self, **policies: Any) -> Any:
        @graph
        def only(text: str) -> str:
            return self.node.using(**policies)(text)

        return only


async def perform(only: Any, clock: JumpingClock) -> Any:
    async with Engine(graphs=[only], clock=clock) as engine:
        with anyio.fail_after(20):
            return await (await engine.start(only, "x")).result()


@pytest.mark.parametrize(
    ("hours", "says_every", "policies", "ended_after"),
    [
        (2, 0, {"timeout": "3h"}, None),
        (4, 0, {"timeout": "3h"}, 3),
        (2, 0, {"idle": "3h"}, None),
        (4, 0, {"idle": "3h"}, 3),
        (12, 1, {"idle": "3h"}, None),
        (12, 4, {"idle": "3h"}, 3),
        (12, 1, {"idle": "3h", "timeout": "6h"}, 6),
        (4, 0, {"idle": "3h", "timeout": "24h"}, 3),
    ],
)
async def test_hours_are_kept_in_milliseconds(
    hours: float, says_every: float, policies: dict[str, str], ended_after: float | None
) -> None:
    clock = JumpingClock()
    began = clock.now()
    worker = Worker(clock, hours=hours, says_every=says_every)
    if ended_after is None:
        assert await perform(worker.graph(**policies), clock) == "x"
        assert clock.now() == began + hours * HOUR
    else:
        with pytest.raises(NodeTimeout):
            await perform(worker.graph(**policies), clock)
        assert clock.now() == began + ended_after * HOUR
    assert worker.inside == 0


async def test_the_error_says_which_limit_and_what_to_do() -> None:
    clock = JumpingClock()
    with pytest.raises(NodeTimeout) as idle:
        await perform(Worker(clock, hours=4).graph(idle="3h"), clock)
    assert "gave no sign of life for 10800 s; call ctx.progress(...), or raise its idle" in str(idle.value)
    assert (idle.value.node, idle.value.attempt) == ("work", 1)
    with pytest.raises(NodeTimeout, match=r"stopped after 10800\.00 s; raise its timeout"):
        await perform(Worker(clock, hours=4).graph(timeout="3h"), clock)


async def test_an_idle_attempt_is_tried_again_and_its_failure_can_be_taken() -> None:
    clock = JumpingClock()
    worker = Worker(clock, hours=4)

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def only(text: str) -> str:
        slow = worker.node.using(idle="3h", retry=Retry(attempts=3, wait="1h"))
        return fallback(slow(text), instead())

    assert await perform(only, clock) == "instead"
    assert worker.attempts == 3
    assert clock.jumps[-1] - clock.jumps[0] == (2 * 3 + 2) * HOUR


async def test_calls_that_begin_and_end_are_signs_of_life() -> None:
    clock = JumpingClock()

    @node
    async def step(number: int) -> int:
        await clock.sleep_until(clock.now() + 2 * HOUR)
        return number

    @node
    async def work(ctx: Context, text: str) -> str:
        for number in range(10):
            await ctx.step(step, number)
        return text

    @graph
    def only(text: str) -> str:
        return work.using(idle="3h")(text)

    assert await perform(only, clock) == "x"


async def test_a_step_has_limits_of_its_own_which_signs_of_life_inside_it_keep() -> None:
    clock, heard = JumpingClock(), list[str]()

    @node(idle="3h")
    async def talking(ctx: Context, text: str) -> str:
        for _ in range(5):
            await clock.sleep_until(clock.now() + 2 * HOUR)
            ctx.progress("here")
        return text

    @node(idle="3h")
    async def silent(text: str) -> str:
        await clock.sleep_until(clock.now() + 4 * HOUR)
        return text

    @node
    async def both(ctx: Context, text: str) -> str:
        heard.append(await ctx.step(talking, text))
        try:
            heard.append(await ctx.step(silent, text))
        except NodeTimeout as error:
            heard.append(str(error))
        return text

    @graph
    def only(text: str) -> str:
        return both(text)

    assert await perform(only, clock) == "x"
    assert heard[0] == "x"
    assert heard[1].startswith("'silent', called in node 'both', gave no sign of life for its 10800 s")


async def test_waiting_for_a_person_is_not_idleness() -> None:
    clock = JumpingClock()

    @node
    async def ask(ctx: Context, text: str) -> str:
        other = await ctx.ask(Ask(text, to="maria", answer=str))
        await clock.sleep_until(clock.now() + 2 * HOUR)
        return other

    @graph
    def only(text: str) -> str:
        return ask.using(idle="3h", timeout="3h")(text)

    async with Engine(graphs=[only], clock=clock) as engine:
        handle = await engine.start(only, "x")
        assert await handle.settled() == "waiting"
        clock.advance(100 * HOUR)
        await engine.answer(handle.questions[0], "yes", by="maria")
        assert await handle.result() == "yes"


async def test_an_effect_that_went_silent_is_in_doubt() -> None:
    clock = JumpingClock()

    @tool(effect="once", in_doubt="fail")
    async def pay(text: str) -> str:
        """Pay."""
        await clock.sleep_until(clock.now() + 4 * HOUR)
        return text

    @graph
    def only(text: str) -> str:
        return pay.using(idle="3h")(text)

    with pytest.raises(InDoubt):
        await perform(only, clock)


@pytest.mark.parametrize("limit", ["timeout", "idle"])
async def test_what_an_attempt_returns_too_late_is_discarded(limit: str) -> None:
    clock = JumpingClock()

    @node
    async def stubborn(ctx: Context, text: str) -> str:
        with anyio.CancelScope(shield=True):
            await clock.sleep_until(clock.now() + 4 * HOUR)
        return text

    @graph
    def only(text: str) -> str:
        return stubborn.using(**{limit: "3h"})(text)  # type: ignore[misc]  # a table of policies

    async with Engine(graphs=[only], clock=clock) as engine:
        handle = await engine.start(only, "x")
        with pytest.raises(NodeTimeout):
            await handle.result()
        events = [one.event for one in await handle.history()]
    assert not [event for event in events if isinstance(event, NodeCompleted)]
    [failed] = [event for event in events if isinstance(event, AttemptFailed)]
    assert failed.failure.type == "NodeTimeout"


async def test_on_a_clock_that_timeouts_do_not_go_by_they_go_by_the_event_loop() -> None:
    @node
    async def hang(ctx: Context, text: str) -> str:
        await anyio.sleep_forever()
        return text

    @graph
    def only(text: str) -> str:
        return hang.using(idle=0.01)(text)

    async with Engine(graphs=[only]) as engine:
        with pytest.raises(NodeTimeout):
            await (await engine.start(only, "x")).result()


async def test_io_does_not_race_with_a_timeout_on_the_jumping_clock() -> None:
    clock = JumpingClock()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(await stream.receive())

    @node
    async def talk(ctx: Context, port: int) -> str:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"hello")
            return (await stream.receive()).decode()

    @graph
    def only(port: int) -> list[str]:
        return [talk.using(timeout="1s", idle="1s").named(f"t{n}")(port) for n in range(5)]

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        async with Engine(graphs=[only], clock=clock) as engine:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            assert await (await engine.start(only, port)).result() == ["hello"] * 5
        group.cancel_scope.cancel()
    assert clock.jumps == []


async def test_idle_is_inherited_from_the_graph_and_part_of_the_plan() -> None:
    clock = JumpingClock()
    worker = Worker(clock, hours=4)

    @graph(idle="3h")
    def only(text: str) -> str:
        return worker.node(text)

    [planned] = [one for one in only.plan.nodes if one.id == "work"]
    assert planned.policies.idle == 3 * HOUR
    assert Plan.from_json(only.plan.to_json()).digest == only.plan.digest
    with pytest.raises(NodeTimeout):
        await perform(only, clock)


async def test_a_failing_body_is_told_by_its_own_error_where_no_limit_was_passed() -> None:
    clock = JumpingClock()

    @node
    async def fail(ctx: Context, text: str) -> str:
        raise ValueError("no")

    @graph
    def only(text: str) -> str:
        return fail.using(idle="3h", timeout="3h")(text)

    with pytest.raises(NodeFailed, match="ValueError: no"):
        await perform(only, clock)
