"""What is Anthropic's own: cache marks, turns, structured outputs, thinking, its errors and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from interfaces import Serve, ask
from pydantic import BaseModel

from treadle.budget import Usage
from treadle.errors import ConfigurationError
from treadle.messages import (
    CachePoint,
    Message,
    ModelRequest,
    Opaque,
    OutputSpec,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    document,
    image,
    system,
    user,
)
from treadle.models import AnthropicModel
from treadle.providers.anthropic import ANTHROPIC
from treadle.providers.anthropic_stream import MessageStream
from treadle.providers.anthropic_wire import read_response, request_body
from treadle.testing import ScriptedModel

TOOL = ToolSpec(name="f", description="Do it.", parameters={"type": "object", "properties": {}})
MARK = {"type": "ephemeral"}


def body_of(*messages: Message, cache: bool = False, **options: Any) -> dict[str, Any]:
    return request_body(ModelRequest(messages=messages, **options), model="m", cache=cache)


def test_results_of_tools_are_the_user_s_and_neighbours_are_one_turn() -> None:
    called = Message(role="assistant", parts=(ToolCall(id="c", name="f", arguments="{}"),))
    result = ToolResult(call_id="c", name="f", content="boom", is_error=True)
    body = body_of(user("a"), called, Message(role="tool", parts=(result,)), user("b"))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    answered, said = body["messages"][2]["content"]
    assert (answered["type"], answered["is_error"]) == ("tool_result", True)
    assert said == {"type": "text", "text": "b"}


def test_what_is_empty_is_left_out() -> None:
    body = body_of(user("a"), Message(role="assistant", parts=()), user("b"))
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert [block["text"] for block in body["messages"][0]["content"]] == ["a", "b"]


def test_instructions_are_the_system_s() -> None:
    assert body_of(system("be short"), user("a"))["system"] == "be short"
    assert "system" not in body_of(user("a"))


def test_the_end_of_a_conversation_is_marked_for_the_cache() -> None:
    body = body_of(system("s"), user("a"), cache=True)
    assert body["messages"][0]["content"][-1]["cache_control"] == MARK
    assert "cache_control" not in str(body_of(user("a")))


@pytest.mark.parametrize(("calls", "marked"), [(9, [2]), (10, [0, 2]), (30, [0, 2])])
def test_the_end_of_the_request_before_is_marked_where_it_would_not_be_found(
    calls: int, marked: list[int]
) -> None:
    asked = [ToolCall(id=f"c{n}", name="find", arguments="{}") for n in range(calls)]
    results = [ToolResult(call_id=call.id, name="find", content="x") for call in asked]
    turn = Message(role="assistant", parts=tuple(asked)), Message(role="tool", parts=tuple(results))
    body = body_of(user("a"), *turn, cache=True)
    found = [n for n, message in enumerate(body["messages"]) if "cache_control" in message["content"][-1]]
    assert found == marked


async def _sent_marks(serve: Serve, **options: Any) -> int:
    server = serve(ScriptedModel(["a"]))
    model = AnthropicModel("m", base_url=server.url, **options.pop("model", {}))
    await model.complete(ask(**options))
    await model.aclose()
    return json.dumps(server.received[0].body).count("cache_control")


@pytest.mark.anyio
async def test_agents_with_tools_are_marked_by_themselves_and_others_when_told(serve: Serve) -> None:
    assert await _sent_marks(serve, tools=(TOOL,)) == 1
    assert await _sent_marks(serve) == 0
    assert await _sent_marks(serve, model={"cache": True}) == 1
    assert await _sent_marks(serve, tools=(TOOL,), model={"cache": False}) == 0


def test_a_cache_point_marks_the_block_before_it_and_four_are_the_most() -> None:
    points = [user("x", document(b"t", media_type="text/plain"), CachePoint()) for _ in range(5)]
    first = Message(role="system", parts=(Text(text="rules"), CachePoint()))
    body = body_of(first, *points, cache=True)
    marked = [b for b in body["messages"][0]["content"] if "cache_control" in b]
    assert [block["type"] for block in marked] == ["document"] * 3 + ["text"]
    assert body["system"] == "rules"  # the oldest marks give way
    alone = body_of(first, user("a"))
    assert alone["system"] == [{"type": "text", "text": "rules", "cache_control": MARK}]


def test_marks_are_set_on_what_is_sent_and_not_on_the_conversation() -> None:
    upload = Opaque(provider="anthropic", content={"type": "container_upload", "file_id": "f"})
    body = body_of(Message(role="user", parts=(Text(text="a"), upload)), cache=True)
    assert body["messages"][0]["content"][-1]["cache_control"] == MARK
    assert upload.content == {"type": "container_upload", "file_id": "f"}


class Tree(BaseModel):
    children: list[Tree]


@pytest.mark.parametrize(
    "schema", [Tree.model_json_schema(), {"type": "object", "additionalProperties": {"type": "integer"}}]
)
def test_what_structured_outputs_cannot_say_is_said_in_words(schema: dict[str, Any]) -> None:
    body = body_of(user("a"), output=OutputSpec(name="x", schema=schema))
    assert "output_config" not in body
    assert json.dumps(schema) in body["system"]


def test_a_model_without_structured_outputs_is_told_in_words() -> None:
    form = OutputSpec(name="x", schema={"type": "object", "properties": {"a": {"type": "string"}}})
    request = ModelRequest(messages=(system("s"), user("a")), output=form)
    native = request_body(request, model="m", cache=False)
    told = request_body(request, model="m", cache=False, native_output=False)
    assert native["output_config"]["format"]["type"] == "json_schema"
    assert "output_config" not in told
    assert told["system"].startswith("s\n\nAnswer with one JSON value")


@pytest.mark.anyio
async def test_effort_stands_beside_the_form_of_the_answer(serve: Serve) -> None:
    server = serve(ScriptedModel(["{}"]))
    model = AnthropicModel("m", base_url=server.url, options={"output_config": {"effort": "low"}})
    form = OutputSpec(name="x", schema={"type": "object", "properties": {}, "additionalProperties": False})
    await model.complete(ask(output=form))
    assert set(server.received[0].body["output_config"]) == {"effort", "format"}
    await model.aclose()


def test_arguments_that_are_no_json_are_shown_to_the_model_as_it_wrote_them() -> None:
    called = Message(role="assistant", parts=(ToolCall(id="c", name="f", arguments='{"x": '),))
    result = Message(role="tool", parts=(ToolResult(call_id="c", name="f", content="bad"),))
    body = body_of(user("a"), called, result)
    assert body["messages"][1]["content"][0]["input"] == {"invalid_json": '{"x": '}


def test_ids_of_calls_from_elsewhere_fit_here() -> None:
    called = Message(role="assistant", parts=(ToolCall(id="functions.f:0", name="f", arguments="{}"),))
    result = Message(role="tool", parts=(ToolResult(call_id="functions.f:0", name="f", content="1"),))
    turns = body_of(user("a"), called, result)["messages"]
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"] == "functions_f_0"


def test_hidden_thinking_and_parts_nobody_knows_go_back_as_they_came() -> None:
    hidden = {"type": "redacted_thinking", "data": "Eq=="}
    strange = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
    cited = {"type": "text", "text": "see", "citations": [{"type": "char_location", "cited_text": "x"}]}
    response = read_response({"content": [hidden, strange, cited], "stop_reason": "end_turn"}, worst=Usage)
    assert isinstance(response.message.parts[0], Reasoning)
    assert isinstance(response.message.parts[1], Opaque)
    assert response.message.text == "see"
    sent = body_of(user("a"), response.message)["messages"][1]["content"]
    assert sent == [hidden, strange, cited]


def test_input_tokens_hold_those_of_the_cache() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 70,
             "cache_creation_input_tokens": 30, "output_tokens_details": {"thinking_tokens": 1}}  # fmt: skip
    response = read_response({"content": [], "usage": usage}, worst=Usage)
    assert response.usage == Usage(
        input_tokens=105, output_tokens=2, cache_read_tokens=70, cache_write_tokens=30, reasoning_tokens=1
    )


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("end_turn", "end"), ("stop_sequence", "end"), ("tool_use", "tools"), ("max_tokens", "length"),
     ("model_context_window_exceeded", "length"), ("refusal", "refusal"), ("a_new_one", "end"),
     (None, "end")],
)  # fmt: skip
def test_each_reason_to_stop_has_a_word(reason: str | None, stop: str) -> None:
    assert read_response({"content": [], "stop_reason": reason}, worst=Usage).stop == stop


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "not this"}
    response = read_response({"content": [], "stop_reason": "refusal", "stop_details": details}, worst=Usage)
    assert response.message.parts == (Refusal(text="not this"),)


def test_deltas_of_a_kind_nobody_knows_are_kept() -> None:
    stream = MessageStream(lambda _: None)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "new", "body": "a"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "body": "b", "n": 1}},
        {"type": "something_else"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    ]
    for event in events:
        stream.take(event)
    assert stream.is_done()
    response = read_response(stream.whole(), worst=Usage)
    kept = Opaque(provider="anthropic", content={"type": "new", "body": "ab", "n": 1})
    assert response.message.parts == (kept,)
    assert response.usage == Usage(input_tokens=3, output_tokens=4)


def test_the_key_of_anthropic_does_not_go_to_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant")
    assert ANTHROPIC.default_key("https://elsewhere.example") == "none"
    assert ANTHROPIC.default_key("https://api.anthropic.com") == "sk-ant"
    assert ANTHROPIC.default_key(None) == "sk-ant"


@pytest.mark.anyio
async def test_without_a_key_anthropic_is_not_asked() -> None:
    with pytest.raises(ConfigurationError, match="needs a key; set ANTHROPIC_API_KEY"):
        await AnthropicModel("m").complete(ask())


def test_prices_of_anthropic_are_listed() -> None:
    price = AnthropicModel("claude-haiku-4-5", api_key="k").price
    assert price is not None
    assert price.basis == "genai-prices"
    assert price.cache_write_mtok is not None
    assert AnthropicModel("m", base_url="https://elsewhere.example").price is None
    assert AnthropicModel("m", base_url="http://127.0.0.1:9").price is not None


def test_the_bound_is_never_under_the_bytes() -> None:
    model = AnthropicModel("m", api_key="k")
    form = OutputSpec(name="x", schema=Tree.model_json_schema())
    request = ModelRequest(messages=(system("s"), user("grüße 😀")), tools=(TOOL,), output=form)
    bound = model.input_bound(request.messages, request)
    assert bound is not None
    assert bound > len(json.dumps(request_body(request, model="m", cache=True)).encode())
    assert model.input_bound((user("x", image("https://example.com/x.png")),), request) is None
