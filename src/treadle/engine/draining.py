"""Leaving in good order: the runs under way, and the signals that ask a process to go.

A drain starts nothing more, lets running attempts finish within a set time, and lets go of every run
where it stands.  What is recorded then is what a crash would have left, so nothing special is needed
to take the runs up again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import anyio

from treadle import durations
from treadle.errors import ConfigurationError
from treadle.ids import RunId

_log: Final = logging.getLogger("treadle.engine")

GRACE: Final = 8.0
"""Seconds in which running attempts may finish: containers are killed ten seconds after they are told to
stop."""

CLEAN_UP: Final = 1.0
"""Seconds that what was cancelled has to clean up, before nobody waits for it any more."""

TOGETHER: Final = 0.1
"""Seconds in which more signals are taken for the first one: wrappers pass on what the terminal sends too."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class UnderWay:
    """The runs an engine works on: who drains waits for them, and stops those that are left.

    Attributes:
        left: Runs that were let go before they had ended or waited for people.
    """

    def __init__(self) -> None:
        self.left: list[RunId] = []
        self._stops: dict[RunId, Callable[[], None]] = {}
        self._empty = anyio.Event()

    def begin(self, run_id: RunId, stop: Callable[[], None]) -> None:
        """Note that work on a run begins, and what stops it; whoever calls this sees to ``over``."""
        self._stops[run_id] = stop

    def over(self, run_id: RunId) -> None:
        """Note that nothing of that work is left."""
        del self._stops[run_id]
        if not self._stops:
            self._empty.set()
            self._empty = anyio.Event()

    async def wait_empty(self) -> None:
        """Return once no run is under way."""
        while self._stops:
            await self._empty.wait()

    async def end(self, within: float) -> None:
        """Return once no run is under way: what takes longer is stopped, at once if this is cancelled."""
        try:
            with anyio.move_on_after(within):
                await self.wait_empty()
        finally:
            for stop in list(self._stops.values()):
                stop()
            with anyio.move_on_after(CLEAN_UP, shield=True):
                await self.wait_empty()


def grace_of(within: float | str) -> float:
    """Give a time to finish in seconds; 0 is none.

    Raises:
        ValueError: It is no length of time.
    """
    return 0.0 if within == 0 else durations.seconds(within)


class Stops:
    """The signals that come in, one after the other.

    Args:
        reading: Where their numbers are read, a byte each.
    """

    def __init__(self, reading: int) -> None:
        self._reading = reading

    async def next(self) -> int:
        """Return at the next signal, with its number."""
        await anyio.wait_readable(self._reading)
        return os.read(self._reading, 1)[0]

    async def next_one_apart(self) -> int:
        """Do the same, without those that come right after the last one."""
        began = anyio.current_time()
        while True:
            number = await self.next()
            if anyio.current_time() - began > TOGETHER:
                return number


@contextmanager
def told_to_stop(heard: Callable[[int], None] = lambda _number: None) -> Generator[Stops]:
    """Take SIGINT and SIGTERM in while the block lasts; what handled them before does so again after.

    Args:
        heard: Called with each signal's number in its handler, even while a body holds the loop up.

    Raises:
        ConfigurationError: This is not the main thread, which alone can handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "signals reach the main thread alone; open the engine there, or call drain()"
        )
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def handle(number: int, _frame: FrameType | None) -> None:
        heard(number)
        with suppress(BlockingIOError):  # thousands are unread, so one more says nothing new
            os.write(writing, bytes([number]))

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield Stops(reading)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(reading)
        os.close(writing)


async def drain_when_told(
    drain: Callable[[float], Awaitable[object]],
    grace: float,
    *,
    say: Callable[[str], None] = _log.warning,
    heard: Callable[[int], None] = lambda _number: None,
) -> int:
    """Wait for a signal and drain; a second one ends the grace at once.  Give the first one's number.

    Args:
        drain: Drains within some seconds, and stops at once where it is cancelled.
        grace: Those seconds.
        say: Told in words what happens.
        heard: See ``told_to_stop``.
    """
    with told_to_stop(heard) as stops:
        number = await stops.next()
        say(
            f"{signal.Signals(number).name}: nothing more is started, and attempts under way may finish "
            f"within {grace:g} s; a second signal stops them at once"
        )
        async with anyio.create_task_group() as group:
            group.start_soon(_cut_short, stops, group.cancel_scope, say)
            await drain(grace)
            group.cancel_scope.cancel()
    return number


async def _cut_short(stops: Stops, scope: anyio.CancelScope, say: Callable[[str], None]) -> None:
    number = await stops.next_one_apart()
    say(f"{signal.Signals(number).name} again: attempts under way are stopped at once")
    scope.cancel()
