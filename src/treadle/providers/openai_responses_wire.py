"""Treadle's messages in OpenAI's Responses format, and its answers back.

Source: https://platform.openai.com/docs/api-reference/responses and the published OpenAPI description
(read in November 2026).  Nothing is stored at the provider: the whole conversation goes out each time,
reasoning encrypted by the provider among it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from treadle.budget import Usage
from treadle.messages import (
    Document,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    OutputSpec,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from treadle.providers import http_errors, lenient, sendable
from treadle.providers.openai_wire import data_url, titled
from treadle.providers.strict_schema import strictly

FORMAT: Final = "openai-responses"
"""What parts that go back to this wire format alone are marked with."""

malformed: Final = functools.partial(http_errors.malformed, provider="openai")
mapping: Final = functools.partial(lenient.mapping, provider="openai")

LEAST_OUTPUT: Final = 16
"""The lowest output limit the interface takes, in tokens (the published description)."""

MOST_ID: Final = 64
"""Characters of the id of a call (``FunctionCallOutputItemParam`` of the published description)."""

Item = dict[str, Any]
Stop = Literal["end", "tools", "length", "refusal", "filter"]


def request_body(request: ModelRequest, *, model: str, stream: bool = False) -> dict[str, Any]:
    """Write a request as the JSON body of ``POST /responses``.

    Raises:
        RequestRejected: A part of a message has no form there, or the output limit is too low.
    """
    if request.max_output_tokens < LEAST_OUTPUT:
        what = f"an output limit of {request.max_output_tokens} tokens"
        raise sendable.unsendable(what, FORMAT, f"allow at least {LEAST_OUTPUT}: raise max_output")
    sendable.check_places(request.messages, FORMAT)
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in request.messages for item in _items(message)],
        "max_output_tokens": request.max_output_tokens,
        "store": False,
    }
    if request.tools:
        body["tools"] = [tool_body(tool) for tool in request.tools]
    if request.output is not None:
        body["text"] = {"format": _form(request.output)}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if stream:
        body["stream"] = True
    return body


def tool_body(tool: ToolSpec) -> dict[str, Any]:
    """Write a tool.  It is not strict: arguments are checked here, and the model told what is wrong."""
    shown = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", **shown, "strict": False}


def _form(output: OutputSpec) -> dict[str, Any]:
    strict = strictly(output.schema)
    schema = output.schema if strict is None else strict
    return {"type": "json_schema", "name": output.name, "schema": schema, "strict": strict is not None}


def _items(message: Message) -> Iterator[Item]:
    if message.role == "user":
        yield {"type": "message", "role": "user", "content": _content(message)}
    elif message.role == "system":
        yield {"type": "message", "role": "system", "content": message.text}
    elif message.role == "assistant":
        yield from _grouped(message.parts)
    else:
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield {"type": "function_call_output", "call_id": _id(part.call_id), "output": part.content}


def _content(message: Message) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in message.parts):
        return message.text
    written = [wire for part in message.parts for wire in _input(part)]
    return written or ""  # marks alone are nothing to send


def _input(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        yield {"type": "input_text", "text": part.text}
    elif isinstance(part, Image):
        yield {"type": "input_image", "image_url": data_url(part), "detail": "auto"}
    elif isinstance(part, Document) and part.url:
        yield {"type": "input_file", "file_url": part.url}
    elif isinstance(part, Document) and part.media_type == "text/plain":
        yield {"type": "input_text", "text": titled(part)}
    elif isinstance(part, Document):
        yield {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data_url(part)}
    elif isinstance(part, Opaque):
        yield sendable.own_part(part, FORMAT)


def _grouped(parts: Sequence[Part]) -> Iterator[Item]:
    """The parts of an answer as the items they came in; those of one message are one item again."""
    last: Item = {}
    for part in parts:
        for item in _item(part):
            is_more = item.get("type") == last.get("type") == "message" and item.get("id") == last.get(
                "id", ""
            )
            if is_more:
                last["content"] = [*last["content"], *item["content"]]
                continue
            last = item
            yield item


def _item(part: Part) -> Iterator[Item]:
    kept: dict[str, Any] = {}
    if isinstance(part, Text | ToolCall):
        kept = (part.extra or {}).get(FORMAT, {})
    if isinstance(part, Text) and kept:
        yield _own_message(part, kept)
    elif isinstance(part, Text | Refusal):
        if part.text:
            yield {"type": "message", "role": "assistant", "content": part.text}
    elif isinstance(part, ToolCall):
        called = {"call_id": _id(part.id), "name": part.name, "arguments": part.arguments}
        yield {"type": "function_call", **called, **kept}
    elif isinstance(part, Reasoning) and part.provider == FORMAT:
        if part.data.get("encrypted_content"):  # the provider keeps none, so it could not look up the rest
            yield dict(part.data)
    elif isinstance(part, Opaque) and part.provider == FORMAT:
        yield dict(part.content)


def _id(given: str) -> str:
    return sendable.short_id(given, MOST_ID)


def _own_message(part: Text, kept: Mapping[str, Any]) -> Item:
    beside = {"annotations": kept.get("annotations", []), "logprobs": kept.get("logprobs", [])}
    fields = {name: value for name, value in kept.items() if name not in beside}
    content = [{"type": "output_text", "text": part.text, **beside}]
    return {"type": "message", "role": "assistant", "status": "completed", **fields, "content": content}


def read_response(data: object, *, worst: Callable[[], Usage]) -> ModelResponse:
    """Read the JSON of a response.

    Args:
        data: As parsed; without an error in it.
        worst: Gives what is taken for the usage where the server reports none: never less than was used.

    Raises:
        MalformedResponse: There is no answer in it.
    """
    wire = mapping(data, "the response")
    if lenient.text(wire.get("status")) in {"failed", "cancelled"}:
        raise malformed(f"it was given up: {wire['status']!r}")
    output: Any = wire.get("output")
    if not isinstance(output, list):
        raise malformed("the response has no output")
    parts = [part for item in cast("Sequence[Any]", output) for part in _read(mapping(item, "an item"))]
    message = Message(role="assistant", parts=tuple(parts))
    return ModelResponse(
        message=message,
        usage=read_usage(wire.get("usage"), worst),
        model=lenient.text(wire.get("model")),
        stop=_stop(message, wire),
        response_id=lenient.text(wire.get("id")),
    )


def _read(item: Mapping[str, Any]) -> Iterator[Part]:
    kind = item.get("type")
    if kind == "message":
        yield from _read_message(item)
    elif kind == "function_call":
        yield ToolCall(
            id=lenient.text(item.get("call_id")) or lenient.text(item.get("id")),
            name=lenient.text(item.get("name")),
            arguments=lenient.text(item.get("arguments")) or "{}",
            extra=lenient.unknown(item, {"type", "call_id", "name", "arguments"}, FORMAT),
        )
    elif kind == "reasoning":
        data = {name: value for name, value in item.items() if value is not None}
        yield Reasoning(text=_thoughts(item), provider=FORMAT, data={"summary": [], **data})
    else:
        yield Opaque(provider=FORMAT, content=dict(item))


def _read_message(item: Mapping[str, Any]) -> Iterator[Part]:
    content: Any = item.get("content")
    if not isinstance(content, list):
        raise malformed("the content of a message is not a list")
    for each in cast("Sequence[Any]", content):
        piece = mapping(each, "a piece of a message")
        if piece.get("type") == "refusal":
            yield Refusal(text=lenient.text(piece.get("refusal")))
        elif piece.get("type") == "output_text" and piece.get("text"):
            beside = {name: value for name, value in piece.items() if name not in {"type", "text"}}
            extra = lenient.unknown({**item, **beside}, {"type", "role", "content", "status"}, FORMAT)
            yield Text(text=lenient.text(piece["text"]), extra=extra)
        elif piece.get("type") != "output_text":
            yield Opaque(provider=FORMAT, content={**item, "content": [piece]})


def _thoughts(item: Mapping[str, Any]) -> str:
    """What may be read of an item of reasoning: its summaries, or else its text."""
    pieces: Any = item.get("summary") or item.get("content")
    listed = cast("Sequence[Any]", pieces) if isinstance(pieces, list) else ()
    found = [lenient.text(lenient.details(piece).get("text")) for piece in listed]
    return "\n\n".join(text for text in found if text)


def _stop(message: Message, wire: Mapping[str, Any]) -> Stop:
    if any(isinstance(part, Refusal) for part in message.parts):
        return "refusal"
    if wire.get("status") == "incomplete":
        reason = lenient.details(wire.get("incomplete_details")).get("reason")
        return "filter" if reason == "content_filter" else "length"
    return "tools" if message.tool_calls else "end"


def read_usage(data: object, worst: Callable[[], Usage]) -> Usage:
    """Read the ``usage`` of a response; ``worst`` where there is none."""
    usage = lenient.details(data)
    counted = usage.get("input_tokens"), usage.get("output_tokens")
    if not all(isinstance(count, int) for count in counted):
        return worst()
    read = lenient.details(usage.get("input_tokens_details"))
    written = lenient.details(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=lenient.count(counted[0]),
        output_tokens=lenient.count(counted[1]),
        cache_read_tokens=lenient.count(read.get("cached_tokens")),
        cache_write_tokens=lenient.count(read.get("cache_write_tokens")),
        reasoning_tokens=lenient.count(written.get("reasoning_tokens")),
    )
