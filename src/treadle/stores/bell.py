"""How a thread wakes tasks: each task waits on a ``Waiter``, and each event loop has a ``Bell``.

A bell rings through an ``eventfd`` where there is one (asyncio on Linux): one write wakes the event loop, one
read tells it.  What event loops offer themselves costs more, a message through a pair of sockets, and works
everywhere: asyncio's ``call_soon_threadsafe``, trio's ``run_sync_soon``.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.lowlevel import current_token

_HAS_EVENTFD: Final = hasattr(os, "eventfd")

_SELECTABLE: Final = 1024
"""Files with numbers from here on an event loop that uses select() could not listen to."""


class Waiter:
    """A task that waits for another thread; made in the event loop, woken from the thread.

    Args:
        bell: That of the event loop it is made in.
    """

    __slots__ = ("_answer", "bell")

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self._answer: Any = bell.make_answer()

    def set(self) -> None:
        """Let the task go on; only within its event loop."""
        if self.bell.is_trio:
            self._answer.set()
        elif not self._answer.done():  # else the task was cancelled while it waited
            self._answer.set_result(None)

    def wait(self) -> Awaitable[Any]:
        """What returns once the thread has answered; to be called once."""
        answer: Awaitable[Any] = self._answer.wait() if self.bell.is_trio else self._answer
        return answer


class Bell:
    """Wakes tasks of one event loop, by what every event loop offers.

    Args:
        home: The event loop: asyncio's, or trio's token.

    Attributes:
        is_trio: Which of them it is.
        make_answer: Makes what a waiter of it waits for.
    """

    def __init__(self, home: Any) -> None:
        self.home = home
        self.is_trio = hasattr(home, "run_sync_soon")
        # On asyncio a future of its own: waiting for an event costs twice as much.
        self.make_answer: Callable[[], Any] = anyio.Event if self.is_trio else home.create_future

    def ring(self, waiters: Sequence[Waiter]) -> None:
        """Wake tasks, from any thread; where their event loop has ended, nobody is left to be told."""
        post = self.home.run_sync_soon if self.is_trio else self.home.call_soon_threadsafe
        try:
            post(_set_all, waiters)
        except RuntimeError:  # it has ended
            return

    @property
    def is_over(self) -> bool:
        """Whether the event loop is known to have ended."""
        return False

    def close(self) -> None:
        """Let go of the event loop, from any thread."""


class _EventBell(Bell):
    """Wakes tasks of an asyncio loop through an ``eventfd``."""

    def __init__(self, home: Any) -> None:
        self._fd = -1
        super().__init__(home)
        self._rung: deque[Waiter] = deque()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if self._fd >= _SELECTABLE:
            raise OSError(errno.EMFILE, "select() cannot listen to so many files")
        home.add_reader(self._fd, self._answer)

    def ring(self, waiters: Sequence[Waiter]) -> None:
        self._rung.extend(waiters)
        os.eventfd_write(self._fd, 1)

    @property
    def is_over(self) -> bool:
        return bool(self.home.is_closed())

    def close(self) -> None:
        with suppress(RuntimeError):  # it has ended, and listens no more
            self.home.call_soon_threadsafe(self._leave)

    def __del__(self) -> None:
        # Not before: who is about to ring must not find another file under this number.
        if self._fd >= 0:
            os.close(self._fd)

    def _answer(self) -> None:
        try:
            os.eventfd_read(self._fd)  # before the queue is read: each write comes after its waiters
        finally:  # a handler of signals may raise here
            self._set_rung()

    def _set_rung(self) -> None:
        rung = self._rung
        while rung:
            rung[0].set()
            rung.popleft()

    def _leave(self) -> None:
        fd, self._fd = self._fd, -1
        self.home.remove_reader(fd)
        os.close(fd)
        self._set_rung()


class Bells:
    """The bells of a thread, one for each event loop that waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._by_home: dict[Any, Bell] = {}
        self._is_closed = False

    def here(self) -> Bell:
        """Give the bell of the event loop this is called in."""
        home = current_token().native_token
        bell = self._by_home.get(home)
        if bell is None:
            with self._guard:
                if self._is_closed:  # nobody rings any more
                    return Bell(home)
                for ended in [one for one, bell in self._by_home.items() if bell.is_over]:
                    del self._by_home[ended]
                bell = self._by_home[home] = _bell_for(home)
        return bell

    def close(self) -> None:
        """Let go of all event loops, once the thread rings no more."""
        with self._guard:
            self._is_closed = True
            bells, self._by_home = list(self._by_home.values()), {}
        for bell in bells:
            bell.close()


def wake(waiters: Iterable[Waiter]) -> None:
    """Wake tasks from the thread: one call to each event loop they live in."""
    groups: dict[Bell, list[Waiter]] = {}
    for waiter in waiters:
        groups.setdefault(waiter.bell, []).append(waiter)
    for bell, group in groups.items():
        bell.ring(group)


def _set_all(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        waiter.set()


def _bell_for(home: Any) -> Bell:
    if _HAS_EVENTFD and hasattr(home, "add_reader"):
        try:
            return _EventBell(home)
        except (OSError, NotImplementedError):  # no file is left; an event loop that listens to none
            return Bell(home)
    return Bell(home)
