"""``JumpingClock``: a time that stands still while anything works, and jumps when everything waits."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.lowlevel import checkpoint

START: Final = 1_800_000_000.0
"""Where a clock begins: 2027-01-15 08:00 UTC, far from any real now, so that a mix-up is seen."""


class JumpingClock:
    """A clock for tests: backoffs and deadlines of hours take no time, and come in their order.

    Once every task of the event loop waits, the time jumps to the earliest moment somebody sleeps
    for.  What waits for a thread or a socket counts as waiting too, so a test should not let a
    sleep race with I/O.  Timeouts of attempts are anyio's and run in real time.

    Args:
        start: The time it begins with, in seconds since 1970 (UTC).

    Attributes:
        jumps: The moments it jumped to, oldest first.

    Example:
        >>> async def wait_a_day() -> float:
        ...     clock = JumpingClock(start=0.0)
        ...     await clock.sleep_until(86_400.0)
        ...     return clock.now()
        >>> anyio.run(wait_a_day)
        86400.0
    """

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._asleep: list[float] = []
        self._is_watched = False
        self._changed = anyio.Event()
        self.jumps: list[float] = []

    def now(self) -> float:
        """Seconds since 1970 (UTC): the start, or the last moment jumped to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass, as if the process had been busy, or gone, for so long."""
        self._now += seconds
        self._notify()

    async def sleep_until(self, moment: float) -> None:
        """Return once the time has jumped to the moment; a cancellation point in any case."""
        await checkpoint()
        self._asleep.append(moment)
        try:
            while self._now < moment:
                if self._is_watched:
                    await self._changed.wait()
                else:
                    await self._jump()
        finally:
            self._asleep.remove(moment)

    async def _jump(self) -> None:
        """Wait until everybody waits, then jump; one sleeper at a time does this for all."""
        self._is_watched = True
        try:
            await anyio.wait_all_tasks_blocked()
            if self._now < (earliest := min(self._asleep)):
                self._now = earliest
                self.jumps.append(earliest)
        finally:
            self._is_watched = False
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
