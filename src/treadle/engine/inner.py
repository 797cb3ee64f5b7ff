"""A graph that a body calls as a step: each of its nodes is a call of that step's body.

Nothing is recorded of its progress besides those calls.  When the body runs again the graph is gone through
from its start: calls that had ended give what their records say, in the order of the history, so every choice
comes out as it did; and nothing new begins before they have, so what lost a race, or was not needed any more
by the time of the crash, is not begun again.

Retries, timeouts, effects and budgets of a node are those of its call.  So the scheduler here grants no
second attempt, and never sees anybody wait for people: the attempt around parks as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from treadle.engine import unneeded
from treadle.engine.failures import error_of, failure_of, foreign, leading
from treadle.engine.money import Account
from treadle.engine.records import is_inside
from treadle.engine.workspace import Workspace
from treadle.errors import InternalError, StoreError, TreadleError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    Decided,
    Event,
    Failure,
    NodeCompleted,
    QuestionAsked,
    RunEnded,
    RunStarted,
)
from treadle.ids import NodeId, PartId, StepId
from treadle.plan.parts import Callee, Planned
from treadle.scheduler.commands import (
    CancelAttempt,
    CancelUnstarted,
    Command,
    Decide,
    EndRun,
    Enter,
    Leave,
    StartAttempt,
)
from treadle.scheduler.part import Part
from treadle.scheduler.program import Program, compile_plan
from treadle.scheduler.scheduler import Scheduler
from treadle.values import JSON

Past = Literal["", "ended", "in doubt"]
"""What came of a call before: nothing that is known, an outcome, or perhaps an effect."""

_ITEM: Final = re.compile(r"\(\d+\)")
_NOTHING: Final = JSON.pack(None)
_PROGRAM: Final = "engine.inner"


class Made(Protocol):
    """The call that a node is: what its graph needs of it."""

    step: StepId
    accounts: tuple[Account, ...]

    @property
    def only_asks(self) -> bool:
        """Whether all it does is to wait for people."""
        ...


class Maker(unneeded.Maker, Protocol):
    """The attempt that the calls belong to."""

    number: int


class Host(Protocol):
    """The body whose calls the nodes of a graph are."""

    @property
    def maker(self) -> Maker: ...

    path: str
    accounts: tuple[Account, ...]

    def past_of(self, callee: Callee, arguments: Mapping[str, Any]) -> Past:
        """What is known of a call like this one that nobody has claimed yet."""
        ...

    async def call(self, callee: Callee, arguments: Mapping[str, Any], *, place: Place | None = None) -> Any:
        """Make a call, or give what its record says."""
        ...


class Place:
    """Where in a graph a call stands, and what has become of it.

    Attributes:
        name: What it is called by in its step: the node, without the numbers of items and rounds, which
            shift under an edit.
        accounts: The accounts above it, the graph's and its subgraphs' among them.
        call: The call, once it is being made.
        scope: Around it.
        step: As which its body numbered it; the same when it was stopped and is needed again.
        was_known: Whether a call like it had ended before, so that it may have a record to claim.
    """

    __slots__ = (
        "_count_on", "_has_ended", "_is_stopped", "accounts", "call", "name", "scope", "step", "was_known",
    )  # fmt: skip

    def __init__(
        self,
        node: NodeId,
        accounts: tuple[Account, ...],
        step: StepId | None,
        *,
        was_known: bool,
        count_on: Callable[[StepId], None],
    ) -> None:
        self.name = _ITEM.sub("", node)
        self.accounts = accounts
        self._count_on = count_on
        self.call: Made | None = None
        self.scope = anyio.CancelScope()
        self.step = step
        self.was_known = was_known
        self._has_ended = was_known
        self._is_stopped = False

    async def begun(self, call: Made, *, has_ended: bool) -> None:
        """Take in the call.

        Args:
            call: It.
            has_ended: Whether the history says what it came to, so that it only waits for its turn.
        """
        self.call, call.accounts = call, self.accounts
        self._count_on(call.step)
        self._has_ended = has_ended
        if self._is_stopped:
            self.stop()
            await checkpoint_if_cancelled()

    def stop(self) -> None:
        """Stop it, unless it had come to an end all the same: then that is what it comes to again."""
        self._is_stopped = True
        if not self._has_ended:
            self.scope.cancel()


class _Room:
    """One part of the graph: its plan, the values in it, and the accounts of its scopes."""

    __slots__ = ("accounts", "plan", "program", "workspace")

    def __init__(
        self,
        plan: Planned,
        program: Program,
        workspace: Workspace,
        accounts: Mapping[str, tuple[Account, ...]],
    ) -> None:
        self.plan = plan
        self.program = program
        self.workspace = workspace
        self.accounts = accounts


async def walk(body: Host, plan: Planned, arguments: Mapping[str, Any]) -> Any:
    """Go through a plan by calls of a body, and give what it comes to.

    Raises:
        TreadleError: What the graph failed with.
    """
    return await _Walk(body, plan, arguments).run()


class _Walk:
    """One way through a plan."""

    def __init__(self, body: Host, plan: Planned, arguments: Mapping[str, Any]) -> None:
        self._body = body
        self._live = body.maker.live
        self._copies = self._live.services.fresh_copies
        self._plan = plan
        program = _program_of(plan)
        self._scheduler = Scheduler(program, seed=self._live.seed)
        workspace = Workspace(plan, program, self._scheduler.root, fresh_copies=self._copies)
        for name, value in arguments.items():
            workspace.values[program.index[NodeId(name)]] = value
        root = _Room(plan, program, workspace, self._accounts(plan, body.accounts, ""))
        self._rooms: dict[PartId, _Room] = {PartId(""): root}
        self._left: list[Part] = []
        self._places: dict[NodeId, Place] = {}
        self._stopped: dict[NodeId, StepId] = {}
        self._new: list[StartAttempt] = []
        self._known = 0
        self._errors: dict[int, tuple[Failure, Exception]] = {}
        self._end: EndRun | None = None
        self._group: TaskGroup | None = None

    def _accounts(
        self, plan: Planned, above: tuple[Account, ...], prefix: str
    ) -> Mapping[str, tuple[Account, ...]]:
        """The accounts above what stands in each scope of a part."""
        maker, found = self._body.maker, {"": above}
        for scope in plan.scopes:
            step = StepId(f"{self._body.path}/{prefix}{scope.id}")
            around, budget = found[scope.parent], scope.policies.budget
            found[scope.id] = self._live.accounts.nested(around, maker.node, step, budget)
        return found

    async def run(self) -> Any:
        """Go through the whole plan."""
        begun = RunStarted(
            at=self._live.now(), run_id=self._live.run_id, graph=self._plan.name, plan=_NOTHING, inputs={},
            seed=self._live.seed,
        )  # fmt: skip
        try:
            async with anyio.create_task_group() as self._group:
                self._take(begun)
        except BaseExceptionGroup as errors:
            raise leading(errors) from None
        end = self._end
        if end is None:
            raise InternalError(
                f"graph {self._plan.name!r} came to no end; please report this: {self._scheduler.story()}"
            )
        if end.failure is not None:
            raise self._error(end.failure)
        return self._rooms[PartId("")].workspace.result()

    def _error(self, failure: Failure) -> Exception:
        """The error behind a failure; that of a race comes from those of its runners."""
        if id(failure) in self._errors:
            return self._errors[id(failure)][1]
        error = error_of(failure, run_id=self._live.run_id)
        error.__cause__ = ExceptionGroup("what failed", [error for _, error in self._errors.values()])
        return error

    # -- events and commands -------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        """Hand an event to the scheduler, and do what it asks."""
        starts: list[StartAttempt] = []
        others: list[Command] = []
        commands = self._moved(self._scheduler.handle(event))
        for command in commands:  # decisions add to it while it is walked
            if isinstance(command, Decide):
                decided = self._decide(command)
                commands.extend(self._moved(self._scheduler.handle(decided)))
            elif isinstance(command, StartAttempt):
                starts.append(command)
            else:
                others.append(command)
        for start in starts:
            self._ask_for(start)
        for command in others:
            self._obey(command)
        self._begin_new()

    def _moved(self, commands: Sequence[Command]) -> list[Command]:
        """Go into and out of items and rounds, which must be before the next event; give what else to do."""
        others: list[Command] = []
        for command in commands:
            if isinstance(command, Enter):
                self._enter(command)
            elif isinstance(command, Leave):
                self._leave(command)
            else:
                others.append(command)
        return others

    def _enter(self, command: Enter) -> None:
        around = self._rooms[command.inside]
        node = around.plan.nodes[command.index]
        if node.body is None:
            raise InternalError(f"node {node.id!r} repeats nothing; please report this")
        program = around.program.repeats[command.index].program
        workspace = Workspace(
            node.body,
            program,
            self._scheduler.part(command.part),
            fresh_copies=self._copies,
            around=(around.workspace, command.index, command.number),
        )
        step = StepId(f"{self._body.path}/{command.part}")
        budget = node.body.policies.budget
        above = self._live.accounts.nested(around.accounts[node.scope], self._body.maker.node, step, budget)
        accounts = self._accounts(node.body, above, f"{command.part}/")
        self._rooms[command.part] = _Room(node.body, program, workspace, accounts)

    def _leave(self, command: Leave) -> None:
        outcome = self._rooms[command.part].workspace if command.failure is None else command.failure
        around = self._rooms[command.inside].workspace
        around.keep(command.index, command.number, outcome, is_needed=True)
        self._left.append(self._scheduler.part(command.part))
        for part in [part for part in self._left if part.is_quiet]:
            self._left.remove(part)
            for inner in part.walk():
                self._rooms.pop(inner.id, None)

    def _decide(self, command: Decide) -> Decided:
        choice, failure = -1, None
        try:
            choice = self._rooms[command.part].workspace.choose(command.index)
        except Exception as error:  # a user's ``__eq__`` or property may raise anything
            failure = self._failure(error)
        return Decided(at=self._live.now(), node=command.node, choice=choice, failure=failure)

    def _failure(self, error: Exception) -> Failure:
        failure = failure_of(error, node=self._body.maker.node, attempt=self._body.maker.number)
        self._errors[id(failure)] = (failure, error)
        return failure

    def _obey(self, command: Command) -> None:
        if isinstance(command, CancelAttempt):
            self._let_go(command.node)
        elif isinstance(command, CancelUnstarted):
            waiting = [node for node, place in self._places.items() if self._only_waits(place)]
            self._cancel([*(start.node for start in self._new), *waiting])
        elif isinstance(command, EndRun):
            self._end = command
            self._take(RunEnded(at=self._live.now(), status=command.status))

    # -- calls -----------------------------------------------------------------------------------------

    def _ask_for(self, command: StartAttempt) -> None:
        """Begin a call that has a record, or is in doubt; a new one waits until those with one are through.

        Those that ended after one in doubt had begun wait until it is made again.
        """
        room = self._rooms[command.part]
        node = room.plan.nodes[command.index]
        past = "" if node.callee is None else self._body.past_of(node.callee, room.workspace.arguments(node))
        if past:
            self._begin(command, was_known=past == "ended")
        else:
            self._new.append(command)

    def _begin_new(self) -> None:
        """Begin what has no record, unless something that has one is under way."""
        if not self._known:
            new, self._new = self._new, []
            for command in new:
                self._begin(command, was_known=False)

    def _begin(self, command: StartAttempt, *, was_known: bool) -> None:
        room = self._rooms[command.part]
        node = room.plan.nodes[command.index]
        if node.callee is None or self._group is None:
            raise InternalError(f"node {node.id!r} cannot run; please report this")
        stopped = self._stopped.pop(command.node, None)
        accounts, around = room.accounts[node.scope], len(self._body.accounts)
        count_on = partial(self._live.accounts.count_on, accounts[around:], self._body.maker.node)
        place = Place(command.node, accounts, stopped, was_known=was_known, count_on=count_on)
        self._places[command.node] = place
        self._known += was_known
        arguments = room.workspace.arguments(node)
        self._group.start_soon(self._perform, command, place, node.callee, arguments, room)

    async def _perform(
        self, command: StartAttempt, place: Place, callee: Callee, arguments: Mapping[str, Any], room: _Room
    ) -> None:
        """Make one call, and tell the scheduler how it ended."""
        at, node, attempt = self._live.now(), command.node, command.attempt
        event: Event = AttemptCancelled(at=at, node=node, attempt=attempt, started_at=at)
        failed: Exception | None = None
        try:
            with place.scope:
                value = await self._body.call(callee, arguments, place=place)
                room.workspace.values[command.index] = value
                event = NodeCompleted(at=at, node=node, attempt=attempt, started_at=at, result=_NOTHING)
        except InternalError:
            raise
        except TreadleError as error:
            if isinstance(error, StoreError):
                self._live.log.append()  # raises where it is the run's own log that fails
            failed = error
        except BaseException as error:
            failed = foreign(error)
            if failed is None:
                raise
        if failed is not None:
            failure = self._failure(failed)
            event = AttemptFailed(at=at, node=node, attempt=attempt, started_at=at, failure=failure)
        self._over(node, place, was_stopped=isinstance(event, AttemptCancelled))
        self._take(event)

    def _over(self, node: NodeId, place: Place, *, was_stopped: bool) -> None:
        del self._places[node]
        self._known -= place.was_known
        call = place.call
        if not was_stopped or call is None:
            return
        if place.step is not None:
            self._stopped[node] = place.step

        def is_unneeded(asked: QuestionAsked) -> bool:
            return is_inside(asked.step, call.step) and asked.about == "answer"

        here = self._body.maker.node
        withdrawn = self._live.questions.withdrawals(self._live.now(), is_unneeded, node=here)
        if withdrawn:
            self._live.record(*withdrawn)

    def _only_waits(self, place: Place) -> bool:
        """Whether a call has not begun, waits between two tries, or for people alone."""
        call = place.call
        if call is None:
            return True
        record = self._body.maker.records.steps.get(call.step)
        return call.only_asks or (record is not None and record.not_before is not None)

    def _let_go(self, node: NodeId) -> None:
        """Stop a call that nobody needs any more; what acts in it, and must not be cut off, ends first."""
        place = self._places.get(node)
        if place is None or place.call is None:
            self._cancel([node])
        else:
            unneeded.let_go(self._body.maker, place.call.step, place.stop)

    def _cancel(self, nodes: Iterable[NodeId]) -> None:
        for node in nodes:
            place = self._places.get(node)
            if place is not None:
                place.stop()
                continue
            start = next(start for start in self._new if start.node == node)
            self._new.remove(start)
            at = self._live.now()
            self._take(AttemptCancelled(at=at, node=node, attempt=start.attempt, started_at=at))


def _program_of(plan: Planned) -> Program:
    """The program of a plan, in which no node is tried twice: that is up to its call."""
    found: Program | None = plan.memo.get(_PROGRAM)
    if found is None:
        found = plan.memo[_PROGRAM] = _untried(compile_plan(plan))
    return found


def _untried(program: Program) -> Program:
    repeats = {
        vertex: replace(repeat, program=_untried(repeat.program))
        for vertex, repeat in program.repeats.items()
    }
    return replace(program, retry=(None,) * len(program.retry), repeats=repeats, memo={})
