"""When attempts run, and when they only wait: for people, for money, between two requests.

``Activity`` tells it while an attempt is alive; ``times.py`` reads it off a history.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Self

from treadle.engine.money import Account
from treadle.interfaces import Clock


class Activity:
    """Whether an attempt, or a call inside its body, runs or only waits.

    It waits while it says so itself (``waiting``), or while it has calls and all of them wait.

    Args:
        changed: Told ``True`` when it begins to wait, ``False`` when it runs again; ``None``: nobody is.
        stirred: Told of each sign of life: progress, or a call inside that begins or ends.
        around: Of a call: the activity of the body that makes it.
    """

    __slots__ = ("_around", "_calls", "_changed", "_stirred", "_waiting_calls", "_waits", "is_waiting")

    def __init__(
        self,
        changed: Callable[[bool], None] | None = None,
        stirred: Callable[[], None] | None = None,
        around: Activity | None = None,
    ) -> None:
        self._changed = changed
        self._stirred = stirred
        self._around = around
        self._calls = 0
        self._waiting_calls = 0
        self._waits = 0
        self.is_waiting = False

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Around a wait for people, for money, or between two requests."""
        self._waits += 1
        self._update()
        try:
            yield
        finally:
            self._waits -= 1
            self._update()

    def call(self, told: Callable[[bool], None] | None = None) -> Activity:
        """Around a call that the body makes: the call's own activity.

        Args:
            told: Told too when the call begins or ends to wait.
        """
        if told is None:
            return Activity(self._count, self.stir, self)

        def both(waits: bool) -> None:
            self._count(waits)
            told(waits)

        return Activity(both, self.stir, self)

    def __enter__(self) -> Self:
        if self._around is not None:
            self._around.count_calls(1, is_waiting=False)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._around is not None:
            self._around.count_calls(-1, is_waiting=self.is_waiting)

    def count_calls(self, more: int, *, is_waiting: bool) -> None:
        """Note that a call inside begins, or ends: while it waited, perhaps."""
        self._calls += more
        self._waiting_calls -= is_waiting
        if self._waiting_calls or self.is_waiting:  # else it ran, and goes on running
            self._update()
        if self._stirred is not None:
            self._stirred()

    def stir(self) -> None:
        """Give a sign of life, here and around."""
        if self._stirred is not None:
            self._stirred()

    @contextmanager
    def told(self, changed: Callable[[bool], None], stirred: Callable[[], None]) -> Generator[None]:
        """Tell somebody else too when it begins or ends to wait, and of signs of life, such as a timeout."""
        before, stirred_before = self._changed, self._stirred

        def both(waits: bool) -> None:
            if before is not None:
                before(waits)
            changed(waits)

        def both_stirred() -> None:
            stirred()
            if stirred_before is not None:
                stirred_before()

        self._changed, self._stirred = both, both_stirred
        try:
            yield
        finally:
            self._changed, self._stirred = before, stirred_before

    def _count(self, waits: bool) -> None:
        self._waiting_calls += 1 if waits else -1
        self._update()

    def _update(self) -> None:
        waits = self._waits > 0 or 0 < self._calls == self._waiting_calls
        if waits != self.is_waiting:
            self.is_waiting = waits
            if self._changed is not None:
                self._changed(waits)


@contextmanager
def running(
    accounts: Sequence[Account],
    clock: Clock,
    changed: Callable[[bool], None] | None = None,
    stirred: Callable[[], None] | None = None,
) -> Generator[Activity]:
    """Count the seconds of an attempt in accounts, without its waits.

    Args:
        accounts: Those with a limit of seconds (``money.timed``).
        clock: The engine's.
        changed: Told too when the attempt begins or ends to wait, such as to stop its timeout.
        stirred: Told of each sign of life.
    """

    def count(waits: bool) -> None:
        at = clock.now()
        for account in accounts:
            (account.meter.stopped if waits else account.meter.started)(at)
        if changed is not None:
            changed(waits)

    activity = Activity(count, stirred)
    at = clock.now()
    for account in accounts:
        account.meter.started(at)
    try:
        yield activity
    finally:
        at = clock.now()
        for account in accounts if not activity.is_waiting else ():
            account.meter.stopped(at)
