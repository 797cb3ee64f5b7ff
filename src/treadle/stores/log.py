"""``WriterLog``: a run's history as its owner sees it, where a writer thread does the writing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast

from treadle.errors import OwnershipLost, StoreError
from treadle.events import Event
from treadle.ids import RunId
from treadle.stores.bell import Bell, Waiter
from treadle.stores.encoding import NOT_JSON
from treadle.stores.rows import Row, row_of
from treadle.stores.writer import Job, Writer

_NOBODY: Final = cast("dict[Waiter, int]", MappingProxyType({}))
"""Who waits for a queue to get shorter: mostly nobody, and thousands of logs are open at once."""


class Entry(Job):
    """The events of one ``append``: all of them are recorded, or none."""

    __slots__ = ("events", "log", "rows")

    def __init__(self, log: WriterLog, events: tuple[Event, ...]) -> None:
        self.waiter = None
        self.error = None
        self.log = log
        self.events = events
        self.rows: list[Row] | None = None

    def encode(self) -> list[Row]:
        """Write the events as text, once.

        Raises:
            StoreError: One of them is not JSON data.
        """
        if self.rows is None:
            try:
                self.rows = list(map(row_of, self.events))
            except NOT_JSON as error:
                raise as_store_error(error, self) from error
        return self.rows

    def prepare(self) -> None:
        """Write the events as text where they were made, while the processor has them at hand: a thread that
        has just been woken finds nothing in its caches.  What cannot be written the thread will tell."""
        try:
            self.rows = list(map(row_of, self.events))
        except NOT_JSON:
            self.rows = None

    def fail(self, error: Exception) -> None:
        """Close the log too: what comes after would stand on an event that is missing."""
        self.error = error
        self.log.fail(error)


class Flush(Job):
    """Makes what a log has appended safe against a power cut."""

    __slots__ = ("log",)

    def __init__(self, log: WriterLog) -> None:
        self.waiter = None
        self.error = None
        self.log = log


class Release(Flush):
    """Gives the ownership up, after everything appended before it."""

    __slots__ = ()


class Progress(Protocol):
    """How far the database has come."""

    @property
    def synced(self) -> int:
        """The number of the newest commit that is safe against a power cut."""
        ...


class WriterLog:
    """The one way to append to a run: events go in a queue, the writer thread commits them.

    The thread alone changes ``seq``, ``head``, ``commit`` and ``settled``; the event loop alone, which is
    the same all the time, changes ``appended``.

    Attributes:
        number: The run's number in the database.
        seq, head: Place and hash of the newest committed event.
        commit: The number of the commit that wrote it.
        error: Why nothing can be appended any more, or ``None``.
        released: Whether the ownership was given up.
        is_clean: Whether that is the only reason why nothing can be appended.
        slack: Who waits for the queue to get shorter than how much.
        was_abandoned: Whether the owner before died without letting the run go.
    """

    __slots__ = (
        "_bell",
        "_progress",
        "_writer",
        "appended",
        "commit",
        "error",
        "fence",
        "head",
        "is_clean",
        "number",
        "released",
        "run_id",
        "seq",
        "settled",
        "slack",
        "was_abandoned",
    )

    def __init__(
        self,
        *,
        writer: Writer,
        progress: Progress,
        run_id: RunId,
        number: int,
        fence: int,
        seq: int,
        head: bytes,
    ) -> None:
        self._writer = writer
        self._progress = progress
        self._bell: Bell | None = None
        self.run_id = run_id
        self.number = number
        self.fence = fence
        self.seq = seq
        self.head = head
        self.commit = 0
        self.appended = 0
        self.settled = 0
        self.error: StoreError | None = None
        self.released = False
        self.is_clean = False
        self.slack = _NOBODY
        self.was_abandoned = False

    @property
    def is_durable(self) -> bool:
        """What is flushed outlives the process and a power cut."""
        return True

    @property
    def queued(self) -> int:
        """Events appended and not yet committed."""
        return self.appended - self.settled

    def append(self, *events: Event) -> None:
        """Queue events, to be committed together.

        Raises:
            StoreError: An earlier append has failed, or the run was released.
        """
        if self.error is not None:
            raise again(self.error)
        if events:
            entry = Entry(self, events)
            if self._writer.is_lonely:
                entry.prepare()
            self._writer.put(entry)
            self.appended += len(events)

    async def flush(self) -> None:
        """Return when everything appended so far is safe.

        Raises:
            StoreError: A commit failed.
        """
        if self.appended == self.settled:
            if self.error is not None and not self.is_clean:
                raise again(self.error)
            if self.commit <= self._progress.synced:
                return
        if self._bell is None:
            self._bell = self._writer.bells.here()
        job = Flush(self)
        await self._writer.submit(job, self._bell)
        if job.error is not None:
            raise job.error

    async def drained(self, below: int) -> None:
        """Return when fewer than ``below`` events are queued, or nothing can be committed any more."""
        while self.queued >= max(below, 1) and self.error is None:
            waiter = Waiter(self._writer.bells.here())
            if self.slack is _NOBODY:
                self.slack = {}
            self.slack[waiter] = below
            self._writer.hurry(waiter.bell)
            if self.queued < max(below, 1) or self.error is not None:
                self.slack.pop(waiter, None)
                return
            await waiter.wait()

    async def release(self) -> None:
        """Flush, then give the ownership up; cancelled, it still happens.

        Raises:
            StoreError: A commit failed; the ownership is given up all the same.
        """
        if not self.released:
            await self._writer.do(Release(self))

    def fail(self, error: Exception) -> None:
        """Refuse further appends; called by the writer thread."""
        if self.error is None:
            self.error = error if isinstance(error, StoreError) else StoreError(str(error))

    def let_go(self) -> None:
        """Take note of the release; called by the writer thread."""
        self.released = True
        self.is_clean = self.error is None
        self.fail(
            OwnershipLost(f"run {self.run_id!r} was released, so nothing can be appended; own it again")
        )

    def settle(self, count: int) -> list[Waiter]:
        """Take note that events have left the queue, and say who waited for that."""
        self.settled += count
        if not self.slack:
            return []
        queued = self.queued
        ready = [waiter for waiter, below in list(self.slack.items()) if queued < max(below, 1) or self.error]
        for waiter in ready:
            self.slack.pop(waiter, None)
        return ready


def again(error: StoreError) -> StoreError:
    """Give a new error with the same words, so that each caller has a traceback of its own."""
    fresh = type(error)(*error.args)
    fresh.__cause__ = error
    return fresh


def as_store_error(error: Exception, entry: Entry) -> StoreError:
    """Say which append could not be recorded, and why."""
    if isinstance(error, StoreError):
        return error
    kinds: Mapping[str, None] = dict.fromkeys(event.kind for event in entry.events)
    return StoreError(
        f"run {entry.log.run_id!r}: an append of {', '.join(kinds)} after event {entry.log.seq} "
        f"was not recorded: {error}; resume the run from what is recorded"
    )
