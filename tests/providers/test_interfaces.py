"""What all three interfaces do alike, streamed and not, through the real SDKs and strict servers."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest
from interfaces import ALL, Interface, Serve, ask
from pydantic import BaseModel

from treadle.budget import Usage
from treadle.errors import ConfigurationError, MalformedResponse, ProviderUnavailable, RequestRejected
from treadle.messages import (
    CachePoint,
    Delta,
    Document,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
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
from treadle.providers.serving import FORMATS
from treadle.testing import Reply, ScriptedModel, call

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("interface", ALL, ids=str)]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
TOOL = ToolSpec(
    name="find",
    description="Find it.",
    parameters={"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
)


class Verdict(BaseModel):
    text: str
    score: int = 0


async def test_a_question_comes_back_answered_with_its_usage(serve: Serve, interface: Interface) -> None:
    server = serve(ScriptedModel(["hi there, how are you?"]))
    model, told = interface.model(server), list[Delta]()
    response = await interface.ask(model, ask("hello!!!"), told)
    assert response.message.text == "hi there, how are you?"
    assert response.usage == Usage(input_tokens=2, output_tokens=6)
    assert (response.stop, response.model) == ("end", "test-model")
    assert "".join(delta.text for delta in told) == ("hi there, how are you?" if interface.streamed else "")
    await model.aclose()


async def test_a_whole_conversation_keeps_its_form_on_the_wire(serve: Serve, interface: Interface) -> None:
    scripted = ScriptedModel(["done"])
    model = interface.model(serve(scripted))
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
    await interface.ask(model, ModelRequest(messages=conversation, temperature=0.5))
    seen = scripted.requests[0]
    assert seen.messages[:3] == conversation[:3]
    heard = [part for message in seen.messages[3:] for part in message.parts]
    assert [(part.call_id, part.name, part.content) for part in heard if isinstance(part, ToolResult)] == [
        ("a", "f", "1"),
        ("b", "f", "no"),
    ]
    assert seen.temperature == (None if interface.name == "anthropic" else 0.5)
    await model.aclose()


async def test_parallel_tool_calls_come_back_in_order(serve: Serve, interface: Interface) -> None:
    wanted = [call("find", key="grüße"), call("find", key="b"), call("find", key="grüße")]
    server = serve(ScriptedModel([wanted]))
    model, told = interface.model(server), list[Delta]()
    response = await interface.ask(model, ask(tools=(TOOL,)), told)
    assert [json.loads(each.arguments) for each in response.message.tool_calls] == [
        {"key": "grüße"},
        {"key": "b"},
        {"key": "grüße"},
    ]
    assert len({each.id for each in response.message.tool_calls}) == 3
    assert response.stop == "tools"
    names = [delta.name for delta in told if delta.name]
    assert names == (["find"] * 3 if interface.streamed else [])
    await model.aclose()


async def test_tools_and_answer_form_reach_the_server(serve: Serve, interface: Interface) -> None:
    scripted = ScriptedModel([Verdict(text="good")])
    model = interface.model(serve(scripted))
    form = OutputSpec(name="Verdict", schema=Verdict.model_json_schema())
    response = await interface.ask(model, ask(tools=(TOOL,), output=form, max_output_tokens=321))
    seen = scripted.requests[0]
    assert [tool.name for tool in seen.tools] == ["find"]
    assert seen.tools[0].parameters == TOOL.parameters
    assert seen.output is not None
    assert seen.output.schema["additionalProperties"] is False
    assert set(seen.output.schema["properties"]) == {"text", "score"}
    assert seen.max_output_tokens == 321
    assert Verdict.model_validate_json(response.message.text) == Verdict(text="good")
    await model.aclose()


async def test_pictures_and_documents_are_sent(serve: Serve, interface: Interface) -> None:
    scripted = ScriptedModel(["seen"])
    model = interface.model(serve(scripted))
    pdf = document(b"%PDF-1.7 tiny", name="tiny.pdf")
    words = document("grüße".encode(), media_type="text/plain", name="notes.txt")
    asked = user("what is it?", image(PNG), pdf, words, image("https://example.com/cat.png"), CachePoint())
    await interface.ask(model, ModelRequest(messages=(asked,)))
    parts = scripted.requests[0].messages[0].parts
    assert [part.data or part.url for part in parts if isinstance(part, Image)] == [
        base64.b64encode(PNG).decode(),
        "https://example.com/cat.png",
    ]
    sent = [part for part in parts if isinstance(part, Document)]
    assert (sent[0].name, sent[0].data) == ("tiny.pdf", pdf.data)
    said = "".join(part.text for part in parts if isinstance(part, Text | Document))
    assert "grüße" in said
    assert "what is it?" in said
    await model.aclose()


async def test_reasoning_is_read_kept_and_sent_back(serve: Serve, interface: Interface) -> None:
    thought = {
        "openai": Reasoning(text="first this", provider="openai", data={"field": "reasoning_content"}),
        "openai-responses": Reasoning(
            text="first this",
            provider="openai-responses",
            data={
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "first this"}],
                "encrypted_content": "gAAAA=",
            },
        ),
        "anthropic": Reasoning(
            text="first this", provider="anthropic", data={"type": "thinking", "signature": "EqQB=="}
        ),
    }[interface.name]
    parts = (thought, ToolCall(id="c1", name="find", arguments='{"key": "k"}'))
    scripted = ScriptedModel([Message(role="assistant", parts=parts), "done"])
    model, told = interface.model(serve(scripted)), list[Delta]()
    first = await interface.ask(model, ask(tools=(TOOL,)), told)
    assert first.message.parts[0] == thought
    assert "".join(d.text for d in told if d.kind == "reasoning") == (
        "first this" if interface.streamed else ""
    )
    result = Message(role="tool", parts=(ToolResult(call_id="c1", name="find", content="v"),))
    await interface.ask(model, ModelRequest(messages=(user("hello"), first.message, result), tools=(TOOL,)))
    assert thought in scripted.requests[1].messages[1].parts
    await model.aclose()


async def test_what_another_model_thought_is_left_out(serve: Serve, interface: Interface) -> None:
    scripted = ScriptedModel(["done"])
    model = interface.model(serve(scripted))
    foreign = (
        Reasoning(text="mine", provider="elsewhere", data={"x": 1}),
        Opaque(provider="elsewhere", content={"type": "strange"}),
        Text(text="said", extra={"elsewhere": {"y": 2}}),
    )
    await interface.ask(
        model, ModelRequest(messages=(user("a"), Message(role="assistant", parts=foreign), user("b")))
    )
    assert "".join(message.text for message in scripted.requests[0].messages) == "asaidb"
    await model.aclose()


async def test_a_user_s_part_for_another_interface_is_refused_before_sending(
    serve: Serve, interface: Interface
) -> None:
    server = serve(ScriptedModel([]))
    model = interface.model(server)
    part = Opaque(provider="elsewhere", content={"type": "strange"})
    with pytest.raises(RequestRejected, match="'strange' from elsewhere") as caught:
        await interface.ask(model, ModelRequest(messages=(Message(role="user", parts=(part,)),)))
    assert not caught.value.sent
    assert server.count == 0


async def test_a_refusal_says_so(serve: Serve, interface: Interface) -> None:
    declined = Message(role="assistant", parts=(Refusal(text="I will not"),))
    model = interface.model(serve(ScriptedModel([declined])))
    refused = await interface.ask(model, ask())
    assert refused.stop == "refusal"
    assert [part.text for part in refused.message.parts if isinstance(part, Refusal)] == ["I will not"]
    await model.aclose()


async def test_a_cut_off_answer_says_so(serve: Serve, interface: Interface) -> None:
    model = interface.model(serve(ScriptedModel(["x" * 100])))
    cut = await interface.ask(model, ask(max_output_tokens=16))
    assert (cut.stop, cut.usage.output_tokens, cut.message.text) == ("length", 16, "x" * 64)
    await model.aclose()


async def test_cached_and_reasoning_tokens_are_read(serve: Serve, interface: Interface) -> None:
    usage = Usage(
        input_tokens=9, output_tokens=8, cache_read_tokens=6, cache_write_tokens=1, reasoning_tokens=5
    )
    answer = ModelResponse(message=Message(role="assistant", parts=(Text(text="x"),)), usage=usage)
    model = interface.model(serve(ScriptedModel([answer])))
    assert (await interface.ask(model, ask())).usage == usage
    await model.aclose()


async def test_streamed_or_not_the_answer_is_the_same(serve: Serve, interface: Interface) -> None:
    parts = (Text(text="let me  look\n\n at it"), call("find", key="a b"), call("find", key="1e3"))
    scripted = ScriptedModel(lambda _: Message(role="assistant", parts=parts))
    server = serve(scripted)
    model = interface.model(server)
    streamed = await model.stream(ask(), lambda _: None)
    whole = await model.complete(ask())
    assert streamed.message == whole.message
    assert (streamed.usage, streamed.stop, streamed.model) == (whole.usage, whole.stop, whole.model)
    await model.aclose()


async def test_options_are_sent_along_but_never_what_a_budget_relies_on(
    serve: Serve, interface: Interface
) -> None:
    server = serve(ScriptedModel(["a"]))
    option: dict[str, Any] = {
        "openai": {"reasoning_effort": "low"},
        "openai-responses": {"reasoning": {"effort": "low"}},
        "anthropic": {"thinking": {"type": "adaptive"}},
    }[interface.name]
    model = interface.model(server, options=option)
    await interface.ask(model, ask())
    assert option.items() <= server.received[0].body.items()
    await model.aclose()
    with pytest.raises(ConfigurationError, match="Treadle writes 'model' itself"):
        interface.model(server, options={"model": "another"})


@pytest.mark.parametrize("body", ["not json", "[]", "3", "null", '{"unrelated": true}'])
async def test_what_is_no_answer_is_a_malformed_response(
    serve: Serve, interface: Interface, body: str
) -> None:
    model = interface.model(serve(ScriptedModel([]), faults={1: Reply(body=body)}))
    with pytest.raises(MalformedResponse) as caught:
        await interface.ask(model, ask())
    assert caught.value.retryable
    await model.aclose()


async def test_a_server_that_does_not_stream_is_read_all_the_same(serve: Serve, interface: Interface) -> None:
    answer = ScriptedModel(["whole"]).respond(ask())
    body = FORMATS[interface.path].write(answer, model="m", key=b"")
    model = interface.model(serve(ScriptedModel([]), faults={1: Reply(body=body)}))
    assert (await interface.ask(model, ask())).message.text == "whole"
    await model.aclose()


async def test_a_cancelled_request_leaves_the_model_usable(serve: Serve, interface: Interface) -> None:
    model = interface.model(serve(ScriptedModel(["late"])))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await interface.ask(model, ask())
    assert (await interface.ask(model, ask())).message.text == "late"
    await model.aclose()


async def test_many_requests_at_once_share_the_connections(serve: Serve, interface: Interface) -> None:
    server = serve(ScriptedModel(lambda request: request.messages[0].text))
    model = interface.model(server)
    results: dict[int, str] = {}

    async def one(number: int) -> None:
        results[number] = (await interface.ask(model, ask(str(number)))).message.text

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    assert results == {number: str(number) for number in range(20)}
    await model.aclose()


async def test_a_stream_that_ends_early_is_unavailable(serve: Serve, interface: Interface) -> None:
    reply = Reply(headers={"content-type": "text/event-stream"}, chunks=(": nothing comes\n\n",))
    model = interface.model(serve(ScriptedModel([]), faults={1: reply}))
    wanted = ProviderUnavailable if interface.streamed else MalformedResponse
    with pytest.raises(wanted):
        await interface.ask(model, ask())
    await model.aclose()


async def test_a_picture_has_no_bound_unless_it_is_given(interface: Interface) -> None:
    model = interface.open("m", base_url="http://127.0.0.1:9")
    unknown = ModelRequest(messages=(user("see", image(PNG)),))
    known = ModelRequest(messages=(user("see", image(PNG, tokens=1600)),))
    words = ModelRequest(messages=(user("see"),))
    assert model.input_bound(unknown.messages, unknown) is None
    bound, least = model.input_bound(known.messages, known), model.input_bound(words.messages, words)
    assert bound is not None
    assert least is not None
    assert bound == least + 1600
