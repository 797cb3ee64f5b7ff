"""The server's side of Anthropic's Messages format: requests read, answers, streams and errors written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from treadle.errors import MalformedResponse, ProviderError, ProviderUnavailable, RateLimited, RequestRejected
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
from treadle.providers.serving_events import event, pieces

_REASONS: Final = {
    "end": "end_turn",
    "tools": "tool_use",
    "length": "max_tokens",
    "refusal": "refusal",
    "filter": "refusal",
}
_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def read_request(body: Mapping[str, Any]) -> ModelRequest:
    """Read the JSON body of ``POST /v1/messages``.

    Raises:
        ValueError: It is not such a body.
    """
    try:
        names: dict[str, str] = {}
        told = _words(body.get("system") or "")
        first = (Message(role="system", parts=(Text(text=told),)),) if told else ()
        rest = (message for turn in body["messages"] for message in _read_turn(turn, names))
        messages = (*first, *rest)
        tools = tuple(_read_tool(tool) for tool in body.get("tools") or ())
        config: dict[str, Any] = body.get("output_config") or {}
        output = _read_output(config.get("format") or {})
        return ModelRequest(
            messages=messages,
            tools=tools,
            output=output,
            max_output_tokens=body["max_tokens"],
            temperature=body.get("temperature"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no request for a message: {error!r}") from error


def _read_turn(turn: Mapping[str, Any], names: dict[str, str]) -> Iterator[Message]:
    """A turn of the user's may hold results of tools, which are a message of their own here."""
    content: Any = turn["content"]
    blocks: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [_read_block(block, names) for block in blocks]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Message(role="tool", parts=results)
    if others:
        yield Message(role=turn["role"], parts=others)


def _read_block(block: Mapping[str, Any], names: dict[str, str]) -> Part:
    kind = block["type"]
    if kind == "text":
        return Text(text=block["text"])
    if kind in {"image", "document"}:
        return _read_attached(block)
    if kind == "tool_use":
        names[block["id"]] = block["name"]
        return ToolCall(id=block["id"], name=block["name"], arguments=json.dumps(block["input"]))
    if kind == "tool_result":
        call_id = block["tool_use_id"]
        said = _words(block.get("content") or "")
        is_error = bool(block.get("is_error"))
        return ToolResult(call_id=call_id, name=names.get(call_id, ""), content=said, is_error=is_error)
    if kind == "thinking":
        rest = {name: value for name, value in block.items() if name != "thinking"}
        return Reasoning(text=block["thinking"], provider="anthropic", data=rest)
    return Opaque(provider="anthropic", content=dict(block))


def _read_attached(block: Mapping[str, Any]) -> Part:
    source: Mapping[str, Any] = block["source"]
    kind: Any = Image if block["type"] == "image" else Document
    named = {"name": block["title"]} if block.get("title") else {}
    if source["type"] == "url":
        return cast("Part", kind(url=source["url"], **named))
    if source["type"] == "text":
        data = base64.b64encode(source["data"].encode()).decode()
        return Document(media_type=source["media_type"], data=data, **named)
    return cast("Part", kind(media_type=source["media_type"], data=source["data"], **named))


def _words(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    return "\n\n".join(str(block.get("text", "")) for block in blocks)


def _read_tool(tool: Mapping[str, Any]) -> ToolSpec:
    described = str(tool.get("description") or "")
    return ToolSpec(name=tool["name"], description=described, parameters=tool.get("input_schema") or {})


def _read_output(form: Mapping[str, Any]) -> OutputSpec | None:
    return OutputSpec(name="answer", schema=form["schema"]) if form.get("type") == "json_schema" else None


def response_body(response: ModelResponse, *, model: str, key: bytes) -> dict[str, Any]:
    """Write an answer as a message; its id comes from ``key``, so equal requests get equal answers."""
    usage = response.usage
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    counts: dict[str, Any] = {
        "input_tokens": max(0, fresh),
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    refused = [part.text for part in response.message.parts if isinstance(part, Refusal)]
    details = {"type": "refusal", "category": None, "explanation": "".join(refused)}
    return {
        "id": response.response_id or f"msg_{hashlib.sha256(key).hexdigest()[:24]}",
        "type": "message",
        "role": "assistant",
        "model": response.model or model,
        "content": [block for part in response.message.parts for block in _write(part)],
        "stop_reason": _REASONS[response.stop],
        "stop_sequence": None,
        "stop_details": details if refused else None,
        "usage": counts,
    }


def _write(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        yield {"type": "text", "text": part.text, **((part.extra or {}).get("anthropic") or {})}
    elif isinstance(part, ToolCall):
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part.arguments)}
    elif isinstance(part, Reasoning):
        yield {"type": "thinking", "signature": "", **part.data, "thinking": part.text}
    elif isinstance(part, Opaque):
        yield part.content


def _input(arguments: str) -> object:
    """The arguments as they stand in a message; text that is no JSON can only be streamed."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def stream_events(body: Mapping[str, Any]) -> Iterator[str]:
    """Write the answer ``response_body`` gave as the events of a stream."""
    start: dict[str, Any] = {**body, "content": [], "stop_reason": None, "stop_details": None}
    counted = {**body["usage"], "output_tokens": 1}
    yield _event({"type": "message_start", "message": {**start, "usage": counted}})
    yield _event({"type": "ping"})
    for index, block in enumerate(body["content"]):
        yield from _block_events(index, block)
    ended = {name: body.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield _event({"type": "message_delta", "delta": ended, "usage": body["usage"]})
    yield _event({"type": "message_stop"})


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[str]:
    empty, deltas = _opened(block)
    yield _event({"type": "content_block_start", "index": index, "content_block": empty})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


def _opened(block: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """A block as it opens, and the pieces that fill it."""
    if block["type"] == "text":
        said = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations") or ()]
        return {"type": "text", "text": ""}, [*said, *cited]
    if block["type"] == "tool_use":
        given = block["input"]
        written = given if isinstance(given, str) else json.dumps(given)
        parts = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(written))]
        return {**block, "input": {}}, parts
    if block["type"] == "thinking":
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        signed = [{"type": "signature_delta", "signature": block["signature"]}]
        return {"type": "thinking", "thinking": "", "signature": ""}, [*thought, *signed]
    return block, []


def _event(data: Mapping[str, Any]) -> str:
    return event(data, name=data["type"])


def error_body(status: int, message: str, code: str) -> dict[str, Any]:
    """Write an error the way Anthropic does."""
    kind = code or _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_treadle"}


def error_status(error: ProviderError) -> tuple[int, str]:
    """The status and kind that a client reads as this very error."""
    if isinstance(error, RateLimited):
        status = 429 if error.retryable else 402
    elif isinstance(error, RequestRejected):
        status = error.status or 400
    elif isinstance(error, ProviderUnavailable | MalformedResponse):
        status = error.status or 529
    else:
        status = error.status or 500
    return status, ""
