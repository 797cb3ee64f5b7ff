"""When attempts run, and when they only wait: for people, for money, between two requests.

``Activity`` tells it while an attempt is alive; ``busy`` reads it off a history.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, Self

from treadle.engine.money import Account
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, QuestionId, StepId
from treadle.interfaces import Clock

Span = tuple[float, float]
"""A stretch of time, from start to end, in seconds since 1970."""

_Inside = StepStarted | MoneyHeld | MoneySettled | StepTried | StepCompleted | StepFailed
_MONEY: Final = "money"
_RETRY: Final = "retry"


class Activity:
    """Whether an attempt, or a call inside its body, runs or only waits.

    It waits while it says so itself (``waiting``), or while it has calls and all of them wait.

    Args:
        changed: Told ``True`` when it begins to wait, ``False`` when it runs again.
        stirred: Told of each sign of life: progress, or a call inside that begins or ends.
        around: Of a call: the activity of the body that makes it.
    """

    __slots__ = ("_around", "_calls", "_changed", "_stirred", "_waiting_calls", "_waits", "is_waiting")

    def __init__(
        self,
        changed: Callable[[bool], None],
        stirred: Callable[[], None] | None = None,
        around: Activity | None = None,
    ) -> None:
        self._changed = changed
        self._stirred = stirred
        self._around = around
        self._calls = 0
        self._waiting_calls = 0
        self._waits = 0
        self.is_waiting = False

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Around a wait for people, for money, or between two requests."""
        self._waits += 1
        self._update()
        try:
            yield
        finally:
            self._waits -= 1
            self._update()

    def call(self) -> Activity:
        """Around a call that the body makes: the call's own activity."""
        return Activity(self._count, self.stir, self)

    def __enter__(self) -> Self:
        if self._around is not None:
            self._around.count_calls(1, is_waiting=False)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._around is not None:
            self._around.count_calls(-1, is_waiting=self.is_waiting)

    def count_calls(self, more: int, *, is_waiting: bool) -> None:
        """Note that a call inside begins, or ends: while it waited, perhaps."""
        self._calls += more
        self._waiting_calls -= is_waiting
        self._update()
        self.stir()

    def stir(self) -> None:
        """Give a sign of life, here and around."""
        if self._stirred is not None:
            self._stirred()

    @contextmanager
    def told(self, changed: Callable[[bool], None], stirred: Callable[[], None]) -> Generator[None]:
        """Tell somebody else too when it begins or ends to wait, and of signs of life, such as a timeout."""
        before, stirred_before = self._changed, self._stirred

        def both(waits: bool) -> None:
            before(waits)
            changed(waits)

        def both_stirred() -> None:
            stirred()
            if stirred_before is not None:
                stirred_before()

        self._changed, self._stirred = both, both_stirred
        try:
            yield
        finally:
            self._changed, self._stirred = before, stirred_before

    def _count(self, waits: bool) -> None:
        self._waiting_calls += 1 if waits else -1
        self._update()

    def _update(self) -> None:
        waits = self._waits > 0 or 0 < self._calls == self._waiting_calls
        if waits != self.is_waiting:
            self.is_waiting = waits
            self._changed(waits)


@contextmanager
def running(
    accounts: Sequence[Account],
    clock: Clock,
    changed: Callable[[bool], None] | None = None,
    stirred: Callable[[], None] | None = None,
) -> Generator[Activity]:
    """Count the seconds of an attempt in accounts, without its waits.

    Args:
        accounts: Those with a limit of seconds (``money.timed``).
        clock: The engine's.
        changed: Told too when the attempt begins or ends to wait, such as to stop its timeout.
        stirred: Told of each sign of life.
    """

    def count(waits: bool) -> None:
        at = clock.now()
        for account in accounts:
            (account.meter.stopped if waits else account.meter.started)(at)
        if changed is not None:
            changed(waits)

    activity = Activity(count, stirred)
    at = clock.now()
    for account in accounts:
        account.meter.started(at)
    try:
        yield activity
    finally:
        at = clock.now()
        for account in accounts if not activity.is_waiting else ():
            account.meter.stopped(at)


def busy(events: Iterable[Event]) -> dict[NodeId, list[Span]]:
    """When each node's attempts ran, by node, without waits for people, for money and for a retry.

    Calls inside run and wait here as they did when they were made, so an attempt waits while all its calls
    do.  One that died with its process counts up to its last event.
    """
    reader = _Reader()
    for event in events:
        reader.see(event)
    reader.close_all()
    return reader.spans


