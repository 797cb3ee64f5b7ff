"""Server-sent events, read as they arrive: pure, bytes in, events out.

The SDKs have readers of their own, which are chains of asynchronous generators that stay open where a
stream is left early; this one holds nothing.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

_END: Final = re.compile(rb"\r\n|\n|\r(?=[^\n])")


class EventReader:
    """Gives the data of each event; names, ids and comments say nothing that the data does not."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take the next bytes, wherever they were cut, and give the data of what is whole.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        self._rest.append(chunk)
        if not self._may_end(chunk):
            return  # looked at again only when the line is whole: it may have megabytes
        *lines, rest = _END.split(b"".join(self._rest))
        self._rest = [rest]
        for line in lines:
            if not line and self._data:
                yield "\n".join(self._data)
                self._data.clear()
            elif line.startswith((b"data:", BOM_UTF8)):  # the mark stands before the first line, if anywhere
                field = line.removeprefix(BOM_UTF8)
                if field.startswith(b"data:"):
                    self._data.append(field[5:].decode().removeprefix(" "))

    def _may_end(self, chunk: bytes) -> bool:
        """Whether a line may end in the newest bytes, or just before them."""
        return b"\n" in chunk or b"\r" in chunk or any(rest.endswith(b"\r") for rest in self._rest[-2:-1])
