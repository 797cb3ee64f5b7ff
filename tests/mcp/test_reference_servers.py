"""The protocol's own reference servers, as npm has them, and the official SDK's server."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import NODE, node

from treadle import Prompt, agent, fallback, graph, run
from treadle import node as as_node
from treadle.errors import ToolFailed
from treadle.messages import ToolResult
from treadle.testing import ScriptedModel, call
from treadle.tools import RemoteTools, mcp_tools

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent


async def told(tools: RemoteTools, *calls: Any) -> list[ToolResult]:
    """What a model is told of these calls, made side by side."""
    model = ScriptedModel([list(calls), "done"])

    @agent(model=model, tools=[tools])
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def main() -> str:
        return helper("help")

    assert await run(main) == "done"
    parts = list(model.requests)[1].messages[-1].parts
    return [part for part in parts if isinstance(part, ToolResult)]


@pytest.fixture(scope="module")
def everything(npm_servers: Path) -> RemoteTools:
    return mcp_tools(node(npm_servers, "everything", "stdio"), name="everything", prefix="x_")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that the file server may use."""
    return tmp_path_factory.mktemp("allowed")


@pytest.fixture(scope="module")
def files(npm_servers: Path, folder: Path) -> RemoteTools:
    return mcp_tools(node(npm_servers, "filesystem", str(folder)), name="files")


CALLS = [
    call("x_echo", message="hi"),
    call("x_get-sum", a=1, b=2),
    call("x_get-structured-content", location="New York"),
    call("x_echo"),
    call("x_get-structured-content", location="Paris"),
    call("x_get-tiny-image"),
    call("x_get-resource-reference", resourceType="Text", resourceId=1),
]
TOLD = [
    (False, "Echo: hi"),
    (False, "The sum of 1 and 2 is 3."),
    (False, '{"temperature":'),
    (True, "invalid arguments for x_echo: 'message' is missing"),
    (True, "invalid arguments for x_get-structured-content: arguments.location: 'Paris' is not one of"),
    (False, "Here's the image you requested:\n[image image/png, 4,035 bytes: left out]\n"),
    (False, "Returning resource reference for Resource 1:\nResource 1: "),
]


def assert_told(results: list[ToolResult]) -> None:
    assert len(results) == len(TOLD)
    for result, (is_error, begins) in zip(results, TOLD, strict=True):
        assert (result.is_error, result.content[: len(begins)]) == (is_error, begins)


async def test_everything_over_stdio(everything: RemoteTools) -> None:
    assert_told(await told(everything, *CALLS))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(command: list[str], *, ready: str, **environment: str) -> Iterator[None]:
    """Run a server until the test is over; it says on one of its outputs when it listens."""
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        assert any(ready in line for line in server.stdout), "the server ended before it listened"
        yield
    finally:
        server.terminate()
        server.communicate(timeout=10)


@pytest.fixture(scope="module")
def everything_url(npm_servers: Path) -> Iterator[str]:
    port = free_port()
    command = node(npm_servers, "everything", "streamableHttp")
    for _ in serving(command, ready="listening on port", PORT=str(port), PATH=str(NODE)):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_everything_over_http(everything_url: str) -> None:
    assert_told(await told(mcp_tools(everything_url, prefix="x_"), *CALLS))
    gc.collect()  # under trio the SDK leaves its event streams to the collector, which says so


@pytest.fixture(scope="module")
def sdk_url() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-u", str(HERE / "sdk_server.py"), str(port)]
    for _ in serving(command, ready="Uvicorn running on"):
        yield f"http://127.0.0.1:{port}/mcp"


async def test_the_newest_protocol_over_http(sdk_url: str) -> None:
    tools = mcp_tools(sdk_url, headers={"X-Token": "secret-token"})
    results = await told(tools, call("add", a=1, b=2), call("token"), call("protocol"), call("refuse"))
    assert [result.content for result in results[:3]] == ['{"result":3}', "secret-token", "2026-07-28"]
    assert results[3].is_error
    assert "out of paper" in results[3].content


async def test_what_is_said_in_headers_stands_in_no_plan(sdk_url: str) -> None:
    tools = mcp_tools(sdk_url, headers={"X-Token": "secret-token"})

    @graph
    def main() -> object:
        return tools["add"](a=1, b=2)

    assert "secret-token" not in main.plan.to_json()
    assert await run(main) == {"result": 3}


async def test_files_are_read_and_written_where_the_server_allows_it(
    files: RemoteTools, folder: Path
) -> None:
    (folder / "a.txt").write_text("one\ntwo")

    @as_node
    async def sorry(path: str) -> object:
        return f"no {path}"

    @graph
    def read(path: str) -> object:
        return fallback(files["read_text_file"](path=path), sorry(path), on=ToolFailed)

    assert await run(read, str(folder / "a.txt")) == {"content": "one\ntwo"}
    assert await run(read, "/etc/hostname") == "no /etc/hostname"
    written, seen = await told(
        files.only("write_file", "list_directory"),
        call("write_file", path=str(folder / "b.txt"), content="three"),
        call("list_directory", path=str(folder / "nowhere")),
    )
    assert (written.is_error, seen.is_error) == (False, True)
    assert (folder / "b.txt").read_text() == "three"


def test_annotations_say_what_may_be_repeated(files: RemoteTools) -> None:
    effects = {tool.name: tool.policies.effect for tool in files.offered()}
    assert effects["read_text_file"] == "repeatable"  # readOnlyHint
    assert effects["write_file"] == "repeatable"  # idempotentHint
    assert effects["edit_file"] == effects["move_file"] == "once"
