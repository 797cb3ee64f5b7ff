"""``Engine``: starts runs, takes them up again, hands them answers.

Each run under way is one task of the engine's group.  A run that waits for people is none: it stands
in the store alone, until an answer brings it back.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, overload

import anyio
from anyio.abc import TaskGroup

from treadle import compose, given
from treadle.budget import Budget
from treadle.engine.beginning import open_span, require_same, started_event
from treadle.engine.clock import SystemClock
from treadle.engine.compiled import compile_runners
from treadle.engine.draining import GRACE, UnderWay, drain_when_told, grace_of
from treadle.engine.handle import RunHandle
from treadle.engine.listing import Listing
from treadle.engine.loop import RunLoop
from treadle.engine.openings import put_answer
from treadle.engine.outlook import refuse_claims, require_clear, told_in
from treadle.engine.outside import Outside
from treadle.engine.owning import OneAtATime, ReleasedOnError
from treadle.engine.purse import Purse
from treadle.engine.questions import event_of, in_order, overdue_run
from treadle.engine.recovery import RECOVERIES, check_recoveries, dies_again, giving_up, recovered, unheeded
from treadle.engine.registry import Registry, check_budgets, check_door, checked_id, take_options
from treadle.engine.services import EngineServices
from treadle.engine.taking_up import NOTHING_TOLD, Past, past, rebuild
from treadle.engine.telling import Handles, tell
from treadle.engine.tracked import FINAL, Tracked
from treadle.errors import (
    EngineClosed,
    OwnedElsewhere,
    RunExists,
    StoreError,
    TreadleError,
)
from treadle.events import Event, RunStarted
from treadle.ids import QuestionId, RunId, new_run_id
from treadle.interfaces import Clock, Question, Request, RunLog, RunSummary, Store
from treadle.limits import Limit
from treadle.nodes.graph import Graph
from treadle.retry import RetryBudget

P = ParamSpec("P")
R = TypeVar("R")


class Engine:
    """Runs graphs durably on a store.

    Args:
        store: ``"memory:"``, ``"sqlite:///path.db"``, or a store object.
        graphs: The graphs whose runs it may resume, besides those it starts.
        resources: Objects that bodies get by their type: ``ctx.resource(Pool)``.
        tenant: Whose runs it starts where ``start`` says nothing.
        budgets: The budget of each tenant, by name.
        recoveries: How often in a row a run is taken up after the process that worked on it died,
            while nothing is finished in between; then it ends as failed, with ``WorkerLost``.
        limits: What all its runs together may ask of a model: ``{"openai:NAME": Limit(...)}``.
        retry_budget: How many requests to models each run may send again, in all.
        clock: Another time than the machine's, for tests.
        fresh_copies: Give every consumer a copy of its own, so that a test shows who changes a result.

    Example::

        async with Engine("sqlite:///support.db", graphs=[support]) as engine:
            handle = await engine.start(support, ticket)
            reply = await handle.result()
    """

    @given.told("Engine")
    def __init__(
        self,
        store: str | Store = "memory:",
        *,
        graphs: Iterable[Graph[..., Any]] = (),
        resources: Iterable[object] = (),
        tenant: str | None = None,
        budgets: Mapping[str, Budget] | None = None,
        recoveries: int = RECOVERIES,
        limits: Mapping[str, Limit] | None = None,
        retry_budget: RetryBudget | None = None,
        clock: Clock | None = None,
        fresh_copies: bool = False,
    ) -> None:
        check_door(graphs, resources, tenant=tenant, clock=clock, fresh_copies=fresh_copies)
        self.store = compose.as_store(store)
        self._tenant = tenant or ""
        self._purse = Purse(check_budgets(budgets))
        self._recoveries = check_recoveries(recoveries)
        clock, tracer = clock or SystemClock(), compose.open_tracer()
        self.services = EngineServices(clock, tracer, resources, fresh_copies=fresh_copies)
        self._graphs = Registry(self.services.rehearsals.__setitem__)
        self._outside = Outside(self, self.services.clock)
        self.services.watch_deadline = self._outside.watch_deadline
        self.loops: dict[RunId, RunLoop] = {}
        self._beginning = OneAtATime()
        self._handles = Handles(self)
        self._under_way = UnderWay()
        self._is_draining = False
        self._group: TaskGroup | None = None
        self._stack = AsyncExitStack()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._graphs.add_all(graphs)
        self.services.limit(limits, retry_budget, self._graphs.providers)

    async def __aenter__(self) -> Self:
        await self.store.open()
        try:
            self._group = await self._stack.enter_async_context(anyio.create_task_group())
            self.services.time.open(self._group)
            await self._purse.recollect(self.store)
            await self._outside.open(self._group)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop where every run stands, and close the store; unfinished runs can be resumed.

        Attempts under way are cancelled: ``drain`` first, where they should finish.
        """
        group, self._group = self._group, None
        if group is not None:
            group.cancel_scope.cancel()
        try:
            await self._stack.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await self.services.aclose()
                await self.store.aclose()

    async def drain(self, within: float | str = GRACE) -> list[RunId]:
        """Start nothing more, let running attempts finish, and let go of every run where it stands.

        Attempts that take longer are cancelled, and made again when the run is resumed.  Cancelling the
        caller cancels them at once.

        Args:
            within: Seconds, or text such as ``"30s"``; 0 waits for none.

        Returns:
            The runs that were stopped on their way: neither over nor waiting for people.
        """
        seconds = grace_of(within)
        self._is_draining = True
        for loop in list(self.loops.values()):
            loop.drain()
        await self._under_way.end(seconds)
        return self._under_way.left

    async def serve(self, *, grace: float | str = GRACE) -> int:
        """Work until the process is told to stop (SIGTERM or SIGINT), then ``drain``; a second signal
        ends the grace at once.  A body that holds the event loop up holds this up as well.

        Args:
            grace: How long running attempts may take to finish: seconds, or text such as ``"30s"``.

        Returns:
            The number of the signal: shells expect ``sys.exit(128 + number)``.

        Raises:
            ConfigurationError: This is not the main thread, which alone can handle signals.
        """
        self._require_open()
        return await drain_when_told(self.drain, grace_of(grace))

    def _require_open(self) -> TaskGroup:
        if self._group is None:
            raise EngineClosed("the engine is not open; write: async with Engine(...) as engine")
        if self._is_draining:
            raise EngineClosed("the engine is closing and starts nothing more; go on in another process")
        return self._group

    # -- starting ----------------------------------------------------------------------------------

    @overload
    async def start(self, graph: Graph[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        graph: Graph[..., R],
        /,
        *args: Any,
        run_id: str,
        tenant: str | None = None,
        budget: Budget | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | datetime | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        graph: Graph[..., R],
        /,
        *args: Any,
        run_id: str | None = None,
        tenant: str,
        budget: Budget | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | datetime | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        graph: Graph[..., R],
        /,
        *args: Any,
        run_id: str | None = None,
        tenant: str | None = None,
        budget: Budget,
        labels: Mapping[str, str] | None = None,
        deadline: float | datetime | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        graph: Graph[..., R],
        /,
        *args: Any,
        run_id: str | None = None,
        tenant: str | None = None,
        budget: Budget | None = None,
        labels: Mapping[str, str],
        deadline: float | datetime | None = None,
        **kwargs: Any,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        graph: Graph[..., R],
        /,
        *args: Any,
        run_id: str | None = None,
        tenant: str | None = None,
        budget: Budget | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | datetime,
        **kwargs: Any,
    ) -> RunHandle[R]: ...

    async def start(self, graph: Graph[Any, Any], /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        """Start a run; it is durable when this returns.

        A known ``run_id`` with equal inputs gives that run instead of a second one.

        Args:
            graph: What to run.
            args, kwargs: Its inputs, and among the keywords these options, where the graph has no
                input of that name:
                ``run_id`` (a new one by default), ``tenant``, ``budget`` (in place of the graph's),
                ``labels`` (to find the run by), ``deadline`` (aware datetime, or seconds since 1970).

        Raises:
            PlanError, ValueError: The graph is wrong, or an input or option; nothing was started.
            RunExists: The id is taken by a run with another graph or other inputs.
            EngineClosed: The engine is not open, or is closing.
            StoreError: It could not be recorded.
        """
        self._require_open()
        options = take_options(graph, kwargs)
        plan = self._graphs.add(graph)
        run_id = RunId(options.get("run_id") or new_run_id())
        inputs, now = graph.bind(args, kwargs), self.services.clock.now()
        span = open_span(self.services.tracer, plan, run_id, now)
        started = started_event(plan, run_id, inputs, options, at=now, tenant=self._tenant, span=span)
        async with self._beginning.alone(run_id):
            try:
                log = await self.store.create(started)
            except RunExists:
                return await self._same_run(graph, started)
            async with ReleasedOnError(log):
                compiled = compile_runners(plan, traced=span is not None, timed=self._purse.times(started))
                accounts = self._purse.open(run_id, plan, budget=started.budget, tenant=started.tenant)
                loop = RunLoop(self.services, compiled, started, log, accounts, span=span)
                return self._go(loop, graph, started, is_recorded=True)

    async def _same_run(self, graph: Graph[..., Any], started: RunStarted) -> RunHandle[Any]:
        recorded = await self.store.read(started.run_id)
        require_same(past(recorded).started, started)
        try:
            return await self._resume(started.run_id, retry_failed=False)
        except OwnedElsewhere:  # it goes on there; the handle follows it
            return self._handles.make(started.run_id, graph, "running")[0]

    # -- resuming ----------------------------------------------------------------------------------

    async def resume(self, run_id: str, *, claims: Mapping[str, str | None] | None = None) -> RunHandle[Any]:
        """Take a run up where its history ends: after a crash, a failure, or an edit of its graph.

        Answers that came meanwhile are taken up; a run that has ended well is left as it is.

        Args:
            run_id: The run.
            claims: For the path of a call that of the recorded one it takes, or ``None`` for anew.

        Raises:
            UnknownRun: There is no such run.
            OwnedElsewhere: Another process works on it.
            ConfigurationError: This engine does not know its graph, or works on it and there are claims.
            EngineClosed: This engine is not open, or is closing.
            HistoryMismatch: What was recorded and what the code does now differ.
        """
        key = RunId(checked_id("run_id", run_id))
        async with self._beginning.alone(key):
            return await self._resume(key, retry_failed=True, told=told_in(claims))

    async def _resume(
        self, run_id: RunId, *, retry_failed: bool, told: Mapping[str, str] = NOTHING_TOLD
    ) -> RunHandle[Any]:
        loop = self.loops.get(run_id)
        if loop is not None:
            refuse_claims(run_id, told)
            return self._handles.make(run_id, self._graphs.find(loop.graph), "running")[0]
        self._require_open()
        log = await self.store.own(run_id)
        async with ReleasedOnError(log):
            before = past(await self.store.read(run_id))
            graph = self._graphs.find(before.started.graph)
            if before.ended is not None and not (retry_failed and before.ended.status == "failed"):
                await log.release()
                return self._handles.make_ended(run_id, graph, before.ended, before.cancelled_by)
            await self._outside.close_overdue(run_id)
            return await self._take_up(log, before, graph, await self.store.requests(run_id), told)

    async def _take_up(
        self,
        log: RunLog,
        before: Past,
        graph: Graph[..., Any],
        requests: Sequence[Request],
        told: Mapping[str, str],
    ) -> RunHandle[Any]:
        """Go on with a run, and with what was asked of it meanwhile, in the order of time."""
        started = before.started
        now, traceparent = self.services.clock.now(), started.traceparent
        plan = graph.plan
        span = open_span(self.services.tracer, plan, started.run_id, now, traceparent)
        compiled = compile_runners(plan, traced=span is not None, timed=self._purse.times(started))
        if dies_again(log, before, self._recoveries):
            compiled = giving_up(compiled, before.started.run_id, self._recoveries + 1)
        require_clear(self.services, compiled, before, told, requests)
        loop, resumed = rebuild(
            self.services, compiled, before, log, self._purse, owner=self._owner, span=span, told=told
        )
        asked = [event_of(request) for request in requests]
        resumed, is_recorded = await recovered(log, before, resumed)
        then = [*unheeded(before, resumed), *in_order(asked, overdue_run(resumed.at, started.deadline))]
        return self._go(loop, graph, resumed, is_recorded=is_recorded, then=then)

    # -- people and cancellation ---------------------------------------------------------------------

    def questions(self, *, to: str | None = None, run_id: str | None = None) -> Listing[Question]:
        """Give the open questions, the oldest first: ``await`` them, or walk with ``async for``."""
        key = None if run_id is None else RunId(checked_id("run_id", run_id))
        return Listing(lambda: self.store.questions(to=to, run_id=key))

    async def answer(
        self, question_id: str, value: object, *, by: str, reason: str = "", opening: int | None = None
    ) -> None:
        """Answer a question; the answer is safely recorded when this returns.

        Args:
            value: The answer: a value of the asked type, or JSON data of its schema.
            by, reason: Who answers, and why, for the record.
            opening: Which opening it is to; to be said where the same person repeats an earlier answer.

        Raises:
            QuestionError: Unknown, answered or withdrawn, too late, or not of the asked form.
        """
        key, at = QuestionId(checked_id("question_id", question_id)), self.services.clock.now()
        run_id = await put_answer(self.store, key, value, at=at, by=by, reason=reason, opening=opening)
        await self._outside.take_quietly(run_id)

    async def cancel(self, run_id: str, *, by: str = "", reason: str = "") -> None:
        """Ask for a run to be cancelled; what it had finished is kept.

        Raises:
            UnknownRun: There is no such run.
        """
        key = RunId(checked_id("run_id", run_id))
        at = self.services.clock.now()
        await self.store.submit(Request(run_id=key, kind="cancel", at=at, by=by, reason=reason))
        await self._outside.take_quietly(key)

    # -- what the outside needs ------------------------------------------------------------------------

    def knows(self, graph: str) -> bool:
        """Whether this engine can run a graph of this name."""
        return graph in self._graphs

    def at_rest(self) -> dict[RunId, Tracked]:
        """The unfinished runs that somebody holds a handle of, and that are not under way here."""
        return self._handles.at_rest(self.loops)

    async def bring_back(self, run_id: RunId) -> None:
        """Take a run at rest up, with what was asked of it; leave it to whoever works on it already.

        Raises:
            TreadleError: It cannot go on.
        """
        try:
            async with self._beginning.alone(run_id):
                summary = await self.store.run(run_id)
                if not summary.owner and summary.status not in FINAL and summary.graph in self._graphs:
                    await self._resume(run_id, retry_failed=False)
        except (OwnedElsewhere, EngineClosed):
            return

    def lose(self, run_id: RunId, error: TreadleError) -> None:
        """Tell the handles of a run that it cannot go on here, and why."""
        self._handles.lose(run_id, error)

    async def learn(self, tracked: Tracked, summary: RunSummary) -> None:
        """Tell the handles of a run how it ended in another process, or that it goes on or waits there."""
        before, run_id = tracked.changes, summary.id
        if summary.status in FINAL:
            found = past(await self.store.read(run_id))
            if (ended := found.ended) is not None and tracked.changes == before:
                self._handles.make_ended(run_id, self._graphs.find(tracked.graph), ended, found.cancelled_by)
            return
        questions = await self.store.questions(run_id=run_id)
        if tracked.changes == before:
            tracked.become(summary.status, questions=tuple(question.id for question in questions))

    # -- driving -------------------------------------------------------------------------------------

    def _go(
        self,
        loop: RunLoop,
        graph: Graph[..., Any],
        first: Event,
        *,
        is_recorded: bool = False,
        then: Sequence[Event] = (),
    ) -> RunHandle[Any]:
        group = self._require_open()
        handle, tracked = self._handles.make(loop.run_id, graph, "running")
        tracked.become("running")
        self.loops[loop.run_id] = loop
        self._outside.taken_up(loop.run_id, loop.started.deadline)
        drive = functools.partial(self._drive, loop, tracked, first, is_recorded=is_recorded, then=then)
        group.start_soon(drive, name=f"run {loop.run_id}")
        return handle

    async def _drive(
        self, loop: RunLoop, tracked: Tracked, first: Event, *, is_recorded: bool, then: Sequence[Event]
    ) -> None:
        """Work on a run until it ends or waits, and take up what came at the last moment."""
        error: TreadleError | None = None
        self._under_way.begin(loop.run_id, loop.stop)
        try:
            await loop.run(first, is_recorded=is_recorded, then=then)
        except TreadleError as failed:
            error = failed
        finally:
            await self._let_go(loop, tracked, error)
        if loop.is_parked and not tracked.is_lost and not self._is_draining:
            await self._outside.take_quietly(loop.run_id)
        elif loop.ended is None and not loop.is_parked:
            self._under_way.left.append(loop.run_id)

    async def _let_go(self, loop: RunLoop, tracked: Tracked, error: TreadleError | None) -> None:
        """Record what is left to be recorded, give the run up, and tell its handles."""
        self._purse.close(loop.run_id, loop.accounts, tenant=loop.started.tenant)
        try:
            with anyio.CancelScope(shield=True):
                try:
                    await loop.log.release()
                except StoreError as failed:
                    error = error or failed
            self.loops.pop(loop.run_id, None)
            if loop.ended is not None and error is None:
                self._outside.over(loop.run_id)
                self._purse.forget(loop.run_id, loop.started.tenant, loop.ended)
            tell(loop, tracked, error)
        finally:
            self._under_way.over(loop.run_id)

    async def flush(self, run_id: RunId) -> None:
        """Return when all that a run under way has appended is safe."""
        loop = self.loops.get(run_id)
        if loop is not None:
            await loop.log.flush()
