"""``CrashingStore``: a store around another one, where the process can be made to die at any append.

A crash loses whatever was not recorded.  At which append it comes, and how, is the caller's choice:
``strike`` may kill the process for good, or raise, which leaves the store dead to whoever uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from treadle.errors import StoreUnavailable
from treadle.events import Event, Recorded, RunStarted
from treadle.ids import QuestionId, RunId
from treadle.interfaces import DueRun, Fault, LedgerLine, Question, Request, RunLog, RunSummary, Store

When = Literal["before", "after"]
"""Before an append reaches the store, or after it has."""


class Crashed(StoreUnavailable):
    """The process is taken for dead: nothing it does from here on is recorded."""


Strike = Callable[[int, When, "CrashingLog | None"], None]
"""Told the number of each append (from 1), and the log it goes to, where there is one yet.

``create`` and ``submit`` count as appends: both record something."""


class CrashingStore:
    """A store whose appends are counted, and at one of which the process may die.

    Args:
        inner: Where things are really kept.
        strike: Called before and after each append; it kills the process, raises ``Crashed``, or
            returns.
        is_lazy: Whether what nobody flushes stays in memory, as in a process whose writer never gets
            its turn: then a crash loses all of it.

    Attributes:
        appends: How many there were so far.
        newest: The events of the newest of them; none where it was a request.
        is_dead: Whether ``strike`` has raised, or ``kill`` was called; then nothing is recorded any more.
    """

    def __init__(self, inner: Store, strike: Strike, *, is_lazy: bool = False) -> None:
        self.inner = inner
        self.is_lazy = is_lazy
        self.appends = 0
        self.newest: tuple[Event, ...] = ()
        self.is_dead = False
        self._strike = strike

    @property
    def url(self) -> str:
        """That of the store inside."""
        return self.inner.url

    @property
    def is_shared(self) -> bool:
        """As the store inside."""
        return self.inner.is_shared

    def kill(self) -> None:
        """Take the process for dead from here on."""
        self.is_dead = True

    def check_alive(self) -> None:
        """Raise ``Crashed`` once the process is taken for dead."""
        if self.is_dead:
            raise Crashed("this process is taken for dead; resume the run with another engine")

    def strike(self, when: When, log: CrashingLog | None, events: tuple[Event, ...] = ()) -> None:
        """Give the crash its chance; ``"before"`` counts the append."""
        self.check_alive()
        self.appends += when == "before"
        self.newest = events
        try:
            self._strike(self.appends, when, log)
        except BaseException:
            self.kill()
            raise

    async def open(self) -> None:
        """Open the store inside."""
        await self.inner.open()

    async def aclose(self) -> None:
        """Close the store inside."""
        await self.inner.aclose()

    async def create(self, started: RunStarted) -> RunLog:
        """Record a new run; it counts as an append."""
        self.strike("before", None, (started,))
        log = CrashingLog(self, await self.inner.create(started))
        self.strike("after", log, (started,))
        return log

    async def own(self, run_id: RunId) -> RunLog:
        """Take the ownership of a run."""
        self.check_alive()
        return CrashingLog(self, await self.inner.own(run_id))

    async def submit(self, request: Request) -> None:
        """Put a request; it counts as an append."""
        self.strike("before", None)
        await self.inner.submit(request)
        self.strike("after", None)

    async def read(self, run_id: RunId, *, after: int = 0) -> list[Recorded]:
        """Give what is recorded."""
        return await self.inner.read(run_id, after=after)

    async def changed(self, run_id: RunId, *, after: int) -> None:
        """Return when there is more."""
        await self.inner.changed(run_id, after=after)

    async def runs(
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        ids: Sequence[RunId] | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Give summaries."""
        return await self.inner.runs(status=status, graph=graph, ids=ids, limit=limit)

    async def run(self, run_id: RunId) -> RunSummary:
        """Give one summary."""
        return await self.inner.run(run_id)

    async def due_runs(self, due: float) -> list[DueRun]:
        """Give unfinished runs with a deadline."""
        return await self.inner.due_runs(due)

    async def questions(
        self,
        *,
        state: str | None = "open",
        to: str | None = None,
        run_id: RunId | None = None,
        due: float | None = None,
    ) -> list[Question]:
        """Give questions."""
        return await self.inner.questions(state=state, to=to, run_id=run_id, due=due)

    async def question(self, question_id: QuestionId) -> Question:
        """Give one question."""
        return await self.inner.question(question_id)

    async def requests(self, run_id: RunId | None = None) -> list[Request]:
        """Give requests not taken up yet."""
        return await self.inner.requests(run_id)

    async def ledger(self, run_id: RunId) -> list[LedgerLine]:
        """Give what a run was charged."""
        return await self.inner.ledger(run_id)

    async def verify(self, run_id: RunId, *, head: str | None = None) -> list[Fault]:
        """Recompute the chain."""
        return await self.inner.verify(run_id, head=head)


class CrashingLog:
    """The log of a run in a ``CrashingStore``.

    Attributes:
        inner: The log that really records.
    """

    def __init__(self, store: CrashingStore, inner: RunLog) -> None:
        self.inner = inner
        self._store = store
        self._kept: list[tuple[Event, ...]] = []

    @property
    def run_id(self) -> RunId:
        """The run."""
        return self.inner.run_id

    @property
    def fence(self) -> int:
        """The fence of the log inside."""
        return self.inner.fence

    @property
    def is_durable(self) -> bool:
        """As the log inside."""
        return self.inner.is_durable

    @property
    def was_abandoned(self) -> bool:
        """As the log inside."""
        return self.inner.was_abandoned

    @property
    def queued(self) -> int:
        """Events appended and not yet committed, those kept back too."""
        return self.inner.queued + sum(map(len, self._kept))

    def append(self, *events: Event) -> None:
        """Append, or die."""
        if not events:
            return
        self._store.strike("before", self, events)
        if self._store.is_lazy:
            self._kept.append(events)
        else:
            self.inner.append(*events)
        self._store.strike("after", self, events)

    async def flush(self) -> None:
        """Make all of it safe."""
        self._hand_over()
        await self.inner.flush()
        self._store.check_alive()

    async def drained(self, below: int) -> None:
        """Return when fewer events are queued."""
        self._hand_over()
        await self.inner.drained(below)

    async def release(self) -> None:
        """Give the ownership up; a dead process leaves behind what it had handed over, no more."""
        if not self._store.is_dead:
            self._hand_over()
        await self.inner.release()

    def _hand_over(self) -> None:
        self._store.check_alive()
        kept, self._kept = self._kept, []
        for events in kept:
            self.inner.append(*events)
