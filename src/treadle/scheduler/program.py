"""A plan as the scheduler reads it: numbers instead of names, compiled once for all its runs."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from treadle.errors import InternalError
from treadle.ids import NodeId
from treadle.plan.parts import CHOICE, WORK, Binding, Planned, PlanNode, wires
from treadle.retry import Retry


class Kind(enum.IntEnum):
    """How a vertex gets from its inputs to an outcome.

    ``JOIN`` is done when its inputs are; ``WORK`` runs an attempt then, ``EXPRESSION`` asks for a
    decision then.  ``CHOICE`` asks for one when its subject is there, and goes on as a join over the
    case taken.  ``FALLBACK`` is a join over one rung after the other, ``RACE`` is done with the first of
    its inputs.  ``EACH`` and ``LOOP`` go through a program of their own, when their inputs are there.
    """

    INPUT = 0
    WORK = 1
    EXPRESSION = 2
    JOIN = 3
    CHOICE = 4
    FALLBACK = 5
    RACE = 6
    EACH = 7
    LOOP = 8


Indices = tuple[int, ...]

_CONTROL: Final = {
    "input": Kind.INPUT,
    "expression": Kind.EXPRESSION,
    "do": Kind.JOIN,
    "fallback": Kind.FALLBACK,
    "race": Kind.RACE,
    "each": Kind.EACH,
    "loop": Kind.LOOP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """What is gone through once for each item or round.

    Attributes:
        program: Of one item or round.
        at_once: How many items may be under way at the same time; 1 for a loop.
        takes_failures: Whether a failed item leaves the others alone.
        at_most: Of a loop: how many rounds there may be.
    """

    program: Program
    at_once: int = 1
    takes_failures: bool = False
    at_most: int = 0


def kind_of(node: PlanNode) -> Kind:
    """Tell which of the few shapes a plan node has for the scheduler."""
    if node.kind in WORK:
        return Kind.WORK
    return Kind.CHOICE if node.kind in CHOICE else _CONTROL[node.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The vertices of a plan, in its order, and one more at the end: the run's result, a join.

    Attributes:
        inputs: What a vertex needs first: all inputs of work, expressions and joins, the subject of
            a choice; empty for a fallback.
        cases: What each case of a choice or each rung of a fallback needs.
        common: Of a choice: the topmost of what every case needs, whichever it will be; it is demanded
            at once.
        retry: Of work vertices.
        on: Of fallbacks: the error classes taken; empty for all that may be.
        result: The vertex of the result: the last one.
        repeats: Of ``EACH`` and ``LOOP`` vertices, by number.
        memo: What schedulers of the program found out once for all of them.
    """

    ids: tuple[NodeId, ...]
    index: dict[NodeId, int]
    kinds: tuple[Kind, ...]
    inputs: tuple[Indices, ...]
    cases: tuple[tuple[Indices, ...], ...]
    common: tuple[Indices, ...]
    retry: tuple[Retry | None, ...]
    on: tuple[tuple[str, ...], ...]
    drains: bool
    result: int
    repeats: dict[int, Repeat] = field(default_factory=dict[int, Repeat])
    memo: dict[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)

    def last_choice(self, vertex: int) -> int:
        """The greatest number that a vertex can be decided to come to."""
        kind = self.kinds[vertex]
        if kind is Kind.CHOICE:
            return len(self.cases[vertex]) - 1
        return LONGEST if kind is Kind.EACH else int(kind is Kind.LOOP)


LONGEST: Final = 2**53
"""No list has more items: JSON numbers are exact up to here (RFC 8259, section 6)."""

RESULT: Final = NodeId("(result)")


