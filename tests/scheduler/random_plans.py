"""Random plans as plain data, and what each of their nodes is going to do.

A plan is made from rows of small numbers, so that hypothesis can shrink it: each row becomes one node
over the nodes before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from treadle.ids import NodeId
from treadle.plan.parts import Argument, Binding, Case, Constant, Group, PlanNode, Policies, Wire, wires
from treadle.plan.plan import Plan
from treadle.retry import Retry
from treadle.values import JSON

Row = tuple[int, int, int, int, int]
"""Kind, three operands, and what happens."""

Outcome = Literal["ok", "A", "B", "read", "fatal"]
"""``A``, ``B`` and a failed read are classes of failures that may be taken, ``fatal`` one that may not."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A plan and a script for each of its nodes."""

    plan: Plan
    scripts: dict[NodeId, Script]

    @property
    def mended(self) -> Scripted:
        """The same plan, in which nothing fails any more."""
        return Scripted(plan=self.plan, scripts={node: one.mended for node, one in self.scripts.items()})


def scripted(rows: Sequence[Row]) -> Scripted:
    """Make a plan of one input and a node for each row; its result needs some of the last."""
    nodes = [PlanNode(id=NodeId("input"), kind="input")]
    scripts: dict[NodeId, Script] = {}
    for row in rows:
        if row[0] >= 56:
            again, script = _again(row, nodes)
            nodes.append(again)
            scripts[again.id] = script
        node, script = _node(row, nodes)
        nodes.append(node)
        scripts[node.id] = script
        if node.kind == "fallback" and row[4] % 3:
            *_, first = (node.id, *wires(node.cases[0].binding))  # what it falls back from shall fail
            scripts[first] = Script(tries=("B" if row[4] % 3 == 2 else "A",))
    last = nodes[-1 - rows[0][4] % 5 :]
    if rows[0][3] % 4:
        last = [_or_else(node) for node in last]
        nodes.extend(last)
    result = Group("list", tuple(Wire(node.id) for node in last))
    on_failure: Literal["cancel", "drain"] = "cancel" if rows[0][4] % 4 == 3 else "drain"
    return Scripted(
        plan=Plan(name="random", nodes=tuple(nodes), result=result, on_failure=on_failure), scripts=scripts
    )


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


def _node(row: Row, nodes: Sequence[PlanNode]) -> tuple[PlanNode, Script]:
    kind, *numbers, luck = row
    operands = [_operand(nodes, number) for number in numbers]
    if kind >= 56:
        shared, failing = (Wire(nodes[number % (len(nodes) - 1)].id) for number in (numbers[0], numbers[2]))
        operands = [Group("list", (shared, failing)), Wire(nodes[-1].id), operands[2]]
        return _fallback(NodeId(f"n{len(nodes)}"), operands, "ok", luck)
    outcome = OUTCOMES[luck % len(OUTCOMES)]
    return MAKERS[kind % len(MAKERS)](NodeId(f"n{len(nodes)}"), operands, outcome, luck)


def _again(row: Row, nodes: Sequence[PlanNode]) -> tuple[PlanNode, Script]:
    """A choice that may come to need what a fallback, the next node, lets go of."""
    _, first, second, third, luck = row
    shared = Wire(nodes[first % len(nodes)].id)
    subject, other = _operand(nodes, second), Wire(nodes[third % len(nodes)].id)
    made = PlanNode(
        id=NodeId(f"n{len(nodes)}"),
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


def _do(node: NodeId, operands: list[Binding], outcome: Outcome, luck: int) -> tuple[PlanNode, Script]:
    cases = tuple(Case(binding=operand) for operand in operands[: 1 + luck % 3])
    return PlanNode(id=node, kind="do", cases=cases), Script()


MAKERS = (*[_work] * 7, _expression, _choice, _choice, _logic, *[_fallback] * 4, _do)
