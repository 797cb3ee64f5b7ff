"""Who may begin with a run: one task of this process at a time, and nobody keeps what he cannot work on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from treadle.ids import RunId
from treadle.interfaces import RunLog


class OneAtATime:
    """Lets one task at a time start a run, or take it up; the next one finds it under way."""

    def __init__(self) -> None:
        self._begun: dict[RunId, anyio.Event] = {}

    @asynccontextmanager
    async def alone(self, run_id: RunId) -> AsyncGenerator[None]:
        """Be the only one in this process that begins with the run."""
        while run_id in self._begun:
            await self._begun[run_id].wait()
        self._begun[run_id] = anyio.Event()
        try:
            yield
        finally:
            self._begun.pop(run_id).set()


@asynccontextmanager
async def released_on_error(log: RunLog) -> AsyncGenerator[None]:
    """Let a run go that was owned and then could not be worked on."""
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True):
            await log.release()
        raise
