"""Who waits for a run to get on."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from treadle.ids import RunId
from treadle.stores.bell import Waiter
from treadle.stores.log import WriterLog


class Watchers:
    """Waiting tasks by run; event loops add to it, the writer thread takes from it."""

    __slots__ = ("_by_run", "_guard")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._by_run: dict[RunId, list[Waiter]] = {}

    def add(self, run_id: RunId, waiter: Waiter) -> None:
        """Wait for a run.  Look at the run after this, not before, or a commit may be missed."""
        with self._guard:
            self._by_run.setdefault(run_id, []).append(waiter)

    def discard(self, run_id: RunId, waiter: Waiter) -> None:
        """Wait no longer."""
        with self._guard:
            waiting = self._by_run.get(run_id, [])
            if waiter in waiting:
                waiting.remove(waiter)
            if not waiting:
                self._by_run.pop(run_id, None)

    def take(self, logs: Iterable[WriterLog]) -> list[Waiter]:
        """Give who waits for the runs of these logs, to be woken."""
        if not self._by_run:
            return []
        with self._guard:
            return [waiter for log in logs for waiter in self._by_run.pop(log.run_id, ())]
