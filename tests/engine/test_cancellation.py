"""Runs that are cancelled, left, or partly not needed any more: what stops, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.engine.conftest import Calls, Place, around

from treadle import Ask, Context, Engine, Retry, fallback, graph, human, node, when
from treadle.errors import RunCancelled, RunError
from treadle.events import AttemptCancelled, CancelRequested, NodeCompleted, RunEnded
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio


class Watch:
    """Bodies that hang, and which of them are still there."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.inside: set[str] = set()
        self.left: list[str] = []

        @node
        async def hang(name: str) -> str:
            return await self._hang(name)

        @node
        async def hang_with_context(ctx: Context, name: str) -> str:
            return await ctx.step(hang, name)

        @node
        async def hang_in_tasks(ctx: Context, name: str) -> str:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ctx.step, hang, f"{name} 1")
                tasks.start_soon(ctx.step, hang, f"{name} 2")
            return name

        self.kinds = {"plain": hang, "with context": hang_with_context, "in tasks": hang_in_tasks}
        self.hang = hang

    async def _hang(self, name: str) -> str:
        self.inside.add(name)
        self.entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.inside.discard(name)
            self.left.append(name)
        return name


@pytest.fixture
def watch() -> Watch:
    return Watch()


def hanging_on(watch: Watch) -> Graph[[], str]:
    @graph
    def hanging() -> str:
        return watch.hang("x")

    return hanging


def tasks_of(engine: Engine) -> int:
    """How many tasks the engine's group holds for runs."""
    return len(engine.loops)


@pytest.mark.parametrize("kind", ["plain", "with context", "in tasks"])
async def test_a_cancelled_run_leaves_no_task_behind(kind: str, watch: Watch) -> None:
    hang = watch.kinds[kind]

    @graph
    def many() -> list[str]:
        return [hang.named(f"n{i}")(f"{i}") for i in range(5)]

    async with Engine(graphs=[many]) as engine:
        handle = await engine.start(many)
        await anyio.wait_all_tasks_blocked()
        assert len(watch.inside) == (10 if kind == "in tasks" else 5)
        with anyio.fail_after(1):
            await handle.cancel(by="ada", reason="enough")
            assert await handle.settled() == "cancelled"
        assert watch.inside == set()
        assert tasks_of(engine) == 0
        with pytest.raises(RunCancelled, match=handle.id):
            await handle.result()
        events = [one.event for one in await handle.history()]
    assert [(e.by, e.reason) for e in events if isinstance(e, CancelRequested)] == [("ada", "enough")]
    assert len([e for e in events if isinstance(e, AttemptCancelled)]) == 5
    assert [e.status for e in events if isinstance(e, RunEnded)] == ["cancelled"]


async def test_who_waits_for_a_cancelled_run_is_told_by_whom_and_why_here_and_elsewhere(
    watch: Watch, tmp_path: Path
) -> None:
    hanging = hanging_on(watch)
    told = list[RunCancelled]()
    for _ in range(2):
        async with Engine(f"sqlite:///{tmp_path / 'runs.db'}", graphs=[hanging]) as engine:
            handle = await engine.start(hanging, run_id="r")
            if not told:
                await handle.cancel(by="ada", reason="enough")
            with pytest.raises(RunCancelled, match="run 'r' was cancelled by ada: enough") as caught:
                await handle.result()
            told.append(caught.value)
    assert [(error.run_id, error.by, error.reason) for error in told] == [("r", "ada", "enough")] * 2


async def test_a_run_past_its_deadline_says_so(watch: Watch) -> None:
    hanging = hanging_on(watch)
    async with Engine(graphs=[hanging]) as engine:
        handle = await engine.start(hanging, deadline=1.0)
        with pytest.raises(RunCancelled, match="by deadline: the deadline of the run has passed"):
            await handle.result()


async def test_a_run_that_waits_for_a_person_can_be_cancelled() -> None:
    @human(to="boss")
    async def boss() -> Ask[str]:
        return Ask("well?")

    @graph
    def only() -> str:
        return boss()

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        assert await handle.settled() == "waiting"
        await handle.cancel()
        with anyio.fail_after(2), pytest.raises(RunCancelled):
            await handle.result()
        assert await engine.questions() == []


async def test_a_run_between_two_attempts_can_be_cancelled(calls: Calls) -> None:
    calls.failing.add("bad")

    @graph
    def only() -> str:
        return calls.work.using(retry=Retry(attempts=9, wait="1h"))("bad")

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):
            await handle.cancel()
            assert await handle.settled() == "cancelled"


async def test_cancelling_twice_or_after_the_end_changes_nothing(calls: Calls, watch: Watch) -> None:
    @graph
    def quick() -> str:
        return calls.work("a")

    @graph
    def slow() -> str:
        return watch.hang("a")

    async with Engine(graphs=[quick, slow]) as engine:
        done = await engine.start(quick)
        assert await done.result() == "A"
        await done.cancel()
        assert await done.settled() == "completed"
        handle = await engine.start(slow)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handle.cancel)
            tasks.start_soon(handle.cancel)
        assert await handle.settled() == "cancelled"
        events = [one.event for one in await handle.history()]
    assert len([e for e in events if isinstance(e, CancelRequested)]) == 1


@pytest.mark.parametrize("swallows", ["returns", "raises", "goes on"])
@pytest.mark.parametrize("with_context", [False, True])
async def test_a_body_that_swallows_cancellation_ends_the_run_all_the_same(
    swallows: str, with_context: bool
) -> None:
    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if swallows == "raises":
                raise ValueError("instead") from None
            if swallows == "goes on":
                await anyio.lowlevel.checkpoint()
        return "swallowed"

    async def plain(text: str) -> str:
        return await stubborn()

    async def body(ctx: Context, text: str) -> str:
        return await stubborn()

    made = node(body) if with_context else node(plain)

    @graph
    def only() -> list[str]:
        return [made("a"), made(made("b"))]

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):
            await handle.cancel()
            assert await handle.settled() == "cancelled"


