"""Treadle's messages in OpenAI's Chat Completions format, and its answers back.

Source: https://platform.openai.com/docs/api-reference/chat and the published OpenAPI description
(read in November 2026).  Real servers, compatible ones above all, leave out what that description
requires, so answers are read leniently: only what is needed must be there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from pydantic_core import to_json

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
from treadle.providers.strict_schema import strictly

FORMAT: Final = "openai"
"""What parts that go back to this wire format alone are marked with."""

malformed: Final = functools.partial(http_errors.malformed, provider="openai")
mapping: Final = functools.partial(lenient.mapping, provider="openai")

REASONING: Final = ("reasoning_content", "reasoning")
"""Where compatible servers put a model's reasoning; OpenAI itself shows none here."""

_READ: Final = frozenset({"role", "content", "refusal", "tool_calls", "function_call", *REASONING})
_NOT_SENT_BACK: Final = frozenset({"annotations", "audio"})

Stop = Literal["end", "tools", "length", "refusal", "filter"]

STOPS: Final[dict[str, Stop]] = {
    "stop": "end",
    "tool_calls": "tools",
    "function_call": "tools",
    "length": "length",
    "content_filter": "filter",
}

_GIVEN_UP: Final = frozenset({"error", "abort", "insufficient_system_resource"})
"""Why compatible servers (OpenRouter, vLLM, DeepSeek) break an answer off without an error."""


def request_body(
    request: ModelRequest, *, model: str, limit_as: str, stream: bool = False, id_limit: int | None = None
) -> dict[str, Any]:
    """Write a request as the JSON body of ``POST /chat/completions``.

    Args:
        request: What to ask.
        model: The model's name.
        limit_as: The parameter that carries the output limit.
        stream: Whether the answer shall come piece by piece, its usage at the end.
        id_limit: Characters that the id of a call may have.

    Raises:
        RequestRejected: A part of a message has no form there.
    """
    sendable.check_places(request.messages, FORMAT)
    body: dict[str, Any] = {
        "model": model,
        "messages": [wire for message in request.messages for wire in _messages(message, id_limit)],
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
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def tool_body(tool: ToolSpec) -> dict[str, Any]:
    """Write a tool.  It is not strict: arguments are checked here, and the model told what is wrong."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


PER_TOOL: Final = 32
"""Tokens allowed for what stands around a tool, or around the form of an answer."""


def form_bound(output: OutputSpec) -> int:
    """The most tokens that the form of an answer is counted as, in both of OpenAI's interfaces."""
    return PER_TOOL + len(to_json(output.schema)) + len(output.name)


def _messages(message: Message, id_limit: int | None) -> Iterator[dict[str, Any]]:
    """One message of ours is one of theirs, but that each tool result is a message of its own."""
    if message.role == "assistant":
        yield _assistant(message, id_limit)
    elif message.role == "user":
        yield {"role": "user", "content": _content(message)}
    elif message.role == "system":
        yield {"role": "system", "content": message.text}
    else:
        for part in message.parts:
            if isinstance(part, ToolResult):
                called = sendable.short_id(part.call_id, id_limit)
                yield {"role": "tool", "tool_call_id": called, "content": part.content}


def _content(message: Message) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in message.parts):
        return message.text
    written = [wire for part in message.parts for wire in _input(part)]
    return written or ""  # an empty list is no content; marks alone are nothing to send


