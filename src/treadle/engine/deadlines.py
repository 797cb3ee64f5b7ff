"""Deadlines of questions: closed when they pass, by whichever engine is open."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from treadle.ids import QuestionId, RunId
from treadle.interfaces import Clock

Due = tuple[float, RunId, QuestionId]


class Deadlines:
    """Waits for the earliest deadline, and tells of each that has passed.

    Its one task starts with the first deadline, so an engine without any pays nothing.

    Args:
        clock: The engine's.
        late: Told of a question whose deadline has passed; it may have been answered meanwhile.
            It must not raise.
    """

    def __init__(self, clock: Clock, late: Callable[[RunId, QuestionId, float], Awaitable[None]]) -> None:
        self._clock = clock
        self._late = late
        self._heap: list[Due] = []
        self._known: set[Due] = set()
        self._changed = anyio.Event()
        self._group: TaskGroup | None = None
        self._runs = False

    def open(self, group: TaskGroup) -> None:
        """Give the group in which to wait."""
        self._group = group
        self._start()

    def add(self, run_id: RunId, question: QuestionId, at: float) -> None:
        """Watch one more; watching one twice does no harm."""
        due = (at, run_id, question)
        if due in self._known:
            return
        self._known.add(due)
        heapq.heappush(self._heap, due)
        self._changed.set()
        self._changed = anyio.Event()
        self._start()

    def _start(self) -> None:
        if self._heap and not self._runs and self._group is not None:
            self._runs = True
            self._group.start_soon(self._watch)

    async def _watch(self) -> None:
        while self._heap:
            at, run_id, question = self._heap[0]
            if self._clock.now() >= at:
                self._known.discard(heapq.heappop(self._heap))
                await self._late(run_id, question, at)
            else:
                await self._wait_until(at)
        self._runs = False

    async def _wait_until(self, at: float) -> None:
        """Return at a moment, or earlier where an earlier deadline was added."""
        changed = self._changed

        async def sleep(scope: anyio.CancelScope) -> None:
            await self._clock.sleep_until(at)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(sleep, group.cancel_scope)
            await changed.wait()
            group.cancel_scope.cancel()
