"""When attempts run, and when they only wait: for people, for money, between two requests.

``Activity`` tells it while an attempt is alive; ``busy`` reads it off a history.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Self

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
    RunResumed,
    StepStarted,
)
from treadle.ids import NodeId, StepId
from treadle.interfaces import Clock

Span = tuple[float, float]
"""A stretch of time, from start to end, in seconds since 1970."""


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

    An attempt that died with its process counts up to its last event.  While a call waits for money,
    tools beside it in the same attempt are not counted: the history does not tell them apart.
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


class _Reader:
    """The attempts that a history shows as running, while it is read."""

    def __init__(self) -> None:
        self.spans: dict[NodeId, list[Span]] = {}
        self._seen: dict[NodeId, Span] = {}
        self._answered: dict[NodeId, float] = {}
        self._waits: dict[NodeId, list[Span]] = {}
        self._flights: dict[NodeId, list[Span]] = {}
        self._waiting: dict[tuple[NodeId, StepId], float] = {}

    def see(self, event: Event) -> None:
        if isinstance(event, StepStarted | MoneyHeld | MoneySettled):
            self._inside(event)
        elif isinstance(event, NodeCompleted | AttemptFailed | AttemptCancelled):
            if not (isinstance(event, NodeCompleted | AttemptFailed) and event.claimed):
                first = max(event.started_at, self._answered.pop(event.node, event.started_at))
                self._close(event.node, (first, event.at))
        elif isinstance(event, AttemptParked):
            self._close(event.node, (self._seen.get(event.node, (event.at, event.at))[0], event.at))
        elif isinstance(event, QuestionAnswered):
            self._answered[event.node] = event.at
        elif isinstance(event, RunResumed):
            self.close_all()

    def close_all(self) -> None:
        for node, span in list(self._seen.items()):
            self._close(node, span)

    def _inside(self, event: StepStarted | MoneyHeld | MoneySettled) -> None:
        first, _ = self._seen.get(event.node, (event.at, event.at))
        self._seen[event.node] = (first, event.at)
        key = (event.node, event.step)
        if isinstance(event, MoneyHeld):
            self._waits.setdefault(event.node, []).append((self._waiting.pop(key, event.at), event.at))
        elif isinstance(event, MoneySettled):
            self._flights.setdefault(event.node, []).append((event.started_at, event.at))
            self._waiting[key] = event.at
        elif event.callee_kind == "model":
            self._waiting[key] = event.at

    def _close(self, node: NodeId, span: Span) -> None:
        self._seen.pop(node, None)
        flights = self._flights.pop(node, [])
        waits = [piece for wait in self._waits.pop(node, []) for piece in _without(wait, flights)]
        self.spans.setdefault(node, []).extend(_without(span, waits))


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
