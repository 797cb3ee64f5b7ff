"""The server's side of OpenAI's Responses format: requests read, answers and streams written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

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
from treadle.providers.serving_events import event, pieces, read_address

_INCOMPLETE: Final = {"length": "max_output_tokens", "filter": "content_filter"}
_ROLES: Final = {"developer": "system"}
_FORMAT: Final = "openai-responses"


def read_request(body: Mapping[str, Any]) -> ModelRequest:
    """Read the JSON body of ``POST /responses``.

    Raises:
        ValueError: It is not such a body.
    """
    try:
        names: dict[str, str] = {}
        given: Any = body["input"]
        items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else given
        read = [_read_item(item, names) for item in items]
        told = body.get("instructions")
        first = [Message(role="system", parts=(Text(text=told),))] if told else []
        return ModelRequest(
            messages=tuple(_joined([*first, *read])),
            tools=tuple(_read_tool(tool) for tool in body.get("tools") or ()),
            output=_read_output(body["text"]["format"]) if "format" in (body.get("text") or ()) else None,
            max_output_tokens=body.get("max_output_tokens") or 4096,
            temperature=body.get("temperature"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no request for a response: {error!r}") from error


def _joined(messages: list[Message]) -> Iterator[Message]:
    """Items of one answer are one message, and so are the results of its calls."""
    last: Message | None = None
    for message in messages:
        if last is not None and last.role == message.role and message.role in {"assistant", "tool"}:
            last = Message(role=last.role, parts=(*last.parts, *message.parts))
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _read_item(item: Mapping[str, Any], names: dict[str, str]) -> Message:
    kind = item.get("type", "message")
    if kind == "message":
        role: Any = _ROLES.get(item["role"], item["role"])
        return Message(role=role, parts=tuple(_read_content(item["content"])))
    if kind == "function_call_output":
        call_id = item["call_id"]
        result = ToolResult(call_id=call_id, name=names.get(call_id, ""), content=str(item["output"]))
        return Message(role="tool", parts=(result,))
    return Message(role="assistant", parts=(_read_output_item(item, names),))


def _read_output_item(item: Mapping[str, Any], names: dict[str, str]) -> Part:
    if item["type"] == "function_call":
        names[item["call_id"]] = item["name"]
        return ToolCall(id=item["call_id"], name=item["name"], arguments=item["arguments"])
    if item["type"] == "reasoning":
        thought = "\n\n".join(str(piece["text"]) for piece in item.get("summary") or ())
        return Reasoning(text=thought, provider=_FORMAT, data=dict(item))
    return Opaque(provider=_FORMAT, content=dict(item))


def _read_content(content: object) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(text=content)
        return
    for piece in cast("list[dict[str, Any]]", content):
        kind = piece["type"]
        if kind in {"input_text", "output_text"}:
            yield Text(text=piece["text"])
        elif kind == "refusal":
            yield Refusal(text=piece["refusal"])
        elif kind == "input_image":
            yield Image(**read_address(piece["image_url"]))
        elif kind == "input_file":
            name = piece.get("filename") or ""
            yield Document(name=name, **read_address(piece.get("file_url") or piece["file_data"]))


def _read_tool(tool: Mapping[str, Any]) -> ToolSpec:
    described = str(tool.get("description") or "")
    return ToolSpec(name=tool["name"], description=described, parameters=tool.get("parameters") or {})


def _read_output(form: Mapping[str, Any]) -> OutputSpec | None:
    if form.get("type") != "json_schema":
        return None
    return OutputSpec(name=form["name"], schema=form["schema"])


def response_body(response: ModelResponse, *, model: str, key: bytes) -> dict[str, Any]:
    """Write an answer as a response; ids come from ``key``, so equal requests get equal answers."""
    usage, ident = response.usage, hashlib.sha256(key).hexdigest()[:24]
    cut = _INCOMPLETE.get(response.stop)
    return {
        "id": response.response_id or f"resp_{ident}",
        "object": "response",
        "created_at": 0,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": response.model or model,
        "output": [_write(part, f"{ident}{n}") for n, part in enumerate(response.message.parts)],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        },
    }


def _write(part: Part, ident: str) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        called = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
        return {"type": "function_call", "id": f"fc_{ident}", "status": "completed", **called}
    if isinstance(part, Reasoning):
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        return {"type": "reasoning", "id": f"rs_{ident}", "summary": summary, **part.data}
    if isinstance(part, Opaque):
        return part.content
    said: dict[str, Any] = {"type": "refusal", "refusal": part.text} if isinstance(part, Refusal) else {}
    if isinstance(part, Text):
        said = {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{ident}", "status": "completed", "role": "assistant"}
    return {**message, "content": [said]}


def stream_events(body: Mapping[str, Any]) -> Iterator[str]:
    """Write the answer ``response_body`` gave as the events of a stream."""
    not_yet: dict[str, Any] = {"output": [], "usage": None, "incomplete_details": None}
    begun = {**body, "status": "in_progress", **not_yet}
    written: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(body["output"]):
        opened: dict[str, Any] = {"content": []} if item["type"] == "message" else {}
        opened |= {"arguments": ""} if item["type"] == "function_call" else {}
        place = {"output_index": index}
        written.append({"type": "response.output_item.added", "item": {**item, **opened}, **place})
        written += [{**each, "item_id": item.get("id", ""), **place} for each in _inside(item)]
        written.append({"type": "response.output_item.done", "item": item, **place})
    end = "incomplete" if body["status"] == "incomplete" else "completed"
    written.append({"type": f"response.{end}", "response": body})
    for number, data in enumerate(written):
        yield event({**data, "sequence_number": number}, name=data["type"])


def _inside(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pieces of one item."""
    if item["type"] == "function_call":
        for piece in pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", "delta": piece}
        yield {"type": "response.function_call_arguments.done", "arguments": item["arguments"]}
    elif item["type"] == "reasoning":
        for index, summary in enumerate(item["summary"]):
            place = {"summary_index": index}
            for piece in pieces(summary["text"]):
                yield {"type": "response.reasoning_summary_text.delta", "delta": piece, **place}
    elif item["type"] == "message":
        for index, content in enumerate(item["content"]):
            yield from _content_events(content, {"content_index": index})


def _content_events(content: Mapping[str, Any], place: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    field = "refusal" if content["type"] == "refusal" else "text"
    named = "refusal" if content["type"] == "refusal" else "output_text"
    yield {"type": "response.content_part.added", "part": {**content, field: ""}, **place}
    for piece in pieces(content[field]):
        more: dict[str, Any] = {"logprobs": []} if field == "text" else {}
        yield {"type": f"response.{named}.delta", "delta": piece, **more, **place}
    yield {"type": f"response.{named}.done", field: content[field], **place}
    yield {"type": "response.content_part.done", "part": content, **place}
