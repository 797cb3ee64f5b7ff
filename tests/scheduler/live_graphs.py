"""Random graphs of real nodes, whose bodies do what a script says; for runs in a real engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anyio.lowlevel import checkpoint
from pydantic import BaseModel
from random_plans import Outcome, Row, Script, Scripted

from treadle import Ask, Retry, Wait, do, fallback, graph, human, match, node, not_, when
from treadle.errors import HistoryMismatch
from treadle.ids import NodeId
from treadle.nodes.graph import Graph
from treadle.plan.parts import CHOICE, Binding, Group, PlanNode, Wire


class Box(BaseModel):
    """What every node gives: its own name, and a number that choices look at."""

    key: str
    number: int
    items: list[int] = []


class A(Exception):
    """A failure that fallbacks take."""


class B(Exception):
    """A failure that only some fallbacks take."""


ERRORS: dict[Outcome, Callable[[], Exception]] = {
    "A": lambda: A("a"),
    "B": lambda: B("b"),
    "fatal": lambda: HistoryMismatch("this can never be taken"),
}
OUTCOMES: Sequence[Outcome] = (*["ok"] * 24, "A", "A", "B", "fatal")
NOBODY = Box(key="nobody", number=0)


@dataclass
class Body:
    """What the body of a node does.

    Attributes:
        waits: Passes through the event loop before it is done.
        fails_first: Whether only the first attempt fails.
    """

    outcome: Outcome = "ok"
    waits: int = 0
    number: int = 0
    fails_first: bool = False
    calls: int = 0

    async def run(self, key: str) -> Box:
        self.calls += 1
        for _ in range(self.waits):
            await checkpoint()
        if self.outcome != "ok" and not (self.fails_first and self.calls > 1):
            make = ERRORS[self.outcome]
            raise make()
        return Box(key=key, number=self.number)


@dataclass
class Live:
    """A graph, and the bodies of its nodes by name."""

    graph: Graph[[], list[Box]]
    bodies: dict[str, Body]

    def scripted(self) -> Scripted:
        """The same as the oracle reads it; choices are made on the values of a sequential run."""
        plan, values = self.graph.plan, Sequential(self)
        scripts: dict[NodeId, Script] = {}
        for one in plan.nodes:
            if one.id in self.bodies:
                body = self.bodies[one.id]
                scripts[one.id] = Script(tries=(body.outcome, "ok") if body.fails_first else (body.outcome,))
            elif one.kind in CHOICE:
                scripts[one.id] = Script(choice=values.case_or_first(one))
            else:
                scripts[one.id] = Script(tries=("read",) if _is_missing(one) else ("ok",))
        return Scripted(plan=plan, scripts=scripts)


def live(rows: Sequence[Row]) -> Live:
    """Make a graph with a node or control word for each row; its result needs all that nothing else does."""
    bodies: dict[str, Body] = {}

    @node
    async def work(key: str, given: list[Box]) -> Box:
        return await bodies[key].run(key)

    @human(to="somebody")
    async def person(key: str, given: list[Box]) -> Ask[Box]:
        await bodies[key].run(key)
        return Ask(f"What about {key}?")

    def called(kind: int, row: Row, given: list[Any]) -> Any:
        key, luck = f"w{len(bodies)}", row[4]
        body = bodies[key] = Body(OUTCOMES[luck % len(OUTCOMES)], waits=row[1] % 4, number=luck % 3)
        kept: Any = person if kind == PERSON else work
        if luck % 5 == 4:
            body.fails_first = body.outcome in ("A", "B")
            kept = kept.using(retry=Retry(attempts=2, wait=Wait(initial=0.0, jitter=0.0)))
        return kept.named(key)(key, given)

    @graph(name="random", on_failure="cancel" if rows[0][4] % 4 == 3 else "drain")
    def wired() -> list[Box]:
        boxes: list[Any] = [called(0, (0, 0, 0, 0, 0), [])]
        used: set[int] = set()
        for row in rows:
            kind, *numbers, luck = row
            last = len(boxes) - 1
            taken = [last - number % min(len(boxes), 8) for number in numbers]
            is_call = kind % 12 <= PERSON
            taken = taken[: luck % 4] if is_call else taken
            given = [boxes[number] for number in taken]
            boxes.append(called(kind % 12, row, given) if is_call else _control(kind % 12, given, luck))
            used.update(taken)
        ends = [box for number, box in enumerate(boxes) if number not in used]
        return [fallback(box, NOBODY) for box in ends] if rows[0][3] % 4 else ends

    return Live(wired, bodies)


PERSON = 5


def _control(kind: int, operands: list[Any], luck: int) -> Any:
    first, second, third = operands
    if kind == 6:
        return when(first.number == luck % 3, second, third)
    if kind == 7:
        return match(first.number, {0: second, 1: third}, otherwise=NOBODY)
    if kind == 8:
        return when((first.number == 0) & not_(second.number == 1), third, NOBODY)
    if kind == 9:
        return do(first, when(second.items[9] == 1, third, second) if luck % 4 == 0 else do(second, third))
    if kind == 10:
        return fallback(do(first, second), third, on=A if luck % 4 == 3 else ())
    return fallback(first, second, third)


def _is_missing(one: PlanNode) -> bool:
    return any(read.key == MISSING for read in one.path)


MISSING = 9
"""An item that no list has."""


class Failed(Exception):
    """A node failed, as a class of errors."""


class Sequential:
    """Runs a graph by hand: one thing after the other, and nothing that is not needed."""

    def __init__(self, live: Live) -> None:
        self._bodies = live.bodies
        self._nodes = live.graph.plan.by_id
        self._result = live.graph.plan.result
        self._memo: dict[NodeId, Any] = {}

    def result(self) -> Any:
        return self._of(self._result)

    def case_or_first(self, one: PlanNode) -> int:
        """The case a choice takes; the first where its subject fails."""
        try:
            return self._case(one)
        except Failed:
            return 0

    def _value(self, name: NodeId) -> Any:
        if name not in self._memo:
            try:
                self._memo[name] = self._run(self._nodes[name])
            except Failed as failed:
                self._memo[name] = failed
        if isinstance(self._memo[name], Failed):
            raise self._memo[name]
        return self._memo[name]

    def _of(self, binding: Binding | None) -> Any:
        if isinstance(binding, Wire):
            return self._value(binding.node)
        if isinstance(binding, Group):
            return [self._of(item) for item in binding.items]
        assert binding is not None
        return binding.payload.value

    def _run(self, one: PlanNode) -> Any:
        operands = [self._of(argument.binding) for argument in one.arguments]
        if one.id in self._bodies:
            return self._perform(one.id, self._bodies[one.id])
        if one.kind == "expression":
            return self._compute(one, operands)
        if one.kind == "do":
            return [self._of(case.binding) for case in one.cases][-1]
        if one.kind == "fallback":
            return self._first_success(one)
        return self._of(one.cases[self._case(one)].binding)

    def _perform(self, key: str, body: Body) -> Box:
        if body.outcome != "ok" and not body.fails_first:
            raise Failed(body.outcome)
        return Box(key=key, number=body.number)

    def _compute(self, one: PlanNode, operands: list[Any]) -> Any:
        if one.operation == "==":
            return operands[0] == operands[1]
        if one.operation == "not":
            return not operands[0]
        if _is_missing(one):
            raise Failed("read")
        return getattr(operands[0], str(one.path[0].key))

    def _case(self, one: PlanNode) -> int:
        subject = self._of(one.subject)
        if one.kind != "match":
            return 0 if subject else 1
        return next(i for i, case in enumerate(one.cases) if case.test == "otherwise" or case.live == subject)

    def _first_success(self, one: PlanNode) -> Any:
        *firsts, last = one.cases
        for case in firsts:
            try:
                return self._of(case.binding)
            except Failed as failed:
                if failed.args[0] == "fatal" or (one.on and failed.args[0] != "A"):
                    raise
        return self._of(last.binding)
