"""The server's side of OpenAI's Chat Completions format: requests read, answers and errors written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from treadle.errors import (
    MalformedResponse,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
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

_REASONS: Final = {
    "end": "stop",
    "tools": "tool_calls",
    "length": "length",
    "refusal": "stop",
    "filter": "content_filter",
}
_ROLES: Final = {"developer": "system"}


def read_request(body: Mapping[str, Any]) -> ModelRequest:
    """Read the JSON body of ``POST /chat/completions``.

    What the format has no words for is lost: whether a tool result was an error, above all.

    Raises:
        ValueError: It is not such a body.
    """
    try:
        names: dict[str, str] = {}
        messages = tuple(_read_message(message, names) for message in body["messages"])
        tools = tuple(_read_tool(tool["function"]) for tool in body.get("tools") or ())
        output = _read_output(body.get("response_format") or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no chat completion request: {error!r}") from error
    return ModelRequest(
        messages=messages,
        tools=tools,
        output=output,
        max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 4096,
        temperature=body.get("temperature"),
    )


def _read_message(wire: Mapping[str, Any], names: dict[str, str]) -> Message:
    role: Any = _ROLES.get(wire["role"], wire["role"])
    text = _words(wire.get("content"))
    if role == "tool":
        call_id = wire["tool_call_id"]
        result = ToolResult(call_id=call_id, name=names.get(call_id, ""), content=text)
        return Message(role="tool", parts=(result,))
    parts: list[Part] = [
        Reasoning(text=wire[name], provider="openai", data={"field": name})
        for name in ("reasoning_content", "reasoning")
        if wire.get(name)
    ]
    parts += _read_attached(wire.get("content"))
    if wire.get("refusal"):
        parts.append(Refusal(text=wire["refusal"]))
    if text or not wire.get("tool_calls"):
        parts.append(Text(text=text))
    for call in wire.get("tool_calls") or ():
        function = call["function"]
        names[call["id"]] = function["name"]
        parts.append(ToolCall(id=call["id"], name=function["name"], arguments=function["arguments"]))
    return Message(role=role, parts=tuple(parts))


def _read_attached(content: object) -> list[Part]:
    listed = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    found: list[Part] = []
    for piece in listed:
        if piece["type"] == "image_url":
            found.append(Image(**read_address(piece["image_url"]["url"])))
        elif piece["type"] == "file":
            file = piece["file"]
            found.append(Document(name=file.get("filename", ""), **read_address(file["file_data"])))
    return found


def _words(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts)


def _read_tool(function: Mapping[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=function["name"],
        description=function.get("description", ""),
        parameters=function.get("parameters", {}),
    )


def _read_output(wire: Mapping[str, Any]) -> OutputSpec | None:
    if wire.get("type") != "json_schema":
        return None
    form = wire["json_schema"]
    return OutputSpec(name=form["name"], schema=form.get("schema", {}))


def response_body(response: ModelResponse, *, model: str, key: bytes) -> dict[str, Any]:
    """Write an answer as a completion; its id comes from ``key``, so equal requests get equal answers."""
    usage = response.usage
    return {
        "id": response.response_id or f"chatcmpl-{hashlib.sha256(key).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": response.model or model,
        "choices": [
            {
                "index": 0,
                "message": _message_body(response.message),
                "logprobs": None,
                "finish_reason": _REASONS[response.stop],
            }
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        },
    }


def _message_body(message: Message) -> dict[str, Any]:
    refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
    body: dict[str, Any] = {
        "role": "assistant",
        "content": message.text or None,
        "refusal": "".join(refusals) or None,
    }
    for part in message.parts:
        if isinstance(part, Reasoning):
            body[str(part.data.get("field", "reasoning_content"))] = part.text
        elif isinstance(part, Opaque):
            body.update(part.content)
    if message.tool_calls:
        body["tool_calls"] = [_call_body(call) for call in message.tool_calls]
    return body


def _call_body(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **(call.extra or {}).get("openai", {})}


def stream_events(body: Mapping[str, Any]) -> Iterator[str]:
    """Write the answer ``response_body`` gave as the chunks of a stream, its usage in the last."""
    head = {name: body[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice: Mapping[str, Any] = body["choices"][0]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *_deltas(choice["message"])]
    ends = [None] * len(deltas)
    for delta, reason in [*zip(deltas, ends, strict=True), ({}, choice["finish_reason"])]:
        chosen = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield event({**head, "choices": [chosen], "usage": None})
    yield event({**head, "choices": [], "usage": body["usage"]})
    yield "data: [DONE]\n\n"


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in message.items():
        if name in {"role", "tool_calls"} or not value:
            continue
        if isinstance(value, str):
            yield from ({name: piece} for piece in pieces(value))
        else:
            yield {name: value}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        first: dict[str, Any] = {**call, "index": index, "function": {**function, "arguments": ""}}
        yield {"tool_calls": [first]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def error_body(status: int, message: str, code: str) -> dict[str, Any]:
    """Write an error the way OpenAI does, for both of its interfaces."""
    del status
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def error_status(error: ProviderError) -> tuple[int, str]:
    """The status and code that a client reads as this very error."""
    if isinstance(error, RateLimited):
        return error.status or 429, "rate_limit_exceeded" if error.retryable else "insufficient_quota"
    if isinstance(error, RequestRejected):
        return error.status or 400, "invalid_request_error"
    if isinstance(error, ProviderUnavailable | MalformedResponse):
        return error.status or 503, "server_error"
    return error.status or 500, "server_error"
