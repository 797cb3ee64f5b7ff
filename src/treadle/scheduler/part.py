"""What a run goes through as one plan: its own, an item of an ``each``, a round of a ``loop``."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from treadle.events import Failure
from treadle.ids import NodeId, PartId, QuestionId, part_id, within
from treadle.scheduler.demand import Demand
from treadle.scheduler.program import Program, Repeat
from treadle.scheduler.states import CANCELLING, DECIDING, DONE, OPEN, RUNNING

_NONE: Final = cast("dict[int, Any]", MappingProxyType({}))
"""What most parts have of most things: shared, because thousands of runs are under way at once."""


class Doubt(NamedTuple):
    """An attempt at a vertex in which an effect is, or may be, in doubt.

    Attributes:
        failure: What it has failed with.
        is_over: Whether it has ended, so that another attempt settles the doubt.
    """

    failure: Failure | None = None
    is_over: bool = False


class Part:
    """The state of one plan; the run's own has no owner.

    Attributes:
        id: ``""`` for the run's own, else ``each(3)`` and so on: its nodes' ids begin with it.
        owner, vertex, number: Of an item or a round: the part and the vertex it belongs to, and which
            of them it is.
        states: The state of each vertex (``demand.IDLE`` and so on).
        attempts: The number of the newest attempt at each vertex, 0 before the first.
        tries: How many attempts have failed since the run last got fresh ones, by vertex.
        due: When a backoff ends, by vertex.
        answered: Questions of running attempts that were answered meanwhile, by vertex.
        doubted: Attempts over an effect in doubt that wait for people or have failed with it, by vertex; in
            a run that ends also those that were stopped, for an effect in them may be in doubt.
        items: Of each ``each`` and ``loop`` that has begun: its items or rounds.
        is_over: Whether its outcome has been handed to its owner.
    """

    __slots__ = (
        "answered", "attempts", "demand", "doubted", "due", "id", "is_over", "items", "number", "owner",
        "program", "states", "tries", "vertex",
    )  # fmt: skip

    def __init__(
        self, program: Program, demand: Demand, owner: Part | None = None, vertex: int = -1, number: int = 0
    ) -> None:
        self.program = program
        self.owner = owner
        self.vertex = vertex
        self.number = number
        self.id = PartId("") if owner is None else part_id(owner.node(vertex), number)
        self.attempts = [0] * len(program.ids)
        self.tries: dict[int, int] = _NONE
        self.due: dict[int, float] = _NONE
        self.answered: dict[int, set[QuestionId]] = _NONE
        self.doubted: dict[int, Doubt] = _NONE
        self.items: dict[int, Items] = _NONE
        self.is_over = False
        self.take(demand)

    def take(self, demand: Demand) -> None:
        """Go on with this demand."""
        self.demand = demand
        demand.inside = self.id
        self.states = demand.states

    @property
    def chosen(self) -> dict[int, int]:
        """The case a choice took, the rung a fallback is at, or who won a race, by vertex."""
        return self.demand.chosen

    def node(self, vertex: int) -> NodeId:
        """What a vertex is called in the run."""
        name = self.program.ids[vertex]
        return within(self.id, name) if self.id else name

    @property
    def outcome(self) -> int:
        """The state of the part's result."""
        return self.states[self.program.result]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing in it, or in what it holds, owes an event or is in doubt."""
        return (
            not self.doubted
            and not any(state in (DECIDING, RUNNING, CANCELLING) for state in self.states)
            and all(child.is_quiet for items in self.items.values() for child in items.open.values())
        )

    def note_begun(self, vertex: int, items: Items) -> None:
        """Note that an ``each`` or a ``loop`` goes through its items or rounds."""
        if self.items is _NONE:
            self.items = {}
        self.items[vertex] = items

    def count_try(self, vertex: int, so_far: int = 0) -> int:
        """Note that an attempt has failed, and say how many have; ``so_far`` where that is known."""
        if self.tries is _NONE:
            self.tries = {}
        tries = self.tries[vertex] = so_far or self.tries.get(vertex, 0) + 1
        return tries

    def back_off(self, vertex: int, until: float) -> None:
        """Note when the newest attempt may begin."""
        if self.due is _NONE:
            self.due = {}
        self.due[vertex] = until

    def note_answer(self, vertex: int, question: QuestionId) -> None:
        """Note that a question of a running attempt was answered."""
        if self.answered is _NONE:
            self.answered = {}
        self.answered.setdefault(vertex, set()).add(question)

    def note_doubt(self, vertex: int, failure: Failure | None = None, *, is_over: bool = False) -> None:
        """Note that an effect is in doubt, or may be."""
        if self.doubted is _NONE:
            self.doubted = {}
        self.doubted[vertex] = Doubt(failure, is_over)

    def forget_waits(self, vertex: int) -> None:
        """A vertex waits for nothing any more, no backoff and no answer; a doubt it is over stays."""
        for waits in (self.due, self.answered):
            if waits:
                waits.pop(vertex, None)

    def forget_running(self) -> None:
        """What was under way when the owner of an ending run went owes nothing any more."""
        for vertex, state in enumerate(self.states):
            if state in (RUNNING, CANCELLING, DECIDING):
                self.states[vertex] = 0
            if state in (RUNNING, CANCELLING):
                self.note_doubt(vertex)

    def begin_again(self) -> None:
        """Forget every failure, and what was under way: what is done stays done."""
        self.tries = self.due = self.answered = self.doubted = _NONE
        self.demand.forget()

    def walk(self) -> Iterator[Part]:
        """This part and all those inside it, outer ones first."""
        yield self
        for items in self.items.values():
            for child in items.open.values():
                yield from child.walk()

    def check(self) -> None:
        """Raise ``AssertionError`` where what is counted differs from what is there."""
        owner = self.owner
        is_held = owner is None or (owner.states[self.vertex] == OPEN and self.outcome < DONE)
        self.demand.check(is_held=is_held)
        for vertex, items in self.items.items():
            if self.states[vertex] == OPEN:
                assert items.open, f"{self.node(vertex)} is open, and nothing in it is"
                assert len(items.open) <= items.at_once, f"{self.node(vertex)} has too much under way"


class Items:
    """The items of an ``each``, or the rounds of a ``loop``, that have begun.

    Attributes:
        limit: How many there are; for a loop, how many there may be.
        at_once: How many may be under way at the same time.
        begun: How many have begun.
        ended: How many have handed over their outcome.
        open: Those that have begun and not ended, by number; failed ones stay, to be tried again.
    """

    __slots__ = ("at_once", "begun", "ended", "is_filling", "limit", "open", "repeat")

    def __init__(self, repeat: Repeat, limit: int) -> None:
        self.repeat = repeat
        self.limit = limit
        self.at_once = repeat.at_once
        self.begun = 0
        self.ended = 0
        self.is_filling = False
        self.open: dict[int, Part] = {}

    @property
    def next_number(self) -> int:
        """What the next one is called: items count from 0, rounds from 1."""
        return self.begun + bool(self.repeat.at_most)

    @property
    def has_room(self) -> bool:
        """Whether another may begin now."""
        return self.begun < self.limit and len(self.open) < self.at_once

    @property
    def is_done(self) -> bool:
        """Whether every item has handed over its outcome."""
        return self.ended == self.limit
