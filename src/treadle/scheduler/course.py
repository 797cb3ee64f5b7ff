"""``Course``: what a run is about, and the moves that every event is answered with.

It knows nothing of events: ``scheduler.py`` notes what happened, and then lets it settle.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, cast

from treadle.errors import InternalError
from treadle.ids import NodeId, PartId
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
from treadle.scheduler.demand import Demand
from treadle.scheduler.opening import Mode, Opening
from treadle.scheduler.part import Items, Part
from treadle.scheduler.program import Kind, Program
from treadle.scheduler.states import (
    CANCELLING,
    DECIDING,
    DONE,
    FAILED,
    IDLE,
    NAMES,
    OPEN,
    PARKED,
    RUNNING,
    WAITING,
)

_WORK, _EXPRESSION, _CHOICE = Kind.WORK, Kind.EXPRESSION, Kind.CHOICE
_ACTIVE = Mode.ACTIVE
_NONE: Final = cast("dict[NodeId, None]", MappingProxyType({}))
"""Who waits for people in most runs: shared, because thousands are under way at once."""

ITEM: Final = "scheduler.item"
"""Under this name a program keeps how an item that goes through it begins."""


class Course:
    """The parts of a run, and what happens next in them.

    Attributes:
        root: The run's own part.
        parts: All parts that are under way, by name; outer ones first.
        mode: What the run as a whole is about.
        end: How it ends, once that is known.
        busy: How many vertices owe an event.
        parked: The nodes that wait for people.
        commands: What is asked of the engine because of the present event.
        left: Parts that are over, and are forgotten once nothing in them owes an event.
    """

    __slots__ = ("_moving", "busy", "commands", "end", "left", "mode", "parked", "parts", "root")

    def __init__(self, program: Program, demand: Demand) -> None:
        self.root = Part(program, demand)
        self.parts: dict[PartId, Part] = {PartId(""): self.root}
        self.mode = Mode.NEW
        self.end: EndRun | None = None
        self.busy = 0
        self.parked: dict[NodeId, None] = _NONE
        self.commands: list[Command] = []
        self.left: list[Part] = []
        self._moving: list[Part] = []

    # -- what happens next -------------------------------------------------------------------------

    def settle(self, part: Part) -> None:
        """Carry outcomes along the wires until nothing moves, and command what follows from them."""
        self._carry(part)
        moving = self._moving
        while moving:
            part = moving.pop()
            if part.demand.orphans:
                self._abandon(part)
        if not self.busy:
            self._conclude()

    def _carry(self, part: Part) -> None:
        """Let outcomes travel, out of the part too, before anything in it starts."""
        self._moving.append(part)
        demand = part.demand
        while True:
            while demand.finished:
                demand.arrive(demand.finished.pop())
            if part.states[part.program.result] >= DONE and not part.is_over:
                self._end_part(part)
            if part.outcome >= DONE and self.mode is _ACTIVE:
                demand.ready.clear()  # nobody needs it any more
            if demand.ready:
                self._advance(part)
            elif not demand.finished:
                break
        if demand.hops and self.mode is _ACTIVE:
            demand.hops.clear()

    def _advance(self, part: Part) -> None:
        """Let vertices whose inputs are there go on: in the order of the plan."""
        ready = part.demand.ready
        if len(ready) > 1:
            ready.sort()
        batch = ready[:]
        ready.clear()
        kinds, states = part.program.kinds, part.states
        for vertex in batch:
            state = states[vertex]
            if state == OPEN:
                self._fill(part, vertex)
            if state != WAITING:
                continue
            kind = kinds[vertex]
            if kind is _WORK:
                self.start(part, vertex, part.attempts[vertex] + 1)
            elif kind is _EXPRESSION or (kind is _CHOICE and vertex not in part.chosen):
                self.decide(part, vertex)
            elif vertex in part.program.repeats:
                self._repeat(part, vertex)
            else:
                part.demand.finish(vertex)

    def start(self, part: Part, vertex: int, attempt: int, not_before: float = 0.0) -> None:
        """Ask for an attempt, unless the run is ending."""
        if self.mode is not _ACTIVE:
            part.states[vertex] = IDLE
            return
        part.states[vertex] = RUNNING
        part.attempts[vertex] = attempt
        self.busy += 1
        if not_before:
            part.back_off(vertex, not_before)
        elif part.due:
            part.due.pop(vertex, None)
        if part.answered:
            part.answered.pop(vertex, None)
        if part.doubted:
            part.doubted.pop(vertex, None)
        node = part.program.ids[vertex] if part.owner is None else part.node(vertex)
        self.commands.append(
            StartAttempt(node=node, index=vertex, attempt=attempt, not_before=not_before, part=part.id)
        )

    def settle_doubt(self, part: Part, vertex: int, attempt: int) -> None:
        """Ask for an attempt that nobody needs, as far as an effect in it is in doubt."""
        part.states[vertex] = CANCELLING
        part.attempts[vertex] = attempt
        part.forget_waits(vertex)
        if part.doubted:
            part.doubted.pop(vertex, None)
        self.busy += 1
        self.commands.append(
            StartAttempt(
                node=part.node(vertex), index=vertex, attempt=attempt, part=part.id, only_settles=True
            )
        )

    def decide(self, part: Part, vertex: int) -> None:
        """Ask for a decision, unless the run is ending."""
        if self.mode is not _ACTIVE:
            part.states[vertex] = IDLE
            return
        part.states[vertex] = DECIDING
        self.busy += 1
        self.commands.append(Decide(node=part.node(vertex), index=vertex, part=part.id))

    # -- items and rounds --------------------------------------------------------------------------

    def open(self, part: Part, vertex: int, choice: int) -> None:
        """Take in how many items there are, or whether the last round was the last one needed."""
        repeat = part.program.repeats[vertex]
        if not repeat.at_most:
            part.note_begun(vertex, Items(repeat, choice))
            self._go_on(part, vertex)
        elif choice:
            part.demand.finish(vertex)
        else:
            self._go_on(part, vertex)

    def _repeat(self, part: Part, vertex: int) -> None:
        """Begin to go through items or rounds, or go on where that was stopped before."""
        items, repeat = part.items.get(vertex), part.program.repeats[vertex]
        if items is None and not repeat.at_most:
            self.decide(part, vertex)  # how many there are
        elif self.mode is not _ACTIVE:
            part.states[vertex] = IDLE
        elif items is None:
            part.note_begun(vertex, Items(repeat, repeat.at_most))
            self._go_on(part, vertex)
        elif repeat.at_most and items.ended and not items.open:
            self.decide(part, vertex)  # whether the last round was the last one needed
        else:
            self._go_on(part, vertex)

    def _go_on(self, part: Part, vertex: int) -> None:
        part.states[vertex] = OPEN
        for child in list(part.items[vertex].open.values()):
            if part.states[vertex] == OPEN:  # a child that has failed already ends it
                child.demand.begin()
                self._carry(child)
        self._fill(part, vertex)

    def _fill(self, part: Part, vertex: int) -> None:
        """Begin as many items as there is room for; an ``each`` is done when all have ended."""
        items = part.items[vertex]
        if items.is_filling:  # an item that ended at once leads here again
            return
        items.is_filling = True
        while part.states[vertex] == OPEN and items.has_room and self.mode is _ACTIVE:
            self._enter(part, vertex, items)
        items.is_filling = False
        if part.states[vertex] == OPEN and items.is_done:
            part.demand.finish(vertex)

    def _enter(self, part: Part, vertex: int, items: Items) -> None:
        program, number = items.repeat.program, items.next_number
        opening = _opening(program)
        child = Part(
            program, Demand(program) if opening is None else opening.demand.copy(), part, vertex, number
        )
        items.begun += 1
        items.open[number] = self.parts[child.id] = child
        self.commands.append(
            Enter(part=child.id, node=part.node(vertex), index=vertex, number=number, inside=part.id)
        )
        if opening is None:
            child.demand.begin()
            self._carry(child)
            return
        child.attempts = opening.attempts.copy()
        self.busy += opening.busy
        self.commands.extend(_inside(child, command) for command in opening.commands)

    def _end_part(self, part: Part) -> None:
        """Hand what a part has come to over to what it is an item or a round of."""
        owner = part.owner
        if owner is None:
            if self.mode is _ACTIVE and part.outcome == FAILED:
                self.mode = Mode.DRAINING
                self.stop_everything(cancel=not part.program.drains)
            return
        if owner.states[part.vertex] != OPEN:
            return
        items = owner.items[part.vertex]
        failure = part.demand.failures.get(part.program.result)
        if failure is None or (items.repeat.takes_failures and failure.takeable):
            self._leave(part, owner, items)
        else:
            owner.demand.fail(part.vertex, failure)
            self._release(items)
        self._carry(owner)

    def _leave(self, part: Part, owner: Part, items: Items) -> None:
        vertex = part.vertex
        part.is_over = True
        items.ended += 1
        del items.open[part.number]
        self.left.append(part)
        self.commands.append(
            Leave(
                part=part.id,
                node=owner.node(vertex),
                index=vertex,
                number=part.number,
                inside=owner.id,
                failure=part.demand.failures.get(part.program.result),
            )
        )
        if items.repeat.at_most:
            self.decide(owner, vertex)
        else:
            owner.demand.ready.append(vertex)

    def _release(self, items: Items) -> None:
        """Let go of the results of items that nobody needs any more."""
        for child in items.open.values():
            child.demand.let_result_go()
            self._moving.append(child)

    def forget_left(self) -> None:
        """Forget parts that are over, once nothing in them owes an event."""
        still: list[Part] = []
        for part in self.left:
            if not part.is_quiet:
                still.append(part)
                continue
            for inner in part.walk():
                self.parts.pop(inner.id, None)
        self.left = still

    # -- what nobody needs, and the end ------------------------------------------------------------

    def _abandon(self, part: Part) -> None:
        """Stop what no unfinished vertex holds any more, unless the run as a whole is ending in failure."""
        demand, states = part.demand, part.states
        orphans = demand.orphans
        if self.root.outcome == FAILED:
            orphans.clear()
            return
        while orphans:
            vertex = orphans.pop()
            if demand.needs[vertex]:
                continue
            state = states[vertex]
            if state == WAITING:
                demand.abandon(vertex)
            elif state == DECIDING and part.program.kinds[vertex] is _CHOICE:
                demand.let_drift(vertex)
            elif state == RUNNING:
                self._cancel(part, vertex)
            elif state == PARKED and vertex not in part.doubted:
                self.withdraw(part, vertex)
            elif state == OPEN:
                states[vertex] = IDLE
                self._release(part.items[vertex])

    def _cancel(self, part: Part, vertex: int, *, at_once: bool = False) -> None:
        part.states[vertex] = CANCELLING
        self.commands.append(
            CancelAttempt(node=part.node(vertex), index=vertex, part=part.id, at_once=at_once)
        )

    def park(self, part: Part, vertex: int) -> None:
        """Let a vertex wait for people."""
        if self.parked is _NONE:
            self.parked = {}
        part.states[vertex] = PARKED
        self.parked[part.node(vertex)] = None

    def withdraw(self, part: Part, vertex: int) -> None:
        """Close the questions of a vertex that waits for people."""
        node = part.node(vertex)
        part.states[vertex] = IDLE
        part.forget_waits(vertex)
        if node in self.parked:
            del self.parked[node]
        self.commands.append(Withdraw(node=node, index=vertex))

    def stop_everything(self, *, cancel: bool) -> None:
        """Let nothing new start, withdraw questions, and cancel what runs where told to."""
        for part in self.parts.values() if self.parked else ():
            for vertex, state in enumerate(part.states):
                if state == PARKED:
                    self.withdraw(part, vertex)
        if self.busy:
            self.commands.append(CancelUnstarted())
        for part in self.parts.values() if cancel else ():
            for vertex, state in enumerate(part.states):
                if state in (RUNNING, CANCELLING):
                    self._cancel(part, vertex, at_once=True)

    def _conclude(self) -> None:
        """End or park a run in which nothing is under way any more."""
        if self.mode is Mode.DRAINING:
            failure = self.root.demand.failures.get(self.root.program.result)
            self.end_run(EndRun(status="failed", failure=failure))
        elif self.mode is Mode.CANCELLING:
            self.end_run(EndRun(status="cancelled"))
        elif self.mode is _ACTIVE and self.parked:
            self.commands.append(Park())
        elif self.mode is _ACTIVE and self.root.outcome == DONE:
            self._complete()
        elif self.mode is _ACTIVE:
            raise InternalError(f"the run can neither go on nor end; please report this: {self.story()}")

    def _complete(self) -> None:
        """End a run that has its result; an effect in doubt that nobody settled is taken by nobody."""
        noted = (doubt for part in self.parts.values() for doubt in part.doubted.values())
        doubts = (doubt.failure for doubt in noted if doubt.failure is not None)
        doubt = next(doubts, None)
        self.end_run(EndRun(status="completed" if doubt is None else "failed", failure=doubt))

    def end_run(self, end: EndRun) -> None:
        """Ask for the run to be ended."""
        self.mode = Mode.FINISHING
        self.end = end
        self.commands.append(end)

    # -- taking a run up again ---------------------------------------------------------------------

    def ask_again(self) -> None:
        """Ask for what was under way when the last owner went, with the same number of attempt."""
        for part in list(self.parts.values()):
            for vertex, state in enumerate(part.states):
                if state in (RUNNING, DECIDING, CANCELLING):
                    self._ask_again(part, vertex, state)

    def _ask_again(self, part: Part, vertex: int, state: int) -> None:
        self.busy -= 1
        if state == RUNNING:
            self.start(part, vertex, part.attempts[vertex], part.due.get(vertex, 0.0))
        elif state == DECIDING:
            self.decide(part, vertex)
        elif part.demand.needs[vertex]:
            self.start(part, vertex, part.attempts[vertex] + 1)
        else:
            self.settle_doubt(part, vertex, part.attempts[vertex])

    def forget_running(self) -> None:
        """What was under way when the owner of an ending run went owes nothing any more."""
        for part in self.parts.values():
            part.forget_running()
        self.busy = 0

    def revive(self) -> None:
        """Give all that failed fresh attempts; the number of an attempt is never given again."""
        self.forget_running()
        self.forget_left()
        self.mode = Mode.ACTIVE
        self.end = None
        doubted = [(part, *one) for part in self.parts.values() for one in part.doubted.items()]
        for part in self.parts.values():
            part.begin_again()
        self.root.demand.begin()
        for part, vertex, doubt in doubted:
            if part.states[vertex] == IDLE:
                self.settle_doubt(part, vertex, part.attempts[vertex] + doubt.is_over)

    # -- looking inside ----------------------------------------------------------------------------

    def story(self) -> str:
        """What stands where, for a bug report: no values, only ids and states."""
        moving = [
            f"{part.node(v)}={NAMES[s]}({part.demand.missing[v]} missing, {part.demand.needs[v]} holders)"
            for part in self.parts.values()
            for v, s in enumerate(part.states)
            if s not in (IDLE, DONE)
        ]
        return f"run {self.mode.value}, {self.busy} busy; {', '.join(moving[:20])}"

    def check(self) -> None:
        """Recompute what the state says twice, and raise ``AssertionError`` where it differs."""
        states = [
            (part.node(vertex), state)
            for part in self.parts.values()
            for vertex, state in enumerate(part.states)
        ]
        owing = [node for node, state in states if state in (DECIDING, RUNNING, CANCELLING)]
        assert self.busy == len(owing), f"busy is {self.busy}, but {len(owing)} owe an event"
        assert self.parked.keys() == {node for node, state in states if state == PARKED}
        assert self.busy or self.parked or self.mode in (Mode.NEW, Mode.FINISHING, Mode.ENDED)
        if self.mode is _ACTIVE:
            for part in self.parts.values():
                part.check()
        elif self.mode is not Mode.NEW:
            assert not self.parked, "a run that ends still asks people"
            assert self.mode is not Mode.ENDED or not self.busy, "a run has ended with attempts under way"


def _opening(program: Program) -> Opening | None:
    """How an item begins, found out once for all of them; ``None`` where items differ from the start."""
    if ITEM not in program.memo:
        trial = Course(program, Demand(program))
        trial.mode = _ACTIVE
        root = trial.root
        root.demand.begin()
        trial.settle(root)
        is_alike = all(isinstance(command, StartAttempt | Decide) for command in trial.commands)
        program.memo[ITEM] = (
            Opening(root.demand.share(), root.attempts, trial.busy, trial.mode, None, tuple(trial.commands))
            if is_alike
            else None
        )
    opening: Opening | None = program.memo[ITEM]
    return opening


def _inside(part: Part, command: Command) -> Command:
    """What an opening asks for, in one part."""
    node = part.node(command.index) if isinstance(command, StartAttempt | Decide) else NodeId("")
    if isinstance(command, StartAttempt):
        return StartAttempt(node=node, index=command.index, attempt=command.attempt, part=part.id)
    if isinstance(command, Decide):
        return Decide(node=node, index=command.index, part=part.id)
    raise InternalError(f"{type(command).__name__} opens no item; please report this")
