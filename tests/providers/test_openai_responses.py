"""What is the Responses interface's own: items, phases, limits, how an answer ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from interfaces import Serve, ask

from treadle.budget import Usage
from treadle.errors import ConfigurationError, RequestRejected
from treadle.messages import (
    Message,
    ModelRequest,
    Opaque,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    document,
    user,
)
from treadle.models import OpenAIResponsesModel
from treadle.providers.openai_responses_wire import read_response, request_body
from treadle.providers.serving import FORMATS, Reply
from treadle.testing import ScriptedModel

SAID = {"type": "output_text", "text": "hi", "annotations": [{"type": "url_citation"}], "logprobs": []}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
}


def read(*output: dict[str, Any], **fields: Any) -> Any:
    return read_response({"output": list(output), "status": "completed", **fields}, worst=Usage)


def test_items_go_back_as_they_came() -> None:
    call_ = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}",
             "status": "completed"}  # fmt: skip
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA="}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    said = {**MESSAGE, "content": [SAID, {**SAID, "text": "there"}]}
    response = read(thought, search, said, call_)
    assert isinstance(response.message.parts[1], Opaque)
    assert response.message.text == "hithere"
    asked = ModelRequest(
        messages=(
            user("a"),
            response.message,
            Message(role="tool", parts=(ToolResult(call_id="c1", name="f", content="1"),)),
        )
    )
    items = request_body(asked, model="m")["input"]
    assert items[1:5] == [thought, search, said, call_]
    assert items[5] == {"type": "function_call_output", "call_id": "c1", "output": "1"}


def test_what_another_model_said_and_called_is_told_plainly() -> None:
    parts = (Text(text="said"), Refusal(text="no"), ToolCall(id="c", name="f", arguments="{}"))
    items = request_body(ModelRequest(messages=(Message(role="assistant", parts=parts),)), model="m")["input"]
    assert [item.get("content") or item["name"] for item in items] == ["said", "no", "f"]


def test_reasoning_that_only_the_provider_could_look_up_is_left_out() -> None:
    response = read({"type": "reasoning", "id": "rs_1", "summary": []}, {**MESSAGE, "content": [SAID]})
    items = request_body(ModelRequest(messages=(user("a"), response.message)), model="m")["input"]
    assert [item["type"] for item in items] == ["message", "message"]


def test_nothing_is_stored_at_the_provider() -> None:
    assert request_body(ask(), model="m")["store"] is False


def test_a_document_is_sent_by_its_url_too() -> None:
    asked = ModelRequest(messages=(user("read", document("https://example.com/a.pdf")),))
    content = request_body(asked, model="m")["input"][0]["content"]
    assert content[0] == {"type": "input_file", "file_url": "https://example.com/a.pdf"}


def test_an_output_limit_under_the_least_is_refused_before_sending() -> None:
    with pytest.raises(RequestRejected, match="allow at least 16: raise max_output") as caught:
        request_body(ask(max_output_tokens=15), model="m")
    assert not caught.value.sent


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({}, "end"),
        ({"status": "complete"}, "end"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filter"),
        ({"status": "incomplete"}, "length"),
    ],
)
def test_each_end_has_a_word(fields: dict[str, Any], stop: str) -> None:
    assert read(**fields).stop == stop


@pytest.mark.anyio
async def test_a_stream_whose_last_event_holds_no_output_is_put_together(serve: Serve) -> None:
    form = FORMATS["/responses"]
    written = form.write(ScriptedModel(["put together"]).respond(ask()), model="m", key=b"")
    output = f'"output": {json.dumps(written["output"])}'
    events = [event.replace(output, '"output": []') for event in form.stream(written)]
    assert '"output": []' in events[-1]
    reply = Reply(headers={"content-type": "text/event-stream"}, chunks=events)
    model = OpenAIResponsesModel("m", base_url=serve(ScriptedModel([]), faults={1: reply}).url)
    assert (await model.stream(ask(), lambda _: None)).message.text == "put together"
    await model.aclose()


def test_what_is_kept_at_the_provider_is_not_an_option() -> None:
    with pytest.raises(ConfigurationError, match="Treadle writes 'store' itself"):
        OpenAIResponsesModel("m", api_key="k", options={"store": True})
