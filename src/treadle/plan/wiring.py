"""The recorder: turns calls on nodes into plan nodes while a graph function runs.

One ``Wiring`` holds what a plan will be made of; one ``Frame`` stands for one call of one graph
function in it.  A stand-in belongs to the frame that made it: an inner graph sees what it was given
as arguments and nothing else of the outer one.  Wrong use of a stand-in raises at once
(``WiringError``); wrong wiring is collected, to be told all together (``PlanError``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final, cast

from treadle.ids import NodeId
from treadle.interfaces import Model
from treadle.plan import binding, shapes
from treadle.plan.arguments import bound
from treadle.plan.declared import Blueprint, Declared
from treadle.plan.identity import always_the_same
from treadle.plan.parts import (
    DEFAULT,
    Argument,
    Binding,
    Callee,
    Case,
    Constant,
    NodeKind,
    Planned,
    PlanNode,
    Policies,
    Read,
    Scope,
    Wire,
)
from treadle.plan.ref import FAULTS, Ref, StandIn, ref_of, refuse, spell
from treadle.plan.where import where

_CURRENT: ContextVar[Frame | None] = ContextVar("treadle_wiring", default=None)

NOTHING_SET: Final[Mapping[str, Any]] = {}

_OPERATION_NAMES: Final = {
    "==": "equal",
    "!=": "unequal",
    "<": "less",
    "<=": "at_most",
    ">": "greater",
    ">=": "at_least",
}


class Prepared:
    """What every call of one node object in one frame has in common."""

    __slots__ = (
        "callee",
        "defaults",
        "definition",
        "faults",
        "kind",
        "label",
        "node",
        "parameters",
        "policies",
        "result",
        "settings",
    )

    def __init__(self, frame: Frame, node: Declared) -> None:
        policies = inherit(node.policies, frame.policies)
        model = frame.model if node.policies.model is None else None
        self.node = node
        is_alone = policies is node.policies and frame.model_around is None
        resolved = node if is_alone else node.resolved(policies, model, frame.model_around)
        self.callee: Callee = resolved
        self.faults = resolved.faults  # a model that another one replaces need not be there
        self.policies = policies
        self.kind: NodeKind = node.kind
        self.label = frame.prefix + node.name
        self.parameters = node.parameters
        self.settings = node.settings
        self.result = node.result
        self.definition = None if self.faults else node.definition
        self.defaults = () if self.faults else tuple(binding.defaults(node.parameters))


class Reporter:
    """Notes faults of one call, each with the parameter it concerns."""

    __slots__ = ("parameter", "place", "subject", "wiring")

    def __init__(self, wiring: Wiring, subject: str, place: str) -> None:
        self.wiring = wiring
        self.subject = subject
        self.place = place
        self.parameter = ""

    def __call__(self, text: str) -> None:
        what = f"{self.parameter!r}: {text}" if self.parameter else text
        self.wiring.faults.append(f"{self.subject} ({self.place}): {what}")


class Wiring:
    """What has been recorded of one plan so far.

    Attributes:
        nodes: In the order they were recorded: every wire points back.
        consumed: Nodes given to a subgraph, which may or may not use them.
        faults: What is wrong, one sentence each.
    """

    def __init__(self) -> None:
        self.nodes: dict[NodeId, PlanNode] = {}
        self.scopes: list[Scope] = []
        self.faults: list[str] = []
        self.consumed: set[NodeId] = set()
        self.expressions: dict[object, Wire] = {}
        self._counts: dict[str, int] = {}

    def new_id(self, name: str) -> NodeId:
        """Give ``name``, or ``name.2`` and so on where it is taken."""
        count = self._counts.get(name, 0) + 1
        taken = name if count == 1 else f"{name}.{count}"
        while taken in self._counts and count > 1:
            count += 1
            taken = f"{name}.{count}"
        self._counts[name] = count
        if count > 1:
            self._counts.setdefault(taken, 1)
        return NodeId(taken)

    def add(self, node: PlanNode) -> Wire:
        """Record a node."""
        self.nodes[node.id] = node
        return Wire(node.id)

    def fault(self, subject: str, place: str, text: str) -> None:
        """Note what is wrong, to be told with all the rest."""
        self.faults.append(f"{subject} ({place}): {text}")


class Frame:
    """One call of a graph function while it is wired.

    Attributes:
        id: Id of the subgraph's scope, ``""`` for the outermost graph.
        policies: What nodes without policies of their own inherit.
        graph: The graph being wired.
    """

    __slots__ = ("_prepared", "graph", "id", "is_active", "model", "outer", "policies", "prefix", "wiring")

    def __init__(self, wiring: Wiring, graph: Blueprint, scope: str = "", outer: Frame | None = None) -> None:
        self.wiring = wiring
        self.graph = graph
        self.id = scope
        self.prefix = f"{scope}/" if scope else ""
        self.outer = outer
        self.policies: Policies = inherit(graph.policies, outer.policies) if outer else graph.policies
        self.model: Model | None = graph.live_model
        if outer is not None and graph.policies.model is None:
            self.model = outer.model
        self.is_active = False
        self._prepared: dict[int, Prepared] = {}

    # What nodes and control words record.

    def call(self, node: Declared, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> StandIn:
        """Record a call of a node and give the stand-in for its result."""
        known = self._prepared.get(id(node))
        if known is None:
            known = self._prepared[id(node)] = Prepared(self, node)
        wiring = self.wiring
        place = where()
        node_id = wiring.new_id(known.label)
        report = Reporter(wiring, f"node {node_id!r}", place)
        if known.faults:
            for text in known.faults:
                report(text)
            return self._unknown(node_id, known.kind, place)
        arguments: list[Argument] = []
        for parameter, value in bound(known.parameters, args, kwargs, report):
            report.parameter = parameter.name
            arguments.append(Argument(parameter.name, binding.bind(self, value, parameter.codec, report)))
        given = {argument.name for argument in arguments} if known.defaults else ()
        arguments += [default for default in known.defaults if default.name not in given]
        wire = wiring.add(
            PlanNode(
                id=node_id,
                kind=known.kind,
                scope=self.id,
                definition=known.definition,
                arguments=tuple(arguments),
                policies=known.policies,
                settings=known.settings,
                where=place,
                callee=known.callee,
                codec=known.result,
            )
        )
        return StandIn(Ref(self, wire, (), known.result.type))

    def control(
        self,
        kind: NodeKind,
        *,
        declared: Any,
        cases: tuple[Case, ...] = (),
        subject: Binding | None = None,
        on: tuple[str, ...] = (),
        arguments: tuple[Argument, ...] = (),
        settings: Mapping[str, Any] = NOTHING_SET,
        body: Planned | None = None,
        written: tuple[object, ...] = (),
    ) -> StandIn:
        """Record a control word and give the stand-in for its result."""
        wire = self.wiring.add(
            PlanNode(
                id=self.wiring.new_id(self.prefix + kind),
                kind=kind,
                scope=self.id,
                subject=subject,
                cases=cases,
                on=on,
                arguments=arguments,
                settings=settings,
                body=body,
                where=where(),
            )
        )
        return StandIn(Ref(self, wire, (), declared, written))

    def expression(
        self,
        operation: str,
        operands: tuple[Argument, ...],
        declared: Any,
        live: object = None,
        written: tuple[object, ...] = (),
    ) -> StandIn:
        """Record an expression, once for equal ones, and give the stand-in for its value."""
        key = (operation, live, *(binding.key(operand.binding) for operand in operands))
        wire = self.wiring.expressions.get(key)
        if wire is None:
            node_id = self.wiring.new_id(self.prefix + _OPERATION_NAMES.get(operation, operation))
            settings = {"class": shapes.title(live)} if live is not None else {}
            wire = self.wiring.expressions[key] = self.wiring.add(
                PlanNode(
                    id=node_id,
                    kind="expression",
                    scope=self.id,
                    operation=operation,
                    arguments=operands,
                    settings=settings,
                    where=where(),
                    live=live,
                )
            )
        return StandIn(Ref(self, wire, (), declared, written))

    def fault(self, text: str) -> None:
        """Note a fault of the line that is running."""
        self.wiring.fault(f"graph {self.graph.name!r}", where(), text)

    def enter(self, graph: Blueprint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Wire a graph inside this one; its nodes stand in a scope of their own."""
        place = where()
        self.refuse_itself(graph)
        scope = self.wiring.new_id(self.prefix + graph.name)
        self.wiring.scopes.append(
            Scope(id=scope, graph=graph.name, parent=self.id, policies=graph.policies, where=place)
        )

        report = Reporter(self.wiring, f"subgraph {scope!r}", place)
        faults = inner_faults(graph)
        for text in faults:
            report(text)
        if faults:
            return self._unknown(scope, "do", place)
        inner = Frame(self.wiring, graph, scope, self)
        inside: dict[str, Any] = {}
        for parameter, value in bound(graph.parameters, args, kwargs, report):
            report.parameter = parameter.name
            binding.check(self, value, parameter.codec, report)
            inside[parameter.name] = binding.move(value, self, inner)
        inner.look_at_source(inside)
        result = inner.run(lambda: cast("object", graph.function(**inside)))
        report.parameter = "result"
        binding.check(inner, result, graph.result, report)
        return binding.move(result, inner, self, declared=graph.result.type)

    def look_at_source(self, values: Mapping[str, object]) -> None:
        """Note what the graph function asks of stand-ins in a way that they cannot see."""
        for place, text in always_the_same(self.graph.function, values):
            self.wiring.fault(f"graph {self.graph.name!r}", place, text)

    def refuse_itself(self, graph: Blueprint) -> None:
        """Make sure that a graph is not inside itself.

        Raises:
            WiringError: It is.
        """
        frame: Frame | None = self
        while frame is not None:
            if frame.graph.function is graph.function:
                refuse(
                    f"graph {graph.name!r} contains itself",
                    "a plan has no cycles: write loop(...) to repeat",
                )
            frame = frame.outer

    @property
    def model_around(self) -> str | Model | None:
        """The model that the innermost of the graphs around was given, if any was."""
        return self.policies.model if self.model is None else self.model

    def run(self, body: Callable[[], Any]) -> Any:
        """Call a graph function with this frame as the one that records."""
        token, faults = _CURRENT.set(self), FAULTS.set(self.wiring.faults)
        self.is_active = True
        try:
            return body()
        finally:
            self.is_active = False
            FAULTS.reset(faults)
            _CURRENT.reset(token)

    # What stand-ins record.

    def read_field(self, ref: Ref, name: str) -> object:
        """Record the read of an attribute, without a node until somebody needs it."""
        if name.startswith("_") and name not in shapes.fields(shapes.strip(ref.declared)):
            raise AttributeError(name)  # Python and tools probe for such names
        self.own(ref)
        return self._read(ref, Read(name, field=True), shapes.field(ref.declared, name))

    def read_item(self, ref: Ref, key: object) -> object:
        """Record the read of an item."""
        self.own(ref)
        if type(key) is not int and type(key) is not str:
            refuse(
                f"an item of {ref.text!r} is read by {_describe(key)}",
                "read items by a number or a text known while wiring; for anything else use a node",
            )
        return self._read(ref, Read(key, field=False), shapes.item(ref.declared, key))

    def _read(self, ref: Ref, read: Read, declared: Any) -> StandIn:
        path = (*ref.path, read)
        if isinstance(declared, shapes.Missing):
            self.fault(f"cannot read {ref.text + spell((read,))!r}: {declared.why}")
            declared = Any
        return StandIn(Ref(self, ref.wire, path, declared, ref.written))

    def compare(self, operation: str, left: object, right: object) -> object:
        """Record a comparison."""
        operands: list[Argument] = []
        types: list[Any] = []
        for name, value in (("left", left), ("right", right)):
            bound_value, declared = binding.infer(self, value, self.fault)
            operands.append(Argument(name, bound_value))
            types.append(declared)
        if not binding.can_compare(operation, *types):
            self.fault(
                f"{shapes.title(types[0])} {operation} {shapes.title(types[1])} "
                "can never be what was meant; compare values of one type"
            )
        written = (f"{{}} {operation} {{}}", left, right)
        return self.expression(operation, tuple(operands), bool, written=written)

    def both(self, left: object, right: object) -> object:
        """Record ``left & right``: the right side is needed only where the left is true."""
        return self._logic("and", left, right)

    def either(self, left: object, right: object) -> object:
        """Record ``left | right``: the right side is needed only where the left is false."""
        return self._logic("or", left, right)

    def _logic(self, kind: NodeKind, left: object, right: object) -> object:
        bindings: list[Binding] = []
        sign = "&" if kind == "and" else "|"
        for value in (left, right):
            bound_value, declared = binding.infer(self, value, self.fault)
            bindings.append(bound_value)
            if not binding.is_bool(declared):
                self.fault(f"{sign} joins conditions, and {shapes.title(declared)} is none; compare it first")
        subject, other = bindings
        settled = Constant(binding.pack_plain(kind == "or"))
        yes, no = (other, settled) if kind == "and" else (settled, other)
        cases = (
            Case(binding=yes, test="equal", label=True, live=True),
            Case(binding=no, test="equal", label=False, live=False),
        )
        written = (f"{{}} {sign} {{}}", left, right)
        return self.control(kind, subject=subject, cases=cases, declared=bool, written=written)

    # Bindings.

    def own(self, ref: Ref) -> None:
        """Make sure that a stand-in belongs to this frame and that this frame is being wired."""
        if _CURRENT.get() is not ref.frame:
            refuse(
                f"{ref.text!r} belongs to another graph, or to one that has been wired already",
                "give it to this graph as a parameter",
            )

    def wire(self, ref: Ref) -> Wire:
        """Give the wire to what a stand-in stands for; a chain of reads becomes a node here."""
        if ref.frame is not self:
            self.own(ref)
        if not ref.path:
            return ref.wire
        key = ("read", ref.wire.node, ref.path)
        wire = self.wiring.expressions.get(key)
        if wire is None:
            node = PlanNode(
                id=self.wiring.new_id(ref.name),
                kind="expression",
                scope=self.wiring.nodes[ref.wire.node].scope,
                operation="read",
                arguments=(Argument("value", ref.wire),),
                path=ref.path,
                where=where(),
            )
            wire = self.wiring.expressions[key] = self.wiring.add(node)
        return wire

    def _unknown(self, node_id: NodeId, kind: NodeKind, place: str) -> StandIn:
        """Give a stand-in of which nothing is known, so that one fault does not lead to others."""
        wire = self.wiring.add(PlanNode(id=node_id, kind=kind, scope=self.id, where=place))
        self.wiring.consumed.add(node_id)
        return StandIn(Ref(self, wire, (), Any))


def inner_faults(graph: Blueprint) -> tuple[str, ...]:
    """What is wrong with a graph as a part of another one."""
    if graph.on_failure == "drain":
        return graph.faults
    told = (
        "it is declared on_failure='cancel', which holds for the graph of a run and not for a part of one; "
        "declare that graph so, and leave it out here"
    )
    return (*graph.faults, told)


def inherit(own: Policies, outer: Policies) -> Policies:
    """Fill in what a node leaves open from the policies around it; a budget is never inherited."""
    if outer is DEFAULT:
        return own
    filled = {
        name: getattr(outer, name)
        for name in ("retry", "timeout", "idle", "model", "max_turns", "max_output", "min_output")
        if getattr(own, name) is None and getattr(outer, name) is not None
    }
    return replace(own, **filled) if filled else own


def current() -> Frame | None:
    """Give the frame that is being wired, or ``None`` outside of graphs."""
    return _CURRENT.get()


def _describe(key: object) -> str:
    if type(key) is StandIn:
        return f"the stand-in {ref_of(key).text!r}"
    return "a slice" if isinstance(key, slice) else f"a {type(key).__name__}"
