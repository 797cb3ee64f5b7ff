"""``Slot``: a worker as something that can be stopped."""

from __future__ import annotations

from typing import Protocol

import anyio

from treadle.scheduler.commands import StartAttempt


class Stopped(Protocol):
    """An attempt that was stopped."""

    async def end(self) -> None:
        """Feed how it ended."""
        ...

    def close(self) -> None:
        """Let go of it, now that it is over."""
        ...


class Slot:
    """A worker, or a backoff, as something that can be stopped.

    All that a worker does is in one scope, for a scope costs as much as a tenth of an attempt.  So a worker
    that is stopped takes nothing more, and goes.

    Attributes:
        command: What is fed as cancelled where it is stopped; ``None`` where there is nothing to say.
        stopped: The attempt it was stopped in, where that says itself how it ended: outside of the scope.
    """

    __slots__ = ("command", "is_cancelled", "scope", "stopped")

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.command: StartAttempt | None = None
        self.stopped: Stopped | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Stop it; it feeds that the attempt was cancelled."""
        self.is_cancelled = True
        self.scope.cancel()

    def let_go(self) -> None:
        """Stop it: nothing in it must not be cut off."""
        self.cancel()

    def stop(self, attempt: Stopped) -> None:
        """Stop it in an attempt."""
        self.stopped = attempt
        self.cancel()
