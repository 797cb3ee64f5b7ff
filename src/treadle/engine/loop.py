"""``RunLoop``: one run under way, from what it was given until it ends or waits for people.

An event goes to the scheduler; what the scheduler asks to be decided is decided on values; the event
and those decisions are appended together; then the commands are obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from treadle.engine import unneeded
from treadle.engine.attempt import Attempt, choose
from treadle.engine.claiming import Claimer, Due
from treadle.engine.claims import Claims
from treadle.engine.compiled import Compiled
from treadle.engine.failures import failure_of, failure_of_attempt, faults_told, innermost, stopped_by
from treadle.engine.forgetting import forget_calls
from treadle.engine.live import Services
from treadle.engine.purse import AllMade, RunAccounts
from treadle.engine.questions import Questions
from treadle.engine.records import Histories
from treadle.engine.retries import Retries
from treadle.engine.sessions import Sessions
from treadle.engine.sites import Sites
from treadle.engine.workers import Workers
from treadle.errors import InternalError, ResultRefused, StoreError, TreadleError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunEnded,
    RunStarted,
)
from treadle.ids import NodeId, RunId, StepId
from treadle.interfaces import RunLog, RunSpan, Span
from treadle.plan.parts import PlanNode
from treadle.plan.scopes import scope_of
from treadle.retry import qualified_name
from treadle.scheduler.commands import (
    CancelAttempt,
    CancelUnstarted,
    Command,
    Decide,
    EndRun,
    Enter,
    Leave,
    Park,
    StartAttempt,
    Withdraw,
)
from treadle.scheduler.opening import Mode
from treadle.scheduler.part import Part
from treadle.scheduler.scheduler import Scheduler
from treadle.values import JSON, Payload

QUEUE_BOUND: Final = 2048
"""Events that may wait for the store's writer before workers wait for it."""


_End = NodeCompleted | AttemptFailed | AttemptCancelled | AttemptParked
_ENDS: Final = (NodeCompleted, AttemptFailed, AttemptCancelled, AttemptParked)
_MOVES: Final = (Enter, Leave)


