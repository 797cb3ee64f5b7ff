"""Conversations as the GenAI conventions write them, for those who asked for content in spans.

JSON of messages with a role and ``parts``, as in ``gen-ai-input-messages.json`` of the conventions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import from_json, to_json

from treadle.messages import (
    CachePoint,
    Document,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from treadle.tracing import names

LIMIT: Final = 64_000
"""Characters of one attribute; a longer conversation loses its oldest messages."""


def of_request(request: ModelRequest) -> Iterator[tuple[str, str]]:
    """The attributes that hold what is sent."""
    instructions = [
        _part(part)
        for m in request.messages
        if m.role == "system"
        for part in m.parts
        if isinstance(part, Text)
    ]
    if instructions:
        yield names.SYSTEM_INSTRUCTIONS, _fitting(instructions)
    yield names.INPUT_MESSAGES, _fitting([_message(m) for m in request.messages if m.role != "system"])
    if request.tools:
        tools = [
            {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters}
            for t in request.tools
        ]
        yield names.TOOL_DEFINITIONS, _fitting(tools)


def of_response(response: ModelResponse) -> Iterator[tuple[str, str]]:
    """The attribute that holds what came back."""
    message = _message(response.message) | {"finish_reason": names.FINISH[response.stop]}
    yield names.OUTPUT_MESSAGES, _fitting([message])


def _fitting(items: Sequence[dict[str, Any]]) -> str:
    """JSON of the newest items that fit the limit; it stays a JSON list, even an empty one."""
    kept: list[str] = []
    left = LIMIT
    for item in reversed(items):
        text = to_json(item).decode()
        left -= len(text) + 1
        if left < 0:
            break
        kept.append(text)
    return f"[{','.join(reversed(kept))}]"


def _message(message: Message) -> dict[str, Any]:
    shown = [part for part in message.parts if not isinstance(part, CachePoint)]
    return {"role": message.role, "parts": [_part(part) for part in shown]}


def _attached(part: Image | Document) -> dict[str, Any]:
    """A picture or document, which is told of and not repeated: it would fill the attribute."""
    modality = "image" if isinstance(part, Image) else "document"
    where = {"type": "uri", "uri": part.url} if part.url else {"type": "blob", "content": ""}
    return {**where, "mime_type": part.media_type, "modality": modality}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": _json(part.arguments)}
    if isinstance(part, ToolResult):
        return {"type": "tool_call_response", "id": part.call_id, "response": part.content}
    if isinstance(part, Opaque):
        return {"type": part.provider, "content": part.content}
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "content": part.text}
    if isinstance(part, Image | Document):
        return _attached(part)
    return {"type": "text", "content": "" if isinstance(part, CachePoint) else part.text}


def _json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return text
