"""``OpenAIModel`` through the real SDK, against servers that check every request."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import openai.types.chat
import pytest
from pydantic import BaseModel

from treadle.budget import Price, Usage
from treadle.errors import ConfigurationError, MalformedResponse, ProviderUnavailable, RequestRejected
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    OutputSpec,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    system,
    user,
)
from treadle.models import OpenAIModel
from treadle.providers.openai_wire import read_response
from treadle.testing import ModelServer, Reply, ScriptedModel, call

pytestmark = pytest.mark.anyio

Serve = Callable[..., ModelServer]

DATA = Path(__file__).parents[1] / "data" / "openai"
RECORDED = [
    json.loads(line) for line in gzip.decompress((DATA / "recorded_chat.jsonl.gz").read_bytes()).splitlines()
]
ANSWERED = [row for row in RECORDED if row["status"] == 200]
REFUSED = [row for row in RECORDED if row["status"] != 200]


class Verdict(BaseModel):
    text: str
    score: int = 0


def ask(text: str = "hello", **options: Any) -> ModelRequest:
    return ModelRequest(messages=(user(text),), **options)


def model_of(server: ModelServer, **options: Any) -> OpenAIModel:
    return OpenAIModel("gpt-test", base_url=server.url, **options)


async def test_a_question_comes_back_answered_with_its_usage(serve: Serve) -> None:
    server = serve(ScriptedModel(["hi there"]))
    model = model_of(server)
    response = await model.complete(ask("hello!!!"))
    assert response.message.text == "hi there"
    assert response.usage == Usage(input_tokens=2, output_tokens=2)
    assert (response.stop, response.model) == ("end", "gpt-test")
    await model.aclose()


async def test_a_whole_conversation_keeps_its_form_on_the_wire(serve: Serve) -> None:
    scripted = ScriptedModel(["done"])
    model = model_of(serve(scripted))
    calls = (ToolCall(id="a", name="f", arguments='{"x": 1}'), ToolCall(id="b", name="f", arguments="{}"))
    results = (
        ToolResult(call_id="a", name="f", content="1"),
        ToolResult(call_id="b", name="f", content="no", is_error=True),
    )
    conversation = (
        system("be short"),
        user("go"),
        Message(role="assistant", parts=(Text(text="let me see"), *calls)),
        Message(role="tool", parts=results),
    )
    await model.complete(ModelRequest(messages=conversation, temperature=0.5))
    seen = scripted.requests[0]
    assert seen.messages[:3] == conversation[:3]
    assert [message.parts[0] for message in seen.messages[3:]] == [
        results[0],
        ToolResult(call_id="b", name="f", content="no"),
    ]
    assert seen.temperature == 0.5
    await model.aclose()


async def test_tools_and_answer_form_reach_the_server(serve: Serve) -> None:
    server = serve(ScriptedModel([[call("find", key="k"), call("find", key="k")]]))
    model = model_of(server)
    tool = ToolSpec(name="find", description="Find it.", parameters={"type": "object", "properties": {}})
    form = OutputSpec(name="Verdict", schema=Verdict.model_json_schema())
    response = await model.complete(ask(tools=(tool,), output=form))
    assert [each.name for each in response.message.tool_calls] == ["find", "find"]
    assert len({each.id for each in response.message.tool_calls}) == 2
    assert response.stop == "tools"
    sent = server.received[0].body
    assert sent["tools"][0]["function"]["name"] == "find"
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["text", "score"]
    await model.aclose()


async def test_a_schema_with_free_keys_is_sent_as_it_is_and_not_strict(serve: Serve) -> None:
    server = serve(ScriptedModel(["{}"]))
    model = model_of(server)
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    await model.complete(ask(output=OutputSpec(name="counts", schema=schema)))
    form = server.received[0].body["response_format"]["json_schema"]
    assert (form["strict"], form["schema"]) == (False, schema)
    await model.aclose()


async def test_compatible_servers_get_max_tokens_unless_told_otherwise(serve: Serve) -> None:
    server = serve(ScriptedModel(["a", "b"]))
    model, modern = model_of(server), model_of(server, limit_as="max_completion_tokens")
    await model.complete(ask(max_output_tokens=17))
    await modern.complete(ask(max_output_tokens=18))
    assert [r.body.get("max_tokens") for r in server.received] == [17, None]
    assert [r.body.get("max_completion_tokens") for r in server.received] == [None, 18]
    await model.aclose()
    await modern.aclose()


def test_openai_itself_gets_max_completion_tokens() -> None:
    assert OpenAIModel("gpt-test", api_key="k")._limit_as == "max_completion_tokens"


async def test_a_refusal_and_a_cut_off_answer_say_so(serve: Serve) -> None:
    declined = Message(role="assistant", parts=(Refusal(text="I will not"),))
    model = model_of(serve(ScriptedModel([declined, "x" * 100])))
    refused = await model.complete(ask())
    assert (refused.stop, refused.message) == ("refusal", declined)
    cut = await model.complete(ask(max_output_tokens=5))
    assert (cut.stop, cut.usage.output_tokens, cut.message.text) == ("length", 5, "x" * 20)
    await model.aclose()


async def test_cached_and_reasoning_tokens_are_read(serve: Serve) -> None:
    usage = Usage(
        input_tokens=9, output_tokens=8, cache_read_tokens=7, cache_write_tokens=1, reasoning_tokens=5
    )
    answer = ModelResponse(message=Message(role="assistant", parts=(Text(text="x"),)), usage=usage)
    model = model_of(serve(ScriptedModel([answer])))
    assert (await model.complete(ask())).usage == usage
    await model.aclose()


async def test_a_server_that_reports_no_usage_is_charged_the_worst_case(serve: Serve) -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    model = model_of(serve(ScriptedModel([]), faults={1: Reply(body=body)}))
    request = ask(max_output_tokens=50)
    response = await model.complete(request)
    assert response.usage == Usage(
        input_tokens=model.input_bound(request.messages, request), output_tokens=50
    )
    await model.aclose()


@pytest.mark.parametrize(
    "body",
    ["not json", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}', '{"choices": [3]}',
     '{"choices": [{"message": {"tool_calls": 3}}]}', '{"choices": [{"message": {"tool_calls": [3]}}]}'],
)  # fmt: skip
async def test_what_is_no_completion_is_a_malformed_response(serve: Serve, body: str) -> None:
    model = model_of(serve(ScriptedModel([]), faults={1: Reply(body=body)}))
    with pytest.raises(MalformedResponse) as caught:
        await model.complete(ask())
    assert caught.value.retryable
    await model.aclose()


async def test_calls_with_objects_as_arguments_and_the_wrong_reason_are_understood() -> None:
    call_ = {"function": {"name": "f", "arguments": {"x": 1}}}
    data = {"choices": [{"message": {"tool_calls": [call_]}, "finish_reason": "stop"}]}
    response = read_response(data, worst=Usage)
    assert response.stop == "tools"
    assert response.message.tool_calls == (ToolCall(id="call_0", name="f", arguments='{"x": 1}'),)


async def test_a_dropped_connection_and_a_closed_port_are_unavailable(serve: Serve) -> None:
    server = serve(ScriptedModel([]), faults={1: Reply(drop=True)})
    model = model_of(server)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable) as caught:
            await model.complete(ask())
        assert caught.value.retryable
        assert caught.value.status is None
        server.stop()
    await model.aclose()


async def test_a_server_that_keeps_silent_runs_into_the_timeout() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent:
        port = silent.extra(anyio.abc.SocketAttribute.local_port)
        model = OpenAIModel("m", base_url=f"http://127.0.0.1:{port}/v1", timeout=0.05)
        with pytest.raises(ProviderUnavailable, match=r"no answer within 0\.05 s"):
            await model.complete(ask())
        await model.aclose()


async def test_each_complete_is_one_request(serve: Serve) -> None:
    broken = Reply(status=500, body={"error": {}})
    server = serve(ScriptedModel([]), faults=dict.fromkeys(range(1, 9), broken))
    model = model_of(server)
    with pytest.raises(ProviderUnavailable):
        await model.complete(ask())
    assert server.count == 1
    await model.aclose()


async def test_a_cancelled_request_leaves_the_model_usable(serve: Serve) -> None:
    model = model_of(serve(ScriptedModel(["late"])))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await model.complete(ask())
    assert (await model.complete(ask())).message.text == "late"
    await model.aclose()


async def test_closing_waits_for_requests_under_way_and_a_later_one_reconnects(serve: Serve) -> None:
    entered, answered = anyio.Event(), anyio.Event()
    model: OpenAIModel

    def answer(request: ModelRequest) -> str:
        anyio.from_thread.run_sync(entered.set, token=token)
        anyio.from_thread.run(answered.wait, token=token)
        return "slow"

    token = anyio.lowlevel.current_token()
    model = model_of(serve(ScriptedModel(answer)))
    async with anyio.create_task_group() as group:
        results: list[str] = []

        async def one() -> None:
            results.append((await model.complete(ask())).message.text)

        group.start_soon(one)
        await entered.wait()
        await model.aclose()
        answered.set()
    assert results == ["slow"]
    assert (await model.complete(ask())).message.text == "slow"
    await model.aclose()


async def test_many_requests_at_once_share_the_connections(serve: Serve) -> None:
    server = serve(ScriptedModel(lambda request: request.messages[0].text))
    model = model_of(server)
    results: dict[int, str] = {}

    async def one(number: int) -> None:
        results[number] = (await model.complete(ask(str(number)))).message.text

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, number)
    assert results == {number: str(number) for number in range(50)}
    await model.aclose()


async def test_a_part_from_elsewhere_cannot_be_sent() -> None:
    part = Opaque(provider="anthropic", content={"type": "thinking"})
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(RequestRejected, match="'thinking' from anthropic"):
        await model.complete(ModelRequest(messages=(Message(role="assistant", parts=(part,)),)))


async def test_without_a_key_openai_is_not_asked() -> None:
    with pytest.raises(ConfigurationError, match="needs a key; set OPENAI_API_KEY"):
        await OpenAIModel("gpt-test").complete(ask())


def test_the_key_of_openai_does_not_go_to_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert OpenAIModel("m", base_url="https://elsewhere.example/v1")._api_key == "none"
    assert OpenAIModel("m")._api_key == "sk-secret"
    assert OpenAIModel("m", base_url="https://eu.api.openai.com/v1")._api_key == "sk-secret"


def test_a_key_or_address_that_cannot_be_one_is_refused_without_showing_the_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenAIModel("m", api_key="sk-sécret\n\nsk")
    assert "cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="is not an address"):
        OpenAIModel("m", base_url="127.0.0.1:11434")


def test_no_repr_shows_a_key() -> None:
    assert "sk-secret" not in repr(OpenAIModel("m", api_key="sk-secret"))


def test_prices_of_openai_are_listed_and_local_ones_are_nothing() -> None:
    known = OpenAIModel("gpt-4o", api_key="k").price
    assert known is not None
    assert (known.input_mtok, known.basis) == (Decimal("2.5"), "genai-prices")
    local = OpenAIModel("gpt-4o", base_url="http://localhost:8080/v1").price
    assert local is not None
    assert (local.output_mtok, local.basis) == (Decimal(0), "local")
    assert OpenAIModel("gpt-4o", base_url="https://elsewhere.example/v1").price is None
    given = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
    assert OpenAIModel("m", base_url="http://localhost:1/v1", price=given).price == given


def test_the_bound_is_never_under_the_bytes_and_grows_by_parts() -> None:
    model = OpenAIModel("m", api_key="k")
    first, second = user("grüße 😀"), user("again")
    tool = ToolSpec(name="f", description="d" * 100, parameters={})
    request = ModelRequest(messages=(first, second), tools=(tool,))
    rest = model.input_bound((second,), request)
    assert rest >= len("again")
    whole = model.input_bound((first, second), request)
    assert whole >= rest + len("grüße 😀".encode()) + 100


async def test_recorded_answers_are_read_as_the_sdk_reads_them() -> None:
    with ModelServer(
        ScriptedModel([]), faults=lambda number: Reply(body=ANSWERED[(number - 1) // 2]["json"])
    ) as server:
        model = model_of(server)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as sdk:
            for row in ANSWERED:
                ours = await model.complete(ask())
                theirs = await sdk.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": ""}]
                )
                assert ours == _in_our_words(theirs), row["cassette"]
        await model.aclose()


def _in_our_words(theirs: openai.types.chat.ChatCompletion) -> ModelResponse:
    message, usage, reason = theirs.choices[0].message, theirs.usage, theirs.choices[0].finish_reason
    assert usage is not None
    read, written = usage.prompt_tokens_details, usage.completion_tokens_details
    parts: list[Any] = [Refusal(text=message.refusal)] if message.refusal else []
    parts += [Text(text=message.content)] if message.content else []
    for each in message.tool_calls or ():
        assert each.type == "function"
        parts.append(ToolCall(id=each.id, name=each.function.name, arguments=each.function.arguments))
    # OpenAI itself says "stop" beside tool calls where a tool was forced.
    ended: Any = "tools" if message.tool_calls else "end"
    stops: dict[str, Any] = {"stop": ended, "tool_calls": "tools", "function_call": "tools"}
    return ModelResponse(
        message=Message(role="assistant", parts=tuple(parts)),
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_tokens=(read and read.cached_tokens) or 0,
            cache_write_tokens=(read and read.cache_write_tokens) or 0,
            reasoning_tokens=(written and written.reasoning_tokens) or 0,
        ),
        model=theirs.model,
        stop=stops.get(reason, reason),
        response_id=theirs.id,
    )


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["cassette"].rpartition("/")[2][:60])
async def test_recorded_refusals_are_not_tried_again(row: dict[str, Any]) -> None:
    reply = Reply(status=row["status"], body=row["json"], headers={"x-request-id": "r"})
    with ModelServer(ScriptedModel([]), faults={1: reply}) as server:
        model = model_of(server)
        with pytest.raises(RequestRejected) as caught:
            await model.complete(ask())
        assert caught.value.status == row["status"]
        assert not caught.value.retryable
        await model.aclose()
