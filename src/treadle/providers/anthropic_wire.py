"""Treadle's messages in Anthropic's Messages format, and its answers back.

Source: https://platform.claude.com/docs/en/api/messages and the types of the official SDK (read in
November 2026).  Answers are read leniently: only what is needed must be there.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from pydantic_core import to_json

from treadle.budget import Usage
from treadle.messages import (
    CachePoint,
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
from treadle.providers.strict_schema import is_recursive, strictly

FORMAT: Final = "anthropic"
"""What parts that go back to this wire format alone are marked with."""

malformed: Final = functools.partial(http_errors.malformed, provider="anthropic")
mapping: Final = functools.partial(lenient.mapping, provider="anthropic")

Block = dict[str, Any]
Stop = Literal["end", "tools", "length", "refusal", "filter"]

STOPS: Final[dict[str, Stop]] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "refusal",
}

MOST_MARKS: Final = 4
"""Cache marks in one request (https://platform.claude.com/docs/en/build-with-claude/prompt-caching)."""

LOOKED_BACK: Final = 20
"""Blocks before a mark among which the end of an earlier request is looked for (the same page)."""

_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_MARK: Final = {"type": "ephemeral"}
_UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking"})


def request_body(
    request: ModelRequest, *, model: str, cache: bool, native_output: bool = True, stream: bool = False
) -> dict[str, Any]:
    """Write a request as the JSON body of ``POST /v1/messages``.

    Args:
        request: What to ask.
        model: The model's name.
        cache: Whether the end of the conversation is marked, for the next request to go on from.
        native_output: Whether the form of the answer goes out as such, where it can; else in words.
        stream: Whether the answer shall come piece by piece.

    Raises:
        RequestRejected: A part of a message has no form there.

    ``temperature`` is not sent: the interface has none any more.
    """
    sendable.check_places(request.messages, FORMAT)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_output_tokens,
        "messages": _turns(request.messages),
    }
    told = [block for message in request.messages if message.role == "system" for block in _blocks(message)]
    form = output_format(request.output) if native_output and request.output is not None else None
    if form is not None:
        body["output_config"] = {"format": form}
    elif request.output is not None:
        told.append({"type": "text", "text": instruction(request.output)})
    _mark(body["messages"], told, cache=cache)
    if told:
        marked = any("cache_control" in block for block in told)
        body["system"] = told if marked else "\n\n".join(block["text"] for block in told)
    if request.tools:
        body["tools"] = [tool_body(tool) for tool in request.tools]
    if stream:
        body["stream"] = True
    return body


def tool_body(tool: ToolSpec) -> dict[str, Any]:
    """Write a tool.  It is not strict: arguments are checked here, and the model told what is wrong."""
    schema = {"type": "object", **tool.parameters}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def output_format(output: OutputSpec) -> dict[str, Any] | None:
    """The form of the answer as structured outputs want it, or ``None`` where they cannot say it."""
    return _format(to_json(output.schema))


@functools.lru_cache(maxsize=256)
def _format(schema: bytes) -> dict[str, Any] | None:
    given: dict[str, Any] = json.loads(schema)
    if strictly(given) is None or is_recursive(given):
        return None
    import anthropic  # noqa: PLC0415 - loaded with the first request anyway

    return {"type": "json_schema", "schema": anthropic.transform_schema(given)}


def instruction(output: OutputSpec) -> str:
    """The form of the answer in words, for types and models without structured outputs."""
    schema = json.dumps(output.schema, ensure_ascii=False)
    return f"Answer with one JSON value that fits this JSON Schema, and with nothing else around it: {schema}"


def form_bound(output: OutputSpec) -> int:
    """The most tokens that the form of an answer is counted as, as such or in words."""
    return 2 * len(to_json(output.schema)) + len(instruction(output))


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns of user and assistant; tool results belong to the user, and neighbours are one turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = [] if message.role == "system" else _blocks(message)
        role = "assistant" if message.role == "assistant" else "user"
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[Block]:
    """The parts of a message as blocks; a cache point marks the block before it."""
    blocks: list[Block] = []
    for part in message.parts:
        if isinstance(part, CachePoint):
            if blocks and blocks[-1]["type"] not in _UNMARKABLE:
                blocks[-1]["cache_control"] = _MARK
            continue
        is_foreign = isinstance(part, Opaque | Reasoning) and part.provider != FORMAT
        if is_foreign and message.role == "assistant":
            continue  # another model's own; this one could not read it
        blocks.extend(_block(part))
    return blocks


