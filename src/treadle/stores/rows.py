"""An event as the row it becomes: its text, what its hash is taken over, and where its payloads stand.

All that needs no database is worked out here, by whoever has the time: the event loop where a run is alone,
else the writer's thread.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic_core import to_json

from treadle.events import Event
from treadle.stores import chain
from treadle.stores.contents import INLINE_BYTES, LARGEST_BYTES, too_large
from treadle.stores.encoding import encode


class Row(NamedTuple):
    """An event, ready to be put in its place.

    Attributes:
        event: The event.
        text: As it is stored.
        bound: What its hash is taken over, with the hash of the event before.
        parts: Where its payloads stand, as JSON; ``None`` where it has none, or where ``large`` has some.
        inline: The small payloads, one behind the other.
        places: Where its payloads stand, by name: ``[length]`` of what is inline, the digest of what was
            erased, and of what is large nothing yet.
        large: Of the large payloads the name, the digest and the content: each has a row of its own.
    """

    event: Event
    text: bytes
    bound: bytes
    parts: bytes | None
    inline: bytes | None
    places: dict[str, Any]
    large: tuple[tuple[str, str, bytes], ...]


def row_of(event: Event) -> Row:
    """Write an event as text.

    Raises:
        ValueError, TypeError, ...: One of ``encoding.NOT_JSON``: a value is not JSON data, or is too large.
    """
    text, payloads = encode(event)
    if len(text) > LARGEST_BYTES:
        raise too_large(text, event.kind)
    if not payloads:
        return Row(event, text, text, None, None, {}, ())
    digests: dict[str, str] = {}
    places: dict[str, Any] = {}
    large: list[tuple[str, str, bytes]] = []
    inline = b""
    for name, payload in payloads.items():
        digests[name] = digest = payload.digest
        data = None if payload.is_erased else payload.data
        if data is None:
            places[name] = digest
        elif len(data) <= INLINE_BYTES:
            places[name] = [len(data)]
            inline += data
        else:
            if len(data) > LARGEST_BYTES:
                raise too_large(data, name)
            places[name] = None  # the order of the names is that of the event
            large.append((name, digest, data))
    parts = None if large else to_json(places)
    return Row(event, text, chain.bound(text, digests), parts, inline or None, places, tuple(large))
