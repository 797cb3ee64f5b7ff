"""``SqliteStore``: histories in one file, shared by the processes of one machine."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Concatenate, Final, ParamSpec, TypeVar

import anyio
import apsw
from anyio.to_thread import run_sync

from treadle.errors import ConfigurationError, StoreUnavailable
from treadle.events import Recorded, RunStarted
from treadle.ids import QuestionId, RunId
from treadle.interfaces import DueRun, Fault, LedgerLine, Question, Request, RunLog, RunSummary
from treadle.stores import reading, schema, verify
from treadle.stores.bell import Waiter
from treadle.stores.calls import Create, Submit, Take
from treadle.stores.log import Release, WriterLog
from treadle.stores.ownership import Locks, open_locks, require_locks
from treadle.stores.reading import Readers
from treadle.stores.transaction import SqliteDatabase
from treadle.stores.watchers import Watchers
from treadle.stores.writer import Writer, forked

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at a run that another process owns."""


class _Opened:
    """The live parts of an open store."""

    def __init__(self, path: str) -> None:
        require_locks()
        connection = schema.prepare(path)
        try:
            self.locks: Locks = open_locks(path)
        except BaseException:
            connection.close()
            raise
        self.watchers = Watchers()
        self.held: dict[RunId, WriterLog] = {}
        self.database = SqliteDatabase(
            connection, path=path, locks=self.locks, watchers=self.watchers, held=self.held
        )
        self.writer = Writer(self.database, path)


