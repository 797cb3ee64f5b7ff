"""A streamed message, put together to what the same answer is when it comes at once.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming (read in November 2026).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from treadle.messages import Delta
from treadle.providers import lenient
from treadle.providers.anthropic_wire import malformed, mapping

_KINDS: Final = {"text_delta": "text", "input_json_delta": "tool_call", "thinking_delta": "reasoning"}
_FIELDS: Final = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
_WRITTEN_ANEW: Final = frozenset({"signature"})


class MessageStream:
    """Takes events, tells their pieces, and gives the message.

    Args:
        each: Is told each piece.
    """

    def __init__(self, each: Callable[[Delta], None]) -> None:
        self._each = each
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}

    def is_done(self) -> bool:
        """Whether the answer is whole."""
        return bool(self._message.get("stop_reason"))

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event; those of a kind this release does not know are passed over.

        Raises:
            MalformedResponse: It is none, or has no place.
        """
        kind = event.get("type")
        if kind == "message_start":
            self._update(mapping(event.get("message"), "the message"))
        elif kind == "message_delta":
            self._update(mapping(event.get("delta"), "a delta"))
            self._count(event.get("usage"))
        elif kind == "content_block_start":
            self._start(_index(event), mapping(event.get("content_block"), "a block"))
        elif kind == "content_block_delta":
            self._add(_index(event), mapping(event.get("delta"), "a delta"))

    def _update(self, fields: Mapping[str, Any]) -> None:
        self._message.update({name: value for name, value in fields.items() if name != "content"})
        self._count(fields.get("usage"))

    def _count(self, usage: object) -> None:
        """Counts are totals so far: the later one holds, where it says anything."""
        if isinstance(usage, dict):
            given = cast("dict[str, Any]", usage)
            self._usage.update({name: count for name, count in given.items() if count is not None})

    def _start(self, index: int, block: Mapping[str, Any]) -> None:
        self._blocks[index] = dict(block)
        if block.get("type") == "tool_use":
            self._each(Delta(kind="tool_call", text="", index=index, name=str(block.get("name", ""))))

    def _add(self, index: int, delta: Mapping[str, Any]) -> None:
        block = self._blocks.get(index)
        if block is None:
            raise malformed(f"a piece of block {index} came before the block")
        kind = str(delta.get("type"))
        if kind == "input_json_delta":
            self._pieces.setdefault(index, []).append(lenient.text(delta.get("partial_json")))
        else:
            _merge(block, delta)
        told: Any = _KINDS.get(kind)
        text = delta.get(_FIELDS.get(kind, ""))
        if told and text and block.get("type") != "server_tool_use":
            self._each(Delta(kind=told, text=str(text), index=index))

    def whole(self) -> dict[str, Any]:
        """What came, in the form of an answer that came at once."""
        content = [self._whole(index, block) for index, block in sorted(self._blocks.items())]
        return {**self._message, "content": content, "usage": self._usage}

    def _whole(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        written = "".join(self._pieces.get(index, ()))
        if not written:
            return block
        try:
            given: Any = json.loads(written)
        except ValueError:
            given = written  # cut off: the model is told that it is no JSON
        return {**block, "input": given}


def _merge(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add what a delta says to its block: text is joined, a citation one more of the list, and what this
    release does not know is kept."""
    for name, value in delta.items():
        if name == "type":
            continue
        if name == "citation":
            block["citations"] = [*(block.get("citations") or ()), value]
        elif isinstance(value, str) and isinstance(block.get(name), str) and name not in _WRITTEN_ANEW:
            block[name] += value
        else:
            block[name] = value


def _index(event: Mapping[str, Any]) -> int:
    index: Any = event.get("index")
    if not isinstance(index, int):
        raise malformed("an event of a block says no index")
    return index
