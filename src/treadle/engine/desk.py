"""``Desk``: what a request to a model needs of the step that makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec

from treadle.engine.activity import Activity
from treadle.engine.body import Call
from treadle.engine.live import Live
from treadle.engine.purse import note
from treadle.events import CircuitActed, Event
from treadle.interfaces import Span

P = ParamSpec("P")


class Desk:
    """What a paid model call needs, for one step: its last settlement is kept back until the step's result
    or failure can be appended with it, in one transaction.

    Args:
        kept: Where it is kept.
    """

    def __init__(self, live: Live, call: Call, kept: list[Event]) -> None:
        self._live = live
        self._call = call
        self.clock = live.services.clock
        self._kept = kept

    def record(self, *events: Event, is_last: bool = False) -> None:
        """Append events, or keep them for the end of the step, with what a kept one did to a circuit."""
        for event in events:
            note(self._live.requests_made, event)
        if is_last or (self._kept and isinstance(events[0], CircuitActed)):
            self._kept.extend(events)
        else:
            self._live.record(*events)

    async def flush(self) -> None:
        """Return when all that was recorded is safe."""
        await self._live.log.flush()

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait for money or between requests."""
        return activity_of(self._call).waiting()


async def traced(span: Span, act: Callable[P, Awaitable[Any]], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Do something in a span, what it does before it first waits included."""
    with span.current():
        return await act(*args, **kwargs)


def activity_of(call: Call) -> Activity:
    """Whether a call itself runs or waits: a sibling that runs goes on being counted."""
    return call.body.activity if call.inner is None else call.inner.activity


def end_span(call: Call, live: Live, *, error: BaseException | None = None, status: str = "") -> None:
    """Close the span of a try at a call, where it has one of its own that is open."""
    inner = call.inner
    if inner is not None and inner.span is not None and inner.span is not call.body.span:
        live.end_span(inner.span, error=error, status=status)
        inner.span = call.body.span
