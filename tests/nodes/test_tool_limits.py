"""What an agent may call: what it declares, as often as it says, with results a model can read."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Context, Engine, PlanError, Prompt, WiringError, agent, graph, node, run, tool
from treadle.messages import ToolResult
from treadle.nodes.tool_schema import tool_spec
from treadle.testing import ScriptedModel, call

pytestmark = pytest.mark.anyio

FOUND: list[str] = []


@tool(max_calls=2)
async def find(key: str) -> str:
    """Look a key up."""
    FOUND.append(key)
    return f"<{key}>"


@tool
async def secret() -> str:
    """Never offered."""
    raise AssertionError("an agent called what it was not given")


class Shop:
    name = "loom"


async def told(answers: Any, *tools: Any) -> list[list[ToolResult]]:
    """What an agent was told after each of its turns."""
    FOUND.clear()
    model = ScriptedModel([*answers, "done"])

    @agent(model=model, tools=tools, max_turns=20)
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return helper(text)

    assert await run(ask, "help") == "done"
    return [
        [part for part in request.messages[-1].parts if isinstance(part, ToolResult)]
        for request in list(model.requests)[1:]
    ]


async def test_a_tool_that_exists_but_was_not_declared_is_unknown() -> None:
    [[result]] = await told([[call("secret")]], find)
    assert (result.is_error, result.content) == (True, "no tool 'secret'; the tools are: find")


async def test_calls_over_the_limit_are_not_made_and_the_model_is_told() -> None:
    first, second = await told(
        [[call("find", key="a")], [call("find", key="b"), call("find", key="c")]], find
    )
    assert FOUND == ["a", "b"]
    assert [result.is_error for result in first + second] == [False, False, True]
    assert second[1].content.startswith("find may be called 2 times here, and was")


async def test_the_limit_falls_on_the_same_call_however_quick_the_others_are() -> None:
    [results] = await told([[call("find", key=key) for key in "abcd"]], find)
    assert [result.content for result in results[:2]] == ["<a>", "<b>"]
    assert [result.is_error for result in results] == [False, False, True, True]


async def test_a_call_with_wrong_arguments_does_not_count() -> None:
    [_, results] = await told([[call("find", kee="a")], [call("find", key="b"), call("find", key="c")]], find)
    assert [result.is_error for result in results] == [False, False]


async def test_an_agent_may_be_given_less_than_the_tool_allows() -> None:
    [results] = await told([[call("find", key="a"), call("find", key="b")]], find.using(max_calls=1))
    assert results[1].content.startswith("find may be called once here, and was")


async def test_two_agents_count_for_themselves() -> None:
    for _ in range(2):
        [results] = await told([[call("find", key="a"), call("find", key="b")]], find)
        assert not any(result.is_error for result in results)


async def test_a_long_result_is_cut_for_the_model_and_whole_in_the_record() -> None:
    @tool(max_result=10)
    async def read() -> str:
        """Read it."""
        return "x" * 25

    model = ScriptedModel([call("read"), "done"])

    @agent(model=model, tools=[read])
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return helper(text)

    async with Engine("memory:") as engine:
        handle = await engine.start(ask, "help")
        await handle.result()
        steps = [one.event for one in await handle.history() if one.event.kind == "step_completed"]
    shown = model.requests[1].messages[-1].parts[0]
    assert isinstance(shown, ToolResult)
    assert shown.content == (
        "x" * 10 + "\n[cut: these are the first 10 of 25 characters; ask for less, or for a part]"
    )
    assert any(getattr(step, "result", None) and step.result.json() == "x" * 25 for step in steps)  # type: ignore[attr-defined]  # a payload of a step


async def test_what_a_failure_says_is_cut_too() -> None:
    @tool(max_result=30)
    async def read() -> str:
        """Read it."""
        raise ValueError("y" * 1000)

    [[result]] = await told([[call("read")]], read)
    assert result.is_error
    assert len(result.content) < 150
    assert "[cut: these are the first 30 of " in result.content


async def test_context_and_resources_are_no_part_of_the_schema() -> None:
    @tool
    async def look(ctx: Context, key: str) -> str:
        """Look.

        Args:
            ctx: Never shown.
            key: What to look for.
        """
        return ctx.resource(Shop).name + key

    parameters = tool_spec(look).parameters
    assert parameters["properties"] == {"key": {"type": "string", "description": "What to look for."}}
    assert "Never" not in str(tool_spec(look))


def helper_with(*tools: Any) -> Any:
    @agent(tools=tools)
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return helper(text)

    return ask


async def test_limits_are_part_of_the_plan() -> None:
    bare, limited = helper_with(secret), helper_with(secret.using(max_calls=1))
    assert bare.plan.digest != limited.plan.digest
    assert '"max_calls":1' in limited.plan.to_json()


async def test_tools_that_a_model_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(PlanError, match="its tools 'se.cret' and 'se cret' are both shown to the model as"):
        _ = helper_with(secret.named("se.cret"), secret.named("se cret")).plan
    with pytest.raises(PlanError, match="two of its tools are called 'secret'"):
        _ = helper_with(secret, secret).plan


@pytest.mark.parametrize("options", [{"max_calls": 0}, {"max_result": "10"}])
async def test_a_limit_is_a_whole_number_above_nothing(options: Any) -> None:
    with pytest.raises(WiringError, match="is no whole number above 0"):
        secret.using(**options)


async def test_a_node_may_be_limited_as_a_tool() -> None:
    @node
    async def double(x: int) -> int:
        """Double it."""
        return 2 * x

    [results] = await told([[call("double", x=1), call("double", x=2)]], double.using(max_calls=1))
    assert [result.is_error for result in results] == [False, True]