def compile_plan(plan: Planned) -> Program:
    """Number a plan's nodes, and find out what each choice needs whichever way it goes.

    Linear in the plan, but for the search for what all cases of a choice share, which goes on until
    the first of its cases has been walked to its end, or to what all share.  The worst case is
    quadratic: many choices, each between the ends of long chains that share nothing.
    """
    index = {node.id: number for number, node in enumerate(plan.nodes)}

    def numbers(bindings: Iterable[Binding | None]) -> Indices:
        return tuple(dict.fromkeys(index[wire] for binding in bindings for wire in wires(binding)))

    kinds: list[Kind] = []
    inputs: list[Indices] = []
    cases: list[tuple[Indices, ...]] = []
    for node in plan.nodes:
        kind = kind_of(node)
        kinds.append(kind)
        if kind in (Kind.JOIN, Kind.RACE):
            inputs.append(numbers(case.binding for case in node.cases))
            cases.append(() if kind is Kind.JOIN else tuple(numbers([case.binding]) for case in node.cases))
        else:
            inputs.append(numbers([*(argument.binding for argument in node.arguments), node.subject]))
            cases.append(tuple(numbers([case.binding]) for case in node.cases))
    kinds.append(Kind.JOIN)
    inputs.append(numbers([plan.result]))
    cases.append(())
    return Program(
        ids=(*index, RESULT),
        index=index,
        kinds=tuple(kinds),
        inputs=tuple(inputs),
        cases=tuple(cases),
        common=_common_needs(kinds, inputs, cases),
        retry=(*(node.policies.retry if kind_of(node) is Kind.WORK else None for node in plan.nodes), None),
        on=(*(node.on for node in plan.nodes), ()),
        drains=plan.on_failure == "drain",
        result=len(plan.nodes),
        repeats={number: _repeat(node) for number, node in enumerate(plan.nodes) if node.body is not None},
    )


def _repeat(node: PlanNode) -> Repeat:
    if node.body is None:
        raise InternalError(f"node {node.id!r} repeats nothing; please report this")
    program = compile_plan(node.body)
    if node.kind == "loop":
        return Repeat(program=program, at_most=node.settings["at_most"])
    settings = node.settings
    return Repeat(program=program, at_once=settings["at_once"], takes_failures=settings["on_error"] != "stop")


def _common_needs(
    kinds: Sequence[Kind], inputs: Sequence[Indices], cases: Sequence[tuple[Indices, ...]]
) -> tuple[Indices, ...]:
    """For each choice, the topmost vertices that all its cases are sure to need.

    What is sure to be needed by one of them follows from it.  What the run's result is sure to need is
    left out: it is demanded anyway, and leaving it out keeps the search from walking a long common
    prefix again for every choice.
    """
    common: list[Indices] = [()] * len(kinds)
    choices = [vertex for vertex, kind in enumerate(kinds) if kind is Kind.CHOICE]
    if not choices:
        return tuple(common)

    def first(vertex: int) -> Iterator[int]:
        """What a vertex holds as soon as it is demanded."""
        yield from inputs[vertex]
        yield from common[vertex]
        if kinds[vertex] is Kind.FALLBACK:
            yield from cases[vertex][0]

    certain = {vertex for vertex, kind in enumerate(kinds) if kind is Kind.INPUT}
    stack = [len(kinds) - 1]
    while stack:
        vertex = stack.pop()
        if vertex not in certain:
            certain.add(vertex)
            stack.extend(first(vertex))
    for vertex in choices:
        common[vertex] = _Search(first, certain).shared(cases[vertex])
    return tuple(common)


class _Search:
    """A walk down from all cases of a choice at once, the last vertex of the plan first.

    Wires point back in the plan, so a vertex is looked at after all that lead to it.  The walk ends
    where one of the cases has nothing left that is not shared.
    """

    def __init__(self, first: Callable[[int], Iterator[int]], certain: set[int]) -> None:
        self._first = first
        self._certain = certain
        self._reached: dict[int, int] = {}  # by which cases, one bit each
        self._heap: list[int] = []

    def shared(self, cases: Sequence[Indices]) -> Indices:
        """The topmost vertices that all cases reach."""
        everyone = (1 << len(cases)) - 1
        left = [0] * len(cases)
        for case, wanted in enumerate(cases):
            self._reach(wanted, 1 << case, left)
        found: list[int] = []
        while all(left):
            vertex = -heapq.heappop(self._heap)
            by = self._reached[vertex]
            if by == everyone:
                found.append(vertex)
            else:
                self._reach(self._first(vertex), by, left)
            for case in _bits(by):
                left[case] -= 1
        return tuple(sorted(found))

    def _reach(self, vertices: Iterable[int], by: int, left: list[int]) -> None:
        for vertex in vertices:
            before = self._reached.get(vertex, 0)
            if vertex in self._certain or before | by == before:
                continue
            if not before:
                heapq.heappush(self._heap, -vertex)
            self._reached[vertex] = before | by
            for case in _bits(by & ~before):
                left[case] += 1


def _bits(mask: int) -> Iterator[int]:
    """The positions of the ones in a number."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
