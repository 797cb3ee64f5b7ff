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

*Demand* starts at the result.  A vertex that is demanded holds what it needs; what is held by an
unfinished vertex is demanded.  A choice first holds its subject and, without counting on them, the
vertices all its cases need; once decided it holds the case taken.  A fallback holds one rung.

*Failure is an outcome.*  It reaches every vertex that counts on the failed one, and those that come
to count on it later; a fallback takes it and holds its next rung.  A vertex that has failed lets go
of what it held; whoever is then held by nobody is cancelled, withdrawn or no longer demanded.  When
failure reaches the result the run drains: nothing starts, what runs may finish.

Invariants (``check_invariants``): a vertex is demanded exactly when an unfinished one holds it, or
it is the result; ``missing`` counts the unfinished inputs a waiting vertex counts on; ``busy`` counts
the vertices that owe an event; with ``busy`` at zero the run has ended, or waits for people.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final

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
from treadle.ids import NodeId
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
from treadle.scheduler.program import Indices, Kind, Program

IDLE, WAITING, DECIDING, RUNNING, PARKED, CANCELLING, DONE, FAILED = range(8)
NAMES: Final = ("idle", "waiting", "deciding", "running", "parked", "cancelling", "done", "failed")
_WORK, _EXPRESSION, _JOIN, _CHOICE, _FALLBACK = Kind.WORK, Kind.EXPRESSION, Kind.JOIN, Kind.CHOICE, Kind.FALLBACK


class Mode(enum.Enum):
    """What the run as a whole is about."""

    NEW = "new"
    ACTIVE = "active"
    DRAINING = "draining"
    CANCELLING = "cancelling"
    FINISHING = "finishing"
    ENDED = "ended"


