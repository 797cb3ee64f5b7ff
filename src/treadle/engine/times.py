"""When attempts and the calls inside them ran, read off a history: budgets of seconds outlive a process.

Calls run and wait here as they did when they were made: an attempt waits while all its calls do, and so does
a call.  What died with its process counts up to the last event of its node.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from treadle.engine.activity import Activity
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    Progress,
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

Span = tuple[float, float]
"""A stretch of time, from start to end, in seconds since 1970."""

Key = tuple[NodeId, StepId]

_Inside = StepStarted | MoneyHeld | MoneySettled | StepTried | StepCompleted | StepFailed
_MONEY: Final = "money"
_RETRY: Final = "retry"
_UNTIMED: Final = frozenset({"model", "finder"})
"""Kinds of calls that have no budget of their own, and in no graph a place under one."""


class Times(NamedTuple):
    """When things ran, without waits for people, for money and for a retry.

    Attributes:
        nodes: All attempts at a node.
        calls: A call inside a body, in all attempts together; requests to models are not told of.
    """

    nodes: dict[NodeId, list[Span]]
    calls: dict[Key, list[Span]]


def read_times(events: Iterable[Event]) -> Times:
    """Read when everything ran."""
    reader = _Reader()
    for event in events:
        reader.see(event)
    reader.close_all()
    return Times(reader.spans, reader.calls)


def covered(spans: Iterable[Span]) -> float:
    """The length of the union of some spans: what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class Timeline:
    """Stretches of time, where what overlaps counts once."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []

    def add(self, span: Span) -> float:
        """Take one more in, and give the seconds that it adds."""
        starts, ends = self._starts, self._ends
        low, high = bisect_left(ends, span[0]), bisect_right(starts, span[1])
        known = sum(end - start for start, end in zip(starts[low:high], ends[low:high], strict=True))
        start, end = min([span[0], *starts[low:high]]), max([span[1], *ends[low:high]])
        starts[low:high], ends[low:high] = [start], [end]
        return end - start - known


class _Running:
    """Whether a call runs, and when it did."""

    __slots__ = ("_since", "spans")

    def __init__(self, at: float) -> None:
        self._since: float | None = at
        self.spans: list[Span] = []

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def start(self, at: float) -> None:
        if self._since is None:
            goes_on = bool(self.spans) and self.spans[-1][1] == at
            self._since = self.spans.pop()[0] if goes_on else at

    def stop(self, at: float, *, first: float = -math.inf) -> None:
        """It runs no more; nor did it before ``first``."""
        if self._since is not None and at > (since := max(self._since, first)):
            self.spans.append((since, at))
        self._since = None


class _Open:
    """A call that a history shows as begun, or an attempt itself.

    Attributes:
        inside: The calls that its body makes.
        flights: Requests to a model that are on their way.
        running: When it runs, where that is told of.
    """

    __slots__ = ("_waiting", "_waits_for", "activity", "flights", "inside", "running")

    def __init__(self, activity: Activity, running: _Running | None = None) -> None:
        self.activity = activity.__enter__()
        self.running = running
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
        """It is over."""
        self._waiting.close()
        self.activity.__exit__()

    def walk(self) -> Iterator[_Open]:
        """All calls inside, at any depth."""
        for call in self.inside.values():
            yield call
            yield from call.walk()


class _Attempts:
    """The attempts at one node, one after another.

    Args:
        node: It.
        calls: Takes in when its calls ran, as they end.

    Attributes:
        seen: The first and the last event of the one that runs, since it began or was taken up.
        waits: When it waited.
        answered: When it was last answered while it was parked.
    """

    def __init__(self, node: NodeId, calls: dict[Key, list[Span]]) -> None:
        self._node = node
        self._calls = calls
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
            if self._at > self._since:
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

    def stir(self, at: float) -> None:
        """Take in a sign of life."""
        self._at = at
        self.seen = (at if self.seen is None else self.seen[0], at)

    def see(self, event: _Inside) -> None:
        """Take in what happened inside; a request is found to be lost long after that."""
        if not (isinstance(event, MoneySettled) and event.outcome == "lost"):
            self.stir(event.at)
        if isinstance(event, StepStarted):
            self._begin(event)
            return
        call = self.find(event.step)
        if isinstance(event, MoneyHeld):
            call.flights += 1
            call.go_on(_MONEY)
        elif isinstance(event, MoneySettled):
            call.flights = max(0, call.flights - 1)
            if not call.flights:  # it is over, it is to be sent again, or nobody needs an answer any more
                call.wait(_MONEY)
        elif isinstance(event, StepTried):
            call.wait(_RETRY)
        elif isinstance(event, StepCompleted) or not event.in_doubt:
            self._end(event.step, first=event.started_at)
        elif call.running is not None:
            call.running.stop(event.at, first=event.started_at)

    def _begin(self, event: StepStarted) -> None:
        self._end(event.step)
        around = self.find(StepId(event.step.rpartition("/")[0]))
        running = None if event.callee_kind in _UNTIMED else _Running(event.at)
        told = None if running is None else partial(self._tell, running)
        call = around.inside[event.step] = _Open(around.activity.call(told), running)
        if event.callee_kind == "model":
            call.wait(_MONEY)

    def _tell(self, running: _Running, waits: bool) -> None:
        (running.stop if waits else running.start)(self._at)

    def _end(self, step: StepId, *, first: float = -math.inf) -> None:
        around = self.find(StepId(step.rpartition("/")[0]))
        if step in around.inside:
            self._close(around, step, first)

    def _close(self, around: _Open, step: StepId, first: float = -math.inf) -> None:
        """A call is over, and so are those inside."""
        call = around.inside.pop(step)
        for inner in list(call.inside):
            self._close(call, inner)
        if call.running is not None:
            call.running.stop(self._at, first=first)
            if call.running.spans:
                self._calls.setdefault((self._node, step), []).extend(call.running.spans)
        call.close()

    def close(self) -> None:
        """All of its calls are over."""
        for step in list(self._root.inside):
            self._close(self._root, step)

    def pause(self) -> None:
        """It is parked: nothing in it runs."""
        self.is_parked = True
        for call in self._root.walk():
            if call.running is not None:
                call.running.stop(self._at)

    def die(self, at: float) -> None:
        """Its process has died, and another one takes it up at a moment."""
        for call in self._root.walk():
            if call.running is not None and call.running.is_on:
                call.running.stop(self._at)
                call.running.start(at)

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
        for one in self._root.walk() if self.is_parked else ():
            if one.running is not None and not one.activity.is_waiting:
                one.running.start(event.at)

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
        self.calls: dict[Key, list[Span]] = {}
        self._attempts: dict[NodeId, _Attempts] = {}

    def see(self, event: Event) -> None:
        if isinstance(event, StepStarted | MoneyHeld | MoneySettled | StepTried | StepCompleted | StepFailed):
            self._at(event.node).see(event)
        elif isinstance(event, Progress):
            self._at(event.node).stir(event.at)
        elif isinstance(event, QuestionAsked):
            self._at(event.node).asked(event)
        elif isinstance(event, QuestionAnswered | QuestionWithdrawn):
            self._at(event.node).told(event)
        elif isinstance(event, NodeCompleted | AttemptFailed | AttemptCancelled):
            self._end(event)
        elif isinstance(event, AttemptParked):
            attempts = self._at(event.node)
            self._add(event.node, attempts, ((attempts.seen or (event.at, event.at))[0], event.at))
            attempts.pause()
        elif isinstance(event, RunResumed):
            self._resume(event)

    def _end(self, event: NodeCompleted | AttemptFailed | AttemptCancelled) -> None:
        attempts = self._at(event.node)
        if not (isinstance(event, NodeCompleted) and event.claimed):
            first = max(event.started_at, attempts.answered)
            self._add(event.node, attempts, (first, event.at))
        attempts.close()
        del self._attempts[event.node]

    def _resume(self, event: RunResumed) -> None:
        if event.plan is not None:
            self.close_all()
            self._attempts.clear()
            return
        self._count_dead()
        for attempts in self._attempts.values():
            attempts.die(event.at)

    def close_all(self) -> None:
        """Count what ran up to its last event, where the process may have died."""
        self._count_dead()
        for attempts in self._attempts.values():
            attempts.close()

    def _count_dead(self) -> None:
        for node, attempts in self._attempts.items():
            if attempts.seen is not None:
                self._add(node, attempts, attempts.seen)

    def _at(self, node: NodeId) -> _Attempts:
        if node not in self._attempts:
            self._attempts[node] = _Attempts(node, self.calls)
        return self._attempts[node]

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
