"""A streamed chat completion, put together to what the same answer is when it comes at once.

Source: https://platform.openai.com/docs/api-reference/chat-streaming (read in November 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from treadle.messages import Delta
from treadle.providers.openai_wire import REASONING, malformed, mapping

_JOINED: Final = frozenset({"content", "refusal", *REASONING})


class ChatStream:
    """Takes chunks, tells their pieces, and gives the completion.

    Args:
        each: Is told each piece.
    """

    def __init__(self, each: Callable[[Delta], None]) -> None:
        self._each = each
        self._head: dict[str, Any] = {}
        self._usage: object = None
        self._message: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, _Call] = {}
        self._places: dict[int | None, int] = {}
        self._reason: object = None

    def is_done(self) -> bool:
        """Whether the answer is whole."""
        return self._reason is not None

    def take(self, chunk: Mapping[str, Any]) -> None:
        """Take one chunk.

        Raises:
            MalformedResponse: It is none.
        """
        for name in ("id", "model"):
            if chunk.get(name):
                self._head.setdefault(name, chunk[name])
        self._usage = chunk.get("usage") or self._usage
        choices: Any = chunk.get("choices") or ()
        if not isinstance(choices, list | tuple):
            raise malformed("the choices of a chunk are not a list")
        for choice in cast("Sequence[Any]", choices):
            self._take_choice(mapping(choice, "a choice of a chunk"))

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        if choice.get("index"):
            return  # only one answer was asked for
        for name, value in mapping(choice.get("delta") or {}, "a delta").items():
            if name in _JOINED and isinstance(value, str):
                self._add(name, value)
            elif name == "tool_calls" and isinstance(value, list):
                for piece in cast("Sequence[Any]", value):
                    self._add_call(mapping(piece, "a piece of a tool call"))
            elif value:
                self._merge(name, value)
        self._reason = choice.get("finish_reason") or self._reason

    def _add(self, name: str, text: str) -> None:
        if text:
            self._texts.setdefault(name, []).append(text)
            kind: Any = {"content": "text", "refusal": "refusal"}.get(name, "reasoning")
            self._each(Delta(kind=kind, text=text))

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        place = self._place(piece)
        text, name = self._calls.setdefault(place, _Call()).add(piece)
        self._each(Delta(kind="tool_call", text=text, index=place, name=name))

    def _place(self, piece: Mapping[str, Any]) -> int:
        """Where a piece belongs: some servers give each call the same index, or none at all."""
        index: Any = piece.get("index")
        key: int | None = index if isinstance(index, int) else None
        known = self._places.get(key)
        if known is not None and not self._calls[known].is_followed_by(piece, is_numbered=key is not None):
            return known
        place = key if key is not None and key not in self._calls else max(self._calls, default=-1) + 1
        self._places[key] = place
        return place

    def _merge(self, name: str, value: Any) -> None:
        """Keep a field this release does not know; lists grow, the last of anything else counts."""
        known = self._message.get(name)
        both_lists = isinstance(known, list) and isinstance(value, list)
        self._message[name] = [*cast("list[Any]", known), *cast("list[Any]", value)] if both_lists else value

    def whole(self) -> dict[str, Any]:
        """What came, in the form of an answer that came at once."""
        message = {**self._message, **{name: "".join(texts) for name, texts in self._texts.items()}}
        if self._calls:
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        choice = {"message": message, "finish_reason": self._reason}
        return {**self._head, "choices": [choice], "usage": self._usage}


class _Call:
    """One tool call, as far as it has come."""

    __slots__ = ("_arguments", "_fields", "_name")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._name = ""
        self._arguments: list[str] = []

    def is_followed_by(self, piece: Mapping[str, Any], *, is_numbered: bool) -> bool:
        """Whether a piece of the same index, or of none too, begins another call: it names a tool, under
        another id, or, where calls have no index, under none."""
        function: Any = piece.get("function")
        if not isinstance(function, dict) or not cast("dict[str, Any]", function).get("name"):
            return False
        known, given = self._fields.get("id"), piece.get("id")
        return known != given and (not is_numbered or bool(known and given))

    def add(self, piece: Mapping[str, Any]) -> tuple[str, str]:
        """Take a piece; give the arguments in it, and the tool's name where it is the first time."""
        for name, value in piece.items():
            if name not in {"function", "index"} and value is not None:
                self._fields.setdefault(name, value)
        function = mapping(piece.get("function") or {}, "a tool call's function")
        arguments: Any = function.get("arguments")
        text = arguments if isinstance(arguments, str) else ""
        self._arguments.append(text)
        given: Any = function.get("name")
        name = given if isinstance(given, str) and not self._name else ""
        self._name = self._name or name
        return text, name

    def whole(self) -> dict[str, Any]:
        function = {"name": self._name, "arguments": "".join(self._arguments)}
        return {**self._fields, "function": function}
