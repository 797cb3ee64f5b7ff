"""What a plan must come to, by the rules of call by need alone; it knows nothing of the scheduler.

Where two inputs of a node fail, which failure it passes on depends on the order of completion, and so
may which rung a fallback comes to.  So an outcome is a set: all that some order can lead to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from random_plans import Outcome, Script, Scripted

from treadle.ids import NodeId
from treadle.plan.parts import CHOICE, WORK, Binding, PlanNode, wires

OK = ("", "ok")
Ending = tuple[str, Outcome]
"""Where a failure began, and its class; ``OK`` for success."""

Endings = frozenset[Ending]
UNSCRIPTED = Script()


class Oracle:
    """A recursive evaluator: the value of a node is asked for, and it asks for what it needs."""

    def __init__(self, scripted: Scripted) -> None:
        self._plan = scripted.plan
        self._scripts = scripted.scripts
        self._nodes = scripted.plan.by_id
        self._memo: dict[NodeId, Endings] = {}
        self._sure: dict[NodeId, set[NodeId]] = {}

    @cached_property
    def endings(self) -> Endings:
        """All that the run can come to."""
        return self._all([self._plan.result])

    def of(self, node: NodeId) -> Endings:
        """All that a node can come to, were it needed."""
        if node not in self._memo:
            self._memo[node] = self._evaluate(self._nodes[node])
        return self._memo[node]

    def _evaluate(self, node: PlanNode) -> Endings:
        if node.kind == "fallback":
            return self._first_success(node)
        if node.kind == "do":
            return self._all(case.binding for case in node.cases)
        before = self._all([*(argument.binding for argument in node.arguments), node.subject])
        if node.kind == "input" or OK not in before:
            return before
        own = self._own(node)
        if own == OK and node.kind in CHOICE:
            return (before - {OK}) | self._all([self._case(node)])
        return (before - {OK}) | {own}

    def _own(self, node: PlanNode) -> Ending:
        """What a node adds to what its inputs came to."""
        script = self._scripts.get(node.id, UNSCRIPTED)
        tries = 1 if node.policies.retry is None or node.kind not in WORK else node.policies.retry.attempts
        outcome: Outcome = "ok"
        for number in range(tries):
            outcome = script.tries[min(number, len(script.tries) - 1)]
            if outcome in ("ok", "fatal"):
                break
        return OK if outcome == "ok" else (node.id, outcome)

    def _case(self, node: PlanNode) -> Binding:
        return node.cases[self._scripts[node.id].choice].binding

    def _all(self, bindings: Iterable[Binding | None]) -> Endings:
        """What needs all of some bindings: it fails with any that can fail."""
        found = [self.of(wire) for binding in bindings for wire in wires(binding)]
        failures = frozenset[Ending]().union(*found) - {OK}
        return failures | {OK} if all(OK in one for one in found) else failures

    def _first_success(self, node: PlanNode) -> Endings:
        result: Endings = frozenset()
        for number, case in enumerate(node.cases):
            rung = self._all([case.binding])
            taken = self._taken(node, rung) if number + 1 < len(node.cases) else frozenset()
            result |= rung - taken
            if not taken:
                break
        return result

    def _taken(self, node: PlanNode, endings: Endings) -> Endings:
        """The endings that lead to the next rung."""
        classes = [name.rpartition(".")[2] for name in node.on] or ["A", "B", "read"]
        return frozenset(one for one in endings if one[1] in classes)

    # -- who is needed -------------------------------------------------------------------------------

    @cached_property
    def may_start(self) -> set[NodeId]:
        """All that some order can need."""
        found: set[NodeId] = set()
        stack = list(wires(self._plan.result))
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(self._may_need(self._nodes[node]))
        return found

    def _may_need(self, node: PlanNode) -> Iterable[NodeId]:
        for argument in node.arguments:
            yield from wires(argument.binding)
        yield from wires(node.subject)
        if node.kind in CHOICE:
            yield from set.intersection(*(self.surely([case.binding]) for case in node.cases))
            if OK in self._all([node.subject]) and self._own(node) == OK:
                yield from wires(self._case(node))
        elif node.kind == "do":
            yield from node.needs
        for number, case in enumerate(node.cases if node.kind == "fallback" else ()):
            if number and not self._taken(node, self._all([node.cases[number - 1].binding])):
                break
            yield from wires(case.binding)

    def surely(self, bindings: Iterable[Binding | None]) -> set[NodeId]:
        """All that some bindings are sure to need, whatever is chosen."""
        return {node for binding in bindings for wire in wires(binding) for node in self.surely_needs(wire)}

    def surely_needs(self, wire: NodeId) -> set[NodeId]:
        """All that a node is sure to need, itself among them."""
        if wire in self._sure:
            return self._sure[wire]
        node = self._nodes[wire]
        found = {wire} | self.surely([*(a.binding for a in node.arguments), node.subject])
        if node.kind == "do":
            found |= self.surely(case.binding for case in node.cases)
        elif node.kind == "fallback":
            found |= self.surely([node.cases[0].binding])
        elif node.cases:
            found |= set.intersection(*(self.surely([case.binding]) for case in node.cases))
        self._sure[wire] = found
        return found

    @cached_property
    def must_finish(self) -> dict[NodeId, int]:
        """What every order finishes on the way to a success, with the case or rung it came to."""
        found: dict[NodeId, int] = {}
        stack = list(wires(self._plan.result))
        while stack:
            node = self._nodes[stack.pop()]
            if node.id in found:
                continue
            taken = self._rung(node) if node.kind == "fallback" else 0
            if node.kind in CHOICE:
                taken = self._scripts[node.id].choice
            found[node.id] = taken
            if node.kind == "do":
                stack.extend(node.needs)
                continue
            for argument in node.arguments:
                stack.extend(wires(argument.binding))
            stack.extend(wires(node.subject))
            if node.cases and taken >= 0:
                stack.extend(wires(node.cases[taken].binding))
        return found

    def _rung(self, node: PlanNode) -> int:
        """The rung every order comes to; -1 where that depends on the order."""
        for number, case in enumerate(node.cases):
            endings = self._all([case.binding])
            if endings == {OK}:
                return number
            if OK in endings:
                return -1
        return -1
