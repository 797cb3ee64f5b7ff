"""Rows of an SQLite database to events and payloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import apsw
from pydantic_core import from_json, to_json

from treadle.errors import FormatMismatch
from treadle.ids import RunId
from treadle.stores import contents
from treadle.stores.encoding import NONE, Payloads
from treadle.stores.queries import fetch_all, fetch_one
from treadle.stores.tables import event_row
from treadle.values import Payload

Parts = Mapping[str, Any]
"""Where an event's payloads are, by name: a list with a length, a row, or a digest."""

Contents = Mapping[int, Payload]
"""Payloads by the rows they stand in."""

NO_PARTS: Final[Parts] = {}


def parse_parts(parts: bytes | None) -> Parts:
    """Read the column ``parts``.

    Raises:
        FormatMismatch: It is not one.
    """
    if parts is None:
        return NO_PARTS
    try:
        found: Any = from_json(parts)
    except ValueError as error:
        raise FormatMismatch(f"the list of an event's payloads cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise FormatMismatch("the list of an event's payloads is not a JSON object")
    return cast("Parts", found)


def require_own(connection: apsw.Connection, run_id: RunId, number: int) -> None:
    """Make sure that the history which stands under a run's id is that run's.

    Raises:
        FormatMismatch: It is another one's.  What cannot be read at all is told by whoever reads it.
    """
    row = fetch_one(connection, "read_first", (event_row(number, 1),))
    _kind, brace, fields = (b"", b"", b"") if row is None else bytes(row[0]).partition(b"{")
    try:
        started: Any = from_json(brace + fields)
        whose = started["run_id"]
    except (ValueError, LookupError, TypeError):
        return
    if whose != run_id:
        raise FormatMismatch(
            f"the history under the id {run_id!r} is that of run {whose!r}: somebody has changed the table "
            f"of runs; `treadle verify {run_id}` says what, and a backup has the rest"
        )


def load_contents(connection: apsw.Connection, parts: Iterable[Parts]) -> Contents:
    """Read all contents that some events refer to, each once.

    Raises:
        FormatMismatch: One cannot be decompressed.
    """
    rows = {where for names in parts for where in names.values() if isinstance(where, int)}
    if not rows:
        return {}
    found = fetch_all(connection, "read_payloads", (to_json(sorted(rows)).decode(),))
    return {row: contents.unpack(form, content, digest.hex()) for row, digest, form, content in found}


def payloads(parts: Parts, inline: bytes | None, stored: Contents) -> Payloads:
    """Put an event's payloads together.

    Raises:
        FormatMismatch: One is missing, or there is more or less than the list says.
    """
    if not parts:
        return NONE
    found: dict[str, Payload] = {}
    start = 0
    for name, where in parts.items():
        if isinstance(where, int):
            found[name] = _stored(name, where, stored)
        elif isinstance(where, str):
            found[name] = Payload(digest=where)
        else:
            size = _length(name, where)
            found[name] = Payload(data=(inline or b"")[start : start + size])
            start += size
    if start != len(inline or b""):
        raise FormatMismatch(
            f"{start} bytes of payloads belong to the event, and {len(inline or b'')} are there"
        )
    return found


def _stored(name: str, row: int, stored: Contents) -> Payload:
    payload = stored.get(row)
    if payload is None:
        raise FormatMismatch(f"the content of {name!r} (payload {row}) is missing")
    return payload


def _length(name: str, where: Sequence[Any]) -> int:
    if len(where) != 1 or not isinstance(where[0], int):
        raise FormatMismatch(f"the place of the payload {name!r} cannot be read: {where!r}")
    return where[0]
