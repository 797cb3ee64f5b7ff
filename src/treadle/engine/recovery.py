"""Runs whose worker died: how often in a row, and when nobody takes them up by themselves any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from treadle.engine.compiled import Compiled, Runner
from treadle.engine.live import Live
from treadle.engine.slot import Slot
from treadle.engine.taking_up import Past
from treadle.engine.workspace import Workspace
from treadle.errors import ConfigurationError, WorkerLost
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunResumed,
    RunStarted,
    StepCompleted,
    StepFailed,
)
from treadle.interfaces import RunLog
from treadle.scheduler.commands import StartAttempt

RECOVERIES: Final = 5
"""How often in a row a run is taken up after its worker died, while it makes no progress."""

_PROGRESS: Final = (
    AttemptCancelled, AttemptFailed, AttemptParked, Decided, NodeCompleted, QuestionAnswered, QuestionAsked,
    RunEnded, RunStarted, StepCompleted, StepFailed,
)  # fmt: skip
"""What a run gets further by.  Intents, holds and what a body tells of itself are none."""


def dies_again(log: RunLog, before: Past, allowed: int) -> bool:
    """Whether a run whose last worker died has been taken up from the dead so often already.

    Args:
        log: The run's, just taken.
        before: Its history.
        allowed: How often in a row it may be taken up.
    """
    return log.was_abandoned and before.ended is None and _in_a_row(before.events) >= allowed


def _in_a_row(events: Sequence[Event]) -> int:
    """Count how often the run was taken up from a dead worker since it last made progress.

    An edit of the graph begins the count anew: it may have mended what kills the worker.
    """
    count = 0
    for event in reversed(events):
        if isinstance(event, _PROGRESS) or (isinstance(event, RunResumed) and event.plan is not None):
            break
        count += isinstance(event, RunResumed) and event.recovered
    return count


async def recovered(log: RunLog, before: Past, resumed: RunResumed) -> tuple[RunResumed, bool]:
    """Record, before anything runs, that a run is taken up from a dead worker: it may die at once again.

    Returns:
        The event with which the run goes on, and whether it stands in the store already.
    """
    if not log.was_abandoned or before.ended is not None:
        return resumed, False
    resumed = replace(resumed, recovered=True)
    log.append(resumed)
    await log.flush()
    return resumed, True


def giving_up(compiled: Compiled, run_id: str, deaths: int) -> Compiled:
    """Give a plan whose every attempt fails at once, and nobody takes the failure: ``WorkerLost``."""

    async def refuse(live: Live, _workspace: Workspace, command: StartAttempt, _slot: Slot) -> None:
        error = WorkerLost(
            f"the process that worked on run {run_id!r} died {deaths} times in a row, and nothing was "
            f"finished in between; node {command.node!r} was under way. It is not taken up by itself any "
            f"more: mend what kills it, and order it with `treadle resume {run_id}`",
            run_id=run_id,
            node=command.node,
            attempt=command.attempt,
            deaths=deaths,
        )
        live.attempt_failed(command.node, command.attempt, live.now(), error)

    return _with_runner(compiled, refuse)


def _with_runner(compiled: Compiled, runner: Runner) -> Compiled:
    """Give a plan with this runner for all its work, that of items and rounds included."""
    return replace(
        compiled,
        runners=tuple(None if one is None else runner for one in compiled.runners),
        bodies={vertex: _with_runner(body, runner) for vertex, body in compiled.bodies.items()},
    )


def unheeded(before: Past, resumed: RunResumed) -> list[CancelRequested]:
    """Give the cancellation that was taken up under a plan which the run has no more, and not carried out.

    A scheduler that starts afresh under another plan has not seen it.
    """
    epoch = before.epoch if resumed.plan is None else len(before.events)
    for index in range(len(before.events) - 1, -1, -1):
        event = before.events[index]
        if isinstance(event, RunEnded):
            return []
        if isinstance(event, CancelRequested):
            return [replace(event, at=resumed.at)] if index < epoch else []
    return []


def check_recoveries(count: object) -> int:
    """Make sure that a number of recoveries is one.

    Raises:
        ConfigurationError: It is no whole number, or below 0.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigurationError(f"recoveries={count!r} is no whole number of 0 or more; write recoveries=5")
    return count
