"""``WriterLog``: a run's history as its owner sees it, where a writer thread does the writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from treadle.errors import OwnershipLost, StoreError
from treadle.events import Event
from treadle.ids import RunId
from treadle.stores.contents import LARGEST_BYTES, too_large
from treadle.stores.encoding import NOT_JSON, encode
from treadle.stores.writer import Job, Waiter, Writer

Encoded = tuple[Event, bytes, Mapping[str, str], Sequence[bytes | None]]
"""An event, its text, and of its payloads the digests by name and the data, ``None`` where it was erased."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_NOBODY: Final = cast("dict[Waiter, int]", MappingProxyType({}))
"""Who waits for a queue to get shorter: mostly nobody, and thousands of logs are open at once."""


class Entry(Job):
    """The events of one ``append``: all of them are recorded, or none."""

    __slots__ = ("encoded", "events", "log")

    def __init__(self, log: WriterLog, events: tuple[Event, ...]) -> None:
        self.waiter = None
        self.error = None
        self.log = log
        self.events = events
        self.encoded: list[Encoded] | None = None

    def encode(self) -> list[Encoded]:
        """Write the events as text, once.

        Raises:
            StoreError: One of them is not JSON data.
        """
        if self.encoded is None:
            try:
                self.encoded = [_encoded(event) for event in self.events]
            except NOT_JSON as error:
                raise as_store_error(error, self) from error
        return self.encoded

    def prepare(self) -> None:
        """Write the events as text where they were made, while the processor has them at hand: a thread that
        has just been woken finds nothing in its caches.  What cannot be written the thread will tell."""
        with suppress(StoreError):
            self.encode()

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
        "_home",
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
        self._home: Any = None
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
        if self.queued == 0:
            if self.error is not None and not self.is_clean:
                raise again(self.error)
            if self.commit <= self._progress.synced:
                return
        waiter = Waiter(self._home)
        self._home = waiter.home
        await self._writer.do(Flush(self), waiter)

    async def drained(self, below: int) -> None:
        """Return when fewer than ``below`` events are queued, or nothing can be committed any more."""
        while self.queued >= max(below, 1) and self.error is None:
            waiter = Waiter()
            if self.slack is _NOBODY:
                self.slack = {}
            self.slack[waiter] = below
            self._writer.hurry(waiter)
            if self.queued < max(below, 1):
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


def _encoded(event: Event) -> Encoded:
    text, payloads = encode(event)
    if len(text) > LARGEST_BYTES:
        raise too_large(text, event.kind)
    if not payloads:
        return event, text, _NOTHING, ()
    digests: dict[str, str] = {}
    contents: list[bytes | None] = []
    for name, payload in payloads.items():
        data = None if payload.is_erased else payload.data
        if data is not None and len(data) > LARGEST_BYTES:
            raise too_large(data, name)
        contents.append(data)
        digests[name] = payload.digest
    return event, text, digests, contents


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
