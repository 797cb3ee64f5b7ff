"""Calls that nobody needs any more: stopped, but for effects that must not be cut off.

An effect that is cut off is in doubt, and nobody would be asked about it: whoever needed the call has gone
on.  So it comes to its end first, or its doubt is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from treadle.engine.live import Live
from treadle.engine.records import AttemptRecords, StepRecord, is_inside
from treadle.events import AttemptCancelled
from treadle.ids import NodeId, StepId
from treadle.scheduler.commands import StartAttempt

Stops = dict[StepId, Callable[[], None]]

_ALL: Final = StepId("")


class Maker(Protocol):
    """The attempt that the calls belong to.

    Attributes:
        unneeded: What stops each call that nobody needs any more and that goes on; ``""`` for the attempt.
    """

    live: Live
    node: NodeId
    records: AttemptRecords
    unneeded: Stops | None


def let_go(maker: Maker, step: StepId, stop: Callable[[], None]) -> None:
    """Stop a call once nothing acts in it that must not be cut off."""
    if maker.unneeded is None:
        maker.unneeded = {}
    maker.unneeded[step] = stop
    stop_all(maker)


def stop_all(maker: Maker) -> None:
    """Stop what can be stopped by now."""
    stops = maker.unneeded or {}
    for step, stop in [*stops.items()]:
        is_left = not step and maker.live.claims.has_doubt(maker.node)
        if not is_left and not is_acting(maker.records.steps, step):
            del stops[step]
            stop()


def is_in_doubt(live: Live, command: StartAttempt) -> bool:
    """Whether an effect is in doubt in this attempt at a node, or in one before it."""
    steps = live.histories.of(command.node, command.attempt).steps
    return is_acting(steps) or live.claims.has_doubt(command.node)


def over(live: Live, command: StartAttempt) -> AttemptCancelled:
    """Give the end of an attempt that does not begin, or not again; what it had finished is on offer."""
    at = live.now()
    live.claims.add_attempt(live.histories.of(command.node, command.attempt))
    return AttemptCancelled(at=at, node=command.node, attempt=command.attempt, started_at=at)


def is_acting(steps: Mapping[StepId, StepRecord], step: StepId = _ALL) -> bool:
    """Whether an effect in a call, or in all of an attempt, may have happened and nobody knows yet."""
    return any(record.is_open and (name == step or is_inside(name, step)) for name, record in steps.items())
