"""``treadle serve-mcp``, called by the official SDK's client: a run is a call, whatever becomes of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from mcp.client.stdio import StdioServerParameters, stdio_client

import mcp
from treadle import Engine
from treadle.cli.main import VERBS
from treadle.errors import ConfigurationError
from treadle.mcp.server import listen

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-c", "from treadle.cli.main import main; main()", "serve-mcp"]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: which one the caller has makes no difference to a server in another process."""
    return "asyncio"


@dataclass
class Served:
    """A server, where its runs are kept, and the file that its endless node writes when it is stopped."""

    url: str
    store: str
    spun: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    store, spun = f"sqlite:///{folder / 'runs.db'}", folder / "spun"
    command = [*COMMAND, str(HERE / "served_graphs.py"), "--graph", "loom", "--http", "0", "--store", store]
    environment = {**os.environ, "SPUN": str(spun)}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said = ""
    while not (found := re.search(r"serving at (\S+);", said)):
        line = server.stderr.readline()
        assert line, said
        said += line
    yield Served(url=found[1], store=store, spun=spun)
    server.terminate()
    server.communicate(timeout=10)


async def order(client: mcp.Client, **arguments: Any) -> Any:
    return await client.call_tool("loom", {"order": arguments})


async def test_a_graph_is_a_tool_with_the_schemas_of_its_types(served: Served) -> None:
    async with mcp.Client(served.url) as client:
        loom, later = (await client.list_tools()).tools
    assert (loom.name, loom.description, later.name) == ("loom", "Weave cloth to order.", "loom_result")
    assert loom.input_schema["required"] == ["order"]
    assert loom.input_schema["properties"]["order"]["description"] == "What is wanted."
    jsonschema.validate({"order": {"ells": 3}}, loom.input_schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"order": {"ells": "three"}}, loom.input_schema)
    assert later.annotations is not None
    assert later.annotations.read_only_hint is True


async def test_a_call_is_a_run_and_gives_its_result(served: Served) -> None:
    async with mcp.Client(served.url) as client:
        result = await order(client, ells=3, colour="blue")
        assert not result.is_error
        assert result.structured_content["status"] == "completed"
        assert result.structured_content["result"] == {"words": "3 ells of blue"}
        assert json.loads(result.content[0].text) == {"words": "3 ells of blue"}
        again = await client.call_tool("loom_result", {"run_id": result.structured_content["run_id"]})
        assert again.structured_content == result.structured_content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ells": "many"}, "ells: Input should be a valid integer"),
        ({"colour": "red"}, "ells: Field required"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_and_start_nothing(
    served: Served, arguments: Any, words: str
) -> None:
    async with mcp.Client(served.url) as client:
        result = await order(client, **arguments)
        assert result.is_error
        assert words in result.content[0].text
        unknown = await client.call_tool("loom", {"ordre": {}})
        assert "no argument 'ordre'; did you mean 'order'" in unknown.content[0].text
        with pytest.raises(mcp.MCPError, match="no tool 'lom'; there are loom, loom_result"):
            await client.call_tool("lom", {})


async def test_a_run_that_fails_is_an_error_and_looking_does_not_try_again(served: Served) -> None:
    async with mcp.Client(served.url) as client:
        result = await order(client, ells=0)
        assert result.is_error
        found = re.match(r"run (r-\w+) failed: .*ValueError: no cloth has no length", result.content[0].text)
        assert found
        later = await client.call_tool("loom_result", {"run_id": found[1]})
        assert later.is_error
        assert "failed: ValueError: no cloth has no length" in later.content[0].text


async def test_progress_is_passed_on_and_a_cancelled_call_cancels_its_run(served: Served) -> None:
    told: list[tuple[float, str | None]] = []
    async with mcp.Client(served.url) as client:
        with anyio.CancelScope() as scope:

            async def progress(number: float, total: float | None, message: str | None) -> None:
                told.append((number, message))
                if message == "spin: spinning":
                    scope.cancel()

            await client.call_tool("loom", {"order": {"ells": -1}}, progress_callback=progress)
        assert told == [(1.0, "sort is done"), (2.0, "spin: spinning")]
        run_id = await latest(served)
        later = await client.call_tool("loom_result", {"run_id": run_id})
        assert "it was cancelled" in later.content[0].text
    assert served.spun.read_text() == "stopped"


async def latest(served: Served) -> str:
    """The id of the newest run, once it is over."""
    async with Engine(served.store) as engine:
        newest = (await engine.store.runs(limit=1))[0]
        async with Engine(served.store) as other:
            while (summary := await other.store.run(newest.id)).status not in {"cancelled", "completed"}:
                await other.store.changed(newest.id, after=summary.events)
        return newest.id


async def test_a_question_is_told_with_how_to_go_on_and_the_result_comes_after_the_answer(
    served: Served,
) -> None:
    async with mcp.Client(served.url) as client:
        result = await order(client, ells=20)
        assert not result.is_error
        data, words = result.structured_content, result.content[0].text
        assert data["status"] == "waiting"
        [question] = data["questions"]
        assert (question["to"], question["prompt"]) == ("master", "May we weave 20 ells?")
        assert f"treadle answer {question['id']} --value JSON --as NAME" in words
        assert f"Then call loom_result with run_id '{data['run_id']}'" in words

        still = await client.call_tool("loom_result", {"run_id": data["run_id"]})
        assert still.structured_content == data
        async with Engine(served.store) as desk:
            await desk.answer(question["id"], {"words": "by hand"}, by="anna")
        after = await client.call_tool("loom_result", {"run_id": data["run_id"]})
        assert after.structured_content["result"] == {"words": "by hand"}


async def test_a_run_that_is_not_there_is_told(served: Served) -> None:
    async with mcp.Client(served.url) as client:
        result = await client.call_tool("loom_result", {"run_id": "r-nowhere"})
    assert result.is_error
    assert "r-nowhere" in result.content[0].text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
async def test_other_web_pages_and_other_names_are_refused(
    served: Served, headers: dict[str, str], status: int
) -> None:
    address = served.url.removeprefix("http://").removesuffix("/mcp")
    connection = http.client.HTTPConnection(address, timeout=10)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
    connection.request("POST", "/mcp", body, sent)
    assert connection.getresponse().status == status
    connection.close()


def test_it_listens_on_this_machine_alone() -> None:
    with listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConfigurationError, match="cannot be served on: .*in use.*choose another"):
            listen(listening.getsockname()[1])


