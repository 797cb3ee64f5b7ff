"""What a run is about as a whole, and how every run of a program begins."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from treadle.scheduler.commands import Command, EndRun
from treadle.scheduler.demand import Demand

OPENING = "scheduler.opening"
"""Under this name a program keeps its opening."""


class Mode(enum.Enum):
    """What the run as a whole is about."""

    NEW = "new"
    ACTIVE = "active"
    DRAINING = "draining"
    CANCELLING = "cancelling"
    FINISHING = "finishing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Opening:
    """What ``RunStarted`` comes to: the same for all runs of a program."""

    demand: Demand
    attempts: list[int]
    busy: int
    mode: Mode
    end: EndRun | None
    commands: tuple[Command, ...]
