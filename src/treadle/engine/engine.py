"""``Engine``: starts runs, takes them up again, hands them answers.

Each run under way is one task of the engine's group.  A run that waits for people is none: it stands
in the store alone, until an answer brings it back.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, overload
from weakref import WeakValueDictionary

import anyio
from anyio.abc import TaskGroup

from treadle import compose
from treadle.budget import Budget
from treadle.engine.clock import SystemClock
from treadle.engine.compiled import compile_runners
from treadle.engine.failures import ended_error, ended_with
from treadle.engine.handle import RunHandle
from treadle.engine.listing import Listing
from treadle.engine.loop import RunLoop
from treadle.engine.moments import moment
from treadle.engine.outside import Outside
from treadle.engine.purse import Purse
from treadle.engine.questions import THE_RUN, event_of, in_order, request_to_answer
from treadle.engine.registry import Registry, take_options
from treadle.engine.services import EngineServices
from treadle.engine.taking_up import Past, past, rebuild
from treadle.engine.tracked import FINAL, Status, Tracked
from treadle.errors import (
    ConfigurationError,
    OwnedElsewhere,
    RunError,
    RunExists,
    StoreError,
    StoreUnavailable,
    TreadleError,
)
from treadle.events import Event, RunEnded, RunStarted
from treadle.ids import QuestionId, RunId, new_run_id
from treadle.interfaces import Clock, Question, Request, RunLog, RunSpan, RunSummary, Store
from treadle.nodes.graph import Graph
from treadle.values import Payload

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
        clock: Another time than the machine's, for tests.
        fresh_copies: Give every consumer a copy of its own, so that a test shows who changes a result.

    Example::

        async with Engine("sqlite:///support.db", graphs=[support]) as engine:
            handle = await engine.start(support, ticket)
            reply = await handle.result()
    """

    def __init__(
        self,
        store: str | Store = "memory:",
        *,
        graphs: Iterable[Graph[..., Any]] = (),
        resources: Iterable[object] = (),
        tenant: str | None = None,
        budgets: Mapping[str, Budget] | None = None,
        clock: Clock | None = None,
        fresh_copies: bool = False,
    ) -> None:
        self.store = compose.open_store(store) if isinstance(store, str) else store
        self._tenant = tenant or ""
        self._purse = Purse(budgets)
        self.services = EngineServices(
            clock or SystemClock(), compose.open_tracer(), resources, fresh_copies=fresh_copies
        )
        self._graphs = Registry(self.services.rehearsals.__setitem__)
        self._outside = Outside(self, self.services.clock)
        self.services.watch_deadline = self._outside.watch_deadline
        self.loops: dict[RunId, RunLoop] = {}
        self._opening: dict[RunId, anyio.Event] = {}
        self._tracked: WeakValueDictionary[RunId, Tracked] = WeakValueDictionary()
        self._group: TaskGroup | None = None
        self._stack = AsyncExitStack()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        for graph in graphs:
            self._graphs.add(graph)

    async def __aenter__(self) -> Self:
        await self.store.open()
        try:
            self._group = await self._stack.enter_async_context(anyio.create_task_group())
            await self._purse.recollect(self.store)
            await self._outside.open(self._group)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop where every run stands, and close the store; unfinished runs can be resumed."""
        group, self._group = self._group, None
        if group is not None:
            group.cancel_scope.cancel()
        try:
            await self._stack.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await self.services.aclose()
                await self.store.aclose()

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
            StoreError: It could not be recorded.
        """
        options = take_options(graph, kwargs)
        self._graphs.add(graph)
        run_id = RunId(options.get("run_id") or new_run_id())
        started, span = self._started(graph, run_id, graph.bind(args, kwargs), options)
        async with self._alone(run_id):
            try:
                log = await self.store.create(started)
            except RunExists:
                return await self._same_run(graph, started)
            compiled = compile_runners(graph.plan, traced=span is not None, timed=self._purse.times(started))
            accounts = self._purse.open(run_id, graph.plan, budget=started.budget, tenant=started.tenant)
            loop = RunLoop(self.services, compiled, started, log, accounts, span=span)
            return self._go(loop, graph, started, is_recorded=True)

    def _started(
        self, graph: Graph[..., Any], run_id: RunId, inputs: dict[str, Payload], options: dict[str, Any]
    ) -> tuple[RunStarted, RunSpan | None]:
        plan, now = graph.plan, self.services.clock.now()
        span = self._open_span(graph, run_id, now)
        started = RunStarted(
            at=now,
            run_id=run_id,
            graph=graph.name,
            plan=plan.payload,
            inputs=inputs,
            seed=run_id,
            budget=options.get("budget") or plan.policies.budget,
            tenant=options.get("tenant") or self._tenant,
            labels=dict(options.get("labels") or {}),
            deadline=moment(options.get("deadline")),
            traceparent="" if span is None else span.traceparent,
        )
        return started, span

    async def _same_run(self, graph: Graph[..., Any], started: RunStarted) -> RunHandle[Any]:
        recorded = await self.store.read(started.run_id)
        before = past(recorded).started
        if before.graph != started.graph or before.inputs != started.inputs:
            raise RunExists(
                f"run {started.run_id!r} exists already, with graph {before.graph!r} and other inputs; "
                "choose another run_id, or resume that run"
            )
        try:
            return await self._resume(started.run_id, retry_failed=False)
        except OwnedElsewhere:  # it goes on there; the handle follows it
            return self._handle(started.run_id, graph, "running")

    # -- resuming ----------------------------------------------------------------------------------

    async def resume(self, run_id: str) -> RunHandle[Any]:
        """Take a run up where its history ends: after a crash, a failure, or an edit of its graph.

        Answers that came meanwhile are taken up; a run that has ended well is left as it is.

        Raises:
            UnknownRun: There is no such run.
            OwnedElsewhere: Another process works on it.
            ConfigurationError: Its graph was not given to this engine.
            HistoryMismatch: What was recorded and what the code does now differ.
        """
        key = RunId(run_id)
        async with self._alone(key):
            return await self._resume(key, retry_failed=True)

    async def _resume(self, run_id: RunId, *, retry_failed: bool) -> RunHandle[Any]:
        loop = self.loops.get(run_id)
        if loop is not None:
            return self._handle(run_id, self._graphs.find(loop.graph), "running")
        log = await self.store.own(run_id)
        try:
            before = past(await self.store.read(run_id))
            graph = self._graphs.find(before.started.graph)
            if before.ended is not None and not (retry_failed and before.ended.status == "failed"):
                await log.release()
                return self._ended(run_id, graph, before.ended)
            return self._take_up(log, before, graph, await self.store.requests(run_id))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await log.release()
            raise

    @asynccontextmanager
    async def _alone(self, run_id: RunId) -> AsyncGenerator[None]:
        """One task at a time starts a run, or takes it up; the next one finds it under way."""
        while run_id in self._opening:
            await self._opening[run_id].wait()
        self._opening[run_id] = anyio.Event()
        try:
            yield
        finally:
            self._opening.pop(run_id).set()

    def _take_up(
        self, log: RunLog, before: Past, graph: Graph[..., Any], requests: Sequence[Request]
    ) -> RunHandle[Any]:
        """Go on with a run, and with what was asked of it meanwhile, in the order of time."""
        started = before.started
        span = self._open_span(graph, started.run_id, self.services.clock.now(), started.traceparent)
        compiled = compile_runners(graph.plan, traced=span is not None, timed=self._purse.times(started))
        loop, resumed = rebuild(
            self.services, compiled, before, log, self._purse, owner=self._owner, span=span
        )
        asked = [event_of(request) for request in requests]
        overdue = loop.questions.overdue(resumed.at, started.deadline)
        return self._go(loop, graph, resumed, then=in_order(asked, overdue))

    def _ended(self, run_id: RunId, graph: Graph[..., Any], ended: RunEnded) -> RunHandle[Any]:
        handle = self._handle(run_id, graph, ended.status)
        value, error = ended_with(run_id, ended, graph.result)
        self._tracked[run_id].become(ended.status, value=value, error=error)
        return handle

    # -- people and cancellation ---------------------------------------------------------------------

    def questions(self, *, to: str | None = None, run_id: str | None = None) -> Listing[Question]:
        """Give the open questions, the oldest first: ``await`` them, or walk with ``async for``."""
        key = None if run_id is None else RunId(run_id)
        return Listing(lambda: self.store.questions(to=to, run_id=key))

    async def answer(self, question_id: str, value: object, *, by: str, reason: str = "") -> None:
        """Answer a question; the answer is safely recorded when this returns.

        Args:
            question_id: As in ``questions()``.
            value: The answer: a value of the asked type, or JSON data of its schema.
            by: Who answers.
            reason: Why, for the record.

        Raises:
            QuestionError: Unknown, answered or withdrawn, too late, or not of the asked form.
        """
        question = await self.store.question(QuestionId(question_id))
        at = self.services.clock.now()
        await self.store.submit(request_to_answer(question, value, at=at, by=by, reason=reason))
        await self._outside.take_quietly(question.run_id)

    async def cancel(self, run_id: str, *, by: str = "", reason: str = "") -> None:
        """Ask for a run to be cancelled; what it had finished is kept.

        Raises:
            UnknownRun: There is no such run.
        """
        key = RunId(run_id)
        at = self.services.clock.now()
        await self.store.submit(Request(run_id=key, kind="cancel", at=at, by=by, reason=reason))
        await self._outside.take_quietly(key)

    # -- what the outside needs ------------------------------------------------------------------------

    def knows(self, graph: str) -> bool:
        """Whether this engine can run a graph of this name."""
        return graph in self._graphs

    def at_rest(self) -> dict[RunId, Tracked]:
        """The unfinished runs that somebody holds a handle of, and that are not under way here."""
        return {
            run_id: tracked
            for run_id, tracked in self._tracked.items()
            if run_id not in self.loops and tracked.status not in FINAL and not tracked.is_lost
        }

    async def bring_back(self, run_id: RunId) -> None:
        """Take a run at rest up, with what was asked of it; leave it to whoever works on it already.

        Raises:
            TreadleError: It cannot go on; its handles are told, unless the store is out of reach.
        """
        try:
            async with self._alone(run_id):
                summary = await self.store.run(run_id)
                if not summary.owner and summary.status not in FINAL and summary.graph in self._graphs:
                    await self._resume(run_id, retry_failed=False)
        except OwnedElsewhere:
            return
        except StoreUnavailable:
            raise
        except TreadleError as error:
            tracked = self._tracked.get(run_id)
            if tracked is not None:
                tracked.become(tracked.status, error=error, is_lost=True)
            raise

    async def learn(self, tracked: Tracked, summary: RunSummary) -> None:
        """Tell the handles of a run how it ended in another process, or that it goes on or waits there."""
        before, run_id = tracked.changes, summary.id
        if summary.status in FINAL:
            ended = past(await self.store.read(run_id)).ended
            if ended is not None and tracked.changes == before:
                self._ended(run_id, self._graphs.find(tracked.graph), ended)
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
        if self._group is None:
            raise ConfigurationError("the engine is not open; write: async with Engine(...) as engine")
        handle = self._handle(loop.run_id, graph, "running")
        tracked = self._tracked[loop.run_id]
        tracked.become("running")
        self.loops[loop.run_id] = loop
        if loop.started.deadline is not None:
            self._outside.watch_deadline(loop.run_id, THE_RUN, loop.started.deadline)
        drive = functools.partial(self._drive, loop, tracked, first, is_recorded=is_recorded, then=then)
        self._group.start_soon(drive)
        return handle

    async def _drive(
        self, loop: RunLoop, tracked: Tracked, first: Event, *, is_recorded: bool, then: Sequence[Event]
    ) -> None:
        """Work on a run until it ends or waits, and tell its handles."""
        error: BaseException | None = None
        try:
            await loop.run(first, is_recorded=is_recorded, then=then)
            await loop.log.flush()
        except TreadleError as failed:
            error = failed
        finally:
            self._purse.close(loop.run_id, loop.accounts, tenant=loop.started.tenant)
            with anyio.CancelScope(shield=True):
                try:
                    await loop.log.release()
                except StoreError as failed:
                    error = error or failed
            self.loops.pop(loop.run_id, None)
            self._tell(loop, tracked, error)
        if error is None and loop.ended is None:
            await self._outside.take_quietly(loop.run_id)

    def _tell(self, loop: RunLoop, tracked: Tracked, error: BaseException | None) -> None:
        ended = loop.ended
        loop.close_span(ended)
        if error is not None or (ended is None and not loop.is_parked):
            lost = error or RunError(f"the engine closed while run {loop.run_id!r} was under way; resume it")
            tracked.become(tracked.status, error=lost, is_lost=True)
        elif ended is None:
            tracked.become("waiting", questions=tuple(loop.questions.open))
        else:
            cause = None if ended.failure is None else loop.errors.get(ended.failure.node)
            value = loop.workspace.result() if ended.status == "completed" else None
            tracked.become(ended.status, value=value, error=ended_error(loop.run_id, ended, cause))

    # -- small things ----------------------------------------------------------------------------------

    async def flush(self, run_id: RunId) -> None:
        """Return when all that a run under way has appended is safe."""
        loop = self.loops.get(run_id)
        if loop is not None:
            await loop.log.flush()

    def _open_span(
        self, graph: Graph[..., Any], run_id: RunId, at: float, traceparent: str = ""
    ) -> RunSpan | None:
        tracer = self.services.tracer
        if tracer is None:
            return None
        scopes = {scope.id: (scope.graph, scope.parent) for scope in graph.plan.scopes}
        return tracer.run(
            run_id=run_id,
            graph=graph.name,
            digest=graph.plan.digest,
            at=at,
            scopes=scopes,
            traceparent=traceparent,
        )

    def _handle(self, run_id: RunId, graph: Graph[..., Any], status: Status) -> RunHandle[Any]:
        tracked = self._tracked.get(run_id)
        if tracked is None:
            tracked = self._tracked[run_id] = Tracked(run_id, graph.name, status)
        return RunHandle(self, tracked)