class Scheduler:
    """Decides what a run does next.  The same events give the same commands, always.

    Args:
        program: The compiled plan.
        seed: The run's; jitter of waits is drawn from it.
    """

    __slots__ = (
        "_commands", "_due", "_end", "_finished", "_handlers", "_orphans", "_program", "_ready", "_seed",
        "attempts", "busy", "chosen", "failures", "holders", "missing", "mode", "needs", "parked", "states",
        "tries",
    )  # fmt: skip

    def __init__(self, program: Program, *, seed: str) -> None:
        size = len(program.ids)
        self._program = program
        self._seed = seed
        self.mode = Mode.NEW
        self.states = [IDLE] * size
        self.missing = [0] * size
        self.needs = [0] * size
        self.holders: list[list[int]] = [[] for _ in range(size)]
        self.attempts: dict[int, int] = {}
        self.tries: dict[int, int] = {}
        self.chosen: dict[int, int] = {}
        self.failures: dict[int, Failure] = {}
        self.parked: set[int] = set()
        self.busy = 0
        self._due: dict[int, float] = {}
        self._end: EndRun | None = None
        self._commands: list[Command] = []
        self._ready: list[int] = []
        self._finished: list[int] = []
        self._orphans: list[int] = []
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
        for vertex, kind in enumerate(program.kinds):
            if kind is Kind.INPUT:
                self.states[vertex] = DONE

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and give the commands it leads to, in the order of the plan.

        Kinds that say only what was done and paid lead to none.

        Raises:
            InternalError: The event cannot follow from what came before.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            return []
        self._commands = commands = []
        handler(event)
        return commands

    @property
    def failure(self) -> Failure | None:
        """Why the run as a whole failed, once it has."""
        return self.failures.get(self._program.result)

    def state_of(self, node: NodeId) -> str:
        """The state of a node, in a word."""
        return NAMES[self.states[self._program.index[node]]]

    # -- events ------------------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> None:
        self.mode = Mode.ACTIVE
        self.needs[self._program.result] = 1
        self._demand(self._program.result)
        self._propagate()

    def _on_completed(self, event: NodeCompleted) -> None:
        vertex = self._running_vertex(event)
        self.states[vertex] = DONE
        self.busy -= 1
        self._finished.append(vertex)
        self._propagate()

    def _on_decided(self, event: Decided) -> None:
        vertex = self._program.index[event.node]
        if self.states[vertex] != DECIDING:
            raise self._impossible(event, vertex)
        self.busy -= 1
        if event.failure is not None:
            self._fail(vertex, event.failure)
        elif self._program.kinds[vertex] is _EXPRESSION:
            self.states[vertex] = DONE
            self._finished.append(vertex)
        elif self.needs[vertex]:
            self._take_case(vertex, event.choice)
        else:
            self.states[vertex] = IDLE
        self._propagate()

    def _on_failed(self, event: AttemptFailed) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        if self.states[vertex] == CANCELLING and not self.needs[vertex]:
            self.states[vertex] = IDLE
        elif not self._retry(vertex, event):
            self._fail(vertex, event.failure)
        self._propagate()

    def _on_parked(self, event: AttemptParked) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        self.states[vertex] = PARKED
        self.parked.add(vertex)
        if self.mode is not Mode.ACTIVE or not self.needs[vertex]:
            self._withdraw(vertex)
        self._propagate()

    def _on_cancelled(self, event: AttemptCancelled) -> None:
        vertex = self._running_vertex(event)
        self.busy -= 1
        self.states[vertex] = IDLE
        if self.needs[vertex] and self.mode is Mode.ACTIVE:
            self._start(vertex, self.attempts[vertex] + 1)
        self._propagate()

    def _on_withdrawn(self, event: QuestionWithdrawn) -> None:
        if event.why == "late":
            self._on_answered(event)

    def _on_answered(self, event: QuestionAnswered | QuestionWithdrawn) -> None:
        vertex = self._program.index.get(event.node, -1)
        if vertex >= 0 and self.states[vertex] == PARKED:
            self.parked.discard(vertex)
            self._start(vertex, self.attempts[vertex])
            self._propagate()

    def _on_resumed(self, event: RunResumed) -> None:
        """Ask again for what was under way when the last owner went, and what failed where told to."""
        if self.mode is Mode.NEW:
            self.mode = Mode.ACTIVE
            self.needs[self._program.result] = 1
            self._demand(self._program.result)
        elif self.mode is Mode.ACTIVE:
            for vertex, state in enumerate(self.states):
                self._ask_again(vertex, state)
        elif self.mode is Mode.FINISHING and self._end is not None and not event.retry_failed:
            self._commands.append(self._end)
        else:
            for vertex, state in enumerate(self.states):
                if state in (RUNNING, CANCELLING, DECIDING):
                    self.states[vertex] = IDLE
            self.busy = 0
            if event.retry_failed and self.failure is not None:
                self._revive()
        self._propagate()

    def _on_cancel_requested(self, event: CancelRequested) -> None:
        if self.mode in (Mode.ACTIVE, Mode.DRAINING):
            self.mode = Mode.CANCELLING
            self._stop_everything(cancel=True)
            self._propagate()

    def _on_ended(self, event: RunEnded) -> None:
        self.mode = Mode.ENDED

    # -- demand ------------------------------------------------------------------------------------

    def _demand(self, root: int) -> None:
        """Demand a vertex, and all it needs to begin with."""
        stack = [root]
        states, program = self.states, self._program
        while stack:
            vertex = stack.pop()
            if states[vertex] != IDLE:
                continue
            states[vertex] = WAITING
            if program.kinds[vertex] is _FALLBACK:
                self._hold_rung(vertex, 0, stack)
                continue
            failed = self._hold(vertex, program.inputs[vertex], stack)
            if failed is not None:
                self._mark_failed(vertex, failed)
                continue
            for need in program.common[vertex]:
                self._hold_loosely(vertex, need, stack)
            if not self.missing[vertex]:
                self._ready.append(vertex)

    def _hold(self, vertex: int, wanted: Iterable[int], stack: list[int]) -> Failure | None:
        """Count on some vertices; give the failure of the first that has failed, holding none then."""
        states, holders, needs = self.states, self.holders, self.needs
        missing = 0
        for need in wanted:
            state = states[need]
            if state == FAILED:
                return self.failures[need]
        for need in wanted:
            state = states[need]
            if state != DONE:
                missing += 1
                holders[need].append(vertex)
                needs[need] += 1
                if state == IDLE:
                    stack.append(need)
        self.missing[vertex] = missing
        return None

    def _hold_loosely(self, vertex: int, need: int, stack: list[int]) -> None:
        """Demand a vertex that will be needed, without counting on it yet."""
        if self.states[need] not in (DONE, FAILED):
            self.holders[need].append(~vertex)
            self.needs[need] += 1
            if self.states[need] == IDLE:
                stack.append(need)

    def _hold_rung(self, vertex: int, rung: int, stack: list[int]) -> None:
        """Count on a rung of a fallback, or on the first later one that has not failed already."""
        cases = self._program.cases[vertex]
        while True:
            self.chosen[vertex] = rung
            failed = self._hold(vertex, cases[rung], stack)
            if failed is None:
                break
            if rung + 1 == len(cases) or not self._takes(vertex, failed):
                self._mark_failed(vertex, failed)
                return
            rung += 1
        if not self.missing[vertex]:
            self._ready.append(vertex)

    def _take_case(self, vertex: int, case: int) -> None:
        """Hold the case a choice has come to, then let go of what was held for all of them."""
        stack: list[int] = []
        self.states[vertex] = WAITING
        self.chosen[vertex] = case
        failed = self._hold(vertex, self._program.cases[vertex][case], stack)
        for need in self._program.common[vertex]:
            self._let_go(need)
        if failed is not None:
            self._mark_failed(vertex, failed)
        elif not self.missing[vertex]:
            self._ready.append(vertex)
        for need in stack:
            self._demand(need)

    def _let_go(self, need: int, *, holder: int | None = None) -> None:
        """Take one hold away; what nobody holds any more is looked at once failures have travelled.

        The holder's entry is removed only where it could be mistaken for a new one: entries of
        failed vertices and loose ones are never looked at.
        """
        if self.states[need] >= DONE:
            return
        if holder is not None:
            self.holders[need].remove(holder)
        self.needs[need] -= 1
        if not self.needs[need]:
            self._orphans.append(need)

    def _let_go_of_all(self, vertex: int, *, again: bool) -> None:
        """Let go of whatever an unfinished vertex holds; ``again``: it may come to hold them later.

        An unfinished input was unfinished when it was held, so exactly these are held now.
        """
        program, chosen = self._program, self.chosen.get(vertex)
        holder = vertex if again else None
        if chosen is not None:
            for need in program.cases[vertex][chosen]:
                self._let_go(need, holder=holder)
            return
        for need in program.inputs[vertex]:
            self._let_go(need, holder=holder)
        for need in program.common[vertex]:
            self._let_go(need)

    # -- outcomes ----------------------------------------------------------------------------------

    def _propagate(self) -> None:
        """Carry outcomes along the wires until nothing moves, then command what became ready."""
        finished, ready = self._finished, self._ready
        while finished or ready or self._orphans:
            while finished or ready:
                while finished:
                    self._arrive(finished.pop())
                if ready:
                    self._advance()
            if self._orphans:
                self._abandon()
        if self.mode is Mode.ACTIVE and self.states[self._program.result] == FAILED:
            self.mode = Mode.DRAINING
            self._stop_everything(cancel=not self._program.drains)
        if not self.busy:
            self._conclude()

    def _arrive(self, vertex: int) -> None:
        """Tell those who count on a vertex that it is done, or has failed."""
        holders = self.holders[vertex]
        if not holders:
            return
        self.holders[vertex] = []
        states, missing, ready = self.states, self.missing, self._ready
        if states[vertex] == DONE:
            for holder in holders:
                if holder >= 0 and states[holder] == WAITING:
                    missing[holder] -= 1
                    if not missing[holder]:
                        ready.append(holder)
            return
        failure = self.failures[vertex]
        for holder in holders:
            if holder >= 0 and states[holder] == WAITING:
                self._fail_or_next_rung(holder, failure)

    def _advance(self) -> None:
        """Let vertices whose inputs are there go on: in the order of the plan."""
        ready = self._ready
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
                states[vertex] = DONE
                self._finished.append(vertex)

    def _start(self, vertex: int, attempt: int, not_before: float = 0.0) -> None:
        if self.mode is not Mode.ACTIVE:
            self.states[vertex] = IDLE
            return
        self.states[vertex] = RUNNING
        self.attempts[vertex] = attempt
        self.busy += 1
        if not_before:
            self._due[vertex] = not_before
        elif self._due:
            self._due.pop(vertex, None)
        self._commands.append(
            StartAttempt(node=self._program.ids[vertex], index=vertex, attempt=attempt, not_before=not_before)
        )

    def _decide(self, vertex: int) -> None:
        if self.mode is not Mode.ACTIVE:
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
        if retry is None or self.mode is not Mode.ACTIVE or tries >= retry.attempts or not failure.takeable:
            return False
        if not retry.matches(failure.types, retryable=failure.retryable):
            return False
        wait = retry.delay(tries, seed=f"{self._seed}:{event.node}")
        if failure.retry_after is not None:
            wait = max(wait, min(failure.retry_after, retry.wait.maximum))
        self._start(vertex, event.attempt + 1, event.at + wait)
        return True

    def _fail(self, vertex: int, failure: Failure) -> None:
        """Fail a vertex that holds its inputs, or a rung, or a case."""
        self._let_go_of_all(vertex, again=False)
        self._mark_failed(vertex, failure)

    def _mark_failed(self, vertex: int, failure: Failure) -> None:
        self.states[vertex] = FAILED
        self.failures[vertex] = failure
        self._finished.append(vertex)

    def _takes(self, vertex: int, failure: Failure) -> bool:
        on = self._program.on[vertex]
        return failure.takeable and (not on or any(name in on for name in failure.types))

    def _fail_or_next_rung(self, vertex: int, failure: Failure) -> None:
        if self._program.kinds[vertex] is not _FALLBACK:
            self._fail(vertex, failure)
            return
        rung = self.chosen[vertex]
        if rung + 1 == len(self._program.cases[vertex]) or not self._takes(vertex, failure):
            self._fail(vertex, failure)
            return
        self._let_go_of_all(vertex, again=True)
        stack: list[int] = []
        self._hold_rung(vertex, rung + 1, stack)
        for need in stack:
            self._demand(need)

    # -- what nobody needs, and the end ----------------------------------------------------------------

    def _abandon(self) -> None:
        """Stop what no unfinished vertex holds any more, unless the run as a whole is ending in failure."""
        orphans = self._orphans
        if self.states[self._program.result] == FAILED:
            orphans.clear()
            return
        while orphans:
            vertex = orphans.pop()
            state = self.states[vertex]
            if self.needs[vertex] or state in (DONE, FAILED, IDLE):
                continue
            if state == WAITING:
                self.states[vertex] = IDLE
                self._let_go_of_all(vertex, again=True)
                self.chosen.pop(vertex, None)
            elif state == RUNNING:
                self.states[vertex] = CANCELLING
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
        for vertex, state in enumerate(self.states):
            if cancel and state == RUNNING:
                self.states[vertex] = CANCELLING
                self._commands.append(CancelAttempt(node=self._program.ids[vertex], index=vertex))

    def _conclude(self) -> None:
        """End or park a run in which nothing is under way any more."""
        if self.mode is Mode.ACTIVE and self.states[self._program.result] == DONE:
            self._end_run(EndRun(status="completed"))
        elif self.mode is Mode.DRAINING:
            self._end_run(EndRun(status="failed", failure=self.failure))
        elif self.mode is Mode.CANCELLING:
            self._end_run(EndRun(status="cancelled"))
        elif self.mode is Mode.ACTIVE:
            if not self.parked:
                raise InternalError(f"the run can neither go on nor end; please report this: {self.story()}")
            self._commands.append(Park())

    def _end_run(self, end: EndRun) -> None:
        self.mode = Mode.FINISHING
        self._end = end
        self._commands.append(end)

    # -- taking a run up again ---------------------------------------------------------------------------

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
            if self.needs[vertex]:
                self._start(vertex, self.attempts[vertex] + 1)

    def _revive(self) -> None:
        """Forget every failure, and demand the result again: what is done stays done."""
        self.mode = Mode.ACTIVE
        for vertex, state in enumerate(self.states):
            if state != DONE:
                self.states[vertex] = IDLE
                self.missing[vertex] = 0
                self.chosen.pop(vertex, None)
            self.holders[vertex] = []
            self.needs[vertex] = 0
        self._end = None
        self.failures.clear()
        self.tries.clear()
        self._due.clear()
        self.needs[self._program.result] = 1
        self._demand(self._program.result)

    # -- looking inside ------------------------------------------------------------------------------------

    def _running_vertex(self, event: NodeCompleted | AttemptFailed | AttemptParked | AttemptCancelled) -> int:
        vertex = self._program.index[event.node]
        if self.states[vertex] not in (RUNNING, CANCELLING) or self.attempts[vertex] != event.attempt:
            raise self._impossible(event, vertex)
        return vertex

    def _impossible(self, event: Event, vertex: int) -> InternalError:
        name, state = self._program.ids[vertex], NAMES[self.states[vertex]]
        return InternalError(
            f"{type(event).__name__} came for node {name!r}, which is {state} (attempt "
            f"{self.attempts.get(vertex, 0)}); please report this: {self.story()}"
        )

    def story(self) -> str:
        """What stands where, for a bug report: no values, only ids and states."""
        moving = [
            f"{self._program.ids[v]}={NAMES[s]}({self.missing[v]} missing, {self.needs[v]} holders)"
            for v, s in enumerate(self.states)
            if s not in (IDLE, DONE)
        ]
        return f"run {self.mode.value}, {self.busy} busy; {', '.join(moving[:20])}"

    def check_invariants(self) -> None:
        """Recompute what the state says twice, and raise ``AssertionError`` where it differs."""
        states, program = self.states, self._program
        owing = [v for v, state in enumerate(states) if state in (DECIDING, RUNNING, CANCELLING)]
        assert self.busy == len(owing), f"busy is {self.busy}, but {len(owing)} owe an event"
        assert self.parked == {v for v, state in enumerate(states) if state == PARKED}
        assert {v for v, state in enumerate(states) if state == FAILED} == set(self.failures)
        if self.mode is not Mode.ACTIVE:
            return
        held = [0] * len(states)
        held[program.result] = 1
        for vertex, state in enumerate(states):
            if state in (WAITING, DECIDING):
                counted, loose = self._held_by(vertex)
                unfinished = [need for need in counted if states[need] < DONE]
                assert self.missing[vertex] == len(unfinished), f"{program.ids[vertex]} miscounts its inputs"
                for need in (*unfinished, *(need for need in loose if states[need] < DONE)):
                    held[need] += 1
        for vertex, state in enumerate(states):
            if state < DONE:
                assert self.needs[vertex] == held[vertex], f"{program.ids[vertex]} miscounts its holders"
                assert bool(held[vertex]) == (state != IDLE) or state in (CANCELLING, DECIDING)

    def _held_by(self, vertex: int) -> tuple[Indices, Indices]:
        chosen = self.chosen.get(vertex)
        if chosen is not None:
            return self._program.cases[vertex][chosen], ()
        return self._program.inputs[vertex], self._program.common[vertex]