def lines_to_call() -> str:
    """What a client writes to call the endless node, over standard input."""
    start = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    call = {"name": "loom", "arguments": {"order": {"ells": -1}}, "_meta": {"progressToken": 7}}
    messages = [
        {"id": 1, "method": "initialize", "params": start},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    return "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)


def stopped_while_it_spins(store: str, spun: Path) -> int:
    """Call the endless node, tell the server to stop, and give its exit code."""
    command = [*COMMAND, f"{HERE / 'served_graphs.py'}:loom", "--store", store, "--grace", "0"]
    environment = {**os.environ, "SPUN": str(spun)}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, text=True, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(lines_to_call())
        server.stdin.flush()
        assert any("spinning" in line for line in server.stdout)
        server.terminate()  # the caller stays: its end of the pipe is open until the server is gone
        server.wait(timeout=60)
    return server.returncode


async def test_a_server_that_is_told_to_stop_cancels_no_run(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    assert stopped_while_it_spins(store, tmp_path / "spun") == 128 + signal.SIGTERM
    async with Engine(store) as engine:
        [parked] = await engine.store.runs()
        kinds = [one.event.kind for one in await engine.store.read(parked.id)]
        assert not await engine.store.requests(parked.id)
    assert parked.status in {"pending", "running"}
    assert not parked.owner
    assert not {"cancel_requested", "run_ended"} & set(kinds)


async def test_over_standard_input_what_a_node_prints_is_no_message(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    command, *arguments = [*COMMAND, f"{HERE / 'served_graphs.py'}:doubled", "--store", store]
    with (tmp_path / "said").open("w+") as said:
        started = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
        async with mcp.Client(stdio_client(started, errlog=said)) as client:
            result = await client.call_tool("doubled", {"x": 21})
            assert result.structured_content["result"] == 42  # type: ignore[index]  # it is there
        said.seek(0)
        assert "doubled: no model is asked" in said.read()


def test_the_verb_is_there() -> None:
    assert "serve-mcp" in VERBS
