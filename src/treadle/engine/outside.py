"""What reaches runs from outside of their engine: answers, cancellations, passed deadlines, and what
other processes do to runs that somebody here holds a handle of.

Everything is read from the store, which alone knows what was accepted.  A live run is handed what
concerns it; a run at rest is brought back for it.  An engine on a store of its own is told by its own
calls; on a shared one it also looks, ``POLL_SECONDS`` apart.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from treadle.engine.deadlines import Deadlines
from treadle.engine.failures import faults_told
from treadle.engine.loop import RunLoop
from treadle.engine.questions import THE_RUN, event_of, overdue_run, request_to_close
from treadle.engine.tracked import Tracked
from treadle.errors import StoreError, StoreUnavailable, TreadleError
from treadle.ids import QuestionId, RunId
from treadle.interfaces import Clock, Question, Request, RunSummary, Store

_log: Final = logging.getLogger("treadle.engine")

POLL_SECONDS: Final = 0.25
"""How often a shared store is asked for answers and cancellations from other processes."""

FOLLOW_SECONDS: Final = 1.0
"""How often it is asked how runs stand that other processes may be working on."""

DEADLINE_SECONDS: Final = 5.0
"""How often it is asked for deadlines that are near, whichever process asked, or began the run."""

LONGEST_PAUSE: Final = 8.0
"""Seconds between two looks at a store that fails, at most; each failure doubles them."""

AT_ONCE: Final = 32
"""Runs brought back at the same time, so that the store can gather them in few commits."""


class Home(Protocol):
    """What is needed of the engine."""

    @property
    def store(self) -> Store: ...

    @property
    def loops(self) -> Mapping[RunId, RunLoop]:
        """The runs under way here."""
        ...

    def knows(self, graph: str) -> bool:
        """Whether it can run a graph of this name."""
        ...

    def at_rest(self) -> dict[RunId, Tracked]:
        """The unfinished runs that somebody holds a handle of, and that are not under way here."""
        ...

    async def bring_back(self, run_id: RunId) -> None:
        """Take up a run at rest, with what was asked of it; leave it to whoever works on it already."""
        ...

    def lose(self, run_id: RunId, error: TreadleError) -> None:
        """Tell the handles of a run that it cannot go on here, and why."""
        ...

    async def learn(self, tracked: Tracked, summary: RunSummary) -> None:
        """Tell the handles of a run how it ended elsewhere, or what it waits for."""
        ...


class Outside:
    """Brings what comes from outside to the runs it concerns.

    Args:
        home: The engine.
        clock: Its time.
    """

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._deadlines = Deadlines(clock, self._close_late)
        self._hopeless: dict[RunId, int] = {}
        self._graphs: dict[RunId, str] = {}
        self._follow_at = 0.0
        self._deadlines_at = 0.0
        self.watch_deadline = self._deadlines.add

    def taken_up(self, run_id: RunId, deadline: float | None) -> None:
        """Note that a run is under way here: it can go on, and its deadline, if any, is watched."""
        self._hopeless.pop(run_id, None)
        if deadline is not None:
            self.watch_deadline(run_id, THE_RUN, deadline)

    def over(self, run_id: RunId) -> None:
        """Note that a run has ended: nothing is asked of it any more."""
        self._deadlines.forget(run_id)
        self._graphs.pop(run_id, None)

    async def open(self, group: TaskGroup) -> None:
        """Begin, with the deadlines that have passed while nobody looked.

        Raises:
            StoreError: The store cannot be read.
        """
        self._deadlines.open(group)
        await self._watch_deadlines()
        if self._home.store.is_shared:
            group.start_soon(self._watch)

    async def take(self, run_id: RunId | None = None) -> None:
        """Bring requests to the runs they concern: to one, or to all.

        Raises:
            StoreError: The store cannot be read; the requests stand in it all the same.
        """
        by_run: dict[RunId, list[Request]] = {}
        for request in await self._home.store.requests(run_id):
            by_run.setdefault(request.run_id, []).append(request)
        if run_id is None:
            self._graphs = {key: graph for key, graph in self._graphs.items() if key in by_run}
        at_rest: list[RunId] = []
        for key, requests in by_run.items():
            with self._costing_only(key, requests):
                if not await self._deliver(key, requests):
                    at_rest.append(key)
        failures: list[StoreError] = []
        waiting = iter(at_rest)
        async with anyio.create_task_group() as group:
            for _ in range(min(AT_ONCE, len(at_rest))):
                group.start_soon(self._bring_back, waiting, by_run, failures)
        if failures:
            raise failures[0]

    async def take_quietly(self, run_id: RunId) -> None:
        """Do the same where nobody can be told that the store failed; the next look tries again."""
        try:
            await self.take(run_id)
        except StoreError as error:
            _log.warning("what is asked of run %s could not be taken up yet: %s", run_id, error)

    async def _deliver(self, run_id: RunId, requests: list[Request]) -> bool:
        """Hand requests to a live run; ``False`` where it is to be brought back for them."""
        loop = self._home.loops.get(run_id)
        if loop is not None:
            for request in requests:
                loop.deliver(event_of(request))
            return True
        if run_id not in self._graphs:
            self._graphs[run_id] = (await self._home.store.run(run_id)).graph
        is_known = self._home.knows(self._graphs[run_id])
        return not is_known or self._hopeless.get(run_id, 0) >= requests[-1].id

    async def _bring_back(
        self, run_ids: Iterator[RunId], asked: Mapping[RunId, list[Request]], failures: list[StoreError]
    ) -> None:
        """Bring runs back one after the other; one that cannot go on is left until more is asked of it."""
        for run_id in run_ids:
            try:
                with self._costing_only(run_id, asked.get(run_id, ())):
                    await self._home.bring_back(run_id)
            except StoreUnavailable as error:
                failures.append(error)
                return
            self._graphs.pop(run_id, None)

    @contextmanager
    def _costing_only(self, run_id: RunId, asked: Sequence[Request] = ()) -> Generator[None]:
        """Around what is done for one run: what goes wrong with it is told to its handles and costs no other
        run anything, unless the store is out of reach."""
        try:
            with faults_told(run_id):
                yield
        except StoreUnavailable:
            raise
        except TreadleError as error:
            self._hopeless[run_id] = max((request.id for request in asked), default=0)
            self._home.lose(run_id, error)
            _log.error("run %s cannot go on: %s", run_id, error)

    async def _bring_one_back(self, run_id: RunId) -> None:
        failures: list[StoreError] = []
        await self._bring_back(iter([run_id]), {}, failures)
        if failures:
            raise failures[0]

    # -- looking ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look again and again, less often while the store fails."""
        pause = POLL_SECONDS
        while True:
            await anyio.sleep(pause)
            try:
                await self._look()
            except StoreError as error:
                level = logging.WARNING if pause == POLL_SECONDS else logging.DEBUG
                pause = min(2 * pause, LONGEST_PAUSE)
                _log.log(level, "the store cannot be read, and is tried again: %s", error)
            else:
                pause = POLL_SECONDS

    async def _look(self) -> None:
        now = anyio.current_time()
        await self.take()
        if now >= self._follow_at:
            await self._follow()
            self._follow_at = now + FOLLOW_SECONDS
        if now >= self._deadlines_at:
            await self._watch_deadlines()

    async def _follow(self) -> None:
        """Tell handles what other processes did; take up runs whose owner died."""
        at_rest = self._home.at_rest()
        if not at_rest:
            return
        before = {run_id: tracked.changes for run_id, tracked in at_rest.items()}
        summaries = await self._home.store.runs(ids=list(at_rest), limit=len(at_rest))
        for summary in summaries:
            tracked = at_rest[summary.id]
            if tracked.changes != before[summary.id]:
                continue  # it has moved here since
            if summary.status == "pending":
                await self._bring_one_back(summary.id)
            elif summary.status != tracked.status:
                with self._costing_only(summary.id):
                    await self._home.learn(tracked, summary)

    # -- deadlines ---------------------------------------------------------------------------------------

    async def _watch_deadlines(self) -> None:
        """Wait for the deadlines that are near, whoever asked."""
        self._deadlines_at = anyio.current_time() + DEADLINE_SECONDS
        store = self._home.store
        near = self._clock.now() + 2 * DEADLINE_SECONDS if store.is_shared else math.inf
        for question in await store.questions(due=near):
            if question.deadline is not None and self._home.knows(question.graph):
                self._deadlines.add(question.run_id, question.id, question.deadline)
        for run in await store.due_runs(near):
            if self._home.knows(run.graph) and run.id not in self._hopeless:
                self._deadlines.add(run.id, THE_RUN, run.deadline)

    async def close_overdue(self, run_id: RunId) -> None:
        """Have the questions of a run closed whose deadlines have passed: an answer that has come counts,
        and none comes any more.

        Raises:
            StoreError: It could not be recorded.
        """
        now = self._clock.now()
        for question in await self._home.store.questions(run_id=run_id, due=now):
            await self._close(question, now)

    async def _close(self, question: Question, now: float) -> None:
        if question.state == "open" and question.deadline is not None and question.deadline <= now:
            await self._home.store.submit(request_to_close(question))

    async def _close_late(self, run_id: RunId, question: QuestionId, at: float) -> None:
        """Close a question whose deadline has passed, unless an answer came in time; or end the run."""
        try:
            with self._costing_only(run_id):
                if question != THE_RUN:
                    await self._close(await self._home.store.question(question), at)
                await self.take(run_id)
                if question == THE_RUN:
                    await self._end_late(run_id, at)
        except StoreError as error:
            _log.warning("a deadline of run %s could not be kept yet: %s", run_id, error)
            self._deadlines.add(run_id, question, self._clock.now() + DEADLINE_SECONDS)

    async def _end_late(self, run_id: RunId, at: float) -> None:
        """End a run whose deadline has passed: where it is at rest it sees that itself, once brought back."""
        loop = self._home.loops.get(run_id)
        if loop is None:
            await self._bring_one_back(run_id)
            return
        for event in overdue_run(at, at):
            loop.deliver(event)
