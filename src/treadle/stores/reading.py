"""What people and engines ask an SQLite store: histories, summaries, questions, requests, ledger.

Plain functions of a connection, to be run on a worker thread; ``Readers`` keeps the connections.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Concatenate, Final, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
import apsw
from anyio.lowlevel import RunVar
from pydantic_core import from_json, to_json

from treadle.budget import Amounts
from treadle.errors import FormatMismatch, TreadleError
from treadle.events import QuestionAsked, Recorded
from treadle.ids import QuestionId, RunId
from treadle.interfaces import DueRun, LedgerLine, Question, Request, RunSummary
from treadle.stores import chain, contents, decoding
from treadle.stores.answers import unknown_question, unknown_run
from treadle.stores.decoding import load_contents, parse_parts
from treadle.stores.derived import RUNNING, State, as_question, status
from treadle.stores.encoding import Payloads, decode
from treadle.stores.ownership import Locks
from treadle.stores.queries import Row, fetch_all, fetch_column, fetch_each, fetch_one, run_text
from treadle.stores.schema import connect, translated
from treadle.stores.tables import SEQ_BITS, event_row
from treadle.values import Payload

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 4
"""Reads that go on at the same time."""

_limiters: Final[RunVar[WeakKeyDictionary[Readers, anyio.CapacityLimiter]]] = RunVar("treadle readers")
"""Of each event loop how many may read at once, by the store they read from."""

_NOT_OURS: Final = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError)
"""What reading a row ends in whose columns are not of their types."""


class Readers:
    """Connections of their own for reading, so that no read waits for the writer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[apsw.Connection] = []
        self._is_open = False

    def open(self) -> None:
        """Begin."""
        self._is_open = True

    async def read(
        self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function on a worker thread, with one state of the database throughout."""
        return await anyio.to_thread.run_sync(
            lambda: self._read(function, *args, **kwargs), limiter=self._limiter()
        )

    def _limiter(self) -> anyio.CapacityLimiter:
        """That of the event loop this is called in: none serves two."""
        try:
            limiters = _limiters.get()
        except LookupError:
            limiters = WeakKeyDictionary[Readers, anyio.CapacityLimiter]()
            _limiters.set(limiters)
        limiter = limiters.get(self)
        if limiter is None:
            limiter = limiters[self] = anyio.CapacityLimiter(AT_ONCE)
        return limiter

    def close(self) -> None:
        """Close the connections; one that is in use closes when it is done."""
        self._is_open = False
        while self._idle:
            self._idle.pop().close()

    def _read(
        self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with translated(self._path):
            connection = self._connection()
            try:
                with _snapshot(connection):
                    return function(connection, *args, **kwargs)
            except TreadleError:
                raise
            except _NOT_OURS as error:
                raise FormatMismatch(
                    f"{self._path!r} is damaged: it holds what was never written ({error}); put a backup "
                    "in its place, or have `treadle verify` say which runs are whole"
                ) from error
            finally:
                self._put_back(connection)

    def _connection(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path, read_only=True)

    def _put_back(self, connection: apsw.Connection) -> None:
        if self._is_open:
            self._idle.append(connection)
        else:
            connection.close()


@contextmanager
def _snapshot(connection: apsw.Connection) -> Generator[None]:
    run_text(connection, "BEGIN")
    try:
        yield
    finally:
        run_text(connection, "ROLLBACK")


def find_run(connection: apsw.Connection, run_id: RunId) -> tuple[int, int, bytes]:
    """Give number, length and head of a run; raises ``UnknownRun``."""
    found = fetch_one(connection, "read_head", (run_id,))
    if found is None:
        known = fetch_column(connection, "known_runs")
        raise unknown_run(run_id, known)
    return cast("tuple[int, int, bytes]", found)


def length(connection: apsw.Connection, run_id: RunId) -> int:
    """Give the number of events of a run."""
    return find_run(connection, run_id)[1]


def history(connection: apsw.Connection, run_id: RunId, after: int) -> list[Recorded]:
    """Give the events of a run above ``after``, each checked against its hash and the one before.

    Raises:
        UnknownRun: There is no such run.
        FormatMismatch: Something is missing, is not what was written, or is the history of another run.
    """
    number, events, head = find_run(connection, run_id)
    decoding.require_own(connection, run_id, number)
    before = min(after, 1)  # the event before the first, for its hash
    bounds = (event_row(number, after - before), event_row(number, events))
    rows = fetch_all(connection, "read_events", bounds)
    if len(rows) != max(0, events - after + before):
        raise FormatMismatch(
            f"run {run_id!r} has {events} events, and {events - after + before - len(rows)} of those after "
            f"{after} are missing; `treadle verify {run_id}` says which"
        )
    previous = rows[0][1] if before and rows else chain.GENESIS
    del rows[:before]
    parts = [parse_parts(row[3]) for row in rows]
    stored = load_contents(connection, parts)
    changed = {row for row, payload in stored.items() if not contents.is_genuine(payload)}
    for (seq, *_), names in zip(rows, parts, strict=True) if changed else ():
        if any(isinstance(where, int) and where in changed for where in names.values()):
            raise _changed(run_id, seq)
    found: list[Recorded] = []
    for place, ((seq, digest, body, _, inline), names) in enumerate(zip(rows, parts, strict=True), after + 1):
        payloads = decoding.payloads(names, inline, stored)
        digests = {name: payload.digest for name, payload in payloads.items()}
        if seq != place or chain.link(previous, body, digests) != digest:
            raise _changed(run_id, place)
        previous = digest
        found.append(Recorded(seq=seq, hash=digest.hex(), event=decode(body, payloads)))
    if rows and previous != head:
        raise _changed(run_id, events)
    return found


def _changed(run_id: RunId, seq: int) -> FormatMismatch:
    return FormatMismatch(
        f"event {seq} of run {run_id!r} is not what was written: the disk has changed it, or somebody has; "
        f"`treadle verify {run_id}` says what, and a backup has the rest"
    )


def summaries(
    connection: apsw.Connection,
    locks: Locks,
    *,
    wanted: str | None = None,
    graph: str | None = None,
    ids: Sequence[RunId] | None = None,
    limit: int = 100,
) -> list[RunSummary]:
    """Give summaries, the newest run first."""
    recorded = RUNNING if wanted in {"pending", "running", "waiting"} else wanted
    found: list[RunSummary] = []
    named = None if ids is None else to_json(list(ids)).decode()
    chosen = {"graph": graph, "status": recorded, "ids": named}
    for row in fetch_each(connection, "read_runs" if ids is None else "read_these_runs", chosen):
        if len(found) >= limit:
            break
        summary = _summary(row, locks)
        if wanted in {None, summary.status}:
            found.append(summary)
    return found


def due_runs(connection: apsw.Connection, due: float) -> list[DueRun]:
    """Give the unfinished runs whose deadline is at a moment or before, the earliest first."""
    rows = fetch_all(connection, "read_due_runs", (due,))
    return [DueRun(id=RunId(run_id), graph=graph, deadline=deadline) for run_id, graph, deadline in rows]


def summary(connection: apsw.Connection, locks: Locks, run_id: RunId) -> RunSummary:
    """Give one summary; raises ``UnknownRun``."""
    find_run(connection, run_id)
    return summaries(connection, locks, ids=[run_id])[0]


def _summary(row: Row, locks: Locks) -> RunSummary:
    number, run_id, graph, tenant, labels, recorded, started_at, updated_at, events, head = row[:10]
    owner, usd, tokens, calls, questions = row[10:]
    is_owned = bool(owner) and locks.is_taken(number)
    return RunSummary(
        id=run_id,
        graph=graph,
        status=status(recorded, is_owned=is_owned, was_released=not owner, questions=questions),
        started_at=started_at,
        updated_at=updated_at,
        spent=Amounts(usd=Decimal(usd), tokens=tokens, calls=calls),
        questions=questions,
        events=events,
        head=head.hex(),
        labels=from_json(labels),
        tenant=tenant,
        owner=owner if is_owned else "",
    )


def questions(
    connection: apsw.Connection,
    *,
    question_id: QuestionId | None = None,
    run_id: RunId | None = None,
    to: str | None = None,
    state: str | None = None,
    due: float | None = None,
) -> list[Question]:
    """Give questions, the oldest first."""
    number = None if run_id is None else find_run(connection, run_id)[0]
    wanted = {"id": question_id, "run": number, "to": to, "state": state, "due": due}
    rows = fetch_all(connection, "read_questions", wanted)
    parts = [parse_parts(row[3]) for row in rows]
    stored = load_contents(connection, parts)
    return [
        _question(row, decoding.payloads(names, row[4], stored))
        for row, names in zip(rows, parts, strict=True)
    ]


def _question(row: Row, found: Payloads) -> Question:
    run_id, graph, body, _parts, _inline, state = row
    event = decode(body, found)
    if not isinstance(event, QuestionAsked):
        raise FormatMismatch(f"a question of run {run_id!r} points at an event of kind {event.kind!r}")
    return as_question(event, run_id=run_id, graph=graph, state=cast("State", state))


def question(connection: apsw.Connection, question_id: QuestionId) -> Question:
    """Give one question; raises ``QuestionError``."""
    found = questions(connection, question_id=question_id)
    if not found:
        known = fetch_column(connection, "known_questions")
        raise unknown_question(question_id, known)
    return found[0]


def requests(connection: apsw.Connection, run_id: RunId | None) -> list[Request]:
    """Give requests not taken up yet, in order of arrival."""
    number = None if run_id is None else find_run(connection, run_id)[0]
    return [
        Request(
            run_id=RunId(run),
            kind=kind,
            at=at,
            by=by,
            reason=reason,
            question=QuestionId(question_id),
            opening=opening,
            value=None if value is None else Payload(data=value),
            id=row,
        )
        for run, kind, at, by, reason, question_id, opening, value, row in fetch_all(
            connection, "read_requests", {"run": number}
        )
    ]


def ledger(connection: apsw.Connection, run_id: RunId) -> list[LedgerLine]:
    """Give what a run was charged; raises ``UnknownRun``."""
    number = find_run(connection, run_id)[0]
    return [
        LedgerLine(
            run_id=run_id,
            account=account,
            node=node,
            model=model,
            requests=count,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            usd=Decimal(usd),
        )
        for account, node, model, count, input_tokens, output_tokens, usd in fetch_all(
            connection, "read_ledger", (number,)
        )
    ]


def last_row(number: int) -> int:
    """The highest row an event of a run can stand in."""
    return ((number + 1) << SEQ_BITS) - 1
