"""Every request that any conversation makes is one the provider's published schema allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRejected
from treadle.messages import (
    CachePoint,
    Message,
    ModelRequest,
    Opaque,
    OutputSpec,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    document,
    image,
    user,
)
from treadle.providers import anthropic_wire, openai_responses_wire, openai_wire, sendable
from treadle.testing.judging import Check

WRITE: dict[str, Callable[[ModelRequest, bool], dict[str, Any]]] = {
    "/chat/completions": lambda request, stream: openai_wire.request_body(
        request, model="m", limit_as="max_completion_tokens", stream=stream, id_limit=40
    ),
    "/responses": lambda request, stream: openai_responses_wire.request_body(
        request, model="m", stream=stream
    ),
    "/messages": lambda request, stream: anthropic_wire.request_body(
        request, model="m", cache=stream, stream=stream
    ),
}

words = st.text(max_size=12)
said = st.sampled_from([Text(text="said"), Text(text=" "), Text(text=""), Refusal(text="no")]) | words.map(
    lambda text: Text(text=text)
)
attached = st.sampled_from(
    [
        image(b"\x89PNG\r\n\x1a\n"),
        image("https://example.com/cat.png"),
        document(b"%PDF-1.7", name="a.pdf"),
        document(b"%PDF-1.7"),
        document(b"words", media_type="text/plain"),
        document(b"", media_type="text/plain", name="empty.txt"),
        CachePoint(),
    ]
)
thought = st.sampled_from(
    [
        Reasoning(text="hm", provider="anthropic", data={"type": "thinking", "signature": "s"}),
        Reasoning(text="", provider="anthropic", data={"type": "redacted_thinking", "data": "d"}),
        Reasoning(
            text="hm",
            provider="openai-responses",
            data={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g"},
        ),
        Reasoning(text="hm", provider="openai", data={"field": "reasoning_content"}),
        Opaque(provider="elsewhere", content={"type": "strange"}),
    ]
)
asked = st.lists(said.filter(lambda part: isinstance(part, Text)) | attached, min_size=1, max_size=4)
tools = st.lists(
    st.builds(
        ToolSpec,
        name=st.sampled_from(["find", "refund"]),
        description=words,
        parameters=st.sampled_from([{}, {"type": "object", "properties": {"x": {"type": "integer"}}}]),
    ),
    max_size=2,
)
forms = st.none() | st.sampled_from(
    [
        OutputSpec(name="a", schema={"type": "object", "properties": {"x": {"type": "string"}}}),
        OutputSpec(name="b", schema={"type": "object", "additionalProperties": {"type": "integer"}}),
    ]
)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """An answer, and what follows it: results of all its calls, or more from the user."""
    count = draw(st.integers(0, 3))
    number = draw(st.integers(0, 10**6))
    calls = [
        ToolCall(
            id=f"c{number}_{n}", name="find", arguments=draw(st.sampled_from(["{}", '{"x": 1}', "{cut", ""]))
        )
        for n in range(count)
    ]
    parts: list[Part] = [*draw(st.lists(thought, max_size=2)), *draw(st.lists(said, max_size=2)), *calls]
    answer = Message(role="assistant", parts=tuple(parts))
    if not calls:
        return [answer, Message(role="user", parts=tuple(draw(asked)))]
    results = [
        ToolResult(call_id=call.id, name=call.name, content=draw(words), is_error=draw(st.booleans()))
        for call in calls
    ]
    return [answer, Message(role="tool", parts=tuple(results))]


@st.composite
def requests(draw: st.DrawFn) -> ModelRequest:
    first = [Message(role="system", parts=(Text(text=draw(words)),))] if draw(st.booleans()) else []
    opening = Message(role="user", parts=(Text(text="go"), *draw(asked)))
    later = [message for turn in draw(st.lists(turns(), max_size=3)) for message in turn]
    return ModelRequest(
        messages=(*first, opening, *later),
        tools=tuple(draw(tools)),
        output=draw(forms),
        max_output_tokens=draw(st.integers(16, 100_000)),
        temperature=draw(st.none() | st.floats(0, 1)),
    )


@pytest.mark.parametrize("path", WRITE)
@given(requests(), st.booleans())
def test_any_conversation_makes_a_request_that_the_schema_allows(
    published: Mapping[str, Check], path: str, request_: ModelRequest, stream: bool
) -> None:
    assert published[path](WRITE[path](request_, stream)) == ""


@pytest.mark.parametrize("path", WRITE)
def test_a_message_of_marks_alone_is_allowed(published: Mapping[str, Check], path: str) -> None:
    marked = ModelRequest(messages=(user("go"), Message(role="user", parts=(CachePoint(),))))
    assert published[path](WRITE[path](marked, False)) == ""


@pytest.mark.parametrize("path", WRITE)
def test_a_long_id_of_another_provider_is_taken_for_the_call_and_its_result(
    published: Mapping[str, Check], path: str
) -> None:
    given = "chatcmpl-tool-" + "f" * 60
    called = Message(role="assistant", parts=(ToolCall(id=given, name="find", arguments="{}"),))
    result = Message(role="tool", parts=(ToolResult(call_id=given, name="find", content="found"),))
    body = WRITE[path](ModelRequest(messages=(user("go"), called, result)), False)
    assert published[path](body) == ""
    again = sendable.short_id(given, {"/chat/completions": 40, "/responses": 64, "/messages": None}[path])
    assert str(body).count(again) == 2


PICTURE = image(b"\x89PNG\r\n\x1a\n")
THOUGHT = Reasoning(text="hm", provider="openai", data={"field": "reasoning_content"})
RESULT = ToolResult(call_id="c", name="find", content="found")


@pytest.mark.parametrize("path", WRITE)
@pytest.mark.parametrize(
    ("role", "part", "home"),
    [("system", PICTURE, "user"), ("assistant", PICTURE, "user"), ("tool", PICTURE, "user"),
     ("tool", Text(text="by the way"), "system"), ("user", THOUGHT, "assistant"), ("user", RESULT, "tool")],
)  # fmt: skip
def test_a_part_that_a_role_cannot_hold_is_refused_and_never_left_out(
    path: str, role: Any, part: Part, home: str
) -> None:
    request = ModelRequest(messages=(user("go"), Message(role=role, parts=(part,))))
    with pytest.raises(RequestRejected, match=f"put it into a message of the role '{home}'") as caught:
        WRITE[path](request, False)
    assert not caught.value.sent


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_an_empty_text_is_no_pdf(path: str) -> None:
    empty = document(b"", media_type="text/plain", name="empty.txt")
    assert "document.pdf" not in str(WRITE[path](ModelRequest(messages=(user("go", empty),)), False))
