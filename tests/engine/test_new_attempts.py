"""Another attempt at a node: which calls of the attempts before it are claimed, and which made again."""

from __future__ import annotations

import anyio
import pytest
from tests.engine.conftest import Calls, Place, around, edited

from treadle import Ask, Context, Engine, NodeFailed, Prompt, Retry, agent, node, run, tool
from treadle.errors import AgentStopped
from treadle.events import (
    AttemptFailed,
    StepClaimed,
    StepFailed,
)
from treadle.messages import user
from treadle.nodes.agent_loop import AgentSpec, converse
from treadle.testing import ScriptedModel
from treadle.values import codec

pytestmark = pytest.mark.anyio


async def test_a_new_attempt_claims_what_went_well_and_makes_again_what_ended_the_last(calls: Calls) -> None:
    calls.failing.add("bad")

    async def body(ctx: Context, text: str) -> str:
        good = await ctx.step(calls.work, "good")
        if ctx.attempt == 2:
            calls.failing.clear()
        return good + await ctx.step(calls.work, "bad")

    only = around(body, retry=Retry(attempts=2, wait=0.001))
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "")
        assert await handle.result() == "GOODBAD"
        events = [one.event for one in await handle.history()]
    assert calls.made == ["good", "bad", "bad"]
    assert [event.result.json() for event in events if isinstance(event, StepClaimed) and event.result] == [
        "GOOD"
    ]


async def test_a_new_attempt_claims_the_failures_its_body_survived(calls: Calls) -> None:
    calls.failing.update({"survived", "bad"})

    async def body(ctx: Context, text: str) -> str:
        try:
            await ctx.step(calls.work, "survived")
        except NodeFailed:
            await ctx.step(calls.work, "instead")
        if ctx.attempt == 2:
            calls.failing.clear()
        return await ctx.step(calls.work, "bad")

    assert await run(around(body, retry=Retry(attempts=2, wait=0.001)), "") == "BAD"
    assert calls.made == ["survived", "instead", "bad", "bad"]


async def test_a_failure_deep_inside_runs_again_and_what_went_well_around_it_is_claimed(calls: Calls) -> None:
    calls.failing.add("bad")

    @node
    async def inner(ctx: Context, name: str) -> str:
        good = await ctx.step(calls.work, f"inner {name}")
        return good + await ctx.step(calls.work, name)

    @node
    async def middle(ctx: Context, name: str) -> str:
        return await ctx.step(inner, name)

    async def body(ctx: Context, text: str) -> str:
        good = await ctx.step(middle, "good")
        if ctx.attempt == 2:
            calls.failing.clear()
        return good + await ctx.step(middle, "bad")

    assert await run(around(body, retry=Retry(attempts=2, wait=0.001)), "") == "INNER GOODGOODINNER BADBAD"
    assert calls.made == ["inner good", "good", "inner bad", "bad", "bad"]


async def test_all_failures_in_a_task_group_run_again(calls: Calls) -> None:
    calls.failing.update({"x", "y"})
    calls.gates = {"x": anyio.Event(), "y": anyio.Event()}

    async def body(ctx: Context, text: str) -> str:
        if ctx.attempt == 2:
            calls.failing.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.step, calls.work, "x")
            tasks.start_soon(ctx.step, calls.work, "y")
            await anyio.wait_all_tasks_blocked()
            calls.gates["x"].set()
            calls.gates["y"].set()
        return "done"

    assert await run(around(body, retry=Retry(attempts=2, wait=0.001)), "") == "done"


async def test_a_failed_run_that_is_resumed_claims_what_its_attempts_had_done(
    calls: Calls, place: Place
) -> None:
    calls.failing.add("bad")
    only = edited(calls, ["good", "bad"])
    for attempt in (1, 2):
        async with place.engine(only) as engine:
            handle = await (engine.start(only, "", run_id="r") if attempt == 1 else engine.resume("r"))
            with pytest.raises(NodeFailed):
                await handle.result()
    calls.failing.clear()
    assert await place.resume(only) == ["GOOD", "BAD"]
    assert calls.made == ["good", "bad", "bad", "bad"]


