"""How long an attempt, or a call inside one, may take: time at work, and time without a sign of life."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Literal, Protocol

import anyio
from anyio.abc import TaskGroup

from treadle.interfaces import Clock, TimeoutClock

Broken = Literal["", "timeout", "idle"]
"""Which limit was passed, if any."""

CLOCKS_DIFFER: Final = 0.02
"""Seconds by which an event loop may think that time is up before the engine's clock does."""


class Time(Protocol):
    """What stopwatches go by."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def set(self, scope: anyio.CancelScope, moment: float) -> None:
        """See to it that a scope is cancelled at a moment; ``inf`` takes that back."""
        ...


class LoopTime:
    """The event loop's own time, in which nothing has to be waited for."""

    now = staticmethod(anyio.current_time)

    def open(self, group: TaskGroup) -> None:
        """Do nothing: the event loop keeps it."""

    def set(self, scope: anyio.CancelScope, moment: float) -> None:
        """Set its deadline."""
        scope.deadline = moment


class ClockTime:
    """The time of a clock that timeouts go by too; its one task runs while a stopwatch does.

    Args:
        clock: Such a clock.
    """

    def __init__(self, clock: TimeoutClock) -> None:
        self._clock = clock
        self._ends: dict[anyio.CancelScope, float] = {}
        self._changed = anyio.Event()
        self._group: TaskGroup | None = None
        self._runs = False
        self.now = clock.now

    def open(self, group: TaskGroup) -> None:
        """Give the group in which to wait."""
        self._group = group

    def set(self, scope: anyio.CancelScope, moment: float) -> None:
        """Note it, and let the task look again."""
        if moment == math.inf:
            self._ends.pop(scope, None)
        else:
            self._ends[scope] = moment
        self._changed.set()
        self._changed = anyio.Event()
        if self._ends and not self._runs and self._group is not None:
            self._runs = True
            self._group.start_soon(self._watch)

    async def _watch(self) -> None:
        while self._ends:
            now = self._clock.now()
            due = [scope for scope, moment in self._ends.items() if moment <= now]
            for scope in due:
                del self._ends[scope]
                scope.cancel()
            if self._ends:
                await self._wait(min(self._ends.values()))
        self._runs = False

    async def _wait(self, moment: float) -> None:
        """Return at a moment, or where something has changed."""
        changed = self._changed

        async def expire(scope: anyio.CancelScope) -> None:
            await self._clock.time_out_at(moment)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(expire, group.cancel_scope)
            await changed.wait()
            group.cancel_scope.cancel()


def time_of(clock: Clock) -> LoopTime | ClockTime:
    """What stopwatches go by where the engine has this clock."""
    return ClockTime(clock) if isinstance(clock, TimeoutClock) else LoopTime()


class Stopwatch:
    """A cancel scope whose time stands still while there is only waiting; it begins stopped.

    Args:
        seconds: After so many at work it cancels; ``inf`` never.
        time: What it goes by.
    """

    __slots__ = ("_ends", "_full", "_left", "_time", "scope")

    def __init__(self, seconds: float, time: Time) -> None:
        self.scope = anyio.CancelScope()
        self._time = time
        self._full = self._left = seconds
        self._ends = math.inf

    @property
    def seconds(self) -> float:
        """All of its time."""
        return self._full

    @property
    def is_over(self) -> bool:
        """Whether its time has passed, told or not."""
        return self.scope.cancel_called or (self._ends != math.inf and self._time.now() >= self._ends)

    def start(self) -> None:
        """Let the time go on."""
        if self._left != math.inf and self._ends == math.inf:
            self._set(self._time.now() + max(0.0, self._left))

    def stop(self) -> None:
        """Let it stand still."""
        if self._ends != math.inf:
            self._left = self._ends - self._time.now()
            self._set(math.inf)

    def cut(self, seconds: float) -> bool:
        """Leave no more than so many seconds; while it stands still.  Tells whether there were more."""
        is_less = seconds < self._left
        self._left = min(self._left, seconds)
        return is_less

    def start_over(self) -> None:
        """Give all of the time again."""
        self._left = self._full
        if self._ends != math.inf:
            self._set(self._time.now() + self._full)

    def _set(self, moment: float) -> None:
        self._ends = moment
        self._time.set(self.scope, moment)


def _no_end() -> float | None:
    """No budget limits the time."""
    return None


class Limits:
    """The timeout of an attempt or a call, and the time in which it must give a sign of life.

    Args:
        time: What both go by.
        timeout, idle: Seconds, or ``None`` without such a limit.
        left: Gives the seconds that budgets leave, or ``None``.  Asked whenever the time goes on: what ran
            beside it, while it only waited, has used some of them.

    Attributes:
        is_cut: Whether budgets leave less than the timeout.
        broken: Once it has run: which of them was passed, also where the body returned all the same.
        caught: Whether the body was cut off by that.
    """

    def __init__(
        self,
        time: Time,
        *,
        timeout: float | None,
        idle: float | None,
        left: Callable[[], float | None] = _no_end,
    ) -> None:
        self._budgets_left = left
        self.is_cut = False
        self._timeout = Stopwatch(math.inf if timeout is None else timeout, time)
        self._idle = Stopwatch(math.inf if idle is None else idle, time)
        self.broken: Broken = ""
        self.caught = False

    @contextmanager
    def running(self) -> Generator[None]:
        """Around the body: cuts it off when a limit is passed."""
        self.pause(False)
        try:
            with self._timeout.scope, self._idle.scope:
                yield
        finally:
            self.broken = "timeout" if self._timeout.is_over else "idle" if self._idle.is_over else ""
            self.caught = self._timeout.scope.cancelled_caught or self._idle.scope.cancelled_caught
            self.pause(True)

    def pause(self, waits: bool) -> None:
        """Stop the time while there is only waiting, and let it go on after."""
        left = None if waits else self._budgets_left()
        if left is not None:
            self.is_cut = self._timeout.cut(left) or self.is_cut
        for watch in (self._timeout, self._idle):
            if waits:
                watch.stop()
            else:
                watch.start()

    def in_words(self) -> str:
        """What it did that was passed, for a message."""
        if self.broken == "idle":
            return f"gave no sign of life for its {self._idle.seconds:g} s; call ctx.progress(...) in it"
        return f"took longer than its {self._timeout.seconds:g} s"

    def stir(self) -> None:
        """Take a sign of life in."""
        self._idle.start_over()
