"""``Scheduler``: events in, commands out.

Theory of operation
-------------------
A plan is a set of vertices (``program.py``); the run's result is one more.  A vertex moves through
these states, and only ``handle`` moves it::

    IDLE ----demanded----> WAITING --inputs there--> RUNNING ----> DONE
      ^                     |   |                     |  |  |
      |                     |   +--> DECIDING --------+  |  +----> FAILED (failures travel here too)
      +---nobody needs it---+----- CANCELLING <----------+
                                   PARKED <----> RUNNING

*Demand* (``demand.py``) starts at the result.  A vertex that is demanded holds what it needs; what is
held by an unfinished vertex is demanded.  A choice first holds its subject and, without counting on
them, the vertices all its cases need; once decided it holds the case taken.  A fallback holds one rung.

*Failure is an outcome.*  It reaches every vertex that counts on the failed one, and those that come
to count on it later; a fallback takes it and holds its next rung.  A vertex that has failed lets go
of what it held; whoever is then held by nobody is cancelled, withdrawn or no longer demanded.  When
failure reaches the result the run drains: nothing starts, what runs may finish.

*One event, four moves* (``_propagate``): outcomes travel along the wires until they rest; the run
drains where its result has failed; what became ready starts, in the order of the plan; what nobody
holds any more is stopped.  These repeat until nothing moves.

Invariants (``check_invariants``): a vertex is demanded exactly when an unfinished one holds it, or
it is the result; ``missing`` counts the unfinished inputs a waiting vertex counts on; ``busy`` counts
the vertices that owe an event; with ``busy`` at zero the run has ended, or waits for people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.errors import InternalError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    Failure,
    NodeCompleted,
    QuestionAnswered,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
    RunStarted,
)
from treadle.ids import NodeId, QuestionId
from treadle.scheduler.commands import (
    CancelAttempt,
    CancelUnstarted,
    Command,
    Decide,
    EndRun,
    Park,
    StartAttempt,
    Withdraw,
)
from treadle.scheduler.demand import (
    CANCELLING,
    DECIDING,
    DONE,
    FAILED,
    IDLE,
    NAMES,
    PARKED,
    RUNNING,
    WAITING,
    Demand,
)
from treadle.scheduler.opening import OPENING, Mode, Opening
from treadle.scheduler.program import Kind, Program

_WORK, _EXPRESSION, _CHOICE = Kind.WORK, Kind.EXPRESSION, Kind.CHOICE
_ACTIVE = Mode.ACTIVE


class Scheduler:
    """Decides what a run does next.  The same events give the same commands, always.

    Args:
        program: The compiled plan.
        seed: The run's; jitter of waits is drawn from it.

    Attributes:
        states: The state of each vertex (``demand.IDLE`` and so on).
        chosen: The case a choice took, or the rung a fallback is at, by vertex.
        attempts: The number of the newest attempt, by vertex.
        tries: How many attempts have failed since the run last got fresh ones, by vertex.
        parked: The vertices that wait for people.
        busy: How many vertices owe an event.
    """

    __slots__ = (
        "_answered", "_commands", "_demand", "_due", "_end", "_handlers", "_is_refused", "_opening",
        "_program", "_seed", "attempts", "busy", "chosen", "mode", "parked", "states", "tries",
    )  # fmt: skip

    def __init__(self, program: Program, *, seed: str) -> None:
        self._program = program
        self._seed = seed
        self._opening: Opening | None = program.memo.get(OPENING)
        self._demand = Demand(program) if self._opening is None else self._opening.demand.copy()
        self.states = self._demand.states
        self.chosen = self._demand.chosen
        self.mode = Mode.NEW
        self.attempts: dict[int, int] = {}
        self.tries: dict[int, int] = {}
        self.parked: set[int] = set()
        self.busy = 0
        self._due: dict[int, float] = {}
        self._answered: dict[int, set[QuestionId]] = {}
        self._end: EndRun | None = None
        self._is_refused = False
        self._commands: list[Command] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            NodeCompleted: self._on_completed,
            Decided: self._on_decided,
            AttemptFailed: self._on_failed,
            AttemptParked: self._on_parked,
            AttemptCancelled: self._on_cancelled,
            QuestionAnswered: self._on_answered,
            QuestionWithdrawn: self._on_withdrawn,
            RunStarted: self._on_started,
            RunResumed: self._on_resumed,
            CancelRequested: self._on_cancel_requested,
            RunEnded: self._on_ended,
        }

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and give the commands it leads to, in the order of the plan.

        Kinds that say only what was done and paid lead to none.

        Raises:
            InternalError: The event cannot follow from what came before.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            return []
        commands: list[Command] = []
        self._commands = commands
        handler(event)
        return commands

    @property
    def failure(self) -> Failure | None:
        """Why the run as a whole failed, once it has."""
        return self._demand.failures.get(self._program.result)

    def state_of(self, node: NodeId) -> str:
        """The state of a node, in a word."""
        return NAMES[self.states[self._program.index[node]]]

    # -- events ------------------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> None:
        if self.mode is not Mode.NEW:
            raise self._impossible(event, f"the run is {self.mode.value}")
        self.mode = Mode.ACTIVE
        if self._opening is not None:
            self._begin_as_others(self._opening)
            return
        self._demand.begin()
        self._propagate()
        self._program.memo[OPENING] = Opening(
            self._demand.copy(), self.attempts.copy(), self.busy, self.mode, self._end, tuple(self._commands)
        )

    def _begin_as_others(self, opening: Opening) -> None:
        """Begin as every run of the plan does: finding out again would cost as much as the nodes."""
        self.attempts = opening.attempts.copy()
        self.busy = opening.busy
        self.mode = opening.mode
        self._end = opening.end
        self._commands.extend(opening.commands)

    def _on_completed(self, event: NodeCompleted) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        self.states[vertex] = DONE
        demand = self._demand
        demand.arrive(vertex)  # at once: where nothing failed, nothing else is under way
        ready = demand.ready
        if len(ready) == 1 and self._program.kinds[ready[0]] is _WORK and self.mode is _ACTIVE:
            vertex = ready.pop()
            self._start(vertex, self.attempts.get(vertex, 0) + 1)
        elif ready or not self.busy:
            self._propagate()

    def _on_decided(self, event: Decided) -> None:
        vertex = self._program.index.get(event.node, -1)
        if vertex < 0 or self.states[vertex] != DECIDING or self.mode is Mode.NEW:
            raise self._impossible(event, self._where(event.node))
        is_choice = self._program.kinds[vertex] is _CHOICE
        last = len(self._program.cases[vertex]) - 1 if is_choice else 0
        if event.failure is None and not 0 <= event.choice <= last:
            raise self._impossible(event, f"case {event.choice} of {event.node!r} is none of 0 to {last}")
        self.busy -= 1
        if event.failure is not None:
            self._demand.fail(vertex, event.failure)
        elif not is_choice:
            self._demand.finish(vertex)
        elif self._demand.needs[vertex] and self.mode is _ACTIVE:
            self._demand.take_case(vertex, event.choice)
        else:
            self._demand.leave_undecided(vertex)
        self._propagate()

    def _on_failed(self, event: AttemptFailed) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        if self.states[vertex] == CANCELLING and not self._demand.needs[vertex]:
            self.states[vertex] = IDLE
        elif not self._retry(vertex, event):
            self._demand.fail(vertex, event.failure)
        self._propagate()

    def _on_parked(self, event: AttemptParked) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        answered = self._answered.get(vertex)
        if self.mode is not _ACTIVE or not self._demand.needs[vertex]:
            self._withdraw(vertex)
        elif answered is not None and not answered.isdisjoint(event.questions):
            self._start(vertex, event.attempt)  # an answer came while the attempt was being unwound
        else:
            self.states[vertex] = PARKED
            self.parked.add(vertex)
        self._propagate()

    def _on_cancelled(self, event: AttemptCancelled) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        self.states[vertex] = IDLE
        if self._demand.needs[vertex]:
            self._start(vertex, event.attempt + 1)
        self._propagate()

    def _on_withdrawn(self, event: QuestionWithdrawn) -> None:
        """A question nobody answered in time wakes its node as an answer does."""
        if event.why == "late":
            self._on_answered(event)

    def _on_answered(self, event: QuestionAnswered | QuestionWithdrawn) -> None:
        vertex = self._program.index.get(event.node, -1)
        state = self.states[vertex] if vertex >= 0 else IDLE
        if state == PARKED:
            self.parked.discard(vertex)
            self._start(vertex, self.attempts[vertex])
            self._propagate()
        elif state in (RUNNING, CANCELLING):
            self._answered.setdefault(vertex, set()).add(event.question)

    def _on_resumed(self, event: RunResumed) -> None:
        """Ask again for what was under way when the last owner went, and what failed where told to."""
        end = self._end
        has_failed = self.mode is Mode.DRAINING or (end is not None and end.status == "failed")
        if self.mode is Mode.NEW:
            self.mode = Mode.ACTIVE
            self._demand = Demand(self._program)
            self.states, self.chosen = self._demand.states, self._demand.chosen
            self._demand.begin()
        elif self.mode is _ACTIVE:
            for vertex, state in enumerate(self.states):
                self._ask_again(vertex, state)
        elif has_failed and event.retry_failed:
            self._revive()
        elif end is None:
            self._forget_running()
        elif self.mode is Mode.FINISHING or (self._is_refused and event.retry_failed):
            self._end_run(end)
        self._propagate()

    def _on_cancel_requested(self, _event: CancelRequested) -> None:
        if self.mode in (Mode.ACTIVE, Mode.DRAINING):
            self.mode = Mode.CANCELLING
            self._stop_everything(cancel=True)
            self._propagate()

    def _on_ended(self, event: RunEnded) -> None:
        if self._end is None or self.mode is not Mode.FINISHING:
            raise self._impossible(event, f"the run is {self.mode.value}")
        self._is_refused = event.status != self._end.status
        self.mode = Mode.ENDED

    # -- what happens next -------------------------------------------------------------------------

    def _propagate(self) -> None:
        """Carry outcomes along the wires until nothing moves, and command what follows from them."""
        demand, result = self._demand, self._program.result
        while True:
            while demand.finished:
                demand.arrive(demand.finished.pop())
            if self.mode is _ACTIVE and self.states[result] == FAILED:
                self.mode = Mode.DRAINING
                self._stop_everything(cancel=not self._program.drains)
            if demand.ready:
                self._advance()
            elif demand.orphans:
                self._abandon()
            elif not demand.finished:
                break
        if not self.busy:
            self._conclude()

    def _advance(self) -> None:
        """Let vertices whose inputs are there go on: in the order of the plan."""
        ready = self._demand.ready
        if len(ready) > 1:
            ready.sort()
        batch = ready[:]
        ready.clear()
        kinds, states = self._program.kinds, self.states
        for vertex in batch:
            if states[vertex] != WAITING:
                continue
            kind = kinds[vertex]
            if kind is _WORK:
                self._start(vertex, self.attempts.get(vertex, 0) + 1)
            elif kind is _EXPRESSION or (kind is _CHOICE and vertex not in self.chosen):
                self._decide(vertex)
            else:
                self._demand.finish(vertex)

    def _start(self, vertex: int, attempt: int, not_before: float = 0.0) -> None:
        if self.mode is not _ACTIVE:
            self.states[vertex] = IDLE
            return
        self.states[vertex] = RUNNING
        self.attempts[vertex] = attempt
        self.busy += 1
        if not_before:
            self._due[vertex] = not_before
        elif self._due:
            self._due.pop(vertex, None)
        if self._answered:
            self._answered.pop(vertex, None)
        self._commands.append(
            StartAttempt(node=self._program.ids[vertex], index=vertex, attempt=attempt, not_before=not_before)
        )

    def _decide(self, vertex: int) -> None:
        if self.mode is not _ACTIVE:
            self.states[vertex] = IDLE
            return
        self.states[vertex] = DECIDING
        self.busy += 1
        self._commands.append(Decide(node=self._program.ids[vertex], index=vertex))

    def _retry(self, vertex: int, event: AttemptFailed) -> bool:
        """Ask for another attempt where the policy grants one."""
        retry = self._program.retry[vertex]
        tries = self.tries[vertex] = self.tries.get(vertex, 0) + 1
        failure = event.failure
        if retry is None or self.mode is not _ACTIVE or tries >= retry.attempts or not failure.takeable:
            return False
        if not retry.matches(failure.types, retryable=failure.retryable):
            return False
        wait = retry.delay(tries, seed=f"{self._seed}:{event.node}", retry_after=failure.retry_after)
        self._start(vertex, event.attempt + 1, event.at + wait)
        return True

    # -- what nobody needs, and the end ------------------------------------------------------------

    def _abandon(self) -> None:
        """Stop what no unfinished vertex holds any more, unless the run as a whole is ending in failure."""
        demand, states = self._demand, self.states
        orphans = demand.orphans
        if states[self._program.result] == FAILED:
            orphans.clear()
            return
        while orphans:
            vertex = orphans.pop()
            if demand.needs[vertex]:
                continue
            state = states[vertex]
            if state == WAITING:
                demand.abandon(vertex)
            elif state == DECIDING and self._program.kinds[vertex] is _CHOICE:
                demand.let_drift(vertex)
            elif state == RUNNING:
                states[vertex] = CANCELLING
                self._commands.append(CancelAttempt(node=self._program.ids[vertex], index=vertex))
            elif state == PARKED:
                self._withdraw(vertex)

    def _withdraw(self, vertex: int) -> None:
        self.states[vertex] = IDLE
        self.parked.discard(vertex)
        self._commands.append(Withdraw(node=self._program.ids[vertex], index=vertex))

    def _stop_everything(self, *, cancel: bool) -> None:
        """Let nothing new start, withdraw questions, and cancel what runs where told to."""
        for vertex in sorted(self.parked):
            self._withdraw(vertex)
        if self.busy:
            self._commands.append(CancelUnstarted())
        for vertex, state in enumerate(self.states if cancel else ()):
            if state == RUNNING:
                self.states[vertex] = CANCELLING
                self._commands.append(CancelAttempt(node=self._program.ids[vertex], index=vertex))

    def _conclude(self) -> None:
        """End or park a run in which nothing is under way any more."""
        if self.mode is Mode.DRAINING:
            self._end_run(EndRun(status="failed", failure=self.failure))
        elif self.mode is Mode.CANCELLING:
            self._end_run(EndRun(status="cancelled"))
        elif self.mode is _ACTIVE and self.states[self._program.result] == DONE:
            self._end_run(EndRun(status="completed"))
        elif self.mode is _ACTIVE and self.parked:
            self._commands.append(Park())
        elif self.mode is _ACTIVE:
            raise InternalError(f"the run can neither go on nor end; please report this: {self.story()}")

    def _end_run(self, end: EndRun) -> None:
        self.mode = Mode.FINISHING
        self._end = end
        self._commands.append(end)

    # -- taking a run up again ---------------------------------------------------------------------

    def _ask_again(self, vertex: int, state: int) -> None:
        if state == RUNNING:
            self.busy -= 1
            self._start(vertex, self.attempts[vertex], self._due.get(vertex, 0.0))
        elif state == DECIDING:
            self.busy -= 1
            self._decide(vertex)
        elif state == CANCELLING:
            self.busy -= 1
            self.states[vertex] = IDLE
            if self._demand.needs[vertex]:
                self._start(vertex, self.attempts[vertex] + 1)

    def _forget_running(self) -> None:
        """What was under way when the owner of an ending run went owes nothing any more."""
        for vertex, state in enumerate(self.states):
            if state in (RUNNING, CANCELLING, DECIDING):
                self.states[vertex] = IDLE
        self.busy = 0

    def _revive(self) -> None:
        """Give all that failed fresh attempts; the number of an attempt is never given again."""
        self._forget_running()
        self.mode = Mode.ACTIVE
        self._end = None
        self.tries.clear()
        self._due.clear()
        self._answered.clear()
        self._demand.begin_again()

    # -- looking inside ----------------------------------------------------------------------------

    def _running_vertex(self, event: NodeCompleted | AttemptFailed | AttemptParked | AttemptCancelled) -> int:
        vertex = self._program.index.get(event.node, -1)
        is_running = vertex >= 0 and self.states[vertex] in (RUNNING, CANCELLING)
        if not is_running or self.attempts.get(vertex) != event.attempt:
            raise self._impossible(event, self._where(event.node))
        return vertex

    def _where(self, node: NodeId) -> str:
        vertex = self._program.index.get(node)
        if vertex is None:
            return f"the plan has no node {node!r}"
        return f"node {node!r} is {NAMES[self.states[vertex]]} (attempt {self.attempts.get(vertex, 0)})"

    def _impossible(self, event: Event, where: str) -> InternalError:
        return InternalError(f"{type(event).__name__} cannot be: {where}; please report this: {self.story()}")

    def story(self) -> str:
        """What stands where, for a bug report: no values, only ids and states."""
        missing, needs = self._demand.missing, self._demand.needs
        moving = [
            f"{self._program.ids[v]}={NAMES[s]}({missing[v]} missing, {needs[v]} holders)"
            for v, s in enumerate(self.states)
            if s not in (IDLE, DONE)
        ]
        return f"run {self.mode.value}, {self.busy} busy; {', '.join(moving[:20])}"

    def check_invariants(self) -> None:
        """Recompute what the state says twice, and raise ``AssertionError`` where it differs."""
        owing = [v for v, state in enumerate(self.states) if state in (DECIDING, RUNNING, CANCELLING)]
        assert self.busy == len(owing), f"busy is {self.busy}, but {len(owing)} owe an event"
        assert self.parked == {v for v, state in enumerate(self.states) if state == PARKED}
        assert self.busy or self.parked or self.mode in (Mode.NEW, Mode.FINISHING, Mode.ENDED)
        if self.mode is _ACTIVE:
            self._demand.check()
        elif self.mode is not Mode.NEW:
            assert not self.parked, "a run that ends still asks people"
            assert self.mode is not Mode.ENDED or not self.busy, "a run has ended with attempts under way"
