"""How long calls inside bodies have run, read off a history: budgets of seconds outlive a process."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from treadle.engine.activity import Span
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    Event,
    NodeCompleted,
    QuestionAnswered,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, StepId

Key = tuple[NodeId, StepId]

_UNTIMED: Final = frozenset({"model", "finder"})


def step_spans(events: Iterable[Event]) -> dict[Key, list[Span]]:
    """When each call ran, of all attempts together, without the time in which its attempt was parked.

    A call that died with its process counts up to the last event of its node.  Of requests to models
    nothing is told: they have no budget of their own.
    """
    reader = _Reader()
    for event in events:
        reader.see(event)
    reader.stop_all()
    return reader.ran


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


class _Reader:
    """The calls that a history shows as running, while it is read, by node."""

    def __init__(self) -> None:
        self.ran: dict[Key, list[Span]] = {}
        self._since: dict[NodeId, dict[StepId, float]] = {}
        self._parked: dict[NodeId, list[StepId]] = {}
        self._seen: dict[NodeId, float] = {}

    def see(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            if event.step and event.callee_kind not in _UNTIMED:
                self._go_on(event.node, [event.step], event.at)
        elif isinstance(event, StepCompleted | StepFailed | StepTried):
            self._stop(event.node, event.step, event.at)
        elif isinstance(event, AttemptParked):
            self._parked[event.node] = self._stop_node(event.node, event.at)
        elif isinstance(event, AttemptFailed | AttemptCancelled | NodeCompleted):
            self._stop_node(event.node, event.at)
        elif isinstance(event, QuestionAnswered):
            self._go_on(event.node, self._parked.pop(event.node, ()), event.at)
        elif isinstance(event, RunResumed):
            for node, steps in self.stop_all().items():
                self._go_on(node, steps, event.at)
        here: NodeId | None = getattr(event, "node", None)
        if here is not None and here in self._since:
            self._seen[here] = event.at

    def stop_all(self) -> dict[NodeId, list[StepId]]:
        """Count what was running up to the last event of its node, and give it."""
        return {node: self._stop_node(node, self._seen[node]) for node in list(self._since)}

    def _go_on(self, node: NodeId, steps: Iterable[StepId], at: float) -> None:
        for step in steps:
            self._since.setdefault(node, {})[step] = at
            self._seen[node] = at

    def _stop_node(self, node: NodeId, at: float) -> list[StepId]:
        running = list(self._since.get(node, ()))
        for step in running:
            self._stop(node, step, at)
        self._since.pop(node, None)
        return running

    def _stop(self, node: NodeId, step: StepId, at: float) -> None:
        since = self._since.get(node, {}).pop(step, None)
        if since is not None and at > since:
            self.ran.setdefault((node, step), []).append((since, at))
