"""What decorators and ``using`` refuse: options that would be swallowed, and things that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from treadle import Ask, PlanError, Prompt, Retriever, WiringError, agent, each, graph, human, node, tool
from treadle.compose import check_model
from treadle.errors import ConfigurationError, ResultRefused
from treadle.nodes.node import model_faults


@node
async def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@agent
async def think(x: int) -> Prompt[int]:
    return Prompt(str(x))


@graph
def doubled(x: int) -> int:
    return double(x)


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        (double, {"timout": "3s"}, r"node 'double' has no option 'timout'; did you mean 'timeout'\?"),
        (think, {"max_turn": 1}, "did you mean 'max_turns'"),
        (doubled, {"budgett": None}, "graph 'doubled' has no option 'budgett'; did you mean 'budget'"),
        (double, {"max_turns": 1}, "node 'double' asks no model"),
        (double, {"retry": 5}, r"retry=5 is no Retry; write retry=Retry\(attempts=5\)"),
        (double, {"budget": 0.05}, r'budget=0.05 is no Budget; write budget=Budget\(usd="0.05"\)'),
        (doubled, {"budget": 3}, r'write budget=Budget\(usd="3"\)'),
        (think, {"max_turns": "4"}, "max_turns='4' is no whole number above 0"),
    ],
)
def test_using_refuses_what_it_would_have_to_swallow(target: Any, options: Any, text: str) -> None:
    with pytest.raises(WiringError, match=text):
        target.using(**options)


@pytest.mark.parametrize("decorator", [node, agent, graph])
def test_a_number_is_no_budget_and_the_message_spells_the_budget(decorator: Any) -> None:
    with pytest.raises(WiringError, match=r'write budget=Budget\(usd="0.05"\)'):
        decorator(budget=0.05)


@node
async def undescribed(x: int) -> int:
    return x


@pytest.mark.parametrize("thing", [len, undescribed.function, "find"])
def test_what_is_no_node_is_refused_as_a_tool_when_the_agent_is_declared(thing: Any) -> None:
    with pytest.raises(WiringError, match="is no tool; .*put @tool over it"):
        agent(tools=[thing])


def test_one_tool_without_a_list_is_refused_with_the_list_spelled() -> None:
    single: Any = double
    with pytest.raises(WiringError, match=r"tools=<node double> is no list; write tools=\[double\]"):
        agent(tools=single)


def test_a_node_without_a_docstring_is_a_fault_of_the_agent_that_offers_it() -> None:
    @agent(tools=[undescribed, double])
    async def helper(x: int) -> Prompt[int]:
        return Prompt(str(x))

    assert helper.faults == (
        "tool 'undescribed': a tool needs a docstring: it is what a model reads to choose it",
    )


@pytest.mark.anyio
async def test_an_agent_that_gives_text_is_told_to_give_a_prompt() -> None:
    async def body(x: int) -> Any:
        return f"What is {x}?"

    body.__annotations__["return"] = Prompt[int]
    context: Any = None
    with pytest.raises(ResultRefused, match=r"test_options.py:\d+: .*'What is 3\?' \(str\).*return Prompt\("):
        await agent(body).perform(context, {"x": 3})


@pytest.mark.anyio
async def test_a_person_asked_with_text_is_told_to_be_asked_with_an_ask() -> None:
    async def body(x: int) -> Any:
        return None

    body.__annotations__["return"] = Ask[int]
    context: Any = None
    with pytest.raises(ResultRefused, match=r"human 'body' returned None.*return Ask\("):
        await human(to="leads")(body).perform(context, {"x": 3})


@pytest.mark.parametrize(
    "name", ["auto", "openai:gpt-5", "gpt-4o", "anthropic:x", "local:y", "auto:smal", "openai:", "local:"]
)
def test_a_declared_model_is_told_the_same_as_when_it_is_opened(name: str) -> None:
    opened = ""
    try:
        check_model(name)
    except ConfigurationError as error:
        opened = str(error)
    assert model_faults(name) == ([opened] if opened else [])


async def thought(x: int) -> Prompt[int]:
    return Prompt(str(x))


async def asked(x: int) -> Ask[int]:
    return Ask(str(x))


@pytest.mark.parametrize(
    ("decorator", "options", "text"),
    [
        (agent, {"model": 42}, "model=42 is no model; write 'openai:NAME'"),
        (agent, {"model": None}, "model=None is no model; leave it out, which is model='auto'"),
        (agent, {"instructions": 3}, "instructions=3 is no text"),
        (agent, {"name": 3}, "3 is no name for a node or graph; write some text"),
        (
            agent,
            {"modle": "auto"},
            "@agent has no option 'modle'; did you mean 'model'?; it takes model, tools",
        ),
        (
            agent,
            {"timeout": "soon"},
            "timeout='soon' is not a duration; write seconds, or text such as '30s'",
        ),
        (agent, {"idle": -1}, "idle=-1 is no duration above zero"),
        (agent, {"timeout": True}, "timeout=True is not a duration"),
        (node, {"timout": 3}, "@node has no option 'timout'; did you mean 'timeout'?"),
        (node, {"timeout": []}, "timeout=[] is not a duration"),
        (node, {"name": b"x"}, "b'x' is no name"),
        (tool, {"max_call": 3}, "@tool has no option 'max_call'; did you mean 'max_calls'?"),
        (graph, {"budgte": 3}, "@graph has no option 'budgte'; did you mean 'budget'?"),
        (graph, {"on_failure": "drian"}, "on_failure='drian' says nothing known; did you mean 'drain'?"),
        (graph, {"on_failure": 3}, "on_failure=3 says nothing known; write 'drain' or 'cancel'"),
        (human, {"to": 3}, "@human(to=3) asks nobody; name a person or a group"),
        (human, {"to": "a", "within": "soon"}, "within='soon' is not a duration"),
        (human, {"to": "a", "withn": "3s"}, "@human has no option 'withn'; did you mean 'within'?"),
        (human, {}, "@human: missing a required argument: 'to'"),
        (Retriever, {"name": "x", "index": 3}, 'index=3 is no index; write index="handbook.sqlite"'),
        (
            Retriever,
            {"name": "x", "index": Path("a.db")},
            'write index="a.db", or give an object with `search`',
        ),
        (Retriever, {"name": "", "index": "a.db"}, "'' is no name for a retriever"),
        (Retriever, {"name": "x", "indx": "a.db"}, "Retriever has no option 'indx'; did you mean 'index'?"),
        (think.using, {"model": 42}, "model=42 is no model; write 'openai:NAME'"),
        (doubled.using, {"model": 42}, "model=42 is no model"),
        (double.using, {"timeout": "soon"}, "timeout='soon' is not a duration"),
        (double.named, {"name": 3}, "3 is no name for a node"),
    ],
)
def test_an_option_of_another_kind_is_refused_where_it_is_written(
    decorator: Any, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(WiringError, match=re.escape(text)) as told:
        decorator(**options)(asked if decorator is human else thought)
    assert str(told.value).startswith(__file__)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"effect": "onec"},
            "@tool(effect=...) is one of 'repeatable', 'once', not 'onec'; did you mean 'once'?",
        ),
        ({"effect": ["once"]}, "@tool(effect=...) is one of 'repeatable', 'once', not ['once']"),
        ({"in_doubt": "aks"}, "is one of 'ask', 'retry', 'fail', not 'aks'; did you mean 'ask'?"),
        ({"in_doubt": None}, "is one of 'ask', 'retry', 'fail', not None"),
    ],
)
def test_an_unknown_policy_of_a_tool_is_told_with_the_nearest(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        tool(**options)


@pytest.mark.parametrize(
    ("decorator", "text"),
    [(human, r"takes its options by name; write @human\(to=...\)"), (graph, "3 is no function|no function")],
)
def test_a_decorator_over_what_it_cannot_stand_over_says_so(decorator: Any, text: str) -> None:
    with pytest.raises(WiringError, match=text):
        decorator(3)


def test_the_names_around_a_body_are_seen_through_a_decorator_without_options() -> None:
    class Form(BaseModel):
        x: int

    @agent
    async def fill(x: int) -> Prompt[Form]:
        return Prompt(str(x))

    assert fill.result.type is Form


@node
async def alone(x: int) -> int:
    return x


@agent(max_turns=2)
async def short(x: int) -> Prompt[int]:
    return Prompt(str(x))


def test_what_a_graph_is_given_for_agents_reaches_those_that_say_nothing() -> None:
    @graph
    def inner(x: int) -> int:
        return short(think(x))

    @graph
    def outer(xs: list[int]) -> list[int]:
        return each(inner, xs)

    found = {node.id: node.policies.max_turns for node in outer.using(max_turns=5).plan.all_nodes()}
    assert (found["think"], found["short"]) == (5, 2)


@pytest.mark.parametrize("limit", ["max_turns", "max_output", "min_output"])
def test_a_limit_for_agents_is_a_fault_of_a_graph_without_any(limit: Any) -> None:
    @graph
    def inner(x: int) -> int:
        return alone(x)

    @graph
    def outer(x: int) -> int:
        return think(inner.using(**{limit: 7})(x))

    said = f"{limit}=7 is for the agents that it wires, and it wires none; leave it out"
    for wrong, subject in ((inner.using(**{limit: 7}), "graph 'inner'"), (outer, "subgraph 'inner'")):
        with pytest.raises(PlanError) as told:
            _ = wrong.plan
        assert [subject in fault and said in fault for fault in told.value.faults] == [True]
