"""The models of agents that nobody wired: those that agents call, by themselves or inside a graph."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import (
    Budget,
    Context,
    Engine,
    PlanError,
    Prompt,
    agent,
    each,
    fallback,
    graph,
    loop,
    node,
    race,
    run,
)
from treadle.errors import ConfigurationError
from treadle.nodes.graph import Graph
from treadle.testing import ScriptedModel, call
from treadle.tools import handoff

pytestmark = pytest.mark.anyio


def helper(name: str, model: Any, **options: Any) -> Any:
    @agent(name=name, model=model, **options)
    async def helping(text: str) -> Prompt[str]:
        """Help."""
        return Prompt(text)

    return helping


def asking(*tools: Any, model: Any = "auto") -> Graph[[str], str]:
    lead = helper("lead", model, tools=tools)

    @graph
    def ask(text: str) -> str:
        return lead(text)

    return ask


def wrapped(inner: Any) -> Graph[[str], str]:
    @graph(name=f"graph_of_{inner.name}")
    def around(text: str) -> str:
        """Ask one more."""
        return inner(text)

    return around


def wrong(name: str) -> Any:
    return helper(name, f"opnai:{name}")


def test_unknown_models_anywhere_below_an_agent_are_told_at_once_before_anything_runs() -> None:
    deep = helper("deep", "auto", tools=[wrong("inmost")])
    soft = helper("soft", "auto", budget=Budget(calls=9, soft=0.5, on_soft="opnai:soft"))
    used = helper("used", "auto").using(model="opnai:used")
    tools = [wrong("tool"), handoff(wrong("handoff")), wrapped(wrong("graph")), deep, soft, used]
    with pytest.raises(PlanError) as refused:
        _ = asking(*tools).plan
    for name in ("tool", "handoff", "graph", "inmost", "soft", "used"):
        assert f"no model 'opnai:{name}'" in str(refused.value)


def test_unknown_models_in_items_rounds_races_and_rungs_are_told_at_once() -> None:
    @graph(budget=Budget(calls=9, soft=0.5, on_soft="opnai:run"))
    def budgeted(text: str) -> str:
        return text

    @graph
    def ask(text: str) -> list[str]:
        found = each(wrapped(wrong("item")), [text])
        again = loop(wrong("round"), text, until=lambda value: value == "", at_most=2)
        return [
            found[0],
            again,
            race(wrong("runner")(text), text),
            fallback(wrong("rung")(text), budgeted(text)),
        ]

    with pytest.raises(PlanError) as refused:
        _ = ask.plan
    for name in ("item", "round", "runner", "rung", "run"):
        assert f"no model 'opnai:{name}'" in str(refused.value)


async def test_the_model_at_a_soft_limit_of_a_run_or_a_tenant_is_looked_at_when_it_is_given() -> None:
    soft = Budget(calls=9, soft=0.5, on_soft="opnai:soft")
    ask = asking(model=ScriptedModel(["yes"]))
    async with Engine(graphs=[ask]) as engine:
        with pytest.raises(ConfigurationError, match="no model 'opnai:soft'"):
            await engine.start(ask, "go", budget=soft)
    with pytest.raises(ConfigurationError, match="no model 'opnai:soft'"):
        async with Engine(graphs=[ask], budgets={"acme": soft}):
            pass


# -- graph.using(model=) ----------------------------------------------------------------------------------


def said(*names: str) -> ScriptedModel:
    """A model that calls each of these once, one after the other, whoever asks; then it answers."""

    def answer(request: Any) -> Any:
        made = sum(len(message.tool_calls) for message in request.messages)
        offered = {tool.name for tool in request.tools}
        left = [name for name in names if name in offered]
        return call(left[made], text="go") if made < len(left) else "done"

    return ScriptedModel(answer)


async def test_the_model_of_a_graph_reaches_the_agents_that_its_agents_call() -> None:
    deep = helper("deep", "openai:never", tools=[helper("inmost", "openai:never")])
    ask = asking(deep, wrapped(helper("inside", "openai:never")), model="openai:never")
    model = said("inmost", "deep", "graph_of_inside")
    assert await run(ask.using(model=model), "go") == "done"
    assert len(model.requests) == 3 + 2 + 1 + 1  # lead, deep, inmost, inside


async def test_it_reaches_whoever_a_conversation_is_passed_on_to() -> None:
    model = said("hand_off_to_other")
    ask = asking(handoff(helper("other", "openai:never")), model="openai:never")
    assert await run(ask.using(model=model), "go") == "done"
    assert len(model.requests) == 2


async def test_what_was_given_a_model_itself_keeps_it_and_what_it_calls_does_not() -> None:
    own, outer = said("inmost"), said("deep")
    inmost = helper("inmost", "openai:never")
    deep = helper("deep", "openai:never", tools=[inmost]).using(model=own)
    assert await run(asking(deep, model="openai:never").using(model=outer), "go") == "done"
    assert (len(own.requests), len(outer.requests)) == (2, 3)  # deep; lead and inmost


async def test_the_innermost_graph_wins() -> None:
    own, outer = ScriptedModel(["inner"]), said("graph_of_inside")
    part = wrapped(helper("inside", "openai:never")).using(model=own)
    assert await run(asking(part, model="openai:never").using(model=outer), "go") == "done"
    assert (len(own.requests), len(outer.requests)) == (1, 2)


async def test_it_reaches_agents_and_graphs_that_bodies_step_into() -> None:
    inside = helper("inside", "openai:never")

    @node
    async def deeper(ctx: Context, text: str) -> str:
        return await ctx.step(inside, text) + await ctx.step(wrapped(inside), text)

    @node
    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(deeper, text) + await ctx.step(inside.using(model=own), text)

    own, model = ScriptedModel(["c"]), ScriptedModel(["a", "b"])
    assert await run(wrapped(body).using(model=model), "go") == "abc"
    assert (len(own.requests), len(model.requests)) == (1, 2)


async def test_the_model_of_an_agent_is_its_own_alone() -> None:
    own, other = said("other"), ScriptedModel(["other"])
    lead = helper("lead", "openai:never", tools=[helper("other", other)])

    @graph
    def ask(text: str) -> str:
        return lead.using(model=own)(text)

    assert await run(ask, "go") == "done"
    assert (len(own.requests), len(other.requests)) == (2, 1)
