"""The most tokens that messages can be counted as, before they are sent.

A byte-level tokenizer never makes more tokens than there are UTF-8 bytes; what providers put around
the words is allowed for in each frame below.  What a provider wants back encrypted (reasoning) is at
least as long as what it encrypts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pydantic_core import to_json

from treadle.messages import (
    CachePoint,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)

_PER_MESSAGE: Final = 8
_PER_CALL: Final = 16
_PER_DOCUMENT: Final = 64


def total(messages: Sequence[Message]) -> int | None:
    """The bound of some messages; ``None`` where a part of them has none."""
    return _sum(_message(message) for message in messages)


def _sum(bounds: Iterable[int | None]) -> int | None:
    result = 0
    for bound in bounds:
        if bound is None:
            return None
        result += bound
    return result


def _message(message: Message) -> int | None:
    if message.role == "user" and any(isinstance(part, Opaque) for part in message.parts):
        return None  # it may name a file or a picture that is kept elsewhere: its own bytes say nothing
    inside = _sum(_part(part) for part in message.parts)
    return None if inside is None else _PER_MESSAGE + inside


def _part(part: Part) -> int | None:
    if isinstance(part, Text | Refusal):
        return len(part.text.encode()) + _extra(part)
    if isinstance(part, ToolCall):
        return (
            _PER_CALL + len(part.id) + len(part.name.encode()) + len(part.arguments.encode()) + _extra(part)
        )
    if isinstance(part, ToolResult):
        return _PER_MESSAGE + len(part.call_id) + len(part.name.encode()) + len(part.content.encode())
    if isinstance(part, CachePoint):
        return 0
    if isinstance(part, Image | Document):
        return _attached(part)
    if isinstance(part, Reasoning):
        return len(part.text.encode()) + len(to_json(part.data))
    return len(to_json(part.content))


def _attached(part: Image | Document) -> int | None:
    if part.tokens is not None:
        return part.tokens
    if isinstance(part, Document) and part.media_type == "text/plain" and not part.url:
        return _PER_DOCUMENT + len(part.text.encode()) + len(part.name.encode())
    return None


def _extra(part: Text | Refusal | ToolCall) -> int:
    extra = None if isinstance(part, Refusal) else part.extra
    return 0 if extra is None else len(to_json(extra))
