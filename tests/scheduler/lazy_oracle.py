"""What a plan must come to, by the rules of call by need alone; it knows nothing of the scheduler.

Where two inputs of a node fail, which failure it passes on depends on the order of completion, and so
may which rung a fallback comes to, and who wins a race.  So an outcome is a set: all that some order can
lead to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from random_plans import Outcome, Scripted

from treadle.ids import NodeId, PartId, part_id, within
from treadle.plan.parts import CHOICE, WORK, Binding, Planned, PlanNode, wires

OK = ("", "ok")
Ending = tuple[str, Outcome]
"""Where a failure began, and its class; ``OK`` for success."""

Endings = frozenset[Ending]
ROOT = PartId("")


class Oracle:
    """A recursive evaluator: the value of a node is asked for, and it asks for what it needs.

    An item or a round has an oracle of its own; what is said of nodes names them as the run does.
    """

    def __init__(self, scripted: Scripted, plan: Planned | None = None, part: PartId = ROOT) -> None:
        self._plan = plan or scripted.plan
        self._part = part
        self._scripted = scripted
        self._nodes = self._plan.by_id
        self._memo: dict[NodeId, Endings] = {}
        self._sure: dict[NodeId, set[NodeId]] = {}
        self._inner: dict[tuple[NodeId, int], Oracle] = {}

    def inner(self, node: PlanNode, number: int) -> Oracle:
        """The oracle of an item or a round."""
        if (node.id, number) not in self._inner:
            part = part_id(self._named(node), number)
            self._inner[node.id, number] = Oracle(self._scripted, node.body, part)
        return self._inner[node.id, number]

    def _named(self, node: PlanNode) -> NodeId:
        return within(self._part, node.id)

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
        if node.kind == "race":
            return self._any(node)
        before = self._all([*(argument.binding for argument in node.arguments), node.subject])
        if node.kind == "input" or OK not in before:
            return before
        own = self._own(node)
        if own == OK and node.kind in CHOICE:
            return (before - {OK}) | self._all([self._case(node)])
        if node.kind == "loop":
            return (before - {OK}) | self._rounds(node)
        if own == OK and node.kind == "each":
            return (before - {OK}) | self._items(node)
        return (before - {OK}) | {own}

    def _own(self, node: PlanNode) -> Ending:
        """What a node adds to what its inputs came to."""
        script = self._scripted.script(self._named(node))
        tries = 1 if node.policies.retry is None or node.kind not in WORK else node.policies.retry.attempts
        outcome: Outcome = "ok"
        for number in range(tries):
            outcome = script.tries[min(number, len(script.tries) - 1)]
            if outcome in ("ok", "fatal"):
                break
        return OK if outcome == "ok" else (self._named(node), outcome)

    def _case(self, node: PlanNode) -> Binding:
        return node.cases[self._scripted.case(self._named(node), node)].binding

    # -- items, rounds and runners -------------------------------------------------------------------

    def _items(self, node: PlanNode) -> Endings:
        """What an ``each`` can come to: every item adds the failures that are not taken."""
        result = frozenset([OK])
        for item in self._all_items(node):
            endings = item.endings
            if node.settings["on_error"] != "stop" and any(map(_is_takeable, endings)):
                endings = frozenset(one for one in endings if not _is_takeable(one)) | {OK}
            result = (result if OK in endings else result - {OK}) | (endings - {OK})
        return result

    def _all_items(self, node: PlanNode) -> list[Oracle]:
        return [self.inner(node, number) for number in range(self._scripted.items(self._named(node)))]

    def _rounds(self, node: PlanNode) -> Endings:
        """What a ``loop`` can come to: it ends where a round can only fail, or is the last one."""
        failures = frozenset[Ending]()
        for one in self._all_rounds(node):
            failures |= one.endings - {OK}
            if OK not in one.endings:
                return failures
        own = self._own(node)
        if own != OK:
            return failures | {own}
        if self._scripted.rounds(self._named(node)) > node.settings["at_most"]:
            return failures | {(self._named(node), "LoopLimit")}
        return failures | {OK}

    def _all_rounds(self, node: PlanNode) -> list[Oracle]:
        """The rounds that can begin, were none to fail that need not; after a failing ``until`` no more."""
        name = self._named(node)
        last = 1 if self._own(node) != OK else min(self._scripted.rounds(name), node.settings["at_most"])
        return [self.inner(node, number) for number in range(1, last + 1)]

    def _any(self, node: PlanNode) -> Endings:
        """What a race can come to: with the first success, or with all of its failures."""
        runners = [self._all([case.binding]) for case in node.cases]
        fatal = frozenset(one for endings in runners for one in endings if one[1] == "fatal")
        won = {OK} if any(OK in endings for endings in runners) else set[Ending]()
        is_lost = all(any(map(_is_takeable, endings)) for endings in runners)
        return fatal | won | ({(self._named(node), "AllFailed")} if is_lost else set[Ending]())

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
        classes = [name.rpartition(".")[2] for name in node.on]
        return frozenset(one for one in endings if _is_takeable(one) and (not classes or one[1] in classes))

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
        inner = [one for name in found for one in self._may_enter(self._nodes[name])]
        return {self._named(self._nodes[name]) for name in found}.union(*(one.may_start for one in inner))

    def _may_enter(self, node: PlanNode) -> Iterable[Oracle]:
        """The items and rounds that some order can begin."""
        if node.kind not in ("each", "loop") or OK not in self._all(a.binding for a in node.arguments):
            return
        if node.kind == "each" and self._own(node) == OK:
            yield from self._all_items(node)
        for one in self._all_rounds(node) if node.kind == "loop" else ():
            yield one
            if OK not in one.endings:
                return

    def _may_need(self, node: PlanNode) -> Iterable[NodeId]:
        for argument in node.arguments:
            yield from wires(argument.binding)
        yield from wires(node.subject)
        if node.kind in CHOICE:
            yield from set.intersection(*(self.surely([case.binding]) for case in node.cases))
            if OK in self._all([node.subject]) and self._own(node) == OK:
                yield from wires(self._case(node))
        elif node.kind in ("do", "race"):
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
        if node.kind in ("do", "race"):
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
            name = self._named(node)
            if name in found:
                continue
            taken = self._rung(node) if node.kind == "fallback" else 0
            if node.kind in CHOICE:
                taken = self._scripted.case(name, node)
            elif node.kind == "race":
                taken = -1
            found[name] = taken
            for one in self._must_go_through(node):
                found |= one.must_finish
            if node.kind == "do":
                stack.extend(node.needs)
                continue
            for argument in node.arguments:
                stack.extend(wires(argument.binding))
            stack.extend(wires(node.subject))
            if node.cases and taken >= 0:
                stack.extend(wires(node.cases[taken].binding))
        return found

    def is_work(self, node: NodeId) -> bool:
        """Whether a node of the run has a body."""
        planned = self._scripted.plan.find(node)
        return planned is not None and planned.kind in WORK

    def _must_go_through(self, node: PlanNode) -> list[Oracle]:
        if node.kind == "loop":
            return self._all_rounds(node)
        items = self._all_items(node) if node.kind == "each" else []
        return [one for one in items if node.settings["on_error"] == "stop" or one.endings == {OK}]

    def _rung(self, node: PlanNode) -> int:
        """The rung every order comes to; -1 where that depends on the order."""
        for number, case in enumerate(node.cases):
            endings = self._all([case.binding])
            if endings == {OK}:
                return number
            if OK in endings:
                return -1
        return -1


def _is_takeable(ending: Ending) -> bool:
    return ending[1] not in ("ok", "fatal")
