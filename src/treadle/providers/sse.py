"""Server-sent events, read as they arrive: pure, bytes in, events out.

The SDKs have readers of their own, which are chains of asynchronous generators that stay open where a
stream is left early; this one holds nothing.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_END: Final = re.compile(rb"\r\n|\n|\r(?=[^\n])")


class EventReader:
    """Gives the data of each event; names, ids and comments say nothing that the data does not."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take the next bytes, wherever they were cut, and give the data of what is whole.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        *lines, self._rest = _END.split(self._rest + chunk)
        for line in lines:
            if not line and self._data:
                yield "\n".join(self._data)
                self._data.clear()
            elif line.startswith(b"data:"):
                self._data.append(line[5:].decode().removeprefix(" "))
