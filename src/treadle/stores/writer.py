"""One writer thread for a database: what all runs have queued becomes one transaction.

Event loops only put jobs in a queue.  The thread takes everything that waits, hands it to the
database as one batch, and wakes all waiting tasks with one call to each event loop.  A job that
nobody waits for gives the thread ``LINGER`` seconds to let more come together; one that somebody
waits for starts it at once.

It runs under asyncio and under trio: how their tasks are woken stands in ``bell.py``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from treadle.errors import InternalError, StoreUnavailable
from treadle.stores.bell import Bell, Bells, Waiter, wake

LINGER: Final = 0.003
"""Seconds that jobs nobody waits for may stay queued for others to join them."""

WATCHFUL: Final = 10
"""Times ``LINGER`` that the thread looks at the queue by itself after a batch, before it sleeps until it
is called: while a run is busy, an append that nobody waits for wakes nobody."""

LARGEST_BATCH: Final = 2048
"""Jobs in one transaction at most, so that nobody waits for long behind a flood."""

T = TypeVar("T")


class Job:
    """Something for the writer to do.

    Attributes:
        waiter: Who is woken when it is done, or ``None``.
        error: Why it was not done.
    """

    __slots__ = ("error", "waiter")

    def __init__(self, waiter: Waiter | None = None) -> None:
        self.waiter = waiter
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Take note that it was not done."""
        self.error = error


class Stop(Job):
    """Ends the thread once everything before it is done."""

    __slots__ = ()


def forked() -> StoreUnavailable:
    """Make the error for a store that was open when its process forked."""
    return StoreUnavailable(
        "this store was opened before the process forked, and its writer did not come along; "
        "open a store of its own in each process"
    )


class Database(Protocol):
    """What the thread works on; every method is called on the thread, one at a time."""

    def commit(self, jobs: Sequence[Job]) -> Iterable[Waiter]:
        """Do jobs in one transaction, set the error of those that failed, and say who else to wake."""
        ...

    def rest(self) -> None:
        """Use a moment in which nothing waits."""
        ...

    def give_up(self, error: Exception) -> Iterable[Waiter]:
        """Refuse everything from now on, and say who waits for what will never come."""
        ...

    def close(self) -> None:
        """Let everything go."""
        ...


class Writer:
    """The queue and the thread.

    Attributes:
        bells: Those of the event loops that wait for it.
        is_lonely: Whether one task at most waited for the last batch: then the thread sleeps between batches.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.bells = Bells()
        self._database = database
        self._jobs: deque[Job] = deque()
        self._signals: SimpleQueue[bool] = SimpleQueue()
        self._is_asleep = False
        self.is_lonely = True
        self._ringing: object = None
        self._closed: Exception | None = None
        self._last: Stop | None = None
        self._has_left = False
        self._thread = threading.Thread(target=self._run, name=f"treadle writer of {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def check(self) -> None:
        """Raise the reason why nothing is done any more, where there is one."""
        if self._closed is not None:
            raise self._closed

    def put(self, job: Job) -> None:
        """Queue a job that nobody waits for."""
        self.check()
        self._jobs.append(job)
        if self._is_asleep:
            self._is_asleep = False
            self._signals.put(False)

    def hurry(self, bell: Bell) -> None:
        """Have the thread start once all tasks that can run now have had their turn.

        So it gets what they have to say in one batch, and does not fight with them for the interpreter.
        Where nobody else waited for the last batch, a pass through the event loop would gather nothing.
        """
        if self.is_lonely or bell.is_trio:
            self._ring()
        elif self._ringing is not bell:
            self._ringing = bell
            bell.home.call_soon(self._ring)

    def _ring(self) -> None:
        self._ringing = None
        self._is_asleep = False
        self._signals.put(True)

    def submit(self, job: Job, bell: Bell) -> Awaitable[None]:
        """Queue a job, and give what returns once it is done; to be awaited once, and at once."""
        self.check()
        waiter = job.waiter = Waiter(bell)
        self._jobs.append(job)
        if self._has_left:  # in between: where the job is still there, nobody will look at it
            with suppress(ValueError):
                self._jobs.remove(job)
                self.check()
        self.hurry(bell)
        return waiter.wait()

    async def do(self, job: Job) -> None:
        """Queue a job, wait until it is done, and raise its error.

        Cancelling the caller does not take the job back.
        """
        await self.submit(job, self.bells.here())
        if job.error is not None:
            raise job.error

    async def stop(self) -> None:
        """Do everything queued, then end the thread; cancellation waits until that is done."""
        with anyio.CancelScope(shield=True):
            if self._closed is None:
                self._last = Stop()
                await self.do(self._last)
            self._thread.join()
            await checkpoint()  # in which the event loop lets go of its bell

    def orphan(self) -> None:
        """Refuse everything from now on: this is a forked child, which has no thread."""
        self._closed = forked()

    def _run(self) -> None:
        jobs: list[Job] = []
        try:
            while True:
                self._wait()
                jobs = self._take()
                done = self._do(jobs)
                is_over = self._last is not None and self._last in jobs
                wake(done)
                jobs, done = [], []  # they are over, and this may sleep for long
                if is_over:
                    break
                if not self._jobs:
                    self._database.rest()
        except BaseException as error:  # whoever waits must hear of it, or would wait for ever
            self._closed = InternalError(f"the store's writer has stopped: {error!r}; please report this")
            self._closed.__cause__ = error
            self._give_up(jobs, self._closed)
            wake(self._database.give_up(self._closed))
            raise
        finally:
            self._database.close()
            self._has_left = True  # before the queue is read: who comes later sees to it alone
            left: list[Job] = []
            with suppress(IndexError):
                while True:
                    left.append(self._jobs.popleft())
            self._give_up(left, self._closed or StoreUnavailable("the store is closed"))
            self.bells.close()

    def _wait(self) -> None:
        for _ in range(WATCHFUL):
            if self._is_signalled(LINGER) or self._jobs:
                return
        self._is_asleep = True
        if not self._jobs and not self._signals.get():
            self._is_signalled(LINGER)

    def _is_signalled(self, patience: float) -> bool:
        try:
            self._signals.get(timeout=patience)
        except Empty:
            return False
        return True

    def _take(self) -> list[Job]:
        self._is_asleep = False
        while not self._signals.empty():  # before the queue is read: each signal comes after its job
            self._signals.get()
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), LARGEST_BATCH))]
        if self._last is not None and self._last in jobs:
            self._closed = StoreUnavailable("the store is closed; open it again")
        if self._jobs:  # too many for one batch, and somebody may wait for them
            self._signals.put(True)
        return jobs

    def _do(self, jobs: list[Job]) -> list[Waiter]:
        if not jobs:
            return []
        others = self._database.commit(jobs)
        woken = [job.waiter for job in jobs if job.waiter is not None]
        self.is_lonely = len(woken) < 2
        return [*woken, *others]

    def _give_up(self, jobs: Iterable[Job], error: Exception) -> None:
        waiting: list[Waiter] = []
        for job in jobs:
            job.fail(error)
            if job.waiter is not None:
                waiting.append(job.waiter)
        wake(waiting)
