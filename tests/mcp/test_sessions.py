"""Sessions with MCP servers: opened on first use, one for each run, lost and opened again, always closed."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from mcp_servers import PARAMETERS, RawServer

from treadle import Ask, Engine, InDoubt, Prompt, Retry, RunHandle, agent, do, graph, human, run, when
from treadle.errors import NodeTimeout, RunCancelled, ToolFailed, ToolLost
from treadle.messages import ToolResult
from treadle.testing import ScriptedModel, call

pytestmark = pytest.mark.anyio


def one(tools: Any, name: str, **arguments: Any) -> Any:
    """A graph that calls one tool."""

    @graph
    def main() -> object:
        return tools[name](**arguments)

    return main


def asking(tools: Any, *answers: Any) -> tuple[Any, ScriptedModel]:
    """A graph of one agent with these tools."""
    model = ScriptedModel([*answers, "done"])

    @agent(model=model, tools=[tools])
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def main() -> str:
        return helper("help")

    return main, model


def told(model: ScriptedModel, request: int = 1) -> list[ToolResult]:
    parts = list(model.requests)[request].messages[-1].parts
    return [part for part in parts if isinstance(part, ToolResult)]


async def test_declaring_starts_nothing_and_wiring_lists_once(raw: RawServer) -> None:
    tools = raw.tools()
    main, _ = asking(tools)
    assert raw.said == []
    assert main.plan is main.plan
    _ = one(tools, "echo", text="a").plan
    assert raw.said.count("started") == raw.said.count("tools/list") == 1
    assert not raw.running


async def test_a_run_has_one_session_for_all_its_calls_and_it_ends_with_the_run(raw: RawServer) -> None:
    main, model = asking(
        raw.tools(), [call("echo", text="a"), call("echo", text="b")], call("echo", text="c")
    )
    _ = main.plan
    listed = len(raw.log)
    async with Engine("memory:") as engine:
        assert await (await engine.start(main)).result() == "done"
        assert not raw.running
    assert len({entry["pid"] for entry in raw.log[listed:]}) == 1
    assert sorted(params["arguments"]["text"] for params in raw.calls) == ["a", "b", "c"]
    assert [result.content for result in told(model)] == ['echo: {"text": "a"}', 'echo: {"text": "b"}']


async def test_two_runs_have_a_session_each(raw: RawServer) -> None:
    main = one(raw.tools(), "echo", text="a")
    async with Engine("memory:") as engine:
        handles = [await engine.start(main) for _ in range(2)]
        for handle in handles:
            await handle.result()
    assert raw.said.count("started") == 3  # and one to list


async def test_a_run_that_calls_nothing_opens_nothing(raw: RawServer) -> None:
    main, _ = asking(raw.tools())
    assert await run(main) == "done"
    assert raw.said.count("started") == 1


@human(to="lead")
async def lead(text: object) -> Ask[bool]:
    return Ask(f"Is {text} right?")


async def test_a_waiting_run_holds_no_session_and_calls_nothing_again(raw: RawServer) -> None:
    tools = raw.tools()

    @graph
    def main() -> bool:
        return lead(tools["write"](text="a"))

    async with Engine("memory:") as engine:
        handle = await engine.start(main)
        assert await handle.settled() == "waiting"
        assert not raw.running
        [question] = await engine.questions()
        await engine.answer(question.id, True, by="maria")
        assert await handle.result() is True
    assert len(raw.calls) == 1


async def until_it_hangs(handle: RunHandle[Any]) -> None:
    """The tool that never answers says first that it was called."""
    async with aclosing(handle.events()) as events:
        async for recorded in events:
            if recorded.event.kind == "progress":
                return


async def test_a_cancelled_run_cancels_the_call_over_there(raw: RawServer) -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(one(raw.tools(), "hang"))
        await until_it_hangs(handle)
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
    assert "notifications/cancelled" in raw.said
    assert not raw.running


async def test_a_timeout_cancels_the_call_over_there(raw: RawServer) -> None:
    tools = raw.tools()

    @graph
    def main() -> object:
        return when(tools["echo"](text="a") != "", tools.using(timeout="300ms")["hang"](), None)

    with pytest.raises(NodeTimeout):
        await run(main)
    assert "notifications/cancelled" in raw.said
    assert not raw.running


async def test_an_engine_that_closes_leaves_no_server_behind(raw: RawServer) -> None:
    async with Engine("memory:") as engine:
        await until_it_hangs(await engine.start(one(raw.tools(), "hang")))
    assert not raw.running


async def test_what_the_server_says_failed_is_told_and_is_no_doubt(raw: RawServer) -> None:
    main, model = asking(raw.tools(), call("fail"))
    assert await run(main) == "done"
    [result] = told(model)
    assert (result.is_error, result.content) == (True, "fail failed: there is no paper")
    with pytest.raises(ToolFailed, match="there is no paper") as failed:
        await run(one(raw.tools(), "fail"))
    assert (failed.value.server, failed.value.tool) == ("raw", "fail")


async def test_a_once_call_that_broke_off_is_in_doubt_and_nobody_repeats_it(raw: RawServer) -> None:
    main, _ = asking(raw.tools(in_doubt="fail"), call("die"))
    with pytest.raises(InDoubt):
        await run(main)
    assert len(raw.calls) == 1


async def test_a_person_settles_the_doubt_under_the_same_key(raw: RawServer) -> None:
    tools = raw.tools(effects={"die_once": "once"})
    async with Engine("memory:") as engine:
        handle = await engine.start(one(tools, "die_once"))
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        await engine.answer(question.id, {"outcome": "run_again"}, by="maria")
        assert await handle.result() == "die_once: {}"
    first, second = (params["_meta"]["treadle/idempotency-key"] for params in raw.calls)
    assert first == second


async def test_a_repeatable_call_that_broke_off_is_tried_again_in_a_new_session(raw: RawServer) -> None:
    tools = raw.tools().using(retry=Retry(attempts=2, wait=0))
    assert await run(one(tools, "die_once")) == "die_once: {}"
    assert raw.said.count("started") == 3
    with pytest.raises(ToolLost, match="whether it did its work is not known"):
        await run(one(raw.tools(effects={"die": "repeatable"}), "die"))


async def test_other_calls_of_a_run_find_the_new_session(raw: RawServer) -> None:
    main, model = asking(raw.tools(), call("die_once"), [call("echo", text="a"), call("die_once")])
    assert await run(main) == "done"
    assert [result.content for result in told(model, 2)] == ['echo: {"text": "a"}', "die_once: {}"]


async def test_a_once_tool_is_tried_again_only_where_it_surely_did_nothing(raw: RawServer) -> None:
    tools = raw.tools(in_doubt="fail").using(retry=Retry(attempts=2, wait=0))
    with pytest.raises(ToolFailed):
        await run(one(tools, "fail"))
    assert len(raw.calls) == 2
    with pytest.raises(InDoubt):
        await run(one(tools, "die"))
    assert len(raw.calls) == 3


async def test_a_server_that_changes_a_schema_meanwhile_is_not_called(raw: RawServer) -> None:
    tools = raw.tools()
    main, model = asking(tools, [call("echo", text="a"), call("write", text="b")])
    _ = main.plan
    raw.write([{"name": "echo", "inputSchema": {"type": "object", "properties": {"text": {}}}}])
    assert await run(main) == "done"
    echo, write = told(model)
    assert "declares tool 'echo' otherwise since the graph was wired" in echo.content
    assert "has no tool 'write' any more" in write.content
    assert raw.calls == []


async def test_a_changed_schema_is_a_changed_definition(raw: RawServer) -> None:
    before = one(raw.tools(), "echo", text="a").plan
    described = [{"name": "echo", "description": "Other words.", "inputSchema": PARAMETERS}]
    raw.write(described)
    assert one(raw.tools(), "echo", text="a").plan.nodes[0].definition == before.nodes[0].definition
    raw.write([{**described[0], "inputSchema": {**PARAMETERS, "maxProperties": 1}}])
    assert one(raw.tools(), "echo", text="a").plan.nodes[0].definition != before.nodes[0].definition


async def test_progress_is_recorded_once_for_each_step_of_it(raw: RawServer) -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(one(raw.tools(), "step"))
        await handle.result()
        told = [one.event for one in await handle.history() if one.event.kind == "progress"]
    assert [(getattr(event, "message", ""), getattr(event, "fraction", 0)) for event in told] == [
        ("sorting", 0.5), ("sorting", 1.0)
    ]  # fmt: skip


async def test_calls_in_two_branches_share_the_session(raw: RawServer) -> None:
    tools = raw.tools()

    @graph
    def main() -> object:
        return do(tools["echo"](text="a"), tools["write"](text="b"), tools["echo"].named("last")(text="c"))

    assert await run(main) == 'echo: {"text": "c"}'
    assert raw.said.count("started") == 2
