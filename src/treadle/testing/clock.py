"""``JumpingClock``: a time that stands still while anything works, and jumps when everything waits."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import current_default_thread_limiter

from treadle import given

START: Final = 1_800_000_000.0
"""Where a clock begins: 2027-01-15 08:00 UTC, far from any real now, so that a mix-up is seen."""

PATIENCE: Final = 0.05
"""Real seconds in which nothing happens before an attempt is timed out."""


class JumpingClock:
    """A clock for tests: backoffs and deadlines of hours take no time, and come in their order.

    Once every task of the event loop waits, the time jumps to the earliest moment somebody sleeps
    for.  What waits for a thread or a socket counts as waiting too, so a test should not let a
    sleep race with I/O.  Timeouts of attempts go by it as well, and take longer to believe that
    nothing comes any more: for ``patience`` nobody must have asked for the time, and no worker
    thread must be at work.

    Args:
        start: The time it begins with, in seconds since 1970 (UTC).
        patience: Real seconds in which nothing happens before an attempt is timed out.

    Raises:
        ConfigurationError: A number is none.

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

    @given.told("JumpingClock")
    def __init__(self, start: float = START, *, patience: float = PATIENCE) -> None:
        self._now = given.number("JumpingClock", "start", start, example="1_800_000_000.0")
        self._patience = given.number("JumpingClock", "patience", patience, example="0.05")
        self._asleep: list[tuple[float, bool]] = []
        self._looks = 0
        self._is_watched = False
        self._changed = anyio.Event()
        self.jumps: list[float] = []

    def now(self) -> float:
        """Seconds since 1970 (UTC): the start, or the last moment jumped to."""
        self._looks += 1
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass, as if the process had been busy, or gone, for so long."""
        self._now += seconds
        self._notify()

    async def sleep_until(self, moment: float) -> None:
        """Return once the time has jumped to the moment; a cancellation point in any case."""
        await self._wait(moment, is_timeout=False)

    async def time_out_at(self, moment: float) -> None:
        """Do the same for a timeout: the time jumps there only where nothing has happened for a while."""
        await self._wait(moment, is_timeout=True)

    async def _wait(self, moment: float, *, is_timeout: bool) -> None:
        await checkpoint()
        sleeper = moment, is_timeout
        self._asleep.append(sleeper)
        try:
            while self._now < moment:
                if self._is_watched:
                    await self._changed.wait()
                else:
                    await self._jump()
        finally:
            self._asleep.remove(sleeper)

    async def _jump(self) -> None:
        """Wait until everybody waits, then jump; one sleeper at a time does this for all."""
        self._is_watched = True
        try:
            await anyio.wait_all_tasks_blocked()
            earliest, is_timeout = min(self._asleep)  # of a sleep and a timeout at once, the sleep
            if is_timeout and not await self._nothing_happens():
                return
            if self._now < earliest and (earliest, is_timeout) == min(self._asleep):
                self._now = earliest
                self.jumps.append(earliest)
        finally:
            self._is_watched = False
            self._notify()

    async def _nothing_happens(self) -> bool:
        """Wait for the patience, and tell whether nobody did anything meanwhile."""
        looks = self._looks
        await anyio.sleep(self._patience)
        await anyio.wait_all_tasks_blocked()
        return self._looks == looks and not current_default_thread_limiter().borrowed_tokens

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
