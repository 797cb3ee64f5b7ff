"""Who may begin with a run: one task of this process at a time, and nobody keeps what he cannot work on."""

from __future__ import annotations

import anyio

from treadle.ids import RunId
from treadle.interfaces import RunLog

_Begun = dict[RunId, anyio.Event | None]
"""Runs that are being begun with; the event is made by the first who waits, for hardly anybody does."""


class OneAtATime:
    """Lets one task at a time start a run, or take it up; the next one finds it under way."""

    def __init__(self) -> None:
        self._begun: _Begun = {}

    def alone(self, run_id: RunId) -> _Turn:
        """Be the only one in this process that begins with the run: ``async with``."""
        return _Turn(self._begun, run_id)


class _Turn:
    """The turn of one task.  A class, here and below: a generator costs every start of a run more."""

    __slots__ = ("_begun", "_run_id")

    def __init__(self, begun: _Begun, run_id: RunId) -> None:
        self._begun = begun
        self._run_id = run_id

    async def __aenter__(self) -> None:
        begun, run_id = self._begun, self._run_id
        while run_id in begun:
            over = begun[run_id]
            if over is None:
                over = begun[run_id] = anyio.Event()
            await over.wait()
        begun[run_id] = None

    async def __aexit__(self, *exc_info: object) -> None:
        over = self._begun.pop(self._run_id)
        if over is not None:
            over.set()


class ReleasedOnError:
    """Lets a run go that was owned and then could not be worked on: ``async with``."""

    __slots__ = ("_log",)

    def __init__(self, log: RunLog) -> None:
        self._log = log

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            with anyio.CancelScope(shield=True):
                await self._log.release()
