"""Where the calls of a run stand: in which part of it, and which place that is when lists and names shift.

A place is told by names; an item of an ``each`` by what it is, not by where it stands in the list, so that
an item put in front of others moves none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from treadle.engine.identity import Inputs
from treadle.engine.records import Identity, Spot
from treadle.errors import InternalError
from treadle.events import Event, NodeCompleted
from treadle.ids import NodeId, PartId, owner_of, part_id, split, within
from treadle.plan.parts import REPEATED, Planned, PlanNode
from treadle.scheduler.commands import Command, Enter, Leave
from treadle.scheduler.part import Part
from treadle.scheduler.scheduler import Scheduler
from treadle.values import Payload


class Places:
    """What the nodes of a run were given, part by part.

    Args:
        plan: The run's plan.
        root: What its choices came to.
        inputs: What the run was started with.
    """

    def __init__(self, plan: Planned, root: Part, inputs: Mapping[str, Payload]) -> None:
        self._open: dict[PartId, Inputs] = {PartId(""): Inputs(plan, root)}
        self._root = self._open[PartId("")]
        self._root.results.update((NodeId(name), payload) for name, payload in inputs.items())

    def follow(self, scheduler: Scheduler, event: Event, commands: Iterable[Command]) -> None:
        """Take in an event, and the parts it led into and out of."""
        self.see(event)
        for command in commands:
            self.go(scheduler, command)

    def see(self, event: Event) -> None:
        """Note what a node came to."""
        if isinstance(event, NodeCompleted):
            inputs, name = self._locate(event.node)
            if inputs is not None:
                inputs.results[name] = event.result

    def go(self, scheduler: Scheduler, command: Command) -> None:
        """Enter an item or a round, or leave it."""
        if isinstance(command, Enter):
            inside = self._within(command.part, scheduler.part(command.part))
            if inside is None:
                raise InternalError(f"part {command.part!r} is none of the plan; please report this")
            self._open[command.part] = inside
        elif isinstance(command, Leave):
            inputs = self._open.pop(command.part)
            around = self._open[command.inside]
            node = around.plan.nodes[command.index].id
            around.keep(node, command.number, inputs if command.failure is None else command.failure)

    def adopt(self, scheduler: Scheduler) -> None:
        """Go on with the scheduler of the run itself, after another one has retraced its history."""
        for part, inputs in self._open.items():
            inputs.part = scheduler.part(part)

    # -- nodes -----------------------------------------------------------------------------------------

    def node(self, node: NodeId) -> PlanNode | None:
        """The node of the plan behind a node of the run."""
        inputs, name = self._locate(node)
        return None if inputs is None else inputs.plan.by_id.get(name)

    def identity(self, node: NodeId) -> Identity | None:
        """What a node is known by, as soon as all that it is given is known."""
        inputs, name = self._locate(node)
        planned = None if inputs is None else inputs.plan.by_id.get(name)
        return None if inputs is None or planned is None else inputs.identity(planned)

    def given(self, node: NodeId) -> dict[str, Any]:
        """What a node is given; raises ``LookupError`` where that is not known yet."""
        inputs, name = self._locate(node)
        if inputs is None:
            raise LookupError(node)
        return inputs.given(inputs.plan.by_id[name])

    def of_definition(self, definition: str) -> Iterator[NodeId | None]:
        """The nodes of a definition in all open parts; ``None`` for items and rounds that may begin yet."""
        for part, inputs in self._open.items():
            own, inside = _by_definition(inputs.plan)
            yield from (within(part, node) for node in own.get(definition, ()))
            yield from (None for node in inside.get(definition, ()) if inputs.is_open(node))

    def _locate(self, node: NodeId) -> tuple[Inputs | None, NodeId]:
        if node in self._root.plan.by_id:
            return self._root, node
        part, name = split(node)
        return self._inputs(part), name

    def _inputs(self, part: PartId) -> Inputs | None:
        """Those of a part; of one that has not begun, as far as it is known what it will be given."""
        found = self._open.get(part)
        return self._within(part, None) if found is None else found

    def _within(self, part: PartId, state: Part | None) -> Inputs | None:
        owner, number = owner_of(part)
        around, name = self._locate(owner)
        node = None if around is None else around.plan.by_id.get(name)
        if around is None or node is None or node.body is None:
            return None
        return Inputs(node.body, state, around=(around, node, number))

    # -- spots -----------------------------------------------------------------------------------------

    def spot(self, node: NodeId) -> Spot:
        """Where a node stands, whatever stands before it in its lists."""
        if node in self._root.plan.by_id or not split(node)[0]:
            return (node,)
        part, name = split(node)
        owner, number = owner_of(part)
        around, local = self._locate(owner)
        planned = None if around is None else around.plan.by_id.get(local)
        key = f"({number})"
        if around is not None and planned is not None and planned.kind == "each":
            try:
                key = around.key(planned, number)
            except LookupError:
                return (node,)
        return (*self.spot(owner), key, name)

    def at(self, spot: Spot) -> NodeId | None:
        """The node that stands at a spot now; ``None`` where nothing does.

        Raises:
            LookupError: That is not known yet.
        """
        part, inputs = PartId(""), self._root
        for owner, key in zip(spot[:-1:2], spot[1::2], strict=True):
            node = inputs.plan.by_id.get(NodeId(owner))
            number = None if node is None or node.kind not in REPEATED else _number(inputs, node, key)
            if number is None:
                return None
            part = part_id(within(part, NodeId(owner)), number)
            inside = self._inputs(part)
            if inside is None:
                return None
            inputs = inside
        name = NodeId(spot[-1])
        return within(part, name) if name in inputs.plan.by_id else None


def _number(inputs: Inputs, node: PlanNode, key: str) -> int | None:
    """Which item or round a key is now; raises ``LookupError`` where the list is not known yet."""
    if key.startswith("("):
        return int(key[1:-1]) if node.kind == "loop" else None
    if node.kind != "each":
        return None
    return inputs.keys(node).get(key)


_Definitions = tuple[Mapping[str, Sequence[NodeId]], Mapping[str, Sequence[PlanNode]]]


def _by_definition(plan: Planned) -> _Definitions:
    """The work nodes of a plan by definition, and those of its nodes in whose bodies one stands."""
    found: _Definitions | None = plan.memo.get("engine.definitions")
    if found is None:
        own: dict[str, list[NodeId]] = {}
        inside: dict[str, list[PlanNode]] = {}
        for node in plan.nodes:
            if node.definition is not None:
                own.setdefault(node.definition.digest, []).append(node.id)
            for definition in _in_body(node):
                inside.setdefault(definition, []).append(node)
        found = plan.memo["engine.definitions"] = (own, inside)
    return found


def _in_body(node: PlanNode) -> Iterable[str]:
    """The definitions of what the body of an ``each`` or a ``loop`` is made of."""
    if node.body is None:
        return ()
    own, inside = _by_definition(node.body)
    return {**own, **inside}
