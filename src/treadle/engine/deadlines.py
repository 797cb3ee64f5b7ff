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
        self._known: dict[RunId, set[Due]] = {}
        self._left = 0
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
        known = self._known.setdefault(run_id, set())
        if due in known:
            return
        known.add(due)
        heapq.heappush(self._heap, due)
        self._changed.set()
        self._changed = anyio.Event()
        self._start()

    def forget(self, run_id: RunId) -> None:
        """Watch nothing of a run any more: it has ended."""
        self._left += len(self._known.pop(run_id, ()))
        if 2 * self._left > len(self._heap):  # so that forgetting costs little, however many there are
            self._heap = [due for due in self._heap if self._is_known(due)]
            heapq.heapify(self._heap)
            self._left = 0
            self._changed.set()
            self._changed = anyio.Event()

    def _is_known(self, due: Due) -> bool:
        return due in self._known.get(due[1], ())

    def _pop(self) -> bool:
        """Take the earliest one out; tell whether it is still watched."""
        due = heapq.heappop(self._heap)
        if not self._is_known(due):
            self._left -= 1
            return False
        known = self._known[due[1]]
        known.discard(due)
        if not known:
            del self._known[due[1]]
        return True

    def _start(self) -> None:
        if self._heap and not self._runs and self._group is not None:
            self._runs = True
            self._group.start_soon(self._watch)

    async def _watch(self) -> None:
        while self._heap:
            at, run_id, question = self._heap[0]
            if self._clock.now() >= at:
                if self._pop():
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