def covered(spans: Iterable[Span]) -> float:
    """The length of the union of some spans: what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class _Open:
    """A call that a history shows as begun, or an attempt itself.

    Attributes:
        inside: The calls that its body makes.
        flights: Requests to a model that are on their way.
    """

    __slots__ = ("_waiting", "_waits_for", "activity", "flights", "inside")

    def __init__(self, activity: Activity) -> None:
        self.activity = activity.__enter__()
        self.inside: dict[StepId, _Open] = {}
        self.flights = 0
        self._waits_for: set[str] = set()
        self._waiting = ExitStack()

    def wait(self, what: str) -> None:
        """It waits for something."""
        if not self._waits_for:
            self._waiting.enter_context(self.activity.waiting())
        self._waits_for.add(what)

    def go_on(self, what: str) -> None:
        """It waits for that no more."""
        if what in self._waits_for:
            self._waits_for.discard(what)
            if not self._waits_for:
                self._waiting.close()

    def close(self) -> None:
        """It is over, and so are the calls inside."""
        for call in self.inside.values():
            call.close()
        self.inside.clear()
        self._waiting.close()
        self.activity.__exit__()


class _Attempts:
    """The attempts at one node, one after another.

    Attributes:
        seen: The first and the last event of the one that runs, since it began or was taken up.
        waits: When it waited.
        answered: When it was last answered while it was parked.
    """

    def __init__(self) -> None:
        self.seen: Span | None = None
        self.waits: list[Span] = []
        self.is_parked = False
        self.answered = float("-inf")
        self._since: float | None = None
        self._at = 0.0
        self._root = _Open(Activity(self._changed))
        self._questions: dict[QuestionId, _Open] = {}

    def _changed(self, waits: bool) -> None:
        if waits:
            self._since = self._at
        elif self._since is not None:
            self.waits.append((self._since, self._at))
            self._since = None

    def find(self, step: StepId) -> _Open:
        """A call that is under way; the one around it, where it is none by itself."""
        found, name = self._root, ""
        for part in step.split("/") if step else ():
            name = f"{name}/{part}" if name else part
            inside = found.inside.get(StepId(name))
            if inside is None:
                break
            found = inside
        return found

    def see(self, event: _Inside) -> None:
        """Take in what happened inside."""
        self._at = event.at
        self.seen = (event.at if self.seen is None else self.seen[0], event.at)
        if isinstance(event, StepStarted):
            self._begin(event)
            return
        call = self.find(event.step)
        if isinstance(event, MoneyHeld):
            call.flights += 1
            call.go_on(_MONEY)
        elif isinstance(event, MoneySettled):
            call.flights = max(0, call.flights - 1)
            if event.outcome not in ("completed", "cancelled") and not call.flights:
                call.wait(_MONEY)
        elif isinstance(event, StepTried):
            call.wait(_RETRY)
        elif isinstance(event, StepCompleted) or not event.in_doubt:
            self._end(event.step)

    def _begin(self, event: StepStarted) -> None:
        self._end(event.step)
        around = self.find(StepId(event.step.rpartition("/")[0]))
        call = around.inside[event.step] = _Open(around.activity.call())
        if event.callee_kind == "model":
            call.wait(_MONEY)

    def _end(self, step: StepId) -> None:
        ended = self.find(StepId(step.rpartition("/")[0])).inside.pop(step, None)
        if ended is not None:
            ended.close()

    def asked(self, event: QuestionAsked) -> None:
        """A person is asked; the attempt need not run meanwhile."""
        self._at = event.at
        self._questions[event.question] = call = self.find(event.step)
        call.wait(event.question)

    def told(self, event: QuestionAnswered | QuestionWithdrawn) -> None:
        """That is over."""
        self._at = event.at
        if self.is_parked:
            self.answered = event.at
        call = self._questions.pop(event.question, None)
        if call is not None:
            call.go_on(event.question)

    def ran(self, span: Span) -> list[Span]:
        """When it ran within a stretch that is over."""
        self.seen = None
        self._at = span[1]
        open_ = [] if self._since is None else [(self._since, span[1])]
        return _without(span, [*self.waits, *open_])


class _Reader:
    """The attempts that a history shows as running, while it is read."""

    def __init__(self) -> None:
        self.spans: dict[NodeId, list[Span]] = {}
        self._attempts: dict[NodeId, _Attempts] = {}

    def see(self, event: Event) -> None:
        if isinstance(event, StepStarted | MoneyHeld | MoneySettled | StepTried | StepCompleted | StepFailed):
            self._at(event.node).see(event)
        elif isinstance(event, QuestionAsked):
            self._at(event.node).asked(event)
        elif isinstance(event, QuestionAnswered | QuestionWithdrawn):
            self._at(event.node).told(event)
        elif isinstance(event, NodeCompleted | AttemptFailed | AttemptCancelled):
            attempts = self._attempts.pop(event.node, None) or _Attempts()
            if not (isinstance(event, NodeCompleted) and event.claimed):
                first = max(event.started_at, attempts.answered)
                self._add(event.node, attempts, (first, event.at))
        elif isinstance(event, AttemptParked):
            attempts = self._at(event.node)
            attempts.is_parked = True
            self._add(event.node, attempts, ((attempts.seen or (event.at, event.at))[0], event.at))
        elif isinstance(event, RunResumed):
            self.close_all()
            if event.plan is not None:
                self._attempts.clear()

    def close_all(self) -> None:
        """Count what ran up to its last event, where the process may have died."""
        for node, attempts in self._attempts.items():
            if attempts.seen is not None:
                self._add(node, attempts, attempts.seen)

    def _at(self, node: NodeId) -> _Attempts:
        return self._attempts.setdefault(node, _Attempts())

    def _add(self, node: NodeId, attempts: _Attempts, span: Span) -> None:
        self.spans.setdefault(node, []).extend(attempts.ran(span))


def _without(span: Span, holes: Iterable[Span]) -> list[Span]:
    """What is left of a span once holes are cut out of it."""
    pieces: list[Span] = []
    start, end = span
    for low, high in sorted(holes):
        if low > start:
            pieces.append((start, min(low, end)))
        start = max(start, high)
    if end > start:
        pieces.append((start, end))
    return [piece for piece in pieces if piece[1] > piece[0]]
