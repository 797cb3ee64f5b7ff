"""``ModelServer`` over real loopback HTTP, in a thread and as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

from treadle.errors import MalformedResponse, ProviderError, ProviderUnavailable, RateLimited, RequestRejected
from treadle.messages import ModelRequest, user
from treadle.models import OpenAIModel
from treadle.testing import ModelServer, Reply, ScriptedModel, openapi_check, server_process

DOCUMENT = Path(__file__).parents[1] / "data" / "openai" / "openapi_subset.json.gz"
GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ASKED = ModelRequest(messages=(user("hi"),))
SCRIPT = """
from treadle.testing import ScriptedModel
model = ScriptedModel(lambda request: request.messages[-1].text.upper(), name="echo")
"""


def post(url: str, body: object) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_sdk_itself_understands_the_answers() -> None:
    with (
        ModelServer(ScriptedModel(["hello"], name="tiny")) as server,
        openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "hello"
        assert [model.id for model in client.models.list()] == ["tiny"]


def test_what_arrives_is_remembered_and_counted() -> None:
    with ModelServer(ScriptedModel(["a", "b"])) as server:
        post(server.url, GOOD)
        post(server.url, GOOD)
    assert server.count == 2
    assert [received.body for received in server.received] == [GOOD, GOOD]


def test_equal_requests_to_a_stateless_script_get_equal_bytes() -> None:
    with ModelServer(lambda request: ScriptedModel(["same"]).respond(request)) as server:
        assert post(server.url, GOOD) == post(server.url, GOOD)


def test_one_connection_serves_many_requests() -> None:
    with ModelServer(ScriptedModel(["a", "b", "c"])) as server:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
        ports = set()
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", json.dumps(GOOD))
            connection.getresponse().read()
            ports.add(connection.sock.getsockname())
        connection.close()
    assert len(ports) == 1


def test_faults_come_by_number_of_the_request() -> None:
    faults = {2: Reply(status=503, body={"error": {"code": "overloaded"}}, headers={"retry-after": "1"})}
    with ModelServer(ScriptedModel(["a", "b"]), faults=faults) as server:
        assert [post(server.url, GOOD)[0] for _ in range(3)] == [200, 503, 200]
    assert server.count == 3


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        RateLimited("slow down", provider="scripted", retryable=True, retry_after=4.0),
        ProviderUnavailable("down", provider="scripted", retryable=True, status=529),
        RequestRejected("no", provider="scripted"),
        MalformedResponse("what", provider="scripted", retryable=True),
    ],
)
async def test_errors_of_a_script_arrive_as_the_same_errors(error: ProviderError) -> None:
    with ModelServer(ScriptedModel([error])) as server:
        model = OpenAIModel("m", base_url=server.url)
        with pytest.raises(type(error)) as caught:
            await model.complete(ASKED)
        assert caught.value.retryable == error.retryable
        assert caught.value.retry_after == error.retry_after
        await model.aclose()


def test_a_script_with_a_mistake_is_a_server_error_that_names_it() -> None:
    with ModelServer(ScriptedModel([KeyError("secret")])) as server:
        status, body = post(server.url, GOOD)
    assert (status, body["error"]["message"]) == (500, "the script raised KeyError")


def test_a_request_that_the_published_schema_forbids_gets_a_400_and_fails_the_test() -> None:
    broken = {"model": "m", "messages": [{"role": "user"}], "temperature": "warm"}
    server = ModelServer(ScriptedModel(["never"]), check=openapi_check(DOCUMENT)).start()
    status, body = post(server.url, broken)
    assert (status, body["error"]["code"], server.count) == (400, "invalid_request_error", 0)
    with pytest.raises(AssertionError, match="requests that the schema forbids: request 1"):
        server.__exit__(None, None, None)


def test_a_good_request_passes_the_published_schema() -> None:
    with ModelServer(ScriptedModel(["yes"]), check=openapi_check(DOCUMENT)) as server:
        assert post(server.url, GOOD)[0] == 200


def test_what_is_no_request_gets_a_400_and_other_paths_a_404() -> None:
    with ModelServer(ScriptedModel([])) as server:
        assert post(server.url, [1])[0] == 400
        assert post(server.url, {"messages": "hi"})[0] == 400
        assert post(server.url, {"messages": [{"role": "tool"}]})[0] == 400
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{server.url}/nothing", timeout=5)


def test_a_stopped_server_leaves_no_port_and_no_connection() -> None:
    server = ModelServer(ScriptedModel(["a"])).start()
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    connection.request("POST", "/v1/chat/completions", json.dumps(GOOD))
    connection.getresponse().read()
    server.stop()
    server.stop()
    assert connection.sock.recv(1) == b""
    connection.close()
    with pytest.raises(urllib.error.URLError):
        post(server.url, GOOD)


def test_a_process_of_its_own_counts_in_a_file_that_outlives_it(tmp_path: Path) -> None:
    script, count = tmp_path / "script.py", tmp_path / "count.jsonl"
    script.write_text(SCRIPT)
    with server_process(f"{script}:model", count_file=count) as server:
        assert post(server.url, GOOD)[1]["choices"][0]["message"]["content"] == "HI"
        os.kill(server.pid, signal.SIGKILL)
    with server_process(f"{script}:model", count_file=count) as server:
        post(server.url, GOOD)
        assert server.count == 2
        assert len(set(server.digests())) == 1


def test_a_server_process_that_cannot_start_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="did not start"),
        server_process(f"{tmp_path}/nothing.py:model", count_file=tmp_path / "count"),
    ):
        pass
