"""Items, rounds and runners in each other, in the real engine: by hand, replayed, and crashed."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_recipes import RECIPES, Broken, Made, Recipe, answer, by_hand, wire
from test_live_equals_replay import moving, recorded

from treadle import Engine
from treadle.events import NodeCompleted
from treadle.interfaces import Question
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.testing import crash_everywhere

FEW = settings(max_examples=max(10, settings().max_examples // 10))
NOTHING = "failed"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def said(question: Question) -> int:
    x, key = map(int, question.prompt.split())
    return answer(x, key)


def expected(recipe: Recipe, x: int) -> object:
    try:
        return by_hand(recipe, lambda: x)
    except Broken:
        return NOTHING


async def run_to_end(made: Made, x: int) -> tuple[object, list[Any]]:
    """Run a graph, answer whoever asks, and give what it came to, with its history."""
    async with Engine("memory:") as engine:
        handle = await engine.start(made.graph, x)
        with anyio.fail_after(20):
            while await handle.settled() == "waiting":
                for question in (await engine.questions())[:1]:
                    await engine.answer(question.id, said(question), by="maria", opening=question.opening)
        history = [record.event for record in await handle.history()]
        return (await handle.result()) if handle.status == "completed" else NOTHING, history


@given(recipe=RECIPES, x=st.integers(0, 6))
def test_a_live_run_comes_to_what_is_computed_by_hand_and_its_replay_to_the_same_commands(
    backend: str, recipe: Recipe, x: int
) -> None:
    made = wire(recipe)
    with recorded() as handled:
        found, history = anyio.run(partial(run_to_end, made, x), backend=backend)
    assert found == expected(recipe, x)
    ended = Counter(event.node for event in history if isinstance(event, NodeCompleted))
    assert set(ended.values()) <= {1}, "something done ran twice"
    assert len(made.calls) >= sum("work" in node for node in ended)
    _, commands = replay(history, lambda _: compile_plan(made.graph.plan))
    story = moving(zip(history, commands, strict=True))
    told = [moving(one) for one in handled.values()]
    assert all(one == story[: len(one)] for one in told)
    assert max(map(len, told)) == len(story)


@FEW
@given(recipe=RECIPES, x=st.integers(0, 6))
def test_a_crash_anywhere_makes_no_difference(backend: str, recipe: Recipe, x: int) -> None:
    fails = expected(recipe, x) == NOTHING
    crash = partial(crash_everywhere, wire(recipe).graph, x, answer=said, fails=fails, at_most=2)
    anyio.run(crash, backend=backend)


@FEW
@given(recipe=RECIPES, x=st.integers(0, 6), after=st.integers(0, 30))
def test_a_cancelled_run_leaves_nothing(backend: str, recipe: Recipe, x: int, after: int) -> None:
    async def cancelled() -> None:
        made = wire(recipe)
        async with Engine("memory:") as engine:
            handle = await engine.start(made.graph, x)
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            await handle.cancel()
            with anyio.fail_after(10):
                while await handle.settled() == "waiting":  # it parked at that moment, and is brought back
                    await anyio.lowlevel.checkpoint()
            assert handle.status in ("cancelled", "completed", "failed")
            assert await engine.questions() == []
            assert not engine.loops

    anyio.run(cancelled, backend=backend)
