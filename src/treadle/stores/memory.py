"""``MemoryStore``: histories as lists of event objects, gone with the process.

Appending is appending to a list.  Places, hashes and encoded text are made when somebody reads them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

import anyio

from treadle.errors import OwnedElsewhere, OwnershipLost, StoreError
from treadle.events import Event, QuestionAsked, Recorded, RunStarted
from treadle.ids import QuestionId, RunId
from treadle.interfaces import DueRun, Fault, LedgerLine, Question, Request, RunLog, RunSummary
from treadle.stores import chain, encoding
from treadle.stores.answers import Standing, is_new, run_exists, unknown_question, unknown_run
from treadle.stores.derived import Asked, Derived, State, as_ledger, as_question, status

_CHECKED: Final = frozenset({RunStarted, QuestionAsked})
"""Events that may be refused before anybody has written them as text."""


class MemoryLog:
    """The one way to append to a run kept in memory."""

    __slots__ = ("_error", "_events", "_history", "_is_released", "_refuses", "fence")

    def __init__(self, history: _History) -> None:
        self._history = history
        self._events = history.events
        self._error: StoreError | None = None
        self._is_released = False
        self._refuses = False
        self.fence = history.fence

    @property
    def run_id(self) -> RunId:
        """The run."""
        return self._history.started.run_id

    @property
    def was_abandoned(self) -> bool:
        """Never: it dies with its owner."""
        return False

    @property
    def is_durable(self) -> bool:
        """Never: what is flushed goes with the process all the same."""
        return False

    @property
    def queued(self) -> int:
        """Nothing ever waits."""
        return 0

    def append(self, *events: Event) -> None:
        """Add events; raises ``OwnershipLost`` once released, ``StoreError`` where one is refused."""
        for event in events:
            if type(event) in _CHECKED:
                self._check(event)
        if self._refuses:
            self._refuse()
        self._events.extend(events)
        if self._history.watchers:
            self._history.wake()

    async def flush(self) -> None:
        """Return at once; raises ``StoreError`` where something appended was refused."""
        if self._error is not None:
            raise StoreError(*self._error.args) from self._error

    async def drained(self, below: int) -> None:
        """Return at once; ``below`` is of no account."""

    async def release(self) -> None:
        """Give the ownership up; raises ``StoreError`` where something appended was refused."""
        if not self._is_released:
            self.let_go()
            await self.flush()

    def let_go(self) -> None:
        """Give the ownership up."""
        self._is_released = self._refuses = True
        self._history.let_go(self)

    def fail(self, error: StoreError) -> None:
        """Take nothing more: it would stand on an event that is missing."""
        self._error, self._refuses = error, True

    def _check(self, event: Event) -> None:
        """Refuse what no history may hold."""
        refused = ""
        if isinstance(event, RunStarted):
            refused = f"run {self.run_id!r} has started already; only `create` records a RunStarted"
        elif isinstance(event, QuestionAsked):
            whose = self._history.asked.setdefault(event.question, self.run_id)
            if whose != self.run_id:
                refused = f"the question id {event.question!r} belongs to another run"
        if refused:
            self.fail(StoreError(f"{refused}; resume run {self.run_id!r} from what is recorded"))

    def _refuse(self) -> NoReturn:
        """Say why nothing is taken any more."""
        if self._error is not None and not self._is_released:
            raise StoreError(*self._error.args) from self._error
        raise OwnershipLost(f"run {self.run_id!r} was released, so nothing can be appended; own it again")


@dataclass(slots=True, eq=False)
class _History:
    """One run: its events, and as much of what follows from them as somebody has asked for.

    Attributes:
        asked: Of all runs of the store: whose each question is.
    """

    started: RunStarted
    events: list[Event]
    asked: dict[QuestionId, RunId]
    fence: int = 1
    owner: MemoryLog | None = None
    recorded: list[Recorded] = field(default_factory=list[Recorded])
    requests: list[tuple[int, Request]] = field(default_factory=list[tuple[int, Request]])
    watchers: list[anyio.Event] = field(default_factory=list[anyio.Event])
    _derived: Derived | None = None

    def wake(self) -> None:
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            watcher.set()

    def let_go(self, log: MemoryLog) -> None:
        if self.owner is log:
            self.owner = None

    def derived(self) -> Derived:
        derived = self._derived
        if derived is None:
            derived = self._derived = Derived()
        for event in self.events[derived.seq :]:
            derived.apply(event)
        return derived

    def read(self) -> list[Recorded]:
        head = bytes.fromhex(self.recorded[-1].hash) if self.recorded else chain.GENESIS
        for event in self.events[len(self.recorded) :]:
            seq = len(self.recorded) + 1
            try:
                head = _link(head, event, f"event {seq} of run {self.started.run_id!r}")
            except StoreError as error:
                self._cut(seq - 1, error)
                break
            self.recorded.append(Recorded(seq=seq, hash=head.hex(), event=event))
        return self.recorded

    def _cut(self, length: int, error: StoreError) -> None:
        """Forget what cannot be written, and all that was put behind it."""
        del self.events[length:]
        self._derived = None
        if self.owner is not None:
            self.owner.fail(error)

    def open_requests(self) -> list[tuple[int, Request]]:
        derived = self.derived()
        waiting = [(seq, request) for seq, request in self.requests if _waits(seq, request, derived)]
        self.requests = waiting
        return waiting

    def pending(self, asked: Asked) -> list[tuple[str, str]]:
        return [
            (request.by, "" if request.value is None else request.value.digest)
            for _seq, request in self.open_requests()
            if request.kind == "answer" and request.question == asked.event.question
        ]

    def is_late(self, asked: Asked) -> bool:
        return any(
            request.kind == "late" and request.question == asked.event.question
            for _seq, request in self.open_requests()
        )

    def state(self, asked: Asked) -> State:
        """How a question is shown: what is asked of the run counts as if it had been done."""
        if asked.state != "open":
            return asked.state
        return "answered" if self.pending(asked) else "withdrawn" if self.is_late(asked) else "open"

    def questions(self) -> Iterator[Question]:
        for asked in self.derived().questions.values():
            state = self.state(asked)
            yield as_question(asked.event, run_id=self.started.run_id, graph=self.started.graph, state=state)

    def summary(self) -> RunSummary:
        derived, recorded = self.derived(), self.read()
        questions = sum(question.state == "open" for question in self.questions())
        return RunSummary(
            id=self.started.run_id,
            graph=self.started.graph,
            status=status(
                derived.status, is_owned=self.owner is not None, was_released=True, questions=questions
            ),
            started_at=self.started.at,
            updated_at=derived.updated_at,
            spent=derived.spent,
            questions=questions,
            events=len(recorded),
            head=recorded[-1].hash,
            labels=dict(self.started.labels),
            tenant=self.started.tenant,
            owner=_this_process() if self.owner is not None else "",
        )


class MemoryStore:
    """Keeps histories in memory: for tests, notebooks and runs that need not outlive the process.

    Example:
        >>> store = MemoryStore()
        >>> store.url, store.is_shared
        ('memory:', False)
    """

    def __init__(self) -> None:
        self._histories: dict[RunId, _History] = {}
        self._asked: dict[QuestionId, RunId] = {}
        self._requests = 0

    @property
    def url(self) -> str:
        """How people write it."""
        return "memory:"

    @property
    def is_shared(self) -> bool:
        """Never: no other process can see it."""
        return False

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def aclose(self) -> None:
        """Release every ownership; the histories stay as long as this object."""
        for history in self._histories.values():
            if history.owner is not None:
                history.owner.let_go()

    async def create(self, started: RunStarted) -> RunLog:
        """Record a new run and own it; raises ``RunExists`` where the id is taken."""
        if started.run_id in self._histories:
            raise run_exists(started.run_id)
        history = _History(started, [started], self._asked)
        self._histories[started.run_id] = history
        history.owner = MemoryLog(history)
        return history.owner

    async def own(self, run_id: RunId) -> RunLog:
        """Take the ownership; raises ``UnknownRun`` or ``OwnedElsewhere``."""
        history = self._history(run_id)
        if history.owner is not None:
            raise OwnedElsewhere(
                f"run {run_id!r} is owned by this process; release its log before owning it again",
                owner=_this_process(),
            )
        history.fence += 1
        history.owner = MemoryLog(history)
        return history.owner

    async def read(self, run_id: RunId, *, after: int = 0) -> list[Recorded]:
        """Give the events above ``after``; raises ``UnknownRun``."""
        return self._history(run_id).read()[after:]

    async def changed(self, run_id: RunId, *, after: int) -> None:
        """Return when there is an event above ``after``; raises ``UnknownRun``."""
        history = self._history(run_id)
        while len(history.events) <= after:
            watcher = anyio.Event()
            history.watchers.append(watcher)
            try:
                await watcher.wait()
            finally:
                if watcher in history.watchers:
                    history.watchers.remove(watcher)

    async def runs(
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        ids: Sequence[RunId] | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Give summaries, the newest run first."""
        found: list[RunSummary] = []
        wanted = None if ids is None else set(ids)
        for history in reversed(self._histories.values()):
            if wanted is not None and history.started.run_id not in wanted:
                continue
            if len(found) == limit:
                break
            summary = history.summary()
            if status in {None, summary.status} and graph in {None, summary.graph}:
                found.append(summary)
        return found

    async def run(self, run_id: RunId) -> RunSummary:
        """Give one summary; raises ``UnknownRun``."""
        return self._history(run_id).summary()

    async def due_runs(self, due: float) -> list[DueRun]:
        """Give the unfinished runs whose deadline is at a moment or before."""
        found = [
            DueRun(id=started.run_id, graph=started.graph, deadline=started.deadline)
            for history in self._histories.values()
            if (started := history.started).deadline is not None
            and started.deadline <= due
            and not history.derived().has_ended
        ]
        return sorted(found, key=lambda run: run.deadline)

    async def questions(
        self,
        *,
        state: str | None = "open",
        to: str | None = None,
        run_id: RunId | None = None,
        due: float | None = None,
    ) -> list[Question]:
        """Give questions, the oldest first."""
        histories = self._histories.values() if run_id is None else [self._history(run_id)]
        found = [question for history in histories for question in history.questions()]
        chosen = [q for q in found if state in {None, q.state} and to in {None, q.to} and _is_due(q, due)]
        return sorted(chosen, key=lambda question: question.asked_at)

    async def question(self, question_id: QuestionId) -> Question:
        """Give one question; raises ``QuestionError``."""
        found = {question.id: question for question in await self.questions(state=None)}
        if question_id not in found:
            raise unknown_question(question_id, list(found))
        return found[question_id]

    async def submit(self, request: Request) -> None:
        """Put a request for the owner of a run; raises ``QuestionError`` or ``UnknownRun``."""
        history = self._history(request.run_id)
        derived = history.derived()
        if request.kind != "cancel" and not self._admits(history, request):
            return
        if request.kind == "cancel" and (derived.has_ended or _asks_already(history, request)):
            return
        self._requests += 1
        history.requests.append((derived.seq, _numbered(request, self._requests)))

    async def requests(self, run_id: RunId | None = None) -> list[Request]:
        """Give requests not taken up yet, in order of arrival."""
        histories = self._histories.values() if run_id is None else [self._history(run_id)]
        found = [request for history in histories for _seq, request in history.open_requests()]
        return sorted(found, key=lambda request: request.id)

    async def ledger(self, run_id: RunId) -> list[LedgerLine]:
        """Give what a run was charged; raises ``UnknownRun``."""
        return as_ledger(run_id, self._history(run_id).derived().ledger)

    async def verify(self, run_id: RunId, *, head: str | None = None) -> list[Fault]:
        """Recompute the chain over the event objects; raises ``UnknownRun``."""
        history = self._history(run_id)
        faults: list[Fault] = []
        previous = chain.GENESIS
        for recorded in history.read():
            previous = _link(previous, history.events[recorded.seq - 1], f"event {recorded.seq}")
            if previous.hex() != recorded.hash:
                faults.append(Fault(seq=recorded.seq, what="the event was changed after it was first read"))
                previous = bytes.fromhex(recorded.hash)
        if head is not None and head not in {recorded.hash for recorded in history.recorded}:
            faults.append(Fault(seq=0, what=f"the head {head} kept elsewhere is not in this history"))
        return faults

    def _history(self, run_id: RunId) -> _History:
        history = self._histories.get(run_id)
        if history is None:
            raise unknown_run(run_id, list(self._histories))
        return history

    def _admits(self, history: _History, request: Request) -> bool:
        owners = [h for h in self._histories.values() if request.question in h.derived().questions]
        if not owners:
            known = [q for h in self._histories.values() for q in h.derived().questions]
            raise unknown_question(request.question, known)
        holder = history if history in owners else owners[0]
        asked = holder.derived().questions[request.question]
        standing = Standing(
            run_id=holder.started.run_id,
            state=asked.state,
            opening=asked.event.opening,
            deadline=asked.event.deadline,
            answered_by=asked.by,
            answer=asked.answer,
            pending=holder.pending(asked),
            is_late=holder.is_late(asked),
        )
        return is_new(request, standing)


def _link(previous: bytes, event: Event, where: str) -> bytes:
    try:
        text, payloads = encoding.encode(event)
        return chain.link(previous, text, {name: payload.digest for name, payload in payloads.items()})
    except encoding.NOT_JSON as error:
        raise StoreError(
            f"{where} ({event.kind}) cannot be written as JSON: {error}; resume the run from what is recorded"
        ) from error


def _is_due(question: Question, due: float | None) -> bool:
    return due is None or (question.deadline is not None and question.deadline <= due)


def _waits(seq: int, request: Request, derived: Derived) -> bool:
    if derived.has_ended or seq < derived.ended_seq:
        return False
    if request.kind == "cancel":
        return derived.cancel_seq <= seq
    asked = derived.questions[request.question]
    return asked.state == "open" and asked.event.opening == request.opening


def _asks_already(history: _History, request: Request) -> bool:
    return any(r.kind == "cancel" and r.by == request.by for _seq, r in history.open_requests())


def _numbered(request: Request, number: int) -> Request:
    return Request(
        run_id=request.run_id,
        kind=request.kind,
        at=request.at,
        by=request.by,
        reason=request.reason,
        question=request.question,
        opening=request.opening,
        value=request.value,
        id=number,
    )


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
