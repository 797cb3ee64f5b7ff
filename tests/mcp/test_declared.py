"""What is wrong with a server, or with what is said of it, is told before anything runs."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import pytest
from mcp_servers import PARAMETERS, TOOLS, RawServer

from treadle import Engine, PlanError, WiringError, agent, graph, run, tool
from treadle import Prompt as Asked
from treadle.errors import ConfigurationError, InDoubt, ResultRefused, ToolFailed, ToolUnavailable
from treadle.messages import ToolResult
from treadle.testing import ScriptedModel, call
from treadle.tools import mcp_tools

pytestmark = pytest.mark.anyio


@tool
async def echo(text: str) -> str:
    """Say it."""
    return text


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (
            ["/no/such/server"],
            "no plan without its tools: MCP server 'server' .* cannot be reached: .*No such",
        ),
        ([sys.executable, "-c", "raise SystemExit('no key')"], "cannot be reached: .*; it said: no key"),
        ("http://127.0.0.1:9/mcp", "MCP server '127.0.0.1' .* cannot be reached"),
        ([sys.executable, "-c", "input(); input()"], "it did not answer within 0.5 s"),
    ],
)
def test_a_server_that_cannot_be_reached_is_told_when_the_plan_is_made(server: Any, words: str) -> None:
    tools = mcp_tools(server, timeout=0.5 if "input" in str(server) else 20)

    @agent(tools=[tools])
    async def helper(text: str) -> Asked[str]:
        return Asked(text)

    @graph
    def main(text: str) -> str:
        return helper(text)

    with pytest.raises(ConfigurationError, match=f"(?s){words}"):
        _ = main.plan


@pytest.mark.parametrize(
    "target",
    ["http://me:s3cret@127.0.0.1:9/mcp?key=s3cret", ["/no/such/server", "--key", "s3cret"]],
)
def test_a_secret_in_how_a_server_is_reached_is_told_nowhere(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be reached") as caught:
        mcp_tools(target, name="desk").offered()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ([], "names no command"),
        ("npx server", r"is no URL; write mcp_tools\(\['npx', 'server'\]\) to start a command"),
        ("ftp://x/y", "is no URL"),
    ],
)
def test_what_is_no_server_is_refused_at_once(server: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        mcp_tools(server)


def test_without_the_extra_the_command_to_install_it_is_told(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'treadle\[mcp\]'"):
        raw.tools().offered()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "http://192.0.2.1/x"}}}, "refers to 'http://192.0"),
        ({"type": "object", "properties": {"a": {"type": "objekt"}}}, "it is no JSON Schema"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_with_its_tool(raw: RawServer, schema: Any, words: str) -> None:
    raw.write([{"name": "odd", "inputSchema": schema}, {"name": "echo", "inputSchema": PARAMETERS}])
    with pytest.raises(ConfigurationError, match=f"tool 'odd' of MCP server 'raw' cannot be used: .*{words}"):
        raw.tools().offered()


def names(tools: Any) -> list[str]:
    return [one.name for one in tools.offered()]


def test_tools_are_chosen_by_the_names_the_server_gives_them(raw: RawServer) -> None:
    tools = raw.tools()
    assert names(tools.only("write", "echo")) == ["echo", "write"]
    assert "die" not in names(tools.without("die", "die_once"))
    assert names(raw.tools(prefix="raw_").only("echo")) == ["raw_echo"]


def test_the_order_does_not_depend_on_the_server(raw: RawServer) -> None:
    shown = names(raw.tools())
    raw.write(TOOLS[::-1])
    assert names(raw.tools()) == shown == sorted(shown)


@pytest.mark.parametrize(
    "choose", [lambda t: t.only("ecko"), lambda t: t.without("ecko"), lambda t: t["ecko"]]
)
def test_a_name_that_is_not_listed_is_told_with_the_nearest(raw: RawServer, choose: Any) -> None:
    with pytest.raises(ConfigurationError, match="'raw' has no tool 'ecko'; did you mean 'echo'"):
        names(choose(raw.tools()))


def test_an_effect_for_a_tool_that_is_not_there_is_told(raw: RawServer) -> None:
    with pytest.raises(ConfigurationError, match="has no tool 'wriet'"):
        names(raw.tools(effects={"wriet": "once"}))


def test_annotations_give_the_effect_and_a_word_of_ours_overrides_them(raw: RawServer) -> None:
    effects = {one.name: one.policies.effect for one in raw.tools().offered()}
    assert (effects["echo"], effects["die_once"], effects["write"]) == ("repeatable", "repeatable", "once")
    assert raw.tools(effects={"echo": "once"})["echo"].policies.effect == "once"
    assert raw.tools(in_doubt="fail")["write"].policies.in_doubt == "fail"


def test_two_tools_of_one_name_are_told_apart_by_a_prefix(raw: RawServer) -> None:
    def plan(*tools: Any) -> Any:
        @agent(tools=tools)
        async def helper(text: str) -> Asked[str]:
            return Asked(text)

        @graph
        def main(text: str) -> str:
            return helper(text)

        return main.plan

    with pytest.raises(PlanError, match="two of its tools are called 'echo'"):
        plan(echo, raw.tools())
    assert plan(echo, raw.tools(prefix="raw_"))


def test_the_options_of_nodes_are_checked(raw: RawServer) -> None:
    with pytest.raises(WiringError, match="did you mean 'timeout'"):
        raw.tools().using(timout="1s")  # type: ignore[call-arg]  # misspelt on purpose
    changed = raw.tools().using(max_calls=2).using(timeout="3s")["echo"].policies
    assert (changed.max_calls, changed.timeout) == (2, 3.0)


def test_an_argument_that_is_missing_is_told_when_it_is_wired(raw: RawServer) -> None:
    @graph
    def main() -> object:
        return raw.tools()["echo"](txt="a")

    with pytest.raises(PlanError, match="(?s)'text' is missing.*no parameter 'txt'; did you mean 'text'"):
        _ = main.plan


async def test_a_wired_argument_of_another_type_never_reaches_the_server(raw: RawServer) -> None:
    @graph
    def main(text: int) -> object:
        return raw.tools()["echo"](text=text)

    with pytest.raises(ToolFailed, match="it was not called: arguments.text: 3 is not of type 'string'"):
        await run(main, 3)
    assert raw.calls == []


async def test_a_result_that_does_not_fit_its_schema_is_refused_and_not_asked_for_again(
    raw: RawServer,
) -> None:
    model = ScriptedModel([call("shape", value={"size": "big"}), call("shape", value={"size": 3}), "done"])

    @agent(model=model, tools=[raw.tools()])
    async def helper(text: str) -> Asked[str]:
        return Asked(text)

    @graph
    def main() -> str:
        return helper("x")

    assert await run(main) == "done"
    first, second = (list(model.requests)[turn].messages[-1].parts[0] for turn in (1, 2))
    assert isinstance(first, ToolResult)
    assert isinstance(second, ToolResult)
    assert first.content.startswith("shape failed: 'shape' has acted, so do not call it again")
    assert "result.size: 'big' is not of type 'integer'" in first.content
    assert (second.is_error, second.content) == (False, '{"size":3}')
    assert len(raw.calls) == 2


async def test_a_wired_result_that_does_not_fit_fails_its_node(raw: RawServer) -> None:
    @graph
    def main() -> object:
        return raw.tools()["shape"](value={"size": "big"})

    with pytest.raises(ResultRefused, match="result.size: 'big' is not of type 'integer'"):
        await run(main)


async def test_an_answer_that_the_protocol_does_not_allow_leaves_the_call_in_doubt(raw: RawServer) -> None:
    tools = raw.tools(in_doubt="fail")

    @graph
    def main() -> object:
        return tools["shape"](value=[])

    with pytest.raises(InDoubt) as doubt:
        await run(main)
    assert "answered 'shape' as the protocol does not allow" in str(doubt.value.__cause__)


async def test_a_server_gets_nothing_of_our_environment_but_what_is_given(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANK_PASSWORD", "x")
    tools = raw.tools(env={"ROOM": "7"})

    @graph
    def main() -> object:
        return tools["environment"]()

    got = str(await run(main)).split()
    assert "ROOM" in got
    assert "BANK_PASSWORD" not in got


async def test_a_server_that_has_gone_since_is_unavailable_and_nothing_is_in_doubt(raw: RawServer) -> None:
    tools = raw.tools(in_doubt="fail")

    @graph
    def main() -> object:
        return tools["write"](text="a")

    _ = main.plan
    raw.write([{"name": "odd", "inputSchema": {"type": "object", "$ref": "http://192.0.2.1/x"}}])
    async with Engine("memory:") as engine:
        with pytest.raises(ToolUnavailable) as failed:
            await (await engine.start(main)).result()
    assert not isinstance(failed.value, InDoubt)
