"""The order in which a resumed body learns what its calls came to.

Outcomes reach the body in history order, answers of people among them, and what is new comes last: so
equal calls that are made side by side are told apart as before.  A call that has no record is parked
until the body has claimed all its records of that callee, and is made then; one that must not be
repeated, until the body has claimed all of them that must not be.  So a body that asks for something
else than before is not allowed to pay for it while what it paid for before lies unclaimed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

import anyio

from treadle.engine.records import Identity, StepRecord
from treadle.errors import HistoryMismatch
from treadle.ids import StepId

PATIENCE = 1.0
"""Seconds for which only parked calls may be pending, and nothing else of the body be under way, before
the difference is reported."""


_Claim = tuple[StepId, Identity]
"""A call that waits for its record: its number in this run of the body, and what it is."""


class Turns:
    """The records of one body that its calls have still to claim.

    Args:
        records: Those with an outcome or in doubt, of calls made by the body itself, in history order.
        is_busy: Whether any call of the body is really under way, so that more may be claimed yet.
    """

    __slots__ = (
        "_changed", "_effects", "_host", "_is_busy", "_labels", "_passed", "_queue", "_steps",
        "_unclaimed", "_waiting",
    )  # fmt: skip

    def __init__(self, records: Iterable[StepRecord], is_busy: Callable[[], bool]) -> None:
        self._queue = deque(records)
        self._steps = {record.step for record in self._queue}
        self._labels: dict[StepId, StepId] = {}
        self._unclaimed = Counter(one.identity.definition for one in self._queue if one.has_ended)
        self._effects = sum(one.once for one in self._queue)
        self._passed: list[StepRecord] = []
        self._is_busy = is_busy
        self._host = anyio.get_current_task().id
        self._waiting: dict[int, _Claim | None] = {}
        self._changed = anyio.Event()

    async def take(self, step: StepId, identity: Identity, *, once: bool = False) -> StepRecord | None:
        """Return the record of a call once all outcomes before it have been claimed; ``None`` once a call
        without a record, or in doubt, may be made, as the step that ``stands_for`` gives.

        Args:
            step: Its number in this run of the body.
            identity: What it is.
            once: Whether it must not be repeated.

        Raises:
            HistoryMismatch: The history goes on with another call, which can come no more.
        """
        while True:
            label = self.stands_for(step)
            if label in self._steps:
                if self._queue[0].step == label:
                    record = self._claimed(step, identity)
                    return record if record.has_ended else None
            elif not self._unclaimed[identity.definition] and not (once and self._effects):
                return None
            if not await self._is_stuck((step, identity)) or self._swap((step, identity)):
                continue
            if (once and label not in self._steps) or not self._passed_over():
                raise HistoryMismatch(self._difference(f"the body called {step!r}"))

    @property
    def is_over(self) -> bool:
        """Whether all is claimed."""
        return not self._queue

    def expects(self, identity: Identity) -> bool:
        """Whether a call like this one has still to be claimed."""
        is_near = self._unclaimed[identity.definition] > 0
        return is_near and any(record.identity == identity for record in self._queue)

    def is_in_doubt(self, identity: Identity) -> bool:
        """Whether a call like this one is in doubt, and has still to be made again."""
        return any(not record.has_ended and record.identity == identity for record in self._queue)

    def has(self, step: StepId) -> bool:
        """Whether what this very call came to has still to be claimed."""
        return self.stands_for(step) in self._steps

    def stands_for(self, step: StepId) -> StepId:
        """The step of the history that a call is, where equal calls side by side came in another order."""
        return self._labels.get(step, step)

    def _claimed(self, step: StepId, identity: Identity) -> StepRecord:
        if self._queue[0].identity != identity:
            raise HistoryMismatch(self._difference(f"what the body called as {step!r} is declared otherwise"))
        record = self._queue.popleft()
        self._steps.discard(record.step)
        self._unclaimed[record.identity.definition] -= record.has_ended
        self._effects -= record.once
        self._wake()
        return record

    def _passed_over(self) -> bool:
        """Go on without the call in doubt that is next, where there is one: the body does not make it."""
        if not self._queue or self._queue[0].has_ended:
            return False
        passed = self._queue.popleft()
        self._steps.discard(passed.step)
        if passed.once:
            self._passed.append(passed)
        self._wake()
        return True

    def _swap(self, mine: _Claim) -> bool:
        """Let a call that waits be the one that the history goes on with, where there is one equal to it."""
        if not self._queue:
            return False
        first = self._queue[0]
        for step, identity in (mine, *filter(None, self._waiting.values())):
            label = self.stands_for(step)
            if identity != first.identity:
                continue
            if label != first.step:
                numbers = {stands_for: number for number, stands_for in self._labels.items()}
                self._labels[step], self._labels[numbers.get(first.step, first.step)] = first.step, label
                self._wake()
            return True
        return False

    async def reach(self, order: float) -> None:
        """Return once what came before a moment of the history is claimed, or nothing more of it can be.

        Args:
            order: As in ``StepRecord``; ``inf`` for what is new.
        """
        while self._queue and self._queue[0].turn < order:
            if await self._is_stuck():
                return

    def check_all_claimed(self) -> None:
        """Raise ``HistoryMismatch`` where the body ended with records left."""
        while self._passed_over():
            continue
        if self._queue:
            raise HistoryMismatch(self._difference("the body ended"))

    async def _is_stuck(self, claim: _Claim | None = None) -> bool:
        """Wait for another claim; tell whether none can come any more."""
        changed = self._changed
        task = anyio.get_current_task().id
        self._waiting[task] = claim
        try:
            with anyio.move_on_after(PATIENCE) as scope:
                await changed.wait()
            return scope.cancelled_caught and not self._is_busy() and not self._has_other_work()
        finally:
            del self._waiting[task]

    def _has_other_work(self) -> bool:
        """Whether the body has a task that waits for none of its calls: it may make the next one yet."""
        children: dict[int | None, list[int]] = {}
        for running in anyio.get_running_tasks():
            children.setdefault(running.parent_id, []).append(running.id)
        stack = [self._host]
        while stack:
            task = stack.pop()
            below = children.get(task, [])
            if not below and task not in self._waiting:
                return True
            stack.extend(below)
        return False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _difference(self, now: str) -> str:
        first = (self._queue or self._passed)[0]
        return (
            f"node {first.node!r} does not repeat what it did: its history goes on with {first.step!r}, "
            f"but {now}; a body must make the same calls when it runs again, so undo the edit, or make it "
            "depend on nothing but its arguments, ctx.now() and ctx.random; to have all that it did done "
            f"again, its effects too, resume with claims={{{first.node!r}: None}} (--fresh {first.node})"
        )
