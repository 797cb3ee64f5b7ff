"""What one run has open: a session with each program whose tools it calls.

A session is entered and left by a task of its own in the run's task group, because a connection has
tasks inside it and must be left where it was entered.  It is opened on first use, opened again where
it broke, and closed when the run ends or waits for people: a waiting run holds no connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio

from treadle.errors import ToolUnavailable, TreadleError
from treadle.interfaces import ToolServer, ToolSession

_log: Final = logging.getLogger(__name__)

Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Starts a task in the group of the run."""


class Sessions:
    """The sessions of one run.

    Args:
        start: Starts the task that holds one.
    """

    __slots__ = ("_held", "_start")

    def __init__(self, start: Start) -> None:
        self._start: Final = start
        self._held: dict[int, _Held] = {}

    async def get(self, server: ToolServer) -> ToolSession:
        """Give the session with a program, opening it where that has to be.

        Cancelling the caller lets the opening go on, for who needs it next.

        Raises:
            ToolUnavailable: It cannot be reached.
        """
        held = self._held.get(id(server))
        if held is None or held.is_over:
            if held is not None:
                held.close()
            held = self._held[id(server)] = _Held(server)
            self._start(held.hold)
        await held.opened.wait()
        if held.session is None:
            raise held.error or ToolUnavailable(
                f"the session with {server.name!r} was closed while it opened", server=server.name, tool=""
            )
        return held.session

    def close(self) -> None:
        """Have every session closed; the run's task group waits until they are."""
        for held in self._held.values():
            held.close()
        self._held.clear()


class _Held:
    """One session, and the task that holds it."""

    __slots__ = ("_closing", "_opening", "error", "opened", "server", "session")

    def __init__(self, server: ToolServer) -> None:
        self.server = server
        self.opened = anyio.Event()
        self.session: ToolSession | None = None
        self.error: TreadleError | None = None
        self._closing = anyio.Event()
        self._opening = anyio.CancelScope()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of it."""
        if not self.opened.is_set():
            return False
        return self.session is None or self.session.is_lost

    def close(self) -> None:
        """Have it closed; one that is still opening is given up."""
        self._closing.set()
        if not self.opened.is_set():
            self._opening.cancel()

    async def hold(self) -> None:
        """Open the session, keep it until it is to be closed, and close it."""
        try:
            with self._opening:
                await self._keep()
        except ToolUnavailable as error:
            self.error = error
        except Exception as error:  # a server may be anybody's code
            self._went_wrong(error)
        finally:
            if not self.opened.is_set():
                self.session = None
            self.opened.set()

    async def _keep(self) -> None:
        async with self.server.open() as self.session:
            self.opened.set()
            await self._closing.wait()

    def _went_wrong(self, error: Exception) -> None:
        """Tell those who wait for the session; where it was open, what it gave is recorded already."""
        name = self.server.name
        if self.opened.is_set():
            _log.warning("the session with %r did not close well: %s", name, type(error).__name__)
            _log.debug("what it said", exc_info=error)  # it may quote what was sent
            return
        why = f"opening a session with {name!r} failed with {type(error).__name__}: {error}"
        self.error = ToolUnavailable(why, server=name, tool="")
        self.error.__cause__ = error