async def test_a_crash_in_a_later_attempt_loses_nothing_of_the_earlier_ones(
    calls: Calls, place: Place
) -> None:
    calls.failing.add("bad")

    async def body(ctx: Context, text: str) -> list[str]:
        if ctx.attempt == 3:
            calls.failing.clear()
        return [await ctx.step(calls.work, name) for name in ("a", "b", "bad", "c")]

    only = around(body, retry=Retry(attempts=3, wait=0.001))
    failures = iter([False, True])
    await place.crash(only, "", before=lambda e: isinstance(e, AttemptFailed) and next(failures))
    before = len(calls.made)
    assert await place.resume(only) == ["A", "B", "BAD", "C"]
    assert calls.made[:before] == ["a", "b", "bad", "bad"]
    assert calls.made[before:] == ["bad", "c"]


async def ask_model(ctx: Context, model: ScriptedModel) -> str:
    """Make one recorded request in the body itself, as an agent's loop does."""
    spec = AgentSpec(name="think", model=model, result=codec(str))
    answer: str = await converse(ctx, spec, [user("think")])
    return answer


async def test_where_the_body_raised_models_are_asked_afresh_and_effects_and_answers_are_claimed() -> None:
    model, paid, tried = ScriptedModel(["bad", "worse", "good"]), list[str](), list[str]()

    @tool(effect="once")
    async def pay(name: str) -> str:
        """Pay."""
        paid.append(name)
        return name

    async def body(ctx: Context, text: str) -> str:
        assert await ctx.ask(Ask("go on?", to="boss", answer=bool))
        await ctx.step(pay, "bill")
        tried.append(await ask_model(ctx, model))
        if tried[-1] != "good":
            raise ValueError(f"{tried[-1]} will not do")
        return tried[-1]

    only = around(body, retry=Retry(attempts=3, wait=0.001))
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "")
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        await engine.answer(question.id, True, by="ada")
        assert await handle.result() == "good"
    assert (tried, paid, len(model.requests)) == (["bad", "worse", "good"], ["bill"], 3)


async def test_an_agent_as_a_step_that_gave_no_valid_answer_is_asked_afresh(calls: Calls) -> None:
    answers = ["no number", "still none"]
    model = ScriptedModel(lambda _request: answers.pop(0))

    @agent(model=model)
    async def count(text: str) -> Prompt[int]:
        return Prompt(text)

    async def body(ctx: Context, text: str) -> str:
        good = await ctx.step(calls.work, "good")
        return f"{good} {await ctx.step(count, text)}"

    with pytest.raises(AgentStopped):
        await run(around(body), "how many?")
    answers[:] = ["no number", "still none", '{"answer": 7}']
    only = around(body, retry=Retry(attempts=2, on=AgentStopped, wait=0.001))
    assert await run(only, "how many?") == "GOOD 7"


async def test_a_timed_out_attempt_does_not_pay_its_models_again() -> None:
    model = ScriptedModel(["answer"])

    async def body(ctx: Context, text: str) -> str:
        answer = await ask_model(ctx, model)
        if ctx.attempt == 1:
            await anyio.sleep_forever()
        return answer

    assert await run(around(body, timeout=0.1, retry=Retry(attempts=2, wait=0.001)), "") == "answer"
    assert len(model.requests) == 1


async def test_the_failures_of_steps_are_in_the_history(calls: Calls) -> None:
    calls.failing.add("bad")
    only = edited(calls, ["good", "bad"])
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "")
        await handle.settled()
        events = [one.event for one in await handle.history()]
    [failed] = [event for event in events if isinstance(event, StepFailed)]
    [attempt] = [event for event in events if isinstance(event, AttemptFailed)]
    assert (failed.failure.type, failed.failure.message, failed.in_doubt) == ("ValueError", "no bad", False)
    assert attempt.ended_by == failed.step
