"""Treadle's messages in OpenAI's Chat Completions format, and its answers back.

Source: https://platform.openai.com/docs/api-reference/chat and the published OpenAPI description
(read in November 2026).  Real servers, compatible ones above all, leave out what that description
requires, so answers are read leniently: only what is needed must be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from treadle.budget import Usage
from treadle.errors import MalformedResponse, RequestRejected
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    Part,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from treadle.providers.strict_schema import strictly

Stop = Literal["end", "tools", "length", "refusal", "filter"]

STOPS: Final[dict[str, Stop]] = {
    "stop": "end",
    "tool_calls": "tools",
    "function_call": "tools",
    "length": "length",
    "content_filter": "filter",
}


def request_body(request: ModelRequest, *, model: str, limit_as: str) -> dict[str, Any]:
    """Write a request as the JSON body of ``POST /chat/completions``.

    Args:
        request: What to ask.
        model: The model's name.
        limit_as: The parameter that carries the output limit.

    Raises:
        RequestRejected: A part of a message has no form there.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [wire for message in request.messages for wire in _messages(message)],
        limit_as: request.max_output_tokens,
    }
    if request.tools:
        body["tools"] = [tool_body(tool) for tool in request.tools]
    if request.output is not None:
        strict = strictly(request.output.schema)
        form = {
            "name": request.output.name,
            "schema": strict or request.output.schema,
            "strict": strict is not None,
        }
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return body


def tool_body(tool: ToolSpec) -> dict[str, Any]:
    """Write a tool.  It is not strict: arguments are checked here, and the model told what is wrong."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    """One message of ours is one of theirs, but that each tool result is a message of its own."""
    for part in message.parts:
        if isinstance(part, Opaque):
            raise RequestRejected(
                f"a part of kind {part.content.get('type', 'unknown')!r} from {part.provider} cannot be sent "
                "to OpenAI; leave it out of the conversation",
                provider="openai",
            )
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": part.content}
    if message.role == "assistant":
        yield _assistant(message)
    elif message.role != "tool":
        yield {"role": message.role, "content": message.text}


def _assistant(message: Message) -> dict[str, Any]:
    refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
    wire: dict[str, Any] = {"role": "assistant"}
    if message.text or not (message.tool_calls or refusals):
        wire["content"] = message.text
    if refusals:
        wire["refusal"] = "".join(refusals)
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return wire


def read_response(data: object, *, worst: Callable[[], Usage]) -> ModelResponse:
    """Read the JSON of a completion.

    Args:
        data: As parsed.
        worst: Gives what is taken for the usage where the server reports none: never less than was used.

    Raises:
        MalformedResponse: There is no answer in it.
    """
    completion = _mapping(data, "the response")
    choices: Any = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed("the response has no choices")
    choice = _mapping(cast("Sequence[Any]", choices)[0], "the first choice")
    message = _read_message(_mapping(choice.get("message"), "the message"))
    return ModelResponse(
        message=message,
        usage=read_usage(completion.get("usage"), worst),
        model=_text(completion.get("model")),
        stop=_stop(message, choice.get("finish_reason")),
        response_id=_text(completion.get("id")),
    )


def malformed(what: str) -> MalformedResponse:
    """The error for an answer that is not what the interface promises; worth one more try."""
    return MalformedResponse(
        f"openai: {what}; if it happens again, the server at base_url does not speak OpenAI's format",
        provider="openai",
        status=200,
        retryable=True,
    )


def _read_message(wire: Mapping[str, Any]) -> Message:
    parts: list[Part] = []
    if wire.get("refusal"):
        parts.append(Refusal(text=_text(wire["refusal"])))
    content: Any = wire.get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(
            _text(_mapping(part, "a part").get("text")) for part in cast("Sequence[Any]", content)
        )
    if content:
        parts.append(Text(text=_text(content)))
    calls: Any = wire.get("tool_calls") or []
    if not isinstance(calls, list):
        raise malformed("the tool calls are not a list")
    for index, call in enumerate(cast("Sequence[Any]", calls)):
        parts.append(_read_call(_mapping(call, "a tool call"), index))
    return Message(role="assistant", parts=tuple(parts))


def _read_call(call: Mapping[str, Any], index: int) -> ToolCall:
    function = _mapping(call.get("function"), "a tool call's function")
    arguments: Any = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments)  # some servers send the object itself
    name = _text(function.get("name"))
    return ToolCall(id=_text(call.get("id")) or f"call_{index}", name=name, arguments=arguments or "{}")


def _stop(message: Message, reason: object) -> Stop:
    if any(isinstance(part, Refusal) for part in message.parts):
        return "refusal"
    stop = STOPS.get(str(reason), "end")
    if message.tool_calls and stop == "end":
        return "tools"  # some servers say "stop" beside tool calls
    return stop


def read_usage(data: object, worst: Callable[[], Usage]) -> Usage:
    """Read the ``usage`` of a completion; ``worst`` where there is none."""
    usage = _details(data)
    counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) for count in counted):
        return worst()
    read = _details(usage.get("prompt_tokens_details"))
    written = _details(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=_count(counted[0]),
        output_tokens=_count(counted[1]),
        cache_read_tokens=_count(read.get("cached_tokens")),
        cache_write_tokens=_count(read.get("cache_write_tokens")),
        reasoning_tokens=_count(written.get("reasoning_tokens")),
    )


def _details(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return cast("dict[str, Any]", value)
