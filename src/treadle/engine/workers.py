"""The tasks of one run: what is ready stands in a queue, and workers take it from there.

A worker that takes one attempt while more remain keeps exactly one spare worker scheduled: where the
body never waits the spare finds nothing to do, where it does the spare goes on.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup

from treadle.engine import unneeded
from treadle.engine.live import Cancellable, Live
from treadle.engine.sites import Sites
from treadle.engine.slot import Slot, Stopped
from treadle.errors import InternalError
from treadle.ids import NodeId
from treadle.interfaces import Clock
from treadle.scheduler.commands import Command, StartAttempt

NODES_PER_PASS: Final = 64
"""After so many nodes a worker lets other tasks of the process run, and can be cancelled."""


class Run(Live, Protocol):
    """The run that workers work for."""

    def cancelled(self, command: StartAttempt) -> None:
        """Feed that an attempt was cancelled before it began."""
        ...

    def nobody_left(self) -> None:
        """Note that the last worker goes."""
        ...


class _Backoff(Slot):
    """An attempt that waits for its time.

    Attributes:
        waiting: It.
    """

    __slots__ = ("_run", "waiting")

    def __init__(self, run: Run, waiting: StartAttempt) -> None:
        super().__init__(anyio.CancelScope())
        self._run = run
        self.waiting = waiting

    def let_go(self) -> None:
        """Stop it; what is in doubt in it is settled without waiting."""
        if unneeded.is_in_doubt(self._run, self.waiting):
            self.waiting = replace(self.waiting, only_settles=True)
            self.scope.cancel()
        else:
            self.cancel()


def _no_work(command: StartAttempt) -> InternalError:
    return InternalError(f"node {command.node!r} was started, but is no work; please report this")


class Workers:
    """The queue of a run's ready attempts, and the tasks that run them.

    Args:
        run: The run.
        sites: Where its nodes stand, and what runs them.
        clock: The time that backoffs wait for.
        watch: Told of each command that is obeyed, in tests.

    Attributes:
        ready: Attempts that may begin, but for those whose turn it is.
        running: What is under way, by node.
    """

    __slots__ = (
        "_clean", "_clock", "_count", "_group", "_has_spare", "_next", "_run", "_sites", "_watch", "ready",
        "running",
    )  # fmt: skip

    def __init__(self, run: Run, sites: Sites, clock: Clock, watch: Callable[[Command], None] | None) -> None:
        self._run = run
        self._sites = sites
        self._clock = clock
        self._watch = watch
        self._group: TaskGroup | None = None
        self._count = 0
        self._has_spare = False
        self._clean = contextvars.copy_context()
        self._next: list[StartAttempt] = []  # the first one last; two lists take far less than a deque
        self.ready: list[StartAttempt] | deque[StartAttempt] = []
        self.running: dict[NodeId, Cancellable] = {}

    @property
    def are_open(self) -> bool:
        """Whether anything can be started: from ``open`` until the last worker has gone."""
        return self._group is not None

    def open(self, group: TaskGroup) -> None:
        """Take the calling task for the first worker; ``work`` is its work."""
        self._clean = contextvars.copy_context()
        self._group = group
        self._count = 1

    def close(self) -> None:
        """Start nothing any more, and forget the run: else both would stay until garbage is collected."""
        self._group = None
        del self._run

    def stop(self) -> None:
        """Cancel everything at once."""
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def drain(self) -> None:
        """Start nothing more, but let what is under way end."""
        self._next = []
        self.ready = deque(maxlen=0)  # takes nothing in: what it is given starts when the run is resumed
        for backoff in self._backoffs():
            backoff.scope.cancel()

    def host(self, hold: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that holds a session open for the run."""
        if self._group is not None:
            self._clean.run(self._group.start_soon, hold)

    # -- stopping --------------------------------------------------------------------------------------

    def cancel(self, node: NodeId, *, at_once: bool) -> None:
        """Cancel an attempt, begun or not; ``at_once``: even where a call acts that must not be cut off."""
        under_way = self.running.get(node)
        if under_way is not None:
            under_way.cancel() if at_once else under_way.let_go()
            return
        for line in (self._next, self.ready):
            for place, waiting in enumerate(line):
                if waiting.node == node:
                    self._cancel_waiting(line, place, waiting, at_once=at_once)
                    return

    def _cancel_waiting(
        self,
        line: list[StartAttempt] | deque[StartAttempt],
        place: int,
        waiting: StartAttempt,
        *,
        at_once: bool,
    ) -> None:
        """Take an attempt out of the line; one over an effect in doubt stays until that is settled."""
        if not at_once and unneeded.is_in_doubt(self._run, waiting):
            line[place] = replace(waiting, only_settles=True)
            return
        del line[place]
        self._run.cancelled(waiting)

    def cancel_unstarted(self) -> None:
        """Drop what has not begun, backoffs too."""
        dropped = [*reversed(self._next), *self.ready]
        self._next.clear()
        self.ready.clear()
        for command in dropped:
            self._run.cancelled(command)
        for backoff in self._backoffs():
            backoff.cancel()

    def _backoffs(self) -> Iterable[_Backoff]:
        return [one for one in self.running.values() if isinstance(one, _Backoff)]

    # -- working ---------------------------------------------------------------------------------------

    def start_spare(self) -> None:
        """See to it that somebody takes what is ready."""
        if (self.ready or self._next) and not self._has_spare and self._group is not None:
            self._has_spare = True
            self._count += 1
            self._clean.run(self._group.start_soon, self._work_as_spare)

    async def _work_as_spare(self) -> None:
        self._has_spare = False
        await self.work()

    async def work(self) -> None:
        """Take attempts from the queue until it is empty, or until this worker is cancelled; then go."""
        slot = Slot(anyio.CancelScope())
        with slot.scope:
            running, run = self.running, self._run
            root, inner = self._sites.root, self._sites.by_part
            copy_context = contextvars.copy_context
            context, taken, watch = self._clean, 0, self._watch
            while self._next or self._take_ready():
                slot.command = command = self._next.pop()
                if not self._has_spare and (self._next or self.ready):
                    self.start_spare()
                site = inner[command.part] if command.part else root
                runner = site.runners[command.index]
                if runner is None:
                    raise _no_work(command)
                running[command.node] = slot
                if watch is not None:
                    watch(command)
                await runner(run, site.workspace, command, slot)
                if running.get(command.node) is slot:  # else its next attempt waits there by now
                    del running[command.node]
                if slot.is_cancelled:
                    break  # before anything is waited for: what it came to is told outside of the scope
                taken += 1
                if not taken % NODES_PER_PASS:
                    slot.command = None
                    await run.let_others_run()
                if copy_context() != context:
                    break  # a body set context variables: they must not reach the next node
            slot.command = None
        if slot.stopped is not None:
            await _conclude(slot.stopped)
        self._go(slot)

    def _go(self, slot: Slot) -> None:
        """Leave in good order."""
        command = slot.command
        if slot.is_cancelled and command is not None:
            self.running.pop(command.node, None)
            self._run.cancelled(command)
        self.start_spare()
        self._count -= 1
        if not self._count:  # a task started after the last worker would outlive the run
            self._group = None
            self._run.nobody_left()

    def _take_ready(self) -> bool:
        """Give what is ready its turn, where there is any."""
        ready = self.ready
        if isinstance(ready, deque) or not ready:
            return False
        ready.reverse()
        self.ready, self._next = self._next, ready
        return True

    def later(self, command: StartAttempt) -> None:
        """Begin an attempt when its backoff ends; a run that drains does not wait for that."""
        if self._group is not None and not isinstance(self.ready, deque):
            self._count += 1
            backoff = self.running[command.node] = _Backoff(self._run, command)
            self._clean.run(self._group.start_soon, self._back_off, backoff)

    async def _back_off(self, backoff: _Backoff) -> None:
        with backoff.scope:
            await self._clock.sleep_until(backoff.waiting.not_before)
        self.running.pop(backoff.waiting.node, None)
        if backoff.is_cancelled:
            self._run.cancelled(backoff.waiting)
        else:
            self.ready.append(backoff.waiting)
        await self.work()


async def _conclude(attempt: Stopped) -> None:
    try:
        await attempt.end()
    finally:
        attempt.close()