async def test_who_waits_for_a_run_can_leave_without_cancelling_it(calls: Calls) -> None:
    calls.gates["a"] = anyio.Event()

    @graph
    def only() -> str:
        return calls.work("a")

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        with anyio.move_on_after(0.05):
            await handle.result()
        calls.gates["a"].set()
        assert await handle.result() == "A"


async def test_a_node_that_nobody_needs_any_more_is_cancelled(watch: Watch) -> None:
    @node
    async def fail() -> str:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @node
    async def instead() -> str:
        return "instead"

    @graph
    def only() -> str:
        return fallback(join(watch.hang("loser"), fail()), instead())

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        with anyio.fail_after(5):
            assert await handle.result() == "instead"
        assert (watch.inside, watch.left) == (set(), ["loser"])
        events = [one.event for one in await handle.history()]
    assert [e.node for e in events if isinstance(e, AttemptCancelled)] == ["hang"]


async def test_a_node_that_somebody_else_needs_goes_on(calls: Calls) -> None:
    calls.gates["shared"] = anyio.Event()

    @node
    async def fail() -> str:
        calls.gates["shared"].set()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @graph
    def only() -> str:
        shared = calls.work("shared")
        return fallback(join(shared, fail()), shared)

    async with Engine(graphs=[only]) as engine:
        assert await (await engine.start(only)).result() == "SHARED"
    assert calls.made == ["shared"]


async def test_a_cancelled_node_that_is_needed_again_claims_the_steps_it_had_finished(calls: Calls) -> None:
    reached = anyio.Event()

    @node
    async def shared(ctx: Context, name: str) -> str:
        first = await ctx.step(calls.work, name)
        if ctx.attempt == 1:
            reached.set()
            await anyio.sleep_forever()
        return first

    @node
    async def fail() -> str:
        await reached.wait()
        raise ValueError("no")

    @node
    async def join(a: str, b: str) -> str:
        return a + b

    @node
    async def is_open() -> bool:
        return True

    @graph
    def only() -> str:
        one = shared("a")
        return fallback(join(one, fail()), when(is_open(), one, "closed"))

    async with Engine(graphs=[only]) as engine:
        assert await (await engine.start(only)).result() == "A"
    assert calls.made == ["a"]


@pytest.mark.parametrize("error", [None, ValueError("the program failed")])
@pytest.mark.parametrize("kind", ["plain", "with context", "in tasks"])
async def test_an_engine_that_is_left_stops_its_runs_and_they_can_be_resumed(
    error: Exception | None, kind: str, watch: Watch, calls: Calls, place: Place
) -> None:
    may_pass = [False]

    @node
    async def last(ctx: Context, name: str) -> str:
        return name if may_pass[0] else await ctx.step(watch.kinds[kind], name)

    @graph
    def only() -> str:
        return last(calls.work("a"))

    async def leave() -> Any:
        async with place.engine(only) as engine:
            handle = await engine.start(only, run_id="r")
            await watch.entered.wait()
            if error is not None:
                raise error
            return handle

    with anyio.fail_after(5):
        if error is not None:
            with pytest.raises(ValueError, match="the program failed"):
                await leave()
        else:
            handle = await leave()
            with pytest.raises(RunError, match="resume it"):
                await handle.result()
    assert watch.inside == set()
    may_pass[0] = True
    assert await place.resume(only) == "A"
    assert calls.made == ["a"]


async def test_a_hundred_runs_are_left_at_once_and_all_resume(calls: Calls, place: Place) -> None:
    calls.gates["b"], everybody, came = anyio.Event(), anyio.Event(), list[str]()

    async def body(ctx: Context, text: str) -> str:
        first = await ctx.step(calls.work, text)
        came.append(text)
        if len(came) == 100:
            everybody.set()
        return first + await ctx.step(calls.other, "b")

    only = around(body)
    async with place.engine(only) as engine:
        handles = [await engine.start(only, f"a{i}", run_id=f"r{i}") for i in range(100)]
        await everybody.wait()
        assert {handle.status for handle in handles} == {"running"}
    calls.gates["b"].set()
    async with place.engine(only) as engine:
        handles = [await engine.resume(f"r{i}") for i in range(100)]
        assert [await handle.result() for handle in handles] == [f"A{i}B" for i in range(100)]
    assert len([name for name in calls.made if name.startswith("a")]) == 100


async def test_a_cancelled_run_stays_cancelled_and_what_it_finished_is_kept(
    calls: Calls, watch: Watch, place: Place
) -> None:
    @graph
    def only() -> list[str]:
        return [calls.work("a"), watch.hang("b")]

    async with place.engine(only) as engine:
        handle = await engine.start(only, run_id="r")
        await watch.entered.wait()
        await handle.cancel()
        await handle.settled()
    with pytest.raises(RunCancelled):
        await place.resume(only)
    assert [event.node for event in await place.events(only, NodeCompleted)] == ["work"]


async def test_a_cancellation_asked_for_while_nobody_worked_on_the_run_is_carried_out_when_it_is_resumed(
    watch: Watch, place: Place
) -> None:
    @graph
    def only() -> str:
        return watch.hang("a")

    async with place.engine(only) as engine:
        await engine.start(only, run_id="r")
        await watch.entered.wait()
    async with place.engine() as other:  # does not know the graph, so it can only put the request
        await other.cancel("r", by="ada")
    with anyio.fail_after(5), pytest.raises(RunCancelled):
        await place.resume(only)
