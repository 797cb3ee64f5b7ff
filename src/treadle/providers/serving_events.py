"""Server-sent events as model servers write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_WORD: Final = re.compile(r"\s*\S{1,12}\s?|\s+")


def event(data: Mapping[str, Any], *, name: str = "") -> str:
    """Write one event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n"


def pieces(text: str) -> Iterator[str]:
    """A text in the pieces it is streamed in: joined, they are it."""
    return (found.group() for found in _WORD.finditer(text))


def read_address(url: str) -> dict[str, Any]:
    """The fields of a picture or document that came as a URL, which may hold the bytes itself."""
    if not url.startswith("data:"):
        return {"url": url}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"media_type": kind, "data": data}
