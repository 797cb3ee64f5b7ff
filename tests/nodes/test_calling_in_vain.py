"""Agents that go round in circles: told once, then stopped; and answers that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Prompt, WiringError, agent, fallback, graph, node, run, tool
from treadle.errors import AgentStopped
from treadle.messages import ModelRequest, ToolCall, ToolResult
from treadle.models import Compact
from treadle.testing import ScriptedModel, call, crash_everywhere

pytestmark = pytest.mark.anyio

LOOKED: list[str] = []
CLOCK = {"ticks": 0}


@tool
async def look(key: str) -> str:
    """Look a key up."""
    LOOKED.append(key)
    return f"<{key}>"


@tool
async def tick() -> int:
    """Look at the clock."""
    CLOCK["ticks"] += 1
    return CLOCK["ticks"]


@tool
async def broken() -> str:
    """Never work."""
    LOOKED.append("broken")
    raise ValueError("no use")


async def asked(answers: Any, *, result: Any = str, **options: Any) -> tuple[Any, ScriptedModel]:
    """What an agent answers that has the tools of this file."""
    LOOKED.clear()
    model = ScriptedModel(answers)

    @agent(**{"model": model, "tools": [look, tick, broken], "max_turns": 20, **options})
    async def helper(text: str) -> Prompt[result]:  # type: ignore[valid-type]
        return Prompt(text)

    @graph
    def ask(text: str) -> result:  # type: ignore[valid-type]
        return helper(text)

    return await run(ask, "help"), model


def told(model: ScriptedModel) -> list[str]:
    """What the model was told after each of its turns, joined."""
    return [
        "|".join(part.content for part in request.messages[-1].parts if isinstance(part, ToolResult))
        for request in list(model.requests)[1:]
    ]


SAME = call("look", key="a")
SPELT = ToolCall(id="c", name="look", arguments='{ "key" : "a" }')


async def test_the_same_call_in_vain_is_told_once_and_not_made() -> None:
    answer, model = await asked([SAME, SPELT, SAME, "enough"], max_repeats=2)
    assert (answer, LOOKED) == ("enough", ["a", "a"])
    assert told(model)[2].startswith("look was called like this before, and nothing new came of it")


async def test_the_same_call_after_that_stops_the_agent() -> None:
    with pytest.raises(
        AgentStopped, match="called 'look' 2 times with the same arguments, learned nothing new"
    ):
        await asked([SAME, SAME, SAME, SAME, "never"], max_repeats=2)
    assert LOOKED == ["a", "a"]


async def test_a_person_or_another_agent_can_take_what_was_stopped() -> None:
    model = ScriptedModel([SAME] * 4)

    @agent(model=model, tools=[look], max_repeats=2)
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @node
    async def other(text: str) -> str:
        return "another way"

    @graph
    def ask(text: str) -> str:
        return fallback(helper(text), other(text))

    assert await run(ask, "help") == "another way"


async def test_calls_that_give_something_new_go_on() -> None:
    answer, _ = await asked([*[call("tick")] * 8, "done"], max_repeats=2)
    assert answer == "done"


async def test_a_circle_of_two_calls_is_found() -> None:
    circle = [call("look", key="a"), call("look", key="b")]
    with pytest.raises(AgentStopped, match="learned nothing new"):
        await asked([*circle * 5, "never"], max_repeats=2)
    assert LOOKED == ["a", "b", "a", "b", "a"]


async def test_something_new_in_between_lets_a_call_be_made_again() -> None:
    _, model = await asked([SAME, SAME, SAME, call("look", key="b"), SAME, "done"], max_repeats=2)
    assert LOOKED == ["a", "a", "b", "a"]
    assert told(model)[-1] == "<a>"


async def test_calls_that_are_never_made_count_too() -> None:
    with pytest.raises(AgentStopped, match="called 'nothing' 2 times"):
        await asked([call("nothing")] * 4, max_repeats=2)


async def test_failures_count_too() -> None:
    with pytest.raises(AgentStopped, match="called 'broken' 2 times"):
        await asked([call("broken")] * 4, max_repeats=2)
    assert LOOKED == ["broken", "broken"]


async def test_equal_calls_side_by_side_are_made_and_told_together() -> None:
    answer, model = await asked([[SAME, SAME], [SAME, SAME], "done"], max_repeats=2)
    assert (answer, LOOKED) == ("done", ["a", "a"])
    assert told(model)[0] == "<a>|<a>"
    assert told(model)[1].count("this call was not made") == 2


@pytest.mark.parametrize("bound", [1, 2, 3])
async def test_an_answer_is_asked_for_again_as_often_as_declared(bound: int) -> None:
    answer, _ = await asked([*["no number"] * bound, 7], result=int, max_repairs=bound)
    assert answer == 7
    with pytest.raises(AgentStopped, match="even when asked again"):
        await asked(["no number"] * (bound + 1), result=int, max_repairs=bound)


async def test_repairs_count_in_the_whole_conversation() -> None:
    with pytest.raises(AgentStopped, match="even when asked again: "):
        await asked(["no number", SAME, "no number", 7], result=int)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_repeats": 0}, "max_repeats=0"),
        ({"max_repairs": "x"}, "max_repairs='x'"),
        ({"compact": 5}, "is no"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(option: dict[str, Any], said: str) -> None:
    with pytest.raises(WiringError, match=said):
        agent(**option)


def test_what_is_declared_stands_in_the_plan_and_what_is_not_does_not() -> None:
    def settings(**options: Any) -> dict[str, Any]:
        @agent(model=ScriptedModel(["x"]), **options)
        async def helper(text: str) -> Prompt[str]:
            return Prompt(text)

        return dict(helper.settings)

    assert settings() == {"model": "scripted:scripted"}
    assert settings(max_repeats=2, compact=Compact(limit=1000, summary=ScriptedModel([], name="short"))) == {
        "model": "scripted:scripted",
        "max_repeats": 2,
        "compact": {
            "limit": 1000,
            "share": 0.75,
            "keep": 3,
            "summary": "scripted:short",
            "max_summary": 1024,
        },
    }


def by_request(request: ModelRequest) -> object:
    """Goes round until it is told, whenever it is asked: it has no memory of its own."""
    last = request.messages[-1].parts[-1]
    if isinstance(last, ToolResult) and "not made" in last.content:
        return "enough"
    return [SAME, call("broken")] if len(request.messages) == 1 else SAME


@agent(model=ScriptedModel(by_request), tools=[look, broken], max_repeats=2)
async def circling(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def circled(text: str) -> str:
    return circling(text)


async def test_a_crash_anywhere_changes_nothing_of_what_is_told() -> None:
    report = await crash_everywhere(circled, "help", at_most=4)
    assert report.value == "enough"


async def test_the_default_stops_a_model_that_only_ever_calls_one_tool() -> None:
    def stubborn(request: ModelRequest) -> ToolCall:
        return SAME

    with pytest.raises(AgentStopped, match="called 'look' 4 times"):
        await asked(stubborn)
    assert len(LOOKED) == 4
