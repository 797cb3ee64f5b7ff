"""What one batch does to an SQLite database: events, payloads and derived tables in one transaction.

Everything that can be wrong with an entry alone (a value that is not JSON, a lost ownership, a
question id that is taken) is found before anything is written, or else makes the batch start over
without that entry; so a bad entry fails alone, and good ones pay for no savepoint.  A commit that
fails (disk full, I/O error) fails every job of the batch.

A run is let go even where that cannot be recorded, and the next transaction makes up for it: whoever owns
the run then must not take it for one whose owner died.

Durability: a batch is committed with ``synchronous=FULL`` if one of its jobs asks for it, which is one
fdatasync of the WAL and makes all earlier commits durable too; else with ``NORMAL``, which syncs
nothing.  Checkpoints are made in moments when nothing waits, and the log is made longer before it has
to grow (``room.py``).  Where a sync has failed, the next one would not tell of what is missing, so the
log is written again first (``rewriting.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import apsw
from pydantic_core import to_json

from treadle.errors import FormatMismatch, OwnershipLost, StoreError, TreadleError
from treadle.events import Event, RunEnded, RunStarted
from treadle.ids import RunId
from treadle.stores import chain, contents, schema, tables
from treadle.stores.bell import Waiter
from treadle.stores.encoding import NOT_JSON
from treadle.stores.log import Entry, Flush, Release, WriterLog, again, as_store_error
from treadle.stores.ownership import Locks, close_locks
from treadle.stores.queries import execute, execute_rows, fetch_one, run_text
from treadle.stores.rewriting import write_again
from treadle.stores.room import AHEAD, Room
from treadle.stores.rows import Row
from treadle.stores.watchers import Watchers
from treadle.stores.writer import Job

CHECKPOINT_PAGES: Final = 2000
"""Pages in the WAL (8 MB) from which the next idle moment is used to move them to the database."""

BUSY_PAGES: Final = 4 * CHECKPOINT_PAGES
"""Pages from which it is done without waiting for an idle moment."""

REMEMBERED: Final = 8192
"""Digests whose row is remembered, so that content seen lately is not looked up."""

_DERIVING: Final = frozenset({RunStarted, RunEnded, *tables.CHANGES})
"""The events that are more than a row."""

_OWN_FAULT: Final = (*NOT_JSON, apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError)
"""What is raised where a row is wrong, rather than the database."""


class Call(Job):
    """Something else to be done within the transaction: it checks first and writes after.

    Attributes:
        flushes: Whether it has to be safe against a power cut when its caller goes on.
    """

    __slots__ = ()
    flushes = True

    def run(self, batch: Batch) -> None:
        """Do it.  May be called again, after a rollback.

        Raises:
            TreadleError: It is refused, and has written nothing.
        """
        raise NotImplementedError


class _Refused(Exception):
    """An entry is bad; the batch starts over without it."""

    def __init__(self, entry: Entry, error: StoreError) -> None:
        super().__init__(entry, error)
        self.entry = entry
        self.error = error


class _Unclear(Exception):
    """Something is wrong with an entry, and nobody knows yet with which: statements for one run each say."""


class _Head:
    """How far a run has come within a batch, and the entry its part of the batch began with."""

    __slots__ = ("at", "first", "hash", "seq")

    def __init__(self, first: Entry) -> None:
        self.first = first
        self.seq = first.log.seq
        self.hash = first.log.head
        self.at = 0.0


class Batch:
    """One attempt at a transaction; forgotten where it fails.

    Attributes:
        left: Runs that are let go, with the fence of who had them.
        ended: Runs that are over, with their status.
    """

    __slots__ = ("_known", "connection", "ended", "fresh", "heads", "left", "rows")

    def __init__(self, connection: apsw.Connection, known: dict[str, int]) -> None:
        self.connection = connection
        self._known = known
        self.fresh: dict[str, int] = {}
        self.heads: dict[WriterLog, _Head] = {}
        self.rows: list[tuple[int, bytes, bytes, bytes | None, bytes | None]] = []
        self.left: list[tuple[int, int]] = []
        self.ended: dict[int, str] = {}

    def write(self, entry: Entry) -> None:
        """Record the events of one append.

        Raises:
            _Refused
        """
        log = entry.log
        head = self.heads.get(log)
        if head is None:
            head = self.heads[log] = _Head(entry)
        number, before_all = log.number, tables.event_row(log.number, 0)
        try:
            for row in entry.encode():
                head.seq = seq = head.seq + 1
                head.hash = hashed = chain.after(head.hash, row.bound)
                parts = self._parts(row) if row.large else row.parts
                self.rows.append((before_all + seq, hashed, row.text, parts, row.inline))
                if type(row.event) in _DERIVING:
                    self._derive(number, seq, row.event)
        except StoreError as error:
            raise _Refused(entry, error) from error
        except _OWN_FAULT as error:
            raise _Refused(entry, as_store_error(error, entry)) from error
        head.at = entry.events[-1].at

    def _parts(self, row: Row) -> bytes:
        """Put its large payloads in rows of their own, and say where all stand."""
        return to_json({**row.places, **{name: self._content(key, data) for name, key, data in row.large}})

    def _derive(self, number: int, seq: int, event: Event) -> None:
        """Bring the derived tables up to an event that is being recorded."""
        if isinstance(event, RunEnded):
            self.ended[number] = event.status
        elif isinstance(event, RunStarted):
            if seq != 1:
                raise StoreError(
                    f"run {event.run_id!r} has started already; only `create` records a RunStarted"
                )
        else:
            self.settle()
            tables.CHANGES[type(event)](self.connection, number, seq, event)

    def _content(self, digest: str, data: bytes) -> int:
        row = self._known.get(digest) or self.fresh.get(digest)
        if row is not None:
            return row
        key = bytes.fromhex(digest)
        found = fetch_one(self.connection, "find_payload", {"digest": key})
        if found is None:
            found = fetch_one(self.connection, "insert_payload", (key, *contents.pack(data)))
        assert found is not None
        self.fresh[digest] = int(found[0])
        return self.fresh[digest]

    def settle(self) -> None:
        """Note which runs are over or let go, before something looks at it: once for all of them, mostly."""
        if self.ended:
            tables.end(self.connection, self.ended)
            self.ended.clear()
        if self.left:
            execute_rows(self.connection, "let_runs_go", self.left)
            self.left.clear()

    def finish(self, *, one_by_one: bool) -> None:
        """Write the events and the new heads.

        Raises:
            _Refused: A run has another owner by now, or a history that goes on behind its head.
            _Unclear: So it is with one of them; ``one_by_one`` finds out with which.
        """
        self.settle()
        if one_by_one or len(self.heads) == 1:
            for log, head in self.heads.items():
                self._advance(log, head)
        else:
            self._advance_all()
        try:
            execute_rows(self.connection, "insert_events", self.rows)
        except apsw.ConstraintError:
            raise self._blocked() from None

    def _advance_all(self) -> None:
        rows = [(log.number, log.fence, log.seq, h.seq, h.hash, h.at) for log, h in self.heads.items()]
        before = self.connection.total_changes()
        try:
            execute_rows(self.connection, "advance_runs", rows)
        except _OWN_FAULT as error:
            raise _Unclear from error
        if self.connection.total_changes() - before != len(rows):
            raise _Unclear

    def _advance(self, log: WriterLog, head: _Head) -> None:
        try:
            row = (head.seq, head.hash, head.at, log.number, log.fence, log.seq)
            execute(self.connection, "advance_run", row)
        except _OWN_FAULT as error:
            raise _Refused(head.first, as_store_error(error, head.first)) from error
        if self.connection.changes() == 0:
            raise _Refused(head.first, _overtaken(log))

    def _blocked(self) -> Exception:
        for log, head in self.heads.items():
            place = (tables.event_row(log.number, log.seq + 1),)
            if fetch_one(self.connection, "has_event", place):
                return _Refused(
                    head.first,
                    FormatMismatch(
                        f"the history of run {log.run_id!r} goes on behind its head (event {log.seq}); "
                        f"somebody has written to it: treadle verify {log.run_id}"
                    ),
                )
        return apsw.CorruptError("an event could not be put in its place")


class SqliteDatabase:
    """The writer's side of an SQLite store; all of it runs on the writer thread.

    Attributes:
        synced: The number of the newest commit that is safe against a power cut.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        path: str,
        locks: Locks,
        watchers: Watchers,
        held: dict[RunId, WriterLog],
    ) -> None:
        self.connection = connection
        self.synced = 0
        self._path = path
        self._locks = locks
        self._watchers = watchers
        self._held = held
        self._commits = 0
        self._known: dict[str, int] = {}
        self._is_full: bool | None = None
        self._is_suspect = False
        self._owed: list[tuple[int, int]] = []
        self._pages = 0
        self._room = Room(connection)
        self._file = Path(connection.filename).stat()
        self._limit = CHECKPOINT_PAGES
        connection.wal_autocheckpoint(0)
        connection.set_wal_hook(self._count_pages)

    def commit(self, jobs: Sequence[Job]) -> Iterable[Waiter]:
        """Do a batch of jobs in one transaction."""
        if self._pages >= self._limit + BUSY_PAGES:
            self._checkpoint()
        dead = {job.log for job in jobs if type(job) is Entry and job.log.error is not None}
        one_by_one = False
        while True:
            try:
                self._attempt(jobs, dead, one_by_one=one_by_one)
                break
            except _Unclear:
                self._roll_back()
                one_by_one = True
            except _Refused as refused:
                self._roll_back()
                refused.entry.fail(refused.error)
            except (apsw.Error, OSError) as error:
                self._suspect(error)
                self._roll_back()
                _fail_all(jobs, schema.translate(error, self._path))
                self._owed += [(job.log.number, job.log.fence) for job in jobs if isinstance(job, Release)]
                break
        return self._after(jobs, dead)

    def rest(self) -> None:
        """Move pages from the WAL to the database, where enough have gathered."""
        if self._pages >= self._limit:
            self._checkpoint()

    def give_up(self, error: Exception) -> Iterable[Waiter]:
        """Fail every log, and say who waits for its queue or for an event."""
        logs = list(self._held.values())
        for log in logs:
            log.fail(error)
        return [waiter for log in logs for waiter in log.settle(0)] + self._watchers.take(logs)

    def close(self) -> None:
        """Close the connection and the lock file."""
        self.connection.close()
        close_locks(self._locks)

    def _attempt(self, jobs: Sequence[Job], dead: set[WriterLog], *, one_by_one: bool) -> None:
        full = self._must_sync(jobs)
        if not full and all(type(job) is Flush for job in jobs):
            return
        self._begin(full=full)
        before = self.connection.total_changes()
        batch = Batch(self.connection, self._known)
        batch.left += self._owed
        stopped = set(dead)
        for job in jobs:
            if type(job) is Entry:
                if job.error is not None:  # refused in an attempt before: nothing may follow it
                    stopped.add(job.log)
                if job.log not in stopped:
                    batch.write(job)
            elif type(job) is not Flush:
                _do(job, batch)
        batch.finish(one_by_one=one_by_one)
        if full and self.connection.total_changes() == before:
            execute(self.connection, "touch")
        run_text(self.connection, "COMMIT")
        self._committed(batch, full=full)

    def _begin(self, *, full: bool) -> None:
        if full is not self._is_full:
            run_text(self.connection, f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._is_full = full
        run_text(self.connection, "BEGIN IMMEDIATE")
        if self._is_suspect:
            if self._is_in_place():
                write_again(self.connection.filename_wal)
            self._is_suspect = False
        if full and self._pages + AHEAD > self._room.pages and self._is_in_place():
            self._room.make(self._pages)

    def _is_in_place(self) -> bool:
        """Whether the database at our path is the one that is open here: somebody may have put another in its
        place, whose log is not ours to write to, for we do not hold its lock."""
        try:
            return os.path.samestat(Path(self.connection.filename).stat(), self._file)
        except FileNotFoundError:
            return False

    def _must_sync(self, jobs: Sequence[Job]) -> bool:
        written: set[WriterLog] = set()
        for job in jobs:
            if type(job) is Entry:
                written.add(job.log)
            elif isinstance(job, Flush):
                if job.log in written or job.log.commit > self.synced:
                    return True
            elif isinstance(job, Call) and job.flushes:
                return True
        return False

    def _committed(self, batch: Batch, *, full: bool) -> None:
        self._commits += 1
        self._owed.clear()
        if full:
            self.synced = self._commits
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._known.update(batch.fresh)
        for log, head in batch.heads.items():
            log.commit, log.seq, log.head = self._commits, head.seq, head.hash

    def _after(self, jobs: Sequence[Job], dead: set[WriterLog]) -> list[Waiter]:
        """Tell everybody what has become of their jobs; a flush fails with what was appended before it."""
        counts: dict[WriterLog, int] = {}
        left: dict[WriterLog, None] = {}
        for job in jobs:
            if type(job) is Entry:
                counts[job.log] = counts.get(job.log, 0) + len(job.events)
                if job.error is not None:
                    dead.add(job.log)
            elif isinstance(job, Flush):
                counts.setdefault(job.log, 0)
                error = None if job.log.is_clean else job.log.error
                if error is not None and (job.log in dead or counts[job.log] == 0):
                    job.fail(again(error))
                if type(job) is Release and not job.log.released:
                    left[job.log] = None
        woken: list[Waiter] = []
        for log, count in counts.items():
            woken += log.settle(count)
        for log in left:
            self._locks.give(log.number)
            self._held.pop(log.run_id, None)
            log.let_go()
        return woken + self._watchers.take(counts)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            run_text(self.connection, "ROLLBACK")

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._pages:  # the WAL was started anew
            self._limit = CHECKPOINT_PAGES
            self._room.pages = 0
        self._pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        self._limit = self._pages + CHECKPOINT_PAGES
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            # Nothing is lost: all of it stands in the WAL.  The next round tries again, and a disk
            # that is full or broken fails the next commit, where somebody can be told.
            self._suspect(error)

    def _suspect(self, error: Exception) -> None:
        """Take note where a sync may have failed."""
        self._is_suspect = self._is_suspect or isinstance(error, apsw.IOError)


def _do(job: Job, batch: Batch) -> None:
    """Do what is neither an entry nor a flush; what is refused has written nothing."""
    if type(job) is Release:
        batch.left.append((job.log.number, job.log.fence))
    elif isinstance(job, Call):
        job.error = None
        try:
            job.run(batch)
        except TreadleError as error:
            job.fail(error)
        except _OWN_FAULT as error:  # such as text that is not Unicode, from whoever answers
            job.fail(StoreError(f"what was asked of the store cannot be written: {error}"))


def _overtaken(log: WriterLog) -> OwnershipLost:
    return OwnershipLost(
        f"run {log.run_id!r} has another owner by now (this one had fence {log.fence}), "
        f"so nothing was recorded; `treadle runs` says who"
    )


def _fail_all(jobs: Iterable[Job], error: StoreError) -> None:
    for job in jobs:
        if isinstance(job, Flush):
            job.log.fail(error)
        if job.error is None:
            job.fail(again(error))
