"""Plays the engine for a scheduler: answers its commands in any order, and watches it all the while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from random_plans import Outcome, Scripted

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
from treadle.ids import NodeId, PartId, QuestionId, RunId, owner_of, part_id
from treadle.scheduler import states
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
        entered: The items and rounds that began; those that were left stay among them.
        inside: Those that have not been left.
    """

    scripted: Scripted
    luck: Iterator[int]
    history: list[tuple[Event, list[Command]]] = field(default_factory=list)
    started: list[NodeId] = field(default_factory=list)
    completed: set[NodeId] = field(default_factory=set)
    owed: dict[NodeId, Owed] = field(default_factory=dict)
    entered: set[PartId] = field(default_factory=set)
    inside: set[PartId] = field(default_factory=set)
    open: set[NodeId] = field(default_factory=set)
    end: EndRun | None = None
    at: float = 1.0

    def __post_init__(self) -> None:
        self.program = compile_plan(self.scripted.plan)
        self.scheduler = Scheduler(self.program, seed=SEED)
        self.parks: dict[NodeId, int] = {}

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
        races = {(part.id, vertex): arrived for part, vertex, arrived in self._races()}
        commands = self.scheduler.handle(event)
        self.history.append((event, commands))
        self.scheduler.check_invariants()
        if self.scheduler.mode is Mode.ACTIVE:
            self._check_demand()
            self._check_races(races)
        for command in commands:
            assert not (was_draining and isinstance(command, StartAttempt | Decide | Enter)), "it started"
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
        waiting = [*sorted(self.owed), *sorted(self.open)]
        assert waiting, f"nothing is owed, and nobody asked: {self.scheduler.story()}"
        pick = waiting[next(self.luck) % len(waiting)]
        if pick in self.open:
            return self._answer(pick)
        owed = self.owed.pop(pick)
        if isinstance(owed.command, Decide):
            return self._decided(owed.command)
        return self._attempted(owed, owed.command)

    def _answer(self, node: NodeId) -> QuestionAnswered:
        self.open.discard(node)
        question = QuestionId(f"q-{node}")
        return QuestionAnswered(at=self.at, node=node, question=question, value=JSON.pack(1), by="maria")

    def _decided(self, command: Decide) -> Decided:
        node, script = command.node, self.scripted.script(command.node)
        part = self.scheduler.part(command.part)
        kind, outcome, choice = part.program.kinds[command.index], script.tries[0], 0
        if kind is Kind.CHOICE:
            choice = script.choice % len(part.program.cases[command.index])
        elif kind is Kind.EACH:
            choice = self.scripted.items(node)
        elif kind is Kind.LOOP and outcome == "ok":
            items = part.items[command.index]
            choice = int(items.ended >= self.scripted.rounds(node))
            outcome = "ok" if choice or items.ended < items.limit else "LoopLimit"
        if outcome != "ok":
            return Decided(at=self.at, node=node, choice=-1, failure=failure(node, outcome))
        return Decided(at=self.at, node=node, choice=choice)

    def _attempted(self, owed: Owed, command: StartAttempt) -> Event:
        node, attempt = command.node, command.attempt
        if owed.is_dropped or (owed.is_cancelled and next(self.luck) % 3):
            return AttemptCancelled(at=self.at, node=node, attempt=attempt, started_at=self.at)
        if self.parks.get(node, 0) < self.scripted.script(node).parks:
            return self._parked(owed, command)
        outcome = self._outcome(command)
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
            self.owed[node] = owed
            return self._answer(node)
        self.parks[node] = self.parks.get(node, 0) + 1
        if not owed.is_answered:
            self.open.add(node)
        question = QuestionId(f"q-{node}")
        in_doubt = next(self.luck) % 2 == 0
        return AttemptParked(
            at=self.at, node=node, attempt=command.attempt, questions=(question,), in_doubt=in_doubt
        )

    def _outcome(self, command: StartAttempt) -> Outcome:
        tries = self.scripted.script(command.node).tries
        return tries[min(self.scheduler.part(command.part).tries.get(command.index, 0), len(tries) - 1)]

    # -- watching ------------------------------------------------------------------------------------

    def _note(self, command: Command) -> None:
        assert self.end is None, "something was commanded after the end"
        if isinstance(command, StartAttempt):
            self._note_start(command)
        elif isinstance(command, Decide):
            assert command.node not in self.owed, f"{command.node} is decided twice at once"
            self.owed[command.node] = Owed(command)
        elif isinstance(command, CancelAttempt):
            assert isinstance(self.owed[command.node].command, StartAttempt), "nothing there to cancel"
            self.owed[command.node].is_cancelled = True
        elif isinstance(command, CancelUnstarted):
            for owed in self.owed.values():
                owed.is_dropped = isinstance(owed.command, StartAttempt) and not owed.has_begun
        elif isinstance(command, Withdraw):
            self.open.discard(command.node)
        elif isinstance(command, Enter):
            self._note_entered(command)
        elif isinstance(command, Leave):
            assert command.part in self.inside, f"{command.part} was left twice"
            self.inside -= {one for one in self.inside if _is_inside(one, command.part)}
        elif isinstance(command, EndRun):
            assert not self.owed, "the run ended with attempts under way"
            self.end = command
        else:
            assert isinstance(command, Park)
            assert not self.owed, "the run was parked with attempts under way"

    def _note_start(self, command: StartAttempt) -> None:
        node, part = command.node, self.scheduler.part(command.part)
        assert node not in self.owed, f"{node} runs twice at once"
        assert node not in self.completed, f"{node} ran again though it was done"
        is_left = command.part and command.part not in self.inside
        assert not is_left or command.only_settles, f"{node} starts outside of any part"
        inputs = part.program.inputs[command.index]
        assert all(part.states[need] == states.DONE for need in inputs), f"{node} started too early"
        self.owed[node] = Owed(command, has_begun=not command.not_before and next(self.luck) % 3 > 0)
        self.started.append(node)

    def _note_entered(self, command: Enter) -> None:
        assert command.part == part_id(command.node, command.number)
        assert command.part not in self.entered, f"{command.part} began twice"
        assert not command.inside or command.inside in self.inside, f"{command.part} began too late"
        self.entered.add(command.part)
        self.inside.add(command.part)
        beside = [one for one in self.inside if owner_of(one)[0] == command.node]
        program = self.scheduler.part(command.inside).program
        assert len(beside) <= program.repeats[command.index].at_once, f"{command.node} has too much under way"

    def _races(self) -> Iterator[tuple[Part, int, bool]]:
        """The races that are under way, and whether one of their runners has arrived."""
        is_active = self.scheduler.mode is Mode.ACTIVE
        for part in self.scheduler._course.parts.values() if is_active else ():
            for vertex, kind in enumerate(part.program.kinds):
                if kind is Kind.RACE and part.states[vertex] == states.WAITING:
                    inputs = part.program.inputs[vertex]
                    yield part, vertex, any(part.states[one] == states.DONE for one in inputs)

    def _check_races(self, before: dict[tuple[PartId, int], bool]) -> None:
        """A race was won by a runner that arrived, and as soon as the first of them did."""
        assert not any(before.values()), "a race waits though a runner has arrived"
        for part in self.scheduler._course.parts.values():
            for vertex, runner in part.chosen.items():
                if part.program.kinds[vertex] is Kind.RACE:
                    (won,) = part.program.cases[vertex][runner]
                    assert part.states[won] == states.DONE, "a race was won by who has not arrived"
                    assert part.states[vertex] == states.DONE, "a race was won and is not over"

    def _check_demand(self) -> None:
        """What is under way is what the unfinished need, found out anew from the result."""
        parts = self.scheduler._course.parts
        root = self.scheduler.root
        needed, stack = set[tuple[PartId, int]](), [(root, root.program.result)]
        while stack:
            part, vertex = stack.pop()
            if (part.id, vertex) not in needed and part.states[vertex] < states.DONE:
                needed.add((part.id, vertex))
                stack.extend(self._needs_of(part, vertex))
        for part in parts.values():
            for vertex, state in enumerate(part.states):
                is_needed = (part.id, vertex) in needed
                if state in (states.WAITING, states.RUNNING, states.PARKED, states.OPEN):
                    is_needed = is_needed or (state == states.PARKED and vertex in part.doubted)
                    assert is_needed, f"nobody needs {part.node(vertex)}"
                assert state != states.IDLE or not is_needed, f"{part.node(vertex)} was forgotten"

    def _needs_of(self, part: Part, vertex: int) -> list[tuple[Part, int]]:
        program, chosen, state = part.program, part.chosen.get(vertex), part.states[vertex]
        if state == states.OPEN:
            return [(one, one.program.result) for one in part.items[vertex].open.values()]
        if state not in (states.WAITING, states.DECIDING):
            return []
        if program.kinds[vertex] in (Kind.CHOICE, Kind.FALLBACK) and chosen is not None:
            return [(part, one) for one in program.cases[vertex][chosen]]
        loose = () if vertex in part.demand._adrift else program.common[vertex]
        return [(part, one) for one in (*program.inputs[vertex], *loose)]

    def begun_rungs(self) -> dict[tuple[PartId, int], int]:
        """The rungs that fallbacks have come to, where something ran for one of them alone."""
        found: dict[tuple[PartId, int], int] = {}
        for part in self.scheduler._course.parts.values():
            for vertex, rung in part.chosen.items():
                if rung and part.program.kinds[vertex] is Kind.FALLBACK:
                    *earlier, reached = part.program.cases[vertex][: rung + 1]
                    before = {need for one in earlier for need in one}
                    begun = [need for need in reached if part.attempts[need] and need not in before]
                    if begun and all(_holders(part, need) == [vertex] for need in begun):
                        found[part.id, vertex] = rung
        return found

    def rung(self, part: PartId, vertex: int) -> int | None:
        """The rung that a fallback is at, unless it, or all that it stands in, is not there any more."""
        there = self.scheduler._course.parts.get(part)
        return None if there is None else there.chosen.get(vertex)

    def check_forgotten(self) -> None:
        """Of what has ended nothing is kept, once nothing in it is under way."""
        course = self.scheduler._course
        course.forget_left()
        kept = {one for one in course.parts if one}
        under_way = {part.id for left in course.left for part in left.walk()}
        assert kept - under_way <= self.inside, "the scheduler keeps what was left"


def _holders(part: Part, need: int) -> list[int]:
    """The vertices that may come to count on one."""
    program = part.program
    wires = [(one, set(program.inputs[one]).union(*program.cases[one])) for one in range(len(program.ids))]
    return [one for one, needs in wires if need in needs]


def _is_inside(part: PartId, outer: PartId) -> bool:
    return part == outer or part.startswith(f"{outer}/")


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
    demand = part.demand.share()  # so that it does not matter what was shared until now
    for name in set(type(demand).__slots__) - {"_program"}:
        yield f"demand {name}", getattr(demand, name)
    for vertex, items in part.items.items():
        yield f"items {vertex}", (items.limit, items.begun, items.ended, list(items.open))