class RunLoop:
    """One run under way.  Implements ``Live`` for its attempts.

    Attributes:
        ended: How the run ended, once it has.
        errors: The newest error of each node that failed in this process.
        claimer: Answers attempts from records, where the plan was edited.
    """

    __slots__ = (
        "_broken", "_claims", "_early", "_group", "_histories", "_questions", "_retries", "_sessions",
        "_watch", "accounts", "claimer", "compiled", "ended", "errors", "graph", "log", "now",
        "requests_made", "run_id", "running", "scheduler", "seed", "services", "sites", "span", "started",
        "workers", "workspace",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        compiled: Compiled,
        started: RunStarted,
        log: RunLog,
        accounts: RunAccounts,
        *,
        sites: Sites | None = None,
        histories: Histories | None = None,
        questions: Questions | None = None,
        requests_made: AllMade | None = None,
        retries: Retries | None = None,
        span: RunSpan | None = None,
    ) -> None:
        self.services = services
        self.compiled = compiled
        self.started = started
        self.log = log
        self.accounts = accounts
        self.run_id: RunId = started.run_id
        self.graph = started.graph
        self.seed = started.seed
        self.now = services.clock.now
        if sites is None:
            scheduler = Scheduler(compiled.program, seed=started.seed)
            sites = Sites(compiled, scheduler, started.inputs, fresh_copies=services.fresh_copies)
        self.sites = sites
        self.scheduler = sites.scheduler
        self.workspace = sites.root.workspace
        self._histories = histories
        self._questions = questions
        self._claims: Claims | None = None
        self._sessions: Sessions | None = None
        self._retries = retries
        self.requests_made: AllMade = requests_made or {}
        self.workers = Workers(self, sites, services.clock, services.watch_command)
        self.running = self.workers.running
        self.errors: dict[NodeId, Exception] = {}
        self.ended: RunEnded | None = None
        self.claimer: Claimer | None = None
        self.span = span
        self._watch = services.watch_command
        self._group: TaskGroup | None = None
        self._early: tuple[Event, ...] = ()
        self._broken: TreadleError | None = None

    # -- what most runs do without: made by the first who asks, for thousands are under way at once --------

    @property
    def histories(self) -> Histories:
        """What its steps came to."""
        if self._histories is None:
            self._histories = Histories()
        return self._histories

    @histories.setter
    def histories(self, histories: Histories) -> None:
        self._histories = histories

    @property
    def questions(self) -> Questions:
        """What people were asked."""
        if self._questions is None:
            self._questions = Questions()
        return self._questions

    @property
    def claims(self) -> Claims:
        """Records that a call may claim."""
        if self._claims is None:
            plan = self.compiled.plan
            self._claims = Claims(lambda node: plan.find(node) is None)
        return self._claims

    @property
    def retries(self) -> Retries:
        """How many requests it has sent again, and may."""
        if self._retries is None:
            self._retries = Retries(self.services.retry_budget)
        return self._retries

    @property
    def sessions(self) -> Sessions:
        """Its sessions with programs whose tools it calls."""
        if self._sessions is None:
            self._sessions = Sessions(self.workers.host)
        return self._sessions

    # -- from the outside ------------------------------------------------------------------------------

    @property
    def is_parked(self) -> bool:
        """Whether it waits for people, with nothing under way."""
        return self.ended is None and self.scheduler.busy == 0 and bool(self.scheduler.parked)

    async def run(self, first: Event, *, is_recorded: bool = False, then: Sequence[Event] = ()) -> None:
        """Take in the first events, and work until the run ends or waits for people.

        Args:
            first: ``RunStarted`` or ``RunResumed``.
            is_recorded: Whether it stands in the store already.
            then: Answers and cancellations that brought the run back.

        Raises:
            StoreError: The history could not be written; what is recorded is intact.
        """
        try:
            async with anyio.create_task_group() as self._group:
                self.workers.open(self._group)
                self.take(first, is_recorded=is_recorded)
                for event in (*then, *self._early):
                    self.deliver(event)
                await self.workers.work()
        except BaseExceptionGroup as errors:
            raise stopped_by(innermost(errors), self.run_id) from errors
        finally:
            self._group = None
            self.workers.close()
        if self._broken is not None:
            raise self._broken

    def deliver(self, event: Event) -> None:
        """Hand over an answer, a passed deadline or a cancellation; each counts once.

        What comes before the run is under way is taken in when it is.  What comes after stands in the
        store, and brings the run back.
        """
        if not self.workers.are_open:
            self._early = (*self._early, event)
            return
        try:
            with faults_told(self.run_id):
                self._hand_over(event)
        except TreadleError as error:  # it is the run's, not of whoever delivers
            self._broken = error
            self.workers.stop()

    def _hand_over(self, event: Event) -> None:
        if self.ended is not None:
            return
        if isinstance(event, CancelRequested) and self.scheduler.mode is Mode.CANCELLING:
            return
        if isinstance(event, QuestionAnswered | QuestionWithdrawn):
            asked = self.questions.admits(event)
            if asked is None:
                return
            event = replace(event, node=asked.node)
            self.questions.see(event)
            self.histories.see(event)
        self.feed(event)
        for attempt in list(self.running.values()):
            if isinstance(attempt, Attempt):
                attempt.calls.wake()
        self.workers.start_spare()

    def stop(self) -> None:
        """Cancel all that is under way, and what was left to be tidied up: ``run`` returns soon."""
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def drain(self) -> None:
        """Start nothing more: ``run`` returns once the attempts under way have ended."""
        self.workers.drain()

    # -- Live --------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Hand an event to the scheduler, append it with the choices it made possible, and obey."""
        if self._questions is not None and self._questions.has_open and isinstance(event, _ENDS):
            self._withdraw_unneeded(event)
        self.take(event)

    def record(self, *events: Event) -> None:
        """Append events that no decision depends on."""
        for event in events:
            self.histories.see(event)
            if self._questions is not None or isinstance(event, QuestionAsked):
                self.questions.see(event)
        self.log.append(*events)

    def attempt_failed(
        self,
        node: NodeId,
        attempt: int,
        started_at: float,
        error: Exception,
        *,
        ended_by: tuple[StepId, ...] = (),
    ) -> None:
        """Feed the failure of an attempt, and keep its error for who waits for the run."""
        if isinstance(error, InternalError):
            raise error
        if isinstance(error, StoreError):
            self.log.append()  # raises where it is this run's own log that fails, and not another store
        self.errors[node] = error
        planned = self.compiled.plan.find(node)
        failed = AttemptFailed(
            at=self.now(),
            node=node,
            attempt=attempt,
            started_at=started_at,
            failure=failure_of_attempt(error, planned, node=node, attempt=attempt, ended_by=ended_by),
            ended_by=ended_by[0] if ended_by else None,
            also_ended_by=ended_by[1:],
        )
        self.histories.see(failed)
        self.claims.add_attempt(self.histories.of(node, attempt))
        self.feed(failed)

    def open_span(self, node: NodeId, planned: PlanNode, attempt: int, at: float) -> Span | None:
        """Open the span of an attempt; ``None`` where nobody traces."""
        if self.span is None:
            return None
        name = planned.definition.name if planned.definition is not None else node
        scope = planned.scope if node == planned.id else scope_of(self.compiled.plan, node, planned)
        return self.span.node(node=node, kind=planned.kind, name=name, attempt=attempt, at=at, scope=scope)

    def end_span(self, span: Span, *, error: BaseException | None = None, status: str = "") -> None:
        """Close a span now."""
        span.end(at=self.now(), error="" if error is None else qualified_name(type(error)), status=status)

    # -- events and commands -----------------------------------------------------------------------------

    def take(self, event: Event, *, is_recorded: bool = False) -> None:
        """Do what ``feed`` does, for an event that leaves no question behind: the fast path."""
        commands = self.scheduler.handle(event)
        if commands:
            if self.claimer is not None:
                self._take_slowly(event, commands, is_recorded=is_recorded)
                return
            for command in commands:
                if type(command) is not StartAttempt or command.not_before or command.only_settles:
                    self._take_slowly(event, commands, is_recorded=is_recorded)
                    return
            self.workers.ready.extend(commands)  # type: ignore[arg-type]  # just checked one by one
        elif self.claimer is not None:
            self.claimer.see(event)
        if not is_recorded:
            self.log.append(event)

    def _take_slowly(self, event: Event, commands: list[Command], *, is_recorded: bool) -> None:
        events = [] if is_recorded else [event]
        others: list[Command] = []
        due: Due | None = None
        if self.claimer is not None:
            self.claimer.see(event)
            due = Due(self.claimer)
        self._settle(commands, events, others, due)
        while due:
            start = due.pop()
            claimed = self._claim(start) if due.may_answer(start) else None
            if claimed is None:
                self.workers.ready.append(start)
            else:
                events.append(claimed)
                self._settle(self.scheduler.handle(claimed), events, others, due)
        self.log.append(*events)
        for command in others:
            if self._watch is not None:
                self._watch(command)
            self._obey(command)

    def _settle(
        self, commands: list[Command], events: list[Event], others: list[Command], due: Due | None
    ) -> None:
        """Decide what is to be decided, and sort out what else there is to do."""
        commands = self._moved(commands)
        for command in commands:  # decisions add to it while it is walked
            if type(command) is StartAttempt and not command.not_before:
                if command.only_settles and not unneeded.is_in_doubt(self, command):
                    over = unneeded.over(self, command)
                    events.append(over)
                    commands.extend(self._moved(self.scheduler.handle(over)))
                else:
                    (self.workers.ready.append if due is None else due.add)(command)
            elif type(command) is Decide:
                if self._watch is not None:
                    self._watch(command)
                decided = self._decide(command)
                events.append(decided)
                commands.extend(self._moved(self.scheduler.handle(decided)))
            else:
                others.append(command)
                if due is not None and type(command) is CancelAttempt:
                    due.cancel(command)

    def _claim(self, command: StartAttempt) -> _End | None:
        """Answer an attempt from a record made under another plan, where there is one."""
        if self.claimer is None:
            return None
        workspace = self.sites.of(command.part).workspace
        answer = self.claimer.answer(command, workspace, self.now())
        if isinstance(answer, AttemptFailed):
            self.histories.see(answer)
        return answer

    def _moved(self, commands: Sequence[Command]) -> list[Command]:
        """Go into and out of items and rounds, which must be before the next event; give what else to do."""
        left: list[Command] = []
        for command in commands:
            if isinstance(command, _MOVES):
                if self._watch is not None:
                    self._watch(command)
                self._pass(command)
            else:
                left.append(command)
        return left

    def _pass(self, command: Enter | Leave) -> None:
        """Begin with an item or a round; or keep what it came to, and forget all else about it."""
        if self.claimer is not None:
            self.claimer.places.go(self.scheduler, command)
        if isinstance(command, Enter):
            self.sites.enter(command)
            return
        self.sites.leave(command)
        for part in self.sites.forget():
            self._forget(part)

    def _forget(self, part: Part) -> None:
        """Forget what is known of an item or a round in which nothing is under way any more."""
        forget_calls(part, self._histories, self.requests_made, self._retries)
        for vertex in range(len(part.attempts)) if self.errors else ():
            self.errors.pop(part.node(vertex), None)
        self.accounts.leave(part.id)
        if self.span is not None:
            self.span.leave(part.id)

    def close_span(self, ended: RunEnded | None) -> None:
        """Close the span of the run, or of the part of it up to a pause."""
        if self.span is None:
            return
        failure = None if ended is None else ended.failure
        status = ended.status if ended is not None else ("waiting" if self.is_parked else "interrupted")
        error = failure.types[0] if failure is not None and failure.types else ""
        self.span.end(at=self.now(), error=error, status=status)

    def _decide(self, command: Decide) -> Decided:
        choice, error = choose(self.sites.of(command.part).workspace, command.index)
        if error is None:
            return Decided(at=self.now(), node=command.node, choice=choice)
        self.errors[command.node] = error
        failure = failure_of(error, node=command.node, attempt=0)
        return Decided(at=self.now(), node=command.node, choice=-1, failure=failure)

    def _obey(self, command: Command) -> None:
        if isinstance(command, EndRun):
            self._end(command)
        elif isinstance(command, StartAttempt):
            self.workers.later(command)
        elif isinstance(command, CancelAttempt):
            self.workers.cancel(command.node, at_once=command.at_once)
        elif isinstance(command, CancelUnstarted):
            self.workers.cancel_unstarted()
        elif isinstance(command, Withdraw):
            self._withdraw(lambda _asked: True, command.node)
        elif isinstance(command, Park):
            parked = self.scheduler.parked  # no node waits for the questions of a plan that was edited since
            self._withdraw(lambda asked: asked.node not in parked)

    def _withdraw_unneeded(self, event: _End) -> None:
        """Close the questions of a node that its attempt, over or unwound, no longer needs."""
        needed = event.questions if isinstance(event, AttemptParked) else ()
        self._withdraw(lambda asked: asked.question not in needed, event.node)

    def _withdraw(self, is_unneeded: Callable[[QuestionAsked], bool], node: NodeId | None = None) -> None:
        if self._questions is not None and self._questions.has_open:
            self.record(*self._questions.withdrawals(self.now(), is_unneeded, node=node))

    def _end(self, command: EndRun) -> None:
        failure, status, result = command.failure, command.status, None
        if status == "completed":
            try:
                result = self._result()
            except ResultRefused as error:
                status, failure = "failed", failure_of(error, node="", attempt=0)
        self.ended = RunEnded(
            at=self.now(), status=status, result=result, failure=failure, spent=self.accounts.run.spent
        )
        self.take(self.ended)

    def _result(self) -> Payload:
        return (self.compiled.plan.codec or JSON).pack(self.workspace.result())

    # -- workers -------------------------------------------------------------------------------------------

    def cancelled(self, command: StartAttempt) -> None:
        """Feed that an attempt was cancelled before it began."""
        self.feed(unneeded.over(self, command))

    def nobody_left(self) -> None:
        """Note that the last worker goes: a session that somebody else held would outlive the run."""
        if self._sessions is not None:
            self._sessions.close()

    async def let_others_run(self) -> None:
        """Let other tasks run, and wait for the store where it is far behind."""
        await checkpoint()
        if self.log.queued > QUEUE_BOUND:
            await self.log.drained(QUEUE_BOUND // 2)
