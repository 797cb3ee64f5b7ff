"""The failures under a plan that a run has left: what was taken, and what is tried again.

A failure that a ``fallback``, a ``race`` or an ``each`` took is finished work, like a result.  One that the
run has failed with is not: it runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from treadle.events import AttemptFailed, Event, NodeCompleted, RunEnded
from treadle.ids import NodeId, split
from treadle.scheduler.commands import Command, StartAttempt
from treadle.scheduler.opening import Mode
from treadle.scheduler.scheduler import Scheduler


class Failing(NamedTuple):
    """How the newest attempt at a node has failed.

    Attributes:
        seq: The place of the event in the history.
        tries: How many have failed so far, where another one is due; else 0.
        not_before: When it begins.
    """

    event: AttemptFailed
    seq: int
    tries: int
    not_before: float


class Failed:
    """The failures under one plan, in the order of its history."""

    def __init__(self) -> None:
        self._newest: dict[NodeId, Failing] = {}

    def see(self, scheduler: Scheduler, event: Event, commands: Iterable[Command], seq: int) -> None:
        """Take in an event, and what the scheduler has made of it."""
        if isinstance(event, NodeCompleted):
            self._newest.pop(event.node, None)
        elif isinstance(event, RunEnded):
            self._newest = {failing.event.node: failing for failing in self.taken(scheduler)}
        elif isinstance(event, AttemptFailed):
            self._newest.pop(event.node, None)
            again = _again(commands, event.node)
            if again is not None:
                tries = scheduler.tries_of(event.node)
                self._newest[event.node] = Failing(event, seq, tries, again.not_before)
            elif scheduler.state_of(event.node) == "failed" and event.failure.takeable:
                self._newest[event.node] = Failing(event, seq, 0, 0.0)

    def taken(self, scheduler: Scheduler) -> Iterator[Failing]:
        """Give the failures that are finished work, as the plan is left."""
        blamed = scheduler.blamed
        for node, failing in self._newest.items():
            if not failing.tries and node not in blamed and _still(scheduler, node, failing):
                yield failing

    def between(self, scheduler: Scheduler) -> Iterator[Failing]:
        """Give those after which a node was to be tried again, as the plan is left."""
        for node, failing in self._newest.items():
            if failing.tries and scheduler.mode is Mode.ACTIVE and _still(scheduler, node, failing):
                yield failing


def _again(commands: Iterable[Command], node: NodeId) -> StartAttempt | None:
    """The next try that a failure has led to."""
    starts = (command for command in commands if isinstance(command, StartAttempt))
    return next((start for start in starts if start.node == node and start.not_before), None)


def _still(scheduler: Scheduler, node: NodeId, failing: Failing) -> bool:
    """Whether it is as it was then.  What was taken stays so where its item is over, and where the run was
    resumed after it had failed with something else."""
    inside, _ = split(node)
    if not scheduler.has(node):
        return bool(inside) and not failing.tries
    state = scheduler.state_of(node)
    return state in ("running", "parked") if failing.tries else state in ("failed", "idle")
