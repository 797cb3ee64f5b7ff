"""Effects that may have happened: calls that began, and whose end nobody recorded."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.events import (
    NodeCompleted,
    Recorded,
    RunEnded,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, StepId


def doubts(history: Sequence[Recorded]) -> tuple[str, ...]:
    """Name the calls whose effects are in doubt at the end of a run, in order; none while it goes on."""
    found: dict[tuple[NodeId, StepId], str] = {}
    is_over = False
    for event in (recorded.event for recorded in history):
        is_over = isinstance(event, RunEnded)
        if isinstance(event, StepStarted) and event.once:
            found[event.node, event.step] = event.callee
        elif isinstance(event, StepCompleted | StepTried) or (
            isinstance(event, StepFailed) and not event.in_doubt
        ):
            found.pop((event.node, event.step), None)
        elif isinstance(event, NodeCompleted):
            found.pop((event.node, StepId("")), None)
    return tuple(found.values()) if is_over else ()
