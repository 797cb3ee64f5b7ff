"""Runs that ended because the process that worked on them died again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle.errors import WorkerLost
from treadle.events import Recorded, RunEnded
from treadle.retry import qualified_name

_LOST: Final = qualified_name(WorkerLost)


def deaths(history: Sequence[Recorded]) -> int:
    """Give how many processes in a row have died over a run, where it ended by that; 0 for any other."""
    last = history[-1].event if history else None
    if not isinstance(last, RunEnded) or last.failure is None or _LOST not in last.failure.types:
        return 0
    return int(last.failure.details.get("deaths") or 0)
