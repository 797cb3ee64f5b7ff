"""Is a history still what was written: chain, payloads, derived tables.

Each event's hash is recomputed from what is stored.  The first place where something was changed is
told with its seq, and checking goes on behind it, so that two changes are two faults.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import apsw
from pydantic_core import from_json, to_json

from treadle.errors import FormatMismatch
from treadle.events import Event, RunStarted
from treadle.ids import RunId
from treadle.interfaces import Fault
from treadle.stores import chain, contents, decoding, reading
from treadle.stores.decoding import Contents, Parts
from treadle.stores.derived import Derived, as_ledger
from treadle.stores.encoding import decode
from treadle.stores.queries import Row, fetch_all, fetch_one
from treadle.stores.tables import event_row
from treadle.values import digest as digest_of


def verify(connection: apsw.Connection, run_id: RunId, *, head: str | None = None) -> list[Fault]:
    """Give what is not as it was written, in the order of the history.

    Raises:
        UnknownRun: There is no such run.
    """
    number, length, recorded_head = reading.find_run(connection, run_id)
    checked = _Checked(connection)
    bounds = (event_row(number, 0), reading.last_row(number))
    for row in fetch_all(connection, "read_events", bounds):
        checked.take(row)
    checked.end(length, recorded_head)
    if head is not None and head not in checked.hashes:
        what = f"the head {head} kept elsewhere is not in this history: it was rewritten or cut short"
        checked.faults.append(Fault(seq=0, what=what))
    if checked.is_readable:
        checked.faults += _compare(connection, run_id, number, checked)
    return checked.faults


class _Checked:
    """What has been checked so far."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.faults: list[Fault] = []
        self.hashes: set[str] = set()
        self.derived = Derived()
        self.started: RunStarted | None = None
        self.is_readable = True
        self._connection = connection
        self._seq = 0
        self._before: set[bytes] = {chain.GENESIS}
        self._head = chain.GENESIS

    def take(self, row: Row) -> None:
        """Check the next event."""
        seq, stored_hash, text, parts, inline = row
        if seq != self._seq + 1:
            self._fault(self._seq + 1, _missing(self._seq + 1, seq - 1))
            self._before = set()
            self.is_readable = False
        self._seq = seq
        digests, event = self._content(seq, text, parts, inline)
        self._link(seq, stored_hash, text, digests)
        if isinstance(event, RunStarted):
            self.started = event
        if event is not None:
            self.derived.apply(event)

    def end(self, length: int, head: bytes) -> None:
        """Compare where the history ends with where its run says that it does."""
        if self._seq < length:
            self._fault(self._seq + 1, _missing(self._seq + 1, length))
            self.is_readable = False
        elif self._seq > length:
            self._fault(length + 1, f"events {length + 1} to {self._seq} were put behind the end")
            self.is_readable = False
        elif head != self._head:
            self._fault(self._seq, "the head of the run is not the hash of its last event")

    def _content(
        self, seq: int, text: bytes, parts: bytes | None, inline: bytes | None
    ) -> tuple[Mapping[str, str] | None, Event | None]:
        try:
            names = decoding.parse_parts(parts)
            stored = self._stored(seq, names)
            found = decoding.payloads(names, inline, stored)
            digests = {name: payload.digest for name, payload in found.items()}
        except FormatMismatch as error:
            self._unreadable(seq, error)
            return None, None
        try:
            return digests, decode(text, found)
        except FormatMismatch as error:
            self._unreadable(seq, error)
            return digests, None

    def _stored(self, seq: int, names: Parts) -> Contents:
        stored = decoding.load_contents(self._connection, [names])
        for name, where in names.items():
            payload = stored.get(where) if isinstance(where, int) else None
            if payload is not None and not contents.is_genuine(payload):
                now = digest_of(payload.data)
                self._fault(seq, f"the content of {name!r} was changed: its digest is {now}")
        return stored

    def _unreadable(self, seq: int, error: FormatMismatch) -> None:
        self.is_readable = False
        self._fault(seq, str(error))

    def _link(self, seq: int, stored: bytes, text: bytes, digests: Mapping[str, str] | None) -> None:
        # The event before may itself be changed; its stored and its recomputed hash are both tried,
        # so that a change is told once and not for the event behind it again.
        links = set[bytes]() if digests is None else {chain.link(p, text, digests) for p in self._before}
        if links and stored not in links:
            self._fault(seq, "the event was changed, or stands where another one was")
        self._before = links | {stored}
        self._head = stored
        self.hashes.add(stored.hex())

    def _fault(self, seq: int, what: str) -> None:
        self.faults.append(Fault(seq=seq, what=what))


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"


def _compare(connection: apsw.Connection, run_id: RunId, number: int, checked: _Checked) -> Iterator[Fault]:
    """Compare the derived tables with what the events say."""
    derived, started = checked.derived, checked.started
    named = {"ids": to_json([run_id]).decode(), "graph": None, "status": None}
    row = fetch_one(connection, "read_these_runs", named)
    assert row is not None
    if started is not None:
        deadline = fetch_one(connection, "read_deadline", (number,))
        found = (row[1], row[2], row[3], from_json(row[4]), row[6], *(deadline or ()))
        said = (started.run_id, started.graph, started.tenant, dict(started.labels), started.at)
        yield from _differs("start", found, (*said, started.deadline))
    spent = derived.spent
    yield from _differs("status", row[5], derived.status)
    yield from _differs("last change", row[7], derived.updated_at)
    yield from _differs("spending", _numbers(row[11:14]), _numbers((spent.usd, spent.tokens, spent.calls)))
    yield from _differs("ledger", reading.ledger(connection, run_id), as_ledger(run_id, derived.ledger))
    expected = {
        question: (
            *(asked.seq, asked.state, asked.event.opening, asked.by, asked.answer),
            *(asked.event.to, asked.event.at, asked.event.deadline),
        )
        for question, asked in derived.questions.items()
    }
    states = {row[0]: row[1:] for row in fetch_all(connection, "read_question_states", (number,))}
    yield from _differs("questions", states, expected)


def _numbers(amounts: Any) -> tuple[str, ...]:
    """Amounts to compare: 0.00 dollars are as many as 0."""
    usd, tokens, calls = amounts
    with contextlib.suppress(InvalidOperation):  # changed to what is no number: told as it stands
        digits = f"{Decimal(usd):f}"
        usd = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return (f"{usd} USD", f"{tokens} tokens", f"{calls} calls")


def _differs(what: str, stored: object, derived: object) -> Iterator[Fault]:
    if stored != derived:
        yield Fault(seq=0, what=f"the table says of the {what}: {stored!r}; the events say: {derived!r}")
