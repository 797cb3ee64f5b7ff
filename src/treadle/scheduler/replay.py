"""Rebuilding a scheduler from recorded events, without acting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from treadle.errors import InternalError
from treadle.events import Event, RunResumed, RunStarted
from treadle.scheduler.commands import Command
from treadle.scheduler.program import Program
from treadle.scheduler.scheduler import Scheduler
from treadle.values import Payload


def replay(
    events: Iterable[Event], program_of: Callable[[Payload], Program]
) -> tuple[Scheduler, list[list[Command]]]:
    """Feed a run's events to a scheduler and give it, with the commands each event led to.

    Args:
        events: A run's events from the first; ``RunStarted`` must be the first of them.
        program_of: Gives the program of a plan document.

    Raises:
        InternalError: The events do not follow from one another.
    """
    steps = list(retrace(events, program_of))
    if not steps:
        raise InternalError("a history begins with RunStarted, and this one does not; please report this")
    return steps[-1][0], [commands for _, _, commands in steps]


def retrace(
    events: Iterable[Event], program_of: Callable[[Payload], Program]
) -> Iterator[tuple[Scheduler, Event, list[Command]]]:
    """Walk through a run again: each event, what it led to, and the scheduler as it was right then.

    A ``RunResumed`` that names a plan starts a new scheduler: from there on only what was claimed
    or done under that plan counts.

    Raises:
        InternalError: The events do not follow from one another.
    """
    scheduler: Scheduler | None = None
    seed = ""
    for event in events:
        if isinstance(event, RunStarted) and scheduler is None:
            seed = event.seed
            scheduler = Scheduler(program_of(event.plan), seed=seed)
        elif isinstance(event, RunResumed) and event.plan is not None and scheduler is not None:
            scheduler = Scheduler(program_of(event.plan), seed=seed)
        if scheduler is None:
            return
        yield scheduler, event, scheduler.handle(event)
