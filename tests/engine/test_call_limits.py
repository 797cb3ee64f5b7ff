"""Seconds of a budget above one call: an agent as a tool, a step with a budget, a graph in a step."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.conftest import Place, around

from treadle import Ask, Budget, BudgetExceeded, Context, Engine, Prompt, agent, do, graph, human, node
from treadle.engine.times import read_times
from treadle.events import (
    AttemptParked,
    Event,
    Failure,
    QuestionAnswered,
    RunResumed,
    StepCompleted,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.messages import ToolResult
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock, ScriptedModel, call
from treadle.values import JSON

pytestmark = pytest.mark.anyio


def sleeping(clock: JumpingClock, seconds: float) -> Any:
    @node
    async def sleep(text: str) -> str:
        """Sleep."""
        await clock.sleep_until(clock.now() + seconds)
        return text

    return sleep


async def test_a_step_is_cut_off_when_its_seconds_are_used_up() -> None:
    clock = JumpingClock()

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(sleeping(clock, 3600).using(budget=Budget(seconds="1m")), text)

    async with Engine(graphs=[only := around(body)], clock=clock) as engine:
        began = clock.now()
        with pytest.raises(BudgetExceeded, match="has run for 60.* of its 60 seconds"):
            await (await engine.start(only, "a")).result()
        assert clock.now() - began < 120


async def test_an_agent_as_a_tool_ends_with_its_seconds_and_the_model_is_told() -> None:
    clock = JumpingClock()
    busy, model = ScriptedModel([call("sleep", text="a")]), ScriptedModel([call("helper", text="a"), "done"])

    @agent(model=busy, tools=[sleeping(clock, 3600)], budget=Budget(seconds="1m"))
    async def helper(text: str) -> Prompt[str]:
        """Help."""
        return Prompt(text)

    @agent(model=model, tools=[helper])
    async def lead(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return lead(text)

    async with Engine(graphs=[ask], clock=clock) as engine:
        assert await (await engine.start(ask, "a")).result() == "done"
    [told] = model.requests[-1].messages[-1].parts
    assert isinstance(told, ToolResult)
    assert "of its 60 seconds" in told.content


async def test_a_graph_in_a_step_counts_parallel_nodes_once_and_no_wait_for_a_person() -> None:
    clock = JumpingClock()
    sleep = sleeping(clock, 40)

    @human(to="maria")
    async def desk(text: str) -> Ask[str]:
        return Ask(f"What of {text}?")

    @graph(budget=Budget(seconds="1m"))
    def inner(text: str) -> list[str]:
        return do(desk(text), [sleep(text), sleep.named("other")(text)])

    async def body(ctx: Context, text: str) -> list[str]:
        return await ctx.step(inner, text)

    async with Engine(graphs=[only := around(body)], clock=clock) as engine:
        handle = await engine.start(only, "a")
        assert await handle.settled() == "waiting"
        await clock.sleep_until(clock.now() + 3600)
        [question] = await engine.questions()
        await engine.answer(question.id, "b", by="maria")
        assert await handle.result() == ["a", "a"]


async def test_the_seconds_of_a_step_are_counted_on_after_a_crash() -> None:
    clock, store = JumpingClock(), MemoryStore()
    first, second = sleeping(clock, 40).named("first"), sleeping(clock, 40).named("second")

    @graph(budget=Budget(seconds="1m"))
    def inner(text: str) -> str:
        return second(first(text))

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(inner, text)

    def is_second(event: Event) -> bool:
        return isinstance(event, StepStarted) and "second" in event.step

    place = Place(lambda: store)
    await place.crash(only := around(body), "a", after=is_second, clock=clock)
    async with place.engine(only, clock=clock) as engine:
        with pytest.raises(BudgetExceeded, match="has run for 60.* of its 60 seconds"):
            await (await engine.resume(RunId("r"))).result()


def test_a_history_tells_how_long_calls_ran_without_pauses_and_lost_time() -> None:
    n, s, value = NodeId("n"), StepId("work#1:0"), JSON.pack(1)
    started = StepStarted(
        at=10, node=n, attempt=1, step=s, callee="work", callee_kind="node", definition="", input_digest=""
    )
    failure = Failure(types=(), message="", node=n, attempt=1, retryable=True, takeable=True)
    tried = StepTried(at=12, node=n, attempt=1, step=s, tries=1, failure=failure, not_before=50)
    again = StepStarted(
        at=50, node=n, attempt=1, step=s, callee="work", callee_kind="node", definition="", input_digest=""
    )
    parked = AttemptParked(at=53, node=n, attempt=1, questions=())
    answered = QuestionAnswered(at=90, node=n, question=QuestionId("q"), value=value, by="maria", opening=1)
    crashed = RunResumed(at=200, owner="b", fence=2)
    done = StepCompleted(at=204, node=n, attempt=1, step=s, started_at=10, result=value)
    history: list[Event] = [started, tried, again, parked, answered, crashed, done]
    assert read_times(history).calls == {(n, s): [(10, 12), (50, 53), (200, 204)]}
