"""A time that a test sets."""

from __future__ import annotations

import anyio


class SetClock:
    """A time that passes only when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._moved = anyio.Event()

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._moved.set()
        self._moved = anyio.Event()

    async def sleep_until(self, moment: float) -> None:
        while self._now < moment:
            await self._moved.wait()
