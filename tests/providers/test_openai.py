"""``OpenAIModel`` through the real SDK, against servers that check every request."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from treadle.budget import Price, Usage
from treadle.errors import ConfigurationError, MalformedResponse, ProviderUnavailable, RequestRejected
from treadle.messages import (
    Message,
    ModelRequest,
    Opaque,
    OutputSpec,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    document,
    user,
)
from treadle.models import OpenAIModel
from treadle.providers.openai_client import OPENAI
from treadle.providers.openai_wire import read_response, request_body
from treadle.testing import ModelServer, Reply, ScriptedModel, call

pytestmark = pytest.mark.anyio

Serve = Callable[..., ModelServer]


class Verdict(BaseModel):
    text: str
    score: int = 0


def ask(text: str = "hello", **options: Any) -> ModelRequest:
    return ModelRequest(messages=(user(text),), **options)


def model_of(server: ModelServer, **options: Any) -> OpenAIModel:
    return OpenAIModel("gpt-test", base_url=server.url, **options)


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


async def test_without_a_key_openai_is_not_asked() -> None:
    with pytest.raises(ConfigurationError, match="needs a key; set OPENAI_API_KEY"):
        await OpenAIModel("gpt-test").complete(ask())


def test_the_key_of_openai_does_not_go_to_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert OPENAI.default_key("https://elsewhere.example/v1") == "none"
    assert OPENAI.default_key(None) == "sk-secret"
    assert OPENAI.default_key("https://eu.api.openai.com/v1") == "sk-secret"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example/v1")
    assert OPENAI.default_key(None) == "sk-secret"


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
    assert rest is not None
    assert rest >= len("again")
    whole = model.input_bound((first, second), request)
    assert whole is not None
    assert whole >= rest + len("grüße 😀".encode()) + 100


def test_what_a_user_sends_in_the_words_of_an_interface_has_no_bound() -> None:
    model = OpenAIModel("m", api_key="k")
    picture = Opaque(
        provider="openai", content={"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    )
    asked = ModelRequest(messages=(Message(role="user", parts=(picture,)),))
    answered = ModelRequest(messages=(user("x"), Message(role="assistant", parts=(picture,))))
    assert model.input_bound(asked.messages, asked) is None
    assert model.input_bound(answered.messages, answered) is not None


async def test_servers_that_reason_get_it_back_beside_tool_calls_alone(serve: Serve) -> None:
    server = serve(ScriptedModel(["a", "b"]))
    model = model_of(server)
    thought = Reasoning(text="hm", provider="openai", data={"field": "reasoning"})
    called = Message(role="assistant", parts=(thought, ToolCall(id="c", name="f", arguments="{}")))
    plain = Message(role="assistant", parts=(thought, Text(text="said")))
    result = Message(role="tool", parts=(ToolResult(call_id="c", name="f", content="1"),))
    await model.complete(ModelRequest(messages=(user("x"), called, result)))
    await model.complete(ModelRequest(messages=(user("x"), plain, user("y"))))
    assert server.received[0].body["messages"][1]["reasoning"] == "hm"
    assert "reasoning" not in server.received[1].body["messages"][1]
    await model.aclose()


def test_fields_that_nobody_knows_are_kept_and_go_back() -> None:
    call_ = {"id": "c", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"signature": "s"}}
    wire = {"tool_calls": [call_], "reasoning_details": [{"x": 1}], "annotations": [{"type": "url"}]}
    response = read_response({"choices": [{"message": wire}]}, worst=Usage)
    kept = response.message.parts[-1]
    assert isinstance(kept, Opaque)
    assert kept.content == {"reasoning_details": [{"x": 1}], "annotations": [{"type": "url"}]}
    sent = request_body(ModelRequest(messages=(response.message,)), model="m", limit_as="max_tokens")
    again = sent["messages"][0]
    assert again["tool_calls"][0]["extra_content"] == {"signature": "s"}
    assert again["reasoning_details"] == [{"x": 1}]
    assert "annotations" not in again


def test_a_document_by_its_url_is_refused() -> None:
    asked = ModelRequest(messages=(user("read", document("https://example.com/a.pdf")),))
    with pytest.raises(RequestRejected, match="a document by URL cannot be sent to openai; pass its bytes"):
        request_body(asked, model="m", limit_as="max_tokens")
