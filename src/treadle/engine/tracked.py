"""What is known of a run in this process, shared by its handles; it goes when the last of them goes."""

from __future__ import annotations

from typing import Any, Final, Literal

import anyio

Status = Literal["pending", "running", "waiting", "completed", "failed", "cancelled"]
FINAL: Final = frozenset({"completed", "failed", "cancelled"})
AT_REST: Final = FINAL | {"waiting"}


class Tracked:
    """A run's status, and its value or error once it has ended.

    Attributes:
        error: What ended the run, or why this process lost it.
        is_lost: Whether this process stopped working on the run before it ended.
        changes: How often it took a new status, so that what was read meanwhile is known to be stale.
    """

    __slots__ = (
        "__weakref__",
        "_changed",
        "changes",
        "error",
        "graph",
        "is_lost",
        "questions",
        "run_id",
        "status",
        "value",
    )

    def __init__(self, run_id: str, graph: str, status: Status) -> None:
        self.run_id = run_id
        self.graph = graph
        self.status: Status = status
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_lost = False
        self.changes = 0
        self.questions: tuple[str, ...] = ()
        self._changed: anyio.Event | None = None  # made by the first who waits: few of many runs are

    def become(
        self,
        status: Status,
        *,
        value: Any = None,
        error: BaseException | None = None,
        questions: tuple[str, ...] = (),
        is_lost: bool = False,
    ) -> None:
        """Take a new status, and wake who waits."""
        self.status, self.value, self.error = status, value, error
        self.questions, self.is_lost = questions, is_lost
        self.changes += 1
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def wait_change(self) -> None:
        """Return at the next ``become``."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()
