"""A streamed response, put together to what the same answer is when it comes at once.

Source: https://platform.openai.com/docs/api-reference/responses-streaming (read in November 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from treadle.messages import Delta
from treadle.providers import http_errors, lenient
from treadle.providers.http_errors import Asked
from treadle.providers.openai_responses_wire import mapping

_TOLD: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.function_call_arguments.delta": "tool_call",
}
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class ResponseStream:
    """Takes events, tells their pieces, and gives the response.

    Args:
        each: Is told each piece.
        asked: Whom an error in the stream comes from.
    """

    def __init__(self, each: Callable[[Delta], None], asked: Asked) -> None:
        self._each = each
        self._asked = asked
        self._items: dict[int, object] = {}
        self._response: dict[str, Any] | None = None

    def is_done(self) -> bool:
        """Whether the answer is whole."""
        return self._response is not None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event; those of a kind this release does not know are passed over.

        Raises:
            ProviderError: It says that no answer will come, or is no event.
        """
        kind = str(event.get("type"))
        if kind in _TOLD:
            told: Any = _TOLD[kind]
            self._each(Delta(kind=told, text=lenient.text(event.get("delta")), index=_index(event)))
        elif kind == "response.output_item.added":
            item = mapping(event.get("item"), "an item")
            if item.get("type") == "function_call":
                name = str(item.get("name", ""))
                self._each(Delta(kind="tool_call", text="", index=_index(event), name=name))
        elif kind == "response.output_item.done":
            self._items[_index(event)] = event.get("item")
        elif kind in _ENDS:
            self._response = dict(mapping(event.get("response"), "the response"))
        elif kind == "response.failed":
            failed = mapping(event.get("response"), "the response")
            raise http_errors.from_status(200, {}, {"error": failed.get("error")}, asked=self._asked)
        elif kind == "error":
            raise http_errors.from_status(200, {}, dict(event), asked=self._asked)

    def whole(self) -> dict[str, Any]:
        """What came, in the form of an answer that came at once."""
        known = self._response or {}
        items = [item for _, item in sorted(self._items.items())]
        return {**known, "output": known.get("output") or items}


def _index(event: Mapping[str, Any]) -> int:
    index: Any = event.get("output_index")
    return index if isinstance(index, int) else 0
