"""What decorators and ``using`` refuse: options that would be swallowed, and things that are none."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Ask, Prompt, WiringError, agent, graph, human, node
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
