"""The real time."""

from __future__ import annotations

import time

import anyio


class SystemClock:
    """The time of this machine."""

    now = staticmethod(time.time)

    async def sleep_until(self, moment: float) -> None:
        """Return once the machine's clock has reached a moment."""
        await anyio.sleep(max(0.0, moment - time.time()))
