"""Stopping a command that runs graphs: the first signal drains, a second stops at once, time ends both."""

from __future__ import annotations

import _thread
import math
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, NoReturn, TypeVar

import anyio
import typer

from treadle.engine.draining import CLEAN_UP, TOGETHER, drain_when_told, grace_of
from treadle.engine.engine import Engine
from treadle.engine.failures import innermost
from treadle.errors import ConfigurationError, TreadleError

T = TypeVar("T")

GraceOption = Annotated[
    str,
    typer.Option(
        "--grace",
        metavar="DURATION",
        help="How long attempts under way may finish when the command is told to stop; 0 stops at once.",
    ),
]
DEFAULT_GRACE: Final = "8s"

GOES_ON: Final = "what was recorded is kept, and `treadle resume --all FILE` goes on from there"
"""What is said of the runs of a command that is stopped, where it knows nothing better."""

LAST: Final = 1.5
"""Seconds after its grace in which a command ends by itself; then it is ended, whatever holds it up."""

HELD: Final = 0.5
"""Seconds later the system ends it: no line of Python runs while a call into C holds the interpreter."""


def read_grace(text: str) -> float:
    """Read ``--grace``; gives seconds.

    Raises:
        ConfigurationError: It is no length of time.
    """
    try:
        return grace_of(0.0 if text.strip() == "0" else text)
    except ValueError as error:
        raise ConfigurationError(f"--grace: {error}") from error


async def until_told_to_stop(
    engine: Engine, work: Callable[[], Awaitable[T]], *, grace: float, kept: str = GOES_ON
) -> T:
    """Do some work with an engine, to its end or until the process is told to stop.

    The first SIGINT or SIGTERM starts nothing more and gives running attempts ``grace`` seconds; a second
    one stops them at once.  A body that holds the event loop up does not keep the process either.

    Args:
        kept: What then stands of its runs, and how they go on.

    Raises:
        Stopped: It was; the code is 128 and the number of the first signal.
        TreadleError: The work could not be done.
    """
    last, told, done = _LastResort(grace, kept), list[int](), list[T]()
    is_over = anyio.Event()

    async def drain(within: float) -> None:
        if not await engine.drain(within):
            with anyio.move_on_after(LAST):
                await is_over.wait()  # every run has come to its end, so the work is as good as done

    async def listen() -> None:
        told.append(await drain_when_told(drain, grace, say=_say, heard=last.heard))
        group.cancel_scope.cancel()

    async def do() -> None:
        try:
            done.append(await work())
        except TreadleError:
            if not last.is_told:
                raise
            is_over.set()
            await anyio.sleep_forever()  # the engine starts nothing more; what runs may still finish
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(do)
    except BaseExceptionGroup as errors:
        raise innermost(errors) from errors
    if done:
        last.call_off()
        return done[0]
    _say(f"stopped; {kept}")
    raise Stopped(128 + told[0], last)


def _say(words: str) -> None:
    typer.echo(words, err=True)


class Stopped(typer.Exit):
    """A command was told to stop, and has stopped."""

    def __init__(self, code: int, last: _LastResort) -> None:
        super().__init__(code)
        self._last = last

    def take_time(self) -> None:
        """Let the process live on to say what became of its work; more signals end it."""
        self._last.call_off()


class _LastResort:
    """Ends the process where nothing else does: a body that blocks, or one that holds on to its task.

    A thread does it in good words; where a body lets no thread run either, the system does, by SIGALRM.
    """

    def __init__(self, grace: float, kept: str) -> None:
        self._grace = grace
        self._kept = kept
        self._first: tuple[int, float] | None = None
        self._end = math.inf

    @property
    def is_told(self) -> bool:
        return self._first is not None

    def heard(self, number: int) -> None:
        """Take a signal in, within its handler: set the time at which the process ends at the latest."""

        now = time.monotonic()
        if self._first is None:
            self._first = number, now
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._end_within(self._grace + CLEAN_UP + LAST)
            # Not by ``threading``, whose locks may be held by the very code this handler interrupts.
            _thread.start_new_thread(self._wait, ())
        elif now - self._first[1] > TOGETHER:
            self._end_within(min(self._end - now, CLEAN_UP + LAST))

    def call_off(self) -> None:
        """The work is done: the process ends by itself."""
        if self._first is not None:
            self._end = math.inf
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _end_within(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.0) + HELD)

    def _wait(self) -> None:
        while (left := self._end - time.monotonic()) > 0:
            if left == math.inf:
                return
            time.sleep(min(left, 0.05))
        leave(128 + (self._first[0] if self._first is not None else signal.SIGTERM), self._kept)


def leave(code: int, kept: str) -> NoReturn:
    """End the process without cleaning up, as a crash would; only the cursor is shown again."""
    if sys.stdout.isatty():
        os.write(1, b"\x1b[?25h\n")
    os.write(2, f"stopped at once; {kept}\n".encode())
    os._exit(code)
