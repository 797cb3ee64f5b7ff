"""Plays the engine for a scheduler: answers its commands in any order, and watches it all the while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from random_plans import Outcome, Script, Scripted

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
    RunEnded,
    RunResumed,
    RunStarted,
)
from treadle.ids import NodeId, QuestionId, RunId
from treadle.scheduler import demand
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
from treadle.scheduler.part import Part
from treadle.scheduler.program import Kind, compile_plan
from treadle.scheduler.replay import replay
from treadle.scheduler.scheduler import Mode, Scheduler
from treadle.values import JSON

SEED = "seed"
STEPS = 2000
"""No run of a random plan takes as many events: more would be a run that never ends."""


def started(at: float = 1.0) -> RunStarted:
    plan = JSON.pack("the plan")
    return RunStarted(at=at, run_id=RunId("r"), graph="g", plan=plan, inputs={}, seed=SEED)


def failure(node: NodeId, outcome: Outcome) -> Failure:
    return Failure(types=(outcome,), message=outcome, node=node, takeable=outcome != "fatal")


@dataclass
class Owed:
    """A command that is owed an event.

    Attributes:
        has_begun: Whether the body runs; what has not is dropped when nothing may start.
        is_answered: Whether the answer came before the attempt could say that it waits for it.
    """

    command: StartAttempt | Decide
    has_begun: bool = True
    is_answered: bool = False
    is_cancelled: bool = False
    is_dropped: bool = False


@dataclass
class Driver:
    """One run of a scripted plan.  Each number drawn decides one step.

    Attributes:
        history: The events so far, and the commands each led to.
        started: The nodes that ran, in order.
    """

    scripted: Scripted
    luck: Iterator[int]
    history: list[tuple[Event, list[Command]]] = field(default_factory=list)
    started: list[NodeId] = field(default_factory=list)
    completed: set[NodeId] = field(default_factory=set)
    owed: dict[int, Owed] = field(default_factory=dict)
    open: set[NodeId] = field(default_factory=set)
    end: EndRun | None = None
    at: float = 1.0

    def __post_init__(self) -> None:
        self.program = compile_plan(self.scripted.plan)
        self.scheduler = Scheduler(self.program, seed=SEED)
        self.parks_left = {node: script.parks for node, script in self.scripted.scripts.items()}

    # -- driving -------------------------------------------------------------------------------------

    def run(self, *, cancel_at: int = -1, crash_at: int = -1) -> None:
        """Run to the end: a cancellation, and a crash with a resume, strike before the given events."""
        self.feed(started())
        for step in range(STEPS):
            if step == cancel_at:
                self.feed(CancelRequested(at=self.at))
            if step == crash_at:
                self.crash()
            if self.end is not None:
                self.feed(RunEnded(at=self.at, status=self.end.status, failure=self.end.failure))
                return
            self.feed(self.next_event())
        raise AssertionError(f"the run never ends: {self.scheduler.story()}")

    def feed(self, event: Event) -> list[Command]:
        """Hand over an event, check everything, and note what is commanded."""
        self.at += 1.0
        was_draining = self.scheduler.mode not in (Mode.NEW, Mode.ACTIVE, Mode.ENDED)
        commands = self.scheduler.handle(event)
        self.history.append((event, commands))
        self.scheduler.check_invariants()
        if self.scheduler.mode is Mode.ACTIVE:
            self._check_demand()
        for command in commands:
            assert not (was_draining and isinstance(command, StartAttempt | Decide)), "it started something"
            self._note(command)
        ended = self.end is not None
        assert ended == (self.scheduler.mode in (Mode.FINISHING, Mode.ENDED)), "the end was not told"
        return commands

    def crash(self) -> None:
        """Lose the process and everything in it but the history, and take the run up again."""
        self.check_replay()
        was_active = self.scheduler.mode is Mode.ACTIVE
        before = [owed.command for owed in self.owed.values() if not owed.is_cancelled]
        self.owed.clear()
        self.end = None
        again = self.feed(RunResumed(at=self.at, owner="other", fence=2))
        assert not was_active or all(command in again for command in before), "what was under way was lost"

    def check_replay(self) -> None:
        """Replaying the events gives the commands and the state there were live."""
        again, commands = replay([event for event, _ in self.history], lambda _: self.program)
        assert commands == [live for _, live in self.history]
        assert whole_state(again) == whole_state(self.scheduler)

    # -- answering commands --------------------------------------------------------------------------

    def next_event(self) -> Event:
        """Answer one of the commands that are owed an event, or one of the open questions."""
        waiting = [*sorted(self.owed), *sorted(self.open)] if self.owed else sorted(self.open)
        assert waiting, f"nothing is owed, and nobody asked: {self.scheduler.story()}"
        pick = waiting[next(self.luck) % len(waiting)]
        if isinstance(pick, str):
            return self._answer(NodeId(pick))
        owed = self.owed.pop(pick)
        if isinstance(owed.command, Decide):
            return self._decided(owed.command)
        return self._attempted(owed, owed.command)

    def _answer(self, node: NodeId) -> QuestionAnswered:
        self.open.discard(node)
        question = QuestionId(f"q-{node}")
        return QuestionAnswered(at=self.at, node=node, question=question, value=JSON.pack(1), by="maria")

    def _decided(self, command: Decide) -> Decided:
        script = self.scripted.scripts[command.node]
        outcome = script.tries[0]
        if outcome != "ok":
            return Decided(at=self.at, node=command.node, choice=-1, failure=failure(command.node, outcome))
        return Decided(at=self.at, node=command.node, choice=script.choice)

    def _attempted(self, owed: Owed, command: StartAttempt) -> Event:
        node, attempt = command.node, command.attempt
        if owed.is_dropped or (owed.is_cancelled and next(self.luck) % 3):
            return AttemptCancelled(at=self.at, node=node, attempt=attempt, started_at=self.at)
        if self.parks_left[node]:
            return self._parked(owed, command)
        outcome = self._outcome(self.scripted.scripts[node], command.index)
        if outcome == "ok":
            self.completed.add(node)
            return NodeCompleted(at=self.at, node=node, attempt=attempt, started_at=1.0, result=JSON.pack(1))
        return AttemptFailed(
            at=self.at, node=node, attempt=attempt, started_at=1.0, failure=failure(node, outcome)
        )

    def _parked(self, owed: Owed, command: StartAttempt) -> AttemptParked | QuestionAnswered:
        node = command.node
        if not owed.is_answered and next(self.luck) % 3 == 0:
            owed.is_answered = True
            self.owed[command.index] = owed
            return self._answer(node)
        self.parks_left[node] -= 1
        if not owed.is_answered:
            self.open.add(node)
        question = QuestionId(f"q-{node}")
        return AttemptParked(at=self.at, node=node, attempt=command.attempt, questions=(question,))

    def _outcome(self, script: Script, vertex: int) -> Outcome:
        return script.tries[min(self.scheduler.root.tries.get(vertex, 0), len(script.tries) - 1)]

    # -- watching ------------------------------------------------------------------------------------

    def _note(self, command: Command) -> None:
        assert self.end is None, "something was commanded after the end"
        if isinstance(command, StartAttempt):
            self._note_start(command)
        elif isinstance(command, Decide):
            assert command.index not in self.owed, f"{command.node} is decided twice at once"
            self.owed[command.index] = Owed(command)
        elif isinstance(command, CancelAttempt):
            assert isinstance(self.owed[command.index].command, StartAttempt), "nothing there to cancel"
            self.owed[command.index].is_cancelled = True
        elif isinstance(command, CancelUnstarted):
            for owed in self.owed.values():
                owed.is_dropped = isinstance(owed.command, StartAttempt) and not owed.has_begun
        elif isinstance(command, Withdraw):
            self.open.discard(command.node)
        elif isinstance(command, EndRun):
            assert not self.owed, "the run ended with attempts under way"
            self.end = command
        else:
            assert isinstance(command, Park)
            assert not self.owed, "the run was parked with attempts under way"

    def _note_start(self, command: StartAttempt) -> None:
        node = command.node
        assert command.index not in self.owed, f"{node} runs twice at once"
        assert node not in self.completed, f"{node} ran again though it was done"
        inputs = self.program.inputs[command.index]
        states = self.scheduler.root.states
        assert all(states[need] == demand.DONE for need in inputs), f"{node} started too early"
        self.owed[command.index] = Owed(command, has_begun=not command.not_before and next(self.luck) % 3 > 0)
        self.started.append(node)

    def _check_demand(self) -> None:
        """What is under way is what the unfinished need, found out anew from the result."""
        states, needed, stack = self.scheduler.root.states, set[int](), [self.program.result]
        while stack:
            vertex = stack.pop()
            if vertex not in needed and states[vertex] < demand.DONE:
                needed.add(vertex)
                stack.extend(self._needs_of(vertex))
        for vertex, state in enumerate(states):
            if state in (demand.WAITING, demand.RUNNING, demand.PARKED):
                assert vertex in needed, f"nobody needs {self.program.ids[vertex]}"
            assert state != demand.IDLE or vertex not in needed, f"{self.program.ids[vertex]} was forgotten"

    def _needs_of(self, vertex: int) -> list[int]:
        program, chosen = self.program, self.scheduler.root.chosen.get(vertex)
        if self.scheduler.root.states[vertex] not in (demand.WAITING, demand.DECIDING):
            return []
        if program.kinds[vertex] in (Kind.CHOICE, Kind.FALLBACK) and chosen is not None:
            return list(program.cases[vertex][chosen])
        loose = () if vertex in self.scheduler.root.demand._adrift else program.common[vertex]
        return [*program.inputs[vertex], *loose]


def whole_state(scheduler: Scheduler) -> dict[str, object]:
    """All that a scheduler knows, but for its programs."""
    course = scheduler._course
    state: dict[str, object] = {name: getattr(course, name) for name in ("mode", "busy", "parked", "end")}
    state["is_refused"] = scheduler._is_refused
    for part in course.parts.values():
        state |= {f"{part.id} {name}": value for name, value in _state_of(part)}
    return state


def _state_of(part: Part) -> Iterator[tuple[str, object]]:
    for name in set(Part.__slots__) - {"program", "owner", "demand", "items"}:
        yield name, getattr(part, name)
    for name in set(type(part.demand).__slots__) - {"_program"}:
        yield f"demand {name}", getattr(part.demand, name)
    for vertex, items in part.items.items():
        yield f"items {vertex}", (items.limit, items.begun, items.ended, list(items.open))