class SqliteStore:
    """Keeps histories in an SQLite database in WAL mode, written by one thread.

    What is flushed survives a power cut.  Several processes may open the same file: one of them owns
    a run at a time, the others read it and put requests.  Needs POSIX file locks, so not Windows; the
    file must stand on a disk of this machine, since WAL does not work over a network.

    Args:
        path: The database; made where there is none.  Two files appear beside it while it is open
            (``-wal``, ``-shm``), and one stays (``-locks``).

    Raises:
        ConfigurationError: The path is ``":memory:"`` or empty.
    """

    def __init__(self, path: str) -> None:
        if path in {":memory:", ""} or path.startswith("file:"):
            raise ConfigurationError(
                f"{path!r} is no file that other processes could see; "
                "write 'memory:' to keep histories in memory, or 'sqlite:///treadle.db'"
            )
        self._path = path
        self._parts: _Opened | None = None
        self._readers = Readers(path)
        self._is_orphan = False

    @property
    def url(self) -> str:
        """How people write it."""
        return f"sqlite:///{self._path}"

    @property
    def is_shared(self) -> bool:
        """Other processes can open the same file."""
        return True

    async def open(self) -> None:
        """Connect, make or upgrade the schema, and start the writer.  Safe to call twice.

        Raises:
            StoreUnavailable: It cannot be reached or written.
            FormatMismatch: It is not ours, is damaged, or is from a newer release.
        """
        if self._parts is not None:
            return
        parts = self._parts = await run_sync(_Opened, self._path)  # not abandoned when cancelled
        self._readers.open()
        parts.writer.start()
        _stores.add(self)

    async def aclose(self) -> None:
        """Commit what is queued, release every ownership, stop the writer.  Safe to call twice.

        Takes as long as one commit and a checkpoint; where another process keeps the file locked, up
        to ``BUSY_SECONDS``.  Events that nobody flushed and that cannot be written are lost.
        """
        parts, self._parts = self._parts, None
        if parts is None:
            return
        with anyio.CancelScope(shield=True):
            for log in list(parts.held.values()):
                if not log.released:
                    parts.writer.put(Release(log))
            await parts.writer.stop()
            await run_sync(self._readers.close)

    async def create(self, started: RunStarted) -> RunLog:
        """Record a new run durably, and own it; raises ``RunExists``."""
        parts = self._opened()
        return await self._take(
            Create(started, writer=parts.writer, database=parts.database, locks=parts.locks)
        )

    async def own(self, run_id: RunId) -> RunLog:
        """Take the ownership of a run; raises ``UnknownRun`` or ``OwnedElsewhere``."""
        parts = self._opened()
        return await self._take(Take(run_id, writer=parts.writer, database=parts.database, locks=parts.locks))

    async def read(self, run_id: RunId, *, after: int = 0) -> list[Recorded]:
        """Give the events above ``after``; raises ``UnknownRun`` or ``FormatMismatch``."""
        return await self._read(reading.history, run_id, after)

    async def changed(self, run_id: RunId, *, after: int) -> None:
        """Return when there is an event above ``after``; raises ``UnknownRun``."""
        parts = self._opened()
        while True:
            waiter = Waiter(parts.writer.bells.here())
            parts.watchers.add(run_id, waiter)
            try:
                parts.writer.check()  # after it was added: who gives up wakes all that were by then
                if await self._is_past(parts, run_id, after):
                    return
                log = parts.held.get(run_id)
                patience = LOOK_AGAIN if log is None or log.released else float("inf")
                with anyio.move_on_after(patience):
                    await waiter.wait()
            finally:
                parts.watchers.discard(run_id, waiter)

    async def runs(
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        ids: Sequence[RunId] | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Give summaries, the newest run first."""
        locks = self._opened().locks
        return await self._read(reading.summaries, locks, wanted=status, graph=graph, ids=ids, limit=limit)

    async def run(self, run_id: RunId) -> RunSummary:
        """Give one summary; raises ``UnknownRun``."""
        return await self._read(reading.summary, self._opened().locks, run_id)

    async def due_runs(self, due: float) -> list[DueRun]:
        """Give the unfinished runs whose deadline is at a moment or before."""
        return await self._read(reading.due_runs, due)

    async def questions(
        self,
        *,
        state: str | None = "open",
        to: str | None = None,
        run_id: RunId | None = None,
        due: float | None = None,
    ) -> list[Question]:
        """Give questions, the oldest first."""
        return await self._read(reading.questions, run_id=run_id, to=to, state=state, due=due)

    async def question(self, question_id: QuestionId) -> Question:
        """Give one question; raises ``QuestionError``."""
        return await self._read(reading.question, question_id)

    async def submit(self, request: Request) -> None:
        """Put a request durably; raises ``QuestionError`` or ``UnknownRun``."""
        await self._opened().writer.do(Submit(request))

    async def requests(self, run_id: RunId | None = None) -> list[Request]:
        """Give requests not taken up yet, in order of arrival."""
        return await self._read(reading.requests, run_id)

    async def ledger(self, run_id: RunId) -> list[LedgerLine]:
        """Give what a run was charged; raises ``UnknownRun``."""
        return await self._read(reading.ledger, run_id)

    async def verify(self, run_id: RunId, *, head: str | None = None) -> list[Fault]:
        """Recompute chain and derived tables; raises ``UnknownRun``."""
        return await self._read(verify.verify, run_id, head=head)

    def orphan(self) -> None:
        """Refuse everything: the process has forked, and this is the child."""
        self._is_orphan = True
        if self._parts is not None:
            self._parts.writer.orphan()

    async def _take(self, call: Take) -> RunLog:
        parts = self._opened()
        with anyio.CancelScope(shield=True):  # the writer would go on alone, and nobody would own the lock
            await parts.writer.do(call)
        assert call.log is not None
        parts.held[call.run_id] = call.log
        return call.log

    async def _is_past(self, parts: _Opened, run_id: RunId, after: int) -> bool:
        log = parts.held.get(run_id)
        if log is not None and not log.released:
            return log.seq > after
        return await self._read(reading.length, run_id) > after

    async def _read(
        self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._opened()
        return await self._readers.read(function, *args, **kwargs)

    def _opened(self) -> _Opened:
        if self._is_orphan:
            raise forked()
        if self._parts is None:
            raise StoreUnavailable(f"the store {self.url} is not open; await store.open() first")
        return self._parts


_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


def _orphan_after_fork() -> None:
    for store in list(_stores):
        store.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan_after_fork)
