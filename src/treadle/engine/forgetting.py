"""What a run lets go of as an item or a round is over, so that a long ``each`` does not grow."""

from __future__ import annotations

from treadle.engine.purse import AllMade
from treadle.engine.records import Histories
from treadle.engine.retries import Retries
from treadle.scheduler.part import Part


def forget_calls(
    part: Part, histories: Histories | None, requests_made: AllMade, retries: Retries | None
) -> None:
    """Forget what was called in an item or a round, whose nodes never run again."""
    if histories is None and not requests_made:
        return
    for vertex, newest in enumerate(part.attempts):
        if not newest:
            continue
        node = part.node(vertex)
        for attempt in range(1, newest + 1):
            requests_made.pop((node, attempt), None)
            if histories is not None:
                histories.forget(node, attempt)
        if retries is not None:
            retries.forget(node)
