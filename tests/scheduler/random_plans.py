"""Random plans as plain data, and what each of their nodes is going to do.

A plan is made from rows of small numbers, so that hypothesis can shrink it: each row becomes one node
over the nodes before it.  The body of an ``each`` or a ``loop`` is made from the rows that follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from treadle.ids import NodeId, owner_of, split
from treadle.plan.parts import Argument, Binding, Case, Constant, Group, PlanNode, Policies, Wire, wires
from treadle.plan.plan import Plan
from treadle.retry import Retry
from treadle.values import JSON

Row = tuple[int, int, int, int, int]
"""Kind, three operands, and what happens."""

Outcome = Literal["ok", "A", "B", "read", "fatal", "LoopLimit", "AllFailed"]
"""``fatal`` is a class of failures that nobody may take; all others may be taken."""

NUMBER = st.integers(0, 63)
ROWS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=30)
CONSTANT = Constant(JSON.pack(7))
OUTCOMES: Sequence[Outcome] = (*["ok"] * 60, "A", "A", "B", "fatal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a node does whenever it is asked.

    Attributes:
        tries: The outcome after no failure, after one, and so on; the last is repeated.
        parks: How often it waits for people before anything else.
        choice: The case a choice takes.
    """

    tries: tuple[Outcome, ...] = ("ok",)
    parks: int = 0
    choice: int = 0

    @property
    def mended(self) -> Script:
        """The same without failures."""
        return Script(parks=self.parks, choice=self.choice)

    def varied(self, number: int) -> Script:
        """What the same node does in an item or a round: every other one works, and chooses otherwise."""
        return Script(
            tries=("ok",) if number % 2 else self.tries,
            parks=self.parks if number % 3 == 0 else 0,
            choice=self.choice + number,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A plan and a script for each of its nodes, and of those of its bodies; no two of them share a name."""

    plan: Plan
    scripts: dict[NodeId, Script]
    is_mended: bool = False

    @property
    def mended(self) -> Scripted:
        """The same plan, in which nothing fails any more, and every loop is done with its next round."""
        scripts = {node: one.mended for node, one in self.scripts.items()}
        return Scripted(plan=self.plan, scripts=scripts, is_mended=True)

    def script(self, node: NodeId) -> Script:
        """What a node of a run does: one in an item or a round does not do the same as in the others."""
        part, name = split(node)
        script, number = self.scripts.get(name, UNSCRIPTED), 0
        while part:
            owner, here = owner_of(part)
            number += here
            part, _ = split(owner)
        return script.varied(number) if number else script

    def case(self, node: NodeId, planned: PlanNode) -> int:
        """The case that a choice of a run takes."""
        return self.script(node).choice % len(planned.cases)

    def items(self, node: NodeId) -> int:
        """How many items an ``each`` of a run has."""
        return self.script(node).choice % 5

    def rounds(self, node: NodeId) -> int:
        """How many rounds a ``loop`` of a run needs."""
        return 1 if self.is_mended else 1 + self.script(node).choice % 4


UNSCRIPTED = Script()


def scripted(rows: Sequence[Row]) -> Scripted:
    """Make a plan of one input and a node for each row; its result needs some of the last."""
    maker = _Maker()
    nodes = maker.nodes(rows, [PlanNode(id=NodeId("input"), kind="input")])
    last = nodes[-1 - rows[0][4] % 5 :]
    if rows[0][3] % 4:
        last = [_or_else(node) for node in last]
        nodes.extend(last)
    result = Group("list", tuple(Wire(node.id) for node in last))
    on_failure: Literal["cancel", "drain"] = "cancel" if rows[0][4] % 4 == 3 else "drain"
    return Scripted(
        plan=Plan(name="random", nodes=tuple(nodes), result=result, on_failure=on_failure),
        scripts=maker.scripts,
    )


class _Maker:
    """Makes the nodes of a plan, or of the body of a node.

    Attributes:
        name: What the names of its nodes begin with.
        depth: How many bodies there are around it.
    """

    def __init__(self, name: str = "", depth: int = 0) -> None:
        self.name = name
        self.depth = depth
        self.scripts: dict[NodeId, Script] = {}

    def nodes(self, rows: Sequence[Row], nodes: list[PlanNode]) -> list[PlanNode]:
        for number, row in enumerate(rows):
            self._add(row, rows[number + 1 :], nodes)
        return nodes

    def _add(self, row: Row, rest: Sequence[Row], nodes: list[PlanNode]) -> None:
        if row[0] >= 56:
            again, script = _again(self._next(nodes), row, nodes)
            nodes.append(again)
            self.scripts[again.id] = script
        if 44 <= row[0] < 56 and self.depth < 3:
            node, script = self._repeated(row, rest, nodes)
        else:
            node, script = _node(self._next(nodes), row, nodes)
        nodes.append(node)
        self.scripts[node.id] = script
        if node.kind == "fallback" and row[4] % 3:
            *_, first = (node.id, *wires(node.cases[0].binding))  # what it falls back from shall fail
            self.scripts[first] = Script(
                tries=("B" if row[4] % 3 == 2 else "A",), choice=self.scripts.get(first, UNSCRIPTED).choice
            )

    def _next(self, nodes: Sequence[PlanNode]) -> NodeId:
        return NodeId(f"{self.name}n{len(nodes)}")

    def _repeated(self, row: Row, rest: Sequence[Row], nodes: Sequence[PlanNode]) -> tuple[PlanNode, Script]:
        """An ``each`` or a ``loop`` whose body is made from the rows that follow."""
        kind, first, second, third, luck = row
        node = self._next(nodes)
        is_loop = kind % 3 == 0
        inputs = [PlanNode(id=NodeId(f"{node}.{name}"), kind="input") for name in ("item", "extra")]
        inner = _Maker(f"{node}.", self.depth + 1)
        made = inner.nodes(rest[: third % 5], list(inputs))
        result: Binding = Group("list", tuple(Wire(one.id) for one in made[-1 - luck % 3 :]))
        self.scripts |= inner.scripts
        settings: dict[str, Any] = {"at_most": 1 + luck % 4}
        if not is_loop:
            settings = {"at_once": 1 + luck % 3, "on_error": ("stop", "collect", "drop")[second % 3]}
        else:
            result = Group("tuple", (result, Wire(made[-1 - second % len(made)].id)))
        return PlanNode(
            id=node,
            kind="loop" if is_loop else "each",
            arguments=tuple(
                Argument(one.id, _operand(nodes, number))
                for one, number in zip(inputs, (first, second), strict=True)
            ),
            settings=settings,
            body=Plan(name=node, nodes=tuple(made), result=result),
        ), Script(tries=("read",) if luck == 9 else ("ok",), choice=third)


def _or_else(node: PlanNode) -> PlanNode:
    """A fallback to a constant, so that the run goes on where a node fails."""
    cases = (Case(binding=Wire(node.id)), Case(binding=CONSTANT))
    return PlanNode(id=NodeId(f"{node.id}.or"), kind="fallback", cases=cases)


def _operand(nodes: Sequence[PlanNode], number: int) -> Binding:
    """A wire to one of the nodes, the late ones rather; sometimes a constant, or two nodes together."""
    if number >= 60:
        return CONSTANT
    wire = Wire(nodes[-1 - number % min(len(nodes), 9)].id)
    if number % 3 == 2:
        return Group("tuple", (wire, Wire(nodes[number // 3 % len(nodes)].id)))
    return wire


def _node(node: NodeId, row: Row, nodes: Sequence[PlanNode]) -> tuple[PlanNode, Script]:
    kind, *numbers, luck = row
    operands = [_operand(nodes, number) for number in numbers]
    if kind >= 56:
        shared, failing = (Wire(nodes[number % (len(nodes) - 1)].id) for number in (numbers[0], numbers[2]))
        operands = [Group("list", (shared, failing)), Wire(nodes[-1].id), operands[2]]
        return _fallback(node, operands, "ok", luck)
    outcome = OUTCOMES[luck % len(OUTCOMES)]
    return MAKERS[kind % len(MAKERS)](node, operands, outcome, luck)


def _again(node: NodeId, row: Row, nodes: Sequence[PlanNode]) -> tuple[PlanNode, Script]:
    """A choice that may come to need what a fallback, the next node, lets go of."""
    _, first, second, third, luck = row
    shared = Wire(nodes[first % len(nodes)].id)
    subject, other = _operand(nodes, second), Wire(nodes[third % len(nodes)].id)
    made = PlanNode(
        id=node,
        kind="match",
        subject=subject,
        cases=(Case(binding=shared), Case(binding=CONSTANT), Case(binding=other)),
    )
    return made, Script(choice=luck % 5 // 2)


def _work(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    arguments = tuple(Argument(f"a{i}", operand) for i, operand in enumerate(operands[: luck % 4]))
    attempts = 1 + luck % 3
    tries: tuple[Outcome, ...] = (outcome, "A", "ok") if luck % 9 == 7 else (outcome,)
    policies = Policies(retry=Retry(attempts=attempts)) if attempts > 1 else Policies()
    made = PlanNode(id=node, kind="node", arguments=arguments, policies=policies)
    return made, Script(tries=tries, parks=2 * (luck % 16 == 6) + (luck % 16 == 3))


def _expression(
    node: NodeId, operands: list[Binding], outcome: Outcome, luck: int
) -> tuple[PlanNode, Script]:
    arguments = (Argument("value", operands[0]),)
    return PlanNode(id=node, kind="expression", operation="read", arguments=arguments), Script(
        tries=(outcome,)
    )


def _choice(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    subject, *branches = operands
    if luck % 2:
        branches.append(subject)
    made = PlanNode(
        id=node, kind="match", subject=subject, cases=tuple(Case(binding=branch) for branch in branches)
    )
    return made, Script(tries=(outcome,), choice=luck % len(branches))


def _logic(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    subject, other, _ = operands
    made = PlanNode(id=node, kind="and", subject=subject, cases=(Case(binding=other), Case(binding=CONSTANT)))
    return made, Script(choice=luck % 2)


def _fallback(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    rungs = operands[: 2 + luck % 2]
    on = ("A",) if luck % 4 == 3 else ()
    return PlanNode(id=node, kind="fallback", cases=tuple(Case(binding=r) for r in rungs), on=on), Script()


def _race(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    runners = [operand for operand in operands if isinstance(operand, Wire)]
    if not runners:
        return _fallback(node, operands, outcome, luck)
    return PlanNode(id=node, kind="race", cases=tuple(Case(binding=one) for one in runners)), Script()


def _do(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    cases = tuple(Case(binding=operand) for operand in operands[: 1 + luck % 3])
    return PlanNode(id=node, kind="do", cases=cases), Script()


MAKERS = (*[_work] * 7, _expression, _choice, _choice, _logic, *[_fallback] * 3, _do, _race, _race, _race)
