"""``Desk``: what a request to a model needs of the step that makes it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from treadle.engine.activity import Activity
from treadle.engine.body import Call
from treadle.engine.live import Live
from treadle.events import Event, MoneySettled


class Desk:
    """What a paid model call needs, for one step: a settlement is kept back until the step's result
    can be appended with it, in one transaction.

    Args:
        kept: Where it is kept.
    """

    def __init__(self, live: Live, call: Call, kept: list[Event]) -> None:
        self._live = live
        self._call = call
        self.clock = live.services.clock
        self._kept = kept

    def record(self, *events: Event) -> None:
        """Append events, or keep the settlement of an answered request for the step's result."""
        for event in events:
            if isinstance(event, MoneySettled) and event.outcome == "completed":
                self._kept.append(event)
            else:
                self._live.record(event)

    async def flush(self) -> None:
        """Return when all that was recorded is safe."""
        await self._live.log.flush()

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait for money or between requests."""
        return activity_of(self._call).waiting()


def activity_of(call: Call) -> Activity:
    """Whether a call itself runs or waits: a sibling that runs goes on being counted."""
    return call.body.activity if call.inner is None else call.inner.activity