def _input(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        yield {"type": "text", "text": part.text}
    elif isinstance(part, Image):
        yield {"type": "image_url", "image_url": {"url": data_url(part)}}
    elif isinstance(part, Document) and part.url:
        raise sendable.unsendable("a document by URL", FORMAT, "pass its bytes")
    elif isinstance(part, Document) and part.media_type == "text/plain":
        yield {"type": "text", "text": titled(part)}
    elif isinstance(part, Document):
        named = {"filename": part.name or "document.pdf", "file_data": data_url(part)}
        yield {"type": "file", "file": named}
    elif isinstance(part, Opaque):
        yield sendable.own_part(part, FORMAT)


def data_url(part: Image | Document) -> str:
    """The address of a picture or document: its own, or one that holds its bytes."""
    return part.url or f"data:{part.media_type};base64,{part.data}"


def titled(part: Document) -> str:
    """A plain text under its name."""
    return f"{part.name}\n\n{part.text}" if part.name else part.text


def _assistant(message: Message, id_limit: int | None) -> dict[str, Any]:
    refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
    wire: dict[str, Any] = {"role": "assistant"}
    if message.text or not (message.tool_calls or refusals):
        wire["content"] = message.text
    if refusals:
        wire["refusal"] = "".join(refusals)
    if message.tool_calls:
        wire["tool_calls"] = [_call(call, id_limit) for call in message.tool_calls]
        wire.update(_thoughts(message))
    for part in message.parts:
        if isinstance(part, Opaque) and part.provider == FORMAT:
            wire.update({name: value for name, value in part.content.items() if name not in _NOT_SENT_BACK})
    return wire


def _call(call: ToolCall, id_limit: int | None) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    shown = {"id": sendable.short_id(call.id, id_limit), "type": "function", "function": function}
    return {**shown, **(call.extra or {}).get(FORMAT, {})}


def _thoughts(message: Message) -> dict[str, str]:
    """Reasoning goes back beside tool calls, where models need it to go on; servers refuse it elsewhere."""
    found: dict[str, str] = {}
    for part in message.parts:
        if isinstance(part, Reasoning) and part.provider == FORMAT:
            field = str(part.data.get("field", REASONING[0]))
            found[field] = found.get(field, "") + part.text
    return found


def read_response(data: object, *, worst: Callable[[], Usage]) -> ModelResponse:
    """Read the JSON of a completion.

    Args:
        data: As parsed.
        worst: Gives what is taken for the usage where the server reports none: never less than was used.

    Raises:
        MalformedResponse: There is no answer in it.
    """
    completion = mapping(data, "the response")
    choices: Any = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed("the response has no choices")
    choice = mapping(cast("Sequence[Any]", choices)[0], "the first choice")
    if str(choice.get("finish_reason")) in _GIVEN_UP:
        raise malformed(f"it was given up: {choice['finish_reason']!r}")
    message = _read_message(mapping(choice.get("message"), "the message"))
    return ModelResponse(
        message=message,
        usage=read_usage(completion.get("usage"), worst),
        model=lenient.text(completion.get("model")),
        stop=_stop(message, choice.get("finish_reason")),
        response_id=lenient.text(completion.get("id")),
    )


def _read_message(wire: Mapping[str, Any]) -> Message:
    parts: list[Part] = []
    thought = next((name for name in REASONING if wire.get(name) and isinstance(wire[name], str)), None)
    if thought is not None:
        parts.append(Reasoning(text=wire[thought], provider=FORMAT, data={"field": thought}))
    if wire.get("refusal"):
        parts.append(Refusal(text=lenient.text(wire["refusal"])))
    content: Any = wire.get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(
            lenient.text(mapping(part, "a part").get("text")) for part in cast("Sequence[Any]", content)
        )
    if content:
        parts.append(Text(text=lenient.text(content)))
    calls: Any = wire.get("tool_calls") or []
    if not isinstance(calls, list):
        raise malformed("the tool calls are not a list")
    for index, call in enumerate(cast("Sequence[Any]", calls)):
        parts.append(_read_call(mapping(call, "a tool call"), index))
    if isinstance(wire.get("function_call"), dict):  # what calls were before there were several
        parts.append(_read_call({"function": wire["function_call"]}, 0))
    unknown = {name: value for name, value in wire.items() if name not in _READ and value}
    if unknown:
        parts.append(Opaque(provider=FORMAT, content=unknown))
    return Message(role="assistant", parts=tuple(parts))


def _read_call(call: Mapping[str, Any], index: int) -> ToolCall:
    function = mapping(call.get("function"), "a tool call's function")
    arguments: Any = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments)  # some servers send the object itself
    unknown = {name: value for name, value in call.items() if name not in _CALL and value is not None}
    return ToolCall(
        id=lenient.text(call.get("id")) or f"call_{index}",
        name=lenient.text(function.get("name")),
        arguments=arguments or "{}",
        extra={FORMAT: unknown} if unknown else None,
    )


_CALL: Final = frozenset({"id", "type", "function", "index"})


def _stop(message: Message, reason: object) -> Stop:
    if any(isinstance(part, Refusal) for part in message.parts):
        return "refusal"
    stop = STOPS.get(str(reason), "end")
    if message.tool_calls and stop == "end":
        return "tools"  # some servers say "stop" beside tool calls
    return stop


def read_usage(data: object, worst: Callable[[], Usage]) -> Usage:
    """Read the ``usage`` of a completion; ``worst`` where there is none.

    Some servers (https://docs.x.ai/docs/key-information/consumption-and-rate-limits) leave reasoning out of
    ``completion_tokens``, and count it in the total alone: the larger of the two is what was written.
    """
    usage = lenient.details(data)
    counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) for count in counted):
        return worst()
    asked, answered = lenient.count(counted[0]), lenient.count(counted[1])
    read = lenient.details(usage.get("prompt_tokens_details"))
    written = lenient.details(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=asked,
        output_tokens=max(answered, lenient.count(usage.get("total_tokens")) - asked),
        cache_read_tokens=lenient.count(read.get("cached_tokens")),
        cache_write_tokens=lenient.count(read.get("cache_write_tokens")),
        reasoning_tokens=lenient.count(written.get("reasoning_tokens")),
    )