def _block(part: Part) -> Iterator[Block]:
    if isinstance(part, Text):
        if part.text.strip():  # an empty one is refused
            yield {"type": "text", "text": part.text, **(part.extra or {}).get(FORMAT, {})}
    elif isinstance(part, Image | Document):
        yield _attached(part)
    elif isinstance(part, ToolCall):
        kept = (part.extra or {}).get(FORMAT, {})
        yield {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": _input(part), **kept}
    elif isinstance(part, ToolResult):
        yield _result(part)
    elif isinstance(part, Refusal):
        if part.text.strip():
            yield {"type": "text", "text": part.text}
    elif isinstance(part, Reasoning):
        shown = {"thinking": part.text} if part.data.get("type") == "thinking" else {}
        yield {**part.data, **shown}
    elif isinstance(part, Opaque):
        yield dict(sendable.own_part(part, FORMAT))  # a mark may be set on it


def _attached(part: Image | Document) -> Block:
    kind = "image" if isinstance(part, Image) else "document"
    block: Block = {"type": kind, "source": _source(part)}
    if isinstance(part, Document) and part.name:
        block["title"] = part.name
    return block


def _source(part: Image | Document) -> dict[str, Any]:
    if part.url:
        return {"type": "url", "url": part.url}
    if isinstance(part, Document) and part.media_type == "text/plain":
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}


def _input(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object; what is none is shown to the model as it wrote it."""
    try:
        given: Any = json.loads(call.arguments or "{}")
    except ValueError:
        given = None
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {"invalid_json": call.arguments}


def _id(given: str) -> str:
    """The id of a call as the interface takes it; other providers write other characters, too."""
    return _NOT_IN_IDS.sub("_", given)


def _result(result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(result.call_id), "content": result.content}
    return {**block, "is_error": True} if result.is_error else block


def _ends(turns: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The turns at whose ends marks are set: the last one, and the one that ended the request before,
    where so much came since that it would not be found from the last."""
    *before, last = turns
    since = len(last["content"])
    while before and before[-1]["role"] != "user":
        since += len(before.pop()["content"])
    return [before[-1], last] if before and since >= LOOKED_BACK else [last]


def _mark(turns: Sequence[dict[str, Any]], told: Sequence[Block], *, cache: bool) -> None:
    """Mark the end of the conversation, and keep the last marks where there are too many."""
    for turn in _ends(turns) if cache and turns else ():
        last: Block = turn["content"][-1]
        if last["type"] not in _UNMARKABLE:
            last["cache_control"] = _MARK
    blocks = [*told, *(block for turn in turns for block in turn["content"])]
    marked = [block for block in blocks if "cache_control" in block]
    for block in marked[:-MOST_MARKS]:
        del block["cache_control"]


def read_response(data: object, *, worst: Callable[[], Usage]) -> ModelResponse:
    """Read the JSON of a message.

    Args:
        data: As parsed.
        worst: Gives what is taken for the usage where the server reports none: never less than was used.

    Raises:
        MalformedResponse: There is no answer in it.
    """
    wire = mapping(data, "the response")
    content: Any = wire.get("content")
    if not isinstance(content, list):
        raise malformed("the response has no content")
    parts = [part for block in cast("Sequence[Any]", content) for part in _part(mapping(block, "a block"))]
    stop = STOPS.get(str(wire.get("stop_reason")), "end")
    said = lenient.details(wire.get("stop_details")).get("explanation")
    if stop == "refusal" and isinstance(said, str) and said:
        parts.append(Refusal(text=said))
    message = Message(role="assistant", parts=tuple(parts))
    return ModelResponse(
        message=message,
        usage=read_usage(wire.get("usage"), worst),
        model=lenient.text(wire.get("model")),
        stop="tools" if stop == "end" and message.tool_calls else stop,
        response_id=lenient.text(wire.get("id")),
    )


def _part(block: Mapping[str, Any]) -> Iterator[Part]:
    kind = block.get("type")
    if kind == "text":
        if block.get("text"):
            yield Text(
                text=lenient.text(block["text"]), extra=lenient.unknown(block, {"type", "text"}, FORMAT)
            )
    elif kind == "thinking":
        rest = {name: value for name, value in block.items() if name != "thinking"}
        yield Reasoning(text=lenient.text(block.get("thinking")), provider=FORMAT, data=rest)
    elif kind == "redacted_thinking":
        yield Reasoning(text="", provider=FORMAT, data=dict(block))
    elif kind == "tool_use":
        yield ToolCall(
            id=lenient.text(block.get("id")),
            name=lenient.text(block.get("name")),
            arguments=_arguments(block.get("input")),
            extra=lenient.unknown(block, {"type", "id", "name", "input"}, FORMAT),
        )
    else:
        yield Opaque(provider=FORMAT, content=dict(block))


def _arguments(given: object) -> str:
    """The arguments as text; a stream that was cut off leaves text that is no JSON."""
    return given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)


def read_usage(data: object, worst: Callable[[], Usage]) -> Usage:
    """Read the ``usage`` of a message, whose input tokens leave out those written to and read from a
    cache; ``worst`` where there is none."""
    usage = lenient.details(data)
    counted = usage.get("input_tokens"), usage.get("output_tokens")
    if not all(isinstance(count, int) for count in counted):
        return worst()
    read, written = (
        lenient.count(usage.get("cache_read_input_tokens")),
        lenient.count(usage.get("cache_creation_input_tokens")),
    )
    return Usage(
        input_tokens=lenient.count(counted[0]) + read + written,
        output_tokens=lenient.count(counted[1]),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=lenient.count(
            lenient.details(usage.get("output_tokens_details")).get("thinking_tokens")
        ),
    )
