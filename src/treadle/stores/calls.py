"""What the writer does besides appending: new runs, new owners, requests of others."""

from __future__ import annotations

import functools
import os
import socket
from datetime import UTC, datetime

from pydantic_core import to_json

from treadle.errors import OwnedElsewhere, StoreError
from treadle.events import RunStarted
from treadle.ids import RunId
from treadle.interfaces import Request
from treadle.stores import chain
from treadle.stores.answers import Standing, is_new, run_exists, unknown_question, unknown_run
from treadle.stores.decoding import require_own
from treadle.stores.derived import RUNNING
from treadle.stores.log import Entry, WriterLog
from treadle.stores.ownership import Locks
from treadle.stores.queries import execute, fetch_all, fetch_column, fetch_one
from treadle.stores.transaction import Batch, Call, SqliteDatabase
from treadle.stores.writer import Writer
from treadle.values import digest as digest_of


class Take(Call):
    """Takes the ownership of a run that nobody has; ``log`` is there once it is committed."""

    __slots__ = ("_database", "_locked", "_locks", "_writer", "log", "run_id")
    flushes = False  # an owner dies in a power cut as well: nothing depends on the fence being safe

    def __init__(self, run_id: RunId, *, writer: Writer, database: SqliteDatabase, locks: Locks) -> None:
        super().__init__()
        self.run_id = run_id
        self.log: WriterLog | None = None
        self._writer = writer
        self._database = database
        self._locks = locks
        self._locked: int | None = None

    def run(self, batch: Batch) -> None:
        """Lock the run and count its fence up."""
        batch.settle()
        found = fetch_one(batch.connection, "find_run", (self.run_id,))
        if found is None:
            known = fetch_column(batch.connection, "known_runs")
            raise unknown_run(self.run_id, known)
        number, fence, events, head, owner = found
        require_own(batch.connection, self.run_id, number)
        self._lock(number, owner)
        execute(batch.connection, "take_run", (this_process(), number))
        self.log = self._new_log(number, fence=fence + 1, seq=events, head=head)
        self.log.was_abandoned = bool(owner)  # and its lock was free

    def fail(self, error: Exception) -> None:
        """Unlock what was locked in vain."""
        super().fail(error)
        if self._locked is not None:
            self._locks.give(self._locked)
            self._locked = None

    def _lock(self, number: int, owner: str) -> None:
        if self._locked == number:  # from an attempt that was rolled back
            return
        if self._locked is not None:
            self._locks.give(self._locked)
            self._locked = None
        if not self._locks.take(number):
            holder = owner or "a process that has not said who it is yet"
            raise OwnedElsewhere(
                f"run {self.run_id!r} is owned by {holder}; "
                "it goes on there, or end that process to take it over",
                owner=holder,
            )
        self._locked = number

    def _new_log(self, number: int, *, fence: int, seq: int, head: bytes) -> WriterLog:
        return WriterLog(
            writer=self._writer,
            progress=self._database,
            run_id=self.run_id,
            number=number,
            fence=fence,
            seq=seq,
            head=head,
        )


class Create(Take):
    """Records a new run with its first event, and owns it."""

    __slots__ = ("_entry", "_started")
    flushes = True

    def __init__(
        self, started: RunStarted, *, writer: Writer, database: SqliteDatabase, locks: Locks
    ) -> None:
        super().__init__(started.run_id, writer=writer, database=database, locks=locks)
        self._started = started
        self._entry = Entry(self._new_log(0, fence=1, seq=0, head=chain.GENESIS), (started,))

    def run(self, batch: Batch) -> None:
        """Insert the run, lock it, and write its first event."""
        if self._entry.error is not None:  # refused in an attempt before
            raise self._entry.error
        self._encode()  # before anything is written
        row = {
            "id": self.run_id,
            "graph": self._started.graph,
            "tenant": self._started.tenant,
            "labels": to_json(dict(self._started.labels)).decode(),
            "at": self._started.at,
            "head": chain.GENESIS,
            "owner": this_process(),
            "deadline": self._started.deadline,
        }
        inserted = fetch_one(batch.connection, "insert_run", row)
        if inserted is None:
            raise run_exists(self.run_id)
        log = self._entry.log
        log.number = inserted[0]
        self._lock(log.number, "")
        batch.write(self._entry)
        self.log = log

    def _encode(self) -> None:
        """Write the first event as text.

        Raises:
            StoreError: It is refused: there is no run then that could be resumed.
        """
        try:
            self._entry.encode()
        except StoreError as error:
            if error.__cause__ is None:
                raise
            raise StoreError(f"run {self.run_id!r} cannot be written: {error.__cause__}") from error.__cause__


class Submit(Call):
    """Puts a request for the owner of a run; the rules are in ``answers``."""

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    def run(self, batch: Batch) -> None:
        """Check the request against how things stand, and write it down."""
        batch.settle()
        request = self._request
        found = fetch_one(batch.connection, "run_status", (request.run_id,))
        if found is None:
            known = fetch_column(batch.connection, "known_runs")
            raise unknown_run(request.run_id, known)
        number, status = found
        if request.kind != "cancel":
            wanted = is_new(request, self._standing(batch))
        else:
            asked = fetch_one(batch.connection, "pending_cancel", (number, request.by))
            wanted = status == RUNNING and asked is None
        if wanted:
            self._insert(batch, number)

    def _standing(self, batch: Batch) -> Standing:
        question = self._request.question
        found = fetch_one(batch.connection, "find_question", (question,))
        if found is None:
            known = fetch_column(batch.connection, "known_questions")
            raise unknown_question(question, known)
        run_id, state, opening, deadline, answered_by, answer = found
        waiting = fetch_all(batch.connection, "pending_answers", (question, opening))
        return Standing(
            run_id=run_id,
            state=state,
            opening=opening,
            deadline=deadline,
            answered_by=answered_by,
            answer=answer,
            pending=[(by, "" if value is None else digest_of(value)) for by, value in waiting],
            is_late=fetch_one(batch.connection, "pending_late", (question, opening)) is not None,
        )

    def _insert(self, batch: Batch, number: int) -> None:
        request = self._request
        row = (
            number,
            request.kind,
            request.at,
            request.by,
            request.reason,
            request.question,
            request.opening,
            None if request.value is None else request.value.data,
        )
        execute(batch.connection, "insert_request", row)


@functools.cache
def _host() -> str:
    """The name of this machine, asked for once: asking lets go of the interpreter, and others take it."""
    return socket.gethostname()


def this_process() -> str:
    """Who we are, for those who find a run owned."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {_host()} since {since}"
