"""A plan as the scheduler reads it: numbers instead of names, compiled once for all its runs."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.ids import NodeId
from treadle.plan.parts import CHOICE, WORK, Binding, PlanNode, wires
from treadle.plan.plan import Plan
from treadle.retry import Retry


class Kind(enum.IntEnum):
    """How a vertex gets from its inputs to an outcome.

    ``JOIN`` is done when its inputs are; ``WORK`` runs an attempt then, ``EXPRESSION`` asks for a
    decision then.  ``CHOICE`` asks for one when its subject is there, and goes on as a join over the
    case taken.  ``FALLBACK`` is a join over one rung after the other.
    """

    INPUT = 0
    WORK = 1
    EXPRESSION = 2
    JOIN = 3
    CHOICE = 4
    FALLBACK = 5


Indices = tuple[int, ...]

_CONTROL: Final = {"input": Kind.INPUT, "expression": Kind.EXPRESSION, "do": Kind.JOIN, "fallback": Kind.FALLBACK}


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
        common: Of a choice: what every case needs, whichever it will be, so it is demanded at once.
        retry: Of work vertices.
        on: Of fallbacks: the error classes taken; empty for all that may be.
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

    @property
    def result(self) -> int:
        """The vertex of the run's result."""
        return len(self.ids) - 1


RESULT: Final = NodeId("(result)")


def compile_plan(plan: Plan) -> Program:
    """Number a plan's nodes, and find out what each choice needs whichever way it goes.

    Linear in the plan, but for choices inside the cases of choices: there a node is visited once
    for each choice around it.
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
        if kind is Kind.JOIN:
            inputs.append(numbers(case.binding for case in node.cases))
            cases.append(())
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
    )


def _common_needs(
    kinds: Sequence[Kind], inputs: Sequence[Indices], cases: Sequence[tuple[Indices, ...]]
) -> tuple[Indices, ...]:
    """For each choice, the vertices that all its cases are sure to need.

    What the run's result is sure to need is left out: it is demanded anyway, and leaving it out
    keeps the search from walking a long common prefix again for every choice.
    """
    common: list[Indices] = [()] * len(kinds)
    certain: set[int] = set()

    def sure(roots: Iterable[int]) -> set[int]:
        found: set[int] = set()
        stack = [root for root in roots if root not in certain]
        while stack:
            vertex = stack.pop()
            if vertex in found or vertex in certain:
                continue
            found.add(vertex)
            stack.extend(inputs[vertex])
            stack.extend(common[vertex])
            if kinds[vertex] is Kind.FALLBACK and cases[vertex]:
                stack.extend(cases[vertex][0])
        return found

    choices = [vertex for vertex, kind in enumerate(kinds) if kind is Kind.CHOICE]
    if choices:
        certain = sure([len(kinds) - 1])
    for vertex in choices:
        needs = [sure(case) for case in cases[vertex]]
        if needs and all(needs):
            shared = set.intersection(*needs) - sure(inputs[vertex])
            common[vertex] = tuple(sorted(v for v in shared if kinds[v] is not Kind.INPUT))
    return tuple(common)
