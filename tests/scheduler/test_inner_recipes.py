"""Random graphs of items, rounds and runners, run by one step of a body: as at the top, and crashed."""

from __future__ import annotations

from collections import Counter
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_recipes import RECIPES, Made, Recipe, wire
from test_live_recipes import FEW, NOTHING, expected, run_to_end, said

from treadle import Context, graph, node, run
from treadle.errors import RunError
from treadle.events import StepCompleted, StepStarted
from treadle.testing import crash_everywhere


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def inside(made: Made) -> Made:
    """The same graph, as the only step of a node."""

    @node
    async def body(ctx: Context, x: int) -> int:
        return await ctx.step(made.graph, x)

    @graph
    def around(x: int) -> int:
        return body(x)

    return Made(around, made.calls)


@given(recipe=RECIPES, x=st.integers(0, 6))
def test_a_graph_in_a_step_comes_to_what_it_comes_to_at_the_top(backend: str, recipe: Recipe, x: int) -> None:
    made = inside(wire(recipe))
    found, history = anyio.run(partial(run_to_end, made, x), backend=backend)
    assert found == expected(recipe, x)
    ended = Counter(event.step for event in history if isinstance(event, StepCompleted))
    assert set(ended.values()) <= {1}, "something done ran twice"
    started = {event.step for event in history if isinstance(event, StepStarted)}
    assert set(ended) <= started


@FEW
@given(recipe=RECIPES, x=st.integers(0, 6))
def test_a_crash_inside_of_it_makes_no_difference(backend: str, recipe: Recipe, x: int) -> None:
    fails = expected(recipe, x) == NOTHING
    made = inside(wire(recipe))
    crash = partial(crash_everywhere, made.graph, x, answer=said, fails=fails, at_most=3)
    anyio.run(crash, backend=backend)


def test_it_fails_with_what_its_node_raised(backend: str) -> None:
    made = inside(wire(("work", 4)))
    with pytest.raises(RunError, match="0 and 4"):
        anyio.run(partial(_run, made), backend=backend)


async def _run(made: Made) -> None:
    await run(made.graph, 0)
