"""A plan reduced to what a picture shows: vertices, edges, and the boxes around subgraphs.

Two things differ from the plan.  Reads and comparisons become labels on edges.  A ``when`` or
``match`` is drawn where it chooses, with an arrow to what each choice sets going; its result flows on
from the branches, through a small junction where more than the graph's result takes it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from treadle.ids import NodeId
from treadle.plan.parts import (
    CHOICE,
    REPEATED,
    WORK,
    Binding,
    Case,
    Constant,
    Group,
    Planned,
    PlanNode,
    Scope,
    Wire,
    wires,
)

Shape = Literal[
    "input", "node", "tool", "agent", "human", "retriever",
    "choice", "join", "repeat", "expression", "constant", "result",
]  # fmt: skip
Style = Literal["value", "input", "demand"]

RESULT: Final = "(result)"
"""Id of the vertex the graph's result flows to; no node can have it."""

_MERGES: Final = frozenset({"when", "match", "fallback"})
_BARE: Final = ("=", "!", "<", ">", "not it", "it ")
_UNARY: Final = {"not": "not {}", "is_none": "{} is None", "some": "{} is given", "narrow": "{}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """Something drawn as a shape.

    Attributes:
        note: A second, smaller line: what it is, and its model, people or limit.
        scope: Id of the subgraph whose box it stands in.
    """

    id: str
    shape: Shape
    title: str
    note: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An arrow: ``"value"`` and ``"input"`` carry a value, ``"demand"`` sets something going."""

    source: str
    target: str
    label: str = ""
    style: Style = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What a picture of a plan shows."""

    name: str
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    scopes: tuple[Scope, ...]


def sketch(plan: Planned, result: Binding | None = None) -> Sketch:
    """Reduce a plan to what a picture shows; ``result`` stands for the plan's own where it is given."""
    return _Sketcher(plan, plan.result if result is None else result).draw()


def local_name(node_id: str) -> str:
    """A node's name inside its own subgraph."""
    return node_id.rpartition("/")[2]


def literal(data: object, *, width: int = 24) -> str:
    """JSON data as a short label."""
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def case_label(node: PlanNode, case: Case) -> str:
    """What one way of a control word is called."""
    if node.kind == "when":
        return "yes" if case is node.cases[0] else "no"
    if case.test == "otherwise":
        return "otherwise"
    is_word = isinstance(case.label, str) and case.label.isidentifier()
    return str(case.label) if case.test == "instance" or is_word else literal(case.label)


def note_of(node: PlanNode) -> str:
    """What a work node is, in a few words: ``agent · auto:small · ≤ $0.05``."""
    settings, policies = node.settings, node.policies
    model = policies.model or (node.definition.model if node.definition else "")
    tools = settings.get("tools")
    words = ["person" if node.kind == "human" else node.kind, model, str(settings.get("to") or "")]
    if isinstance(tools, list | tuple) and tools:
        words.append(f"{len(tools)} tool{'s' * (len(tools) > 1)}")  # pyright: ignore[reportUnknownArgumentType] - JSON
    if policies.effect == "once":
        words.append("once")
    if policies.budget is not None and policies.budget.usd is not None:
        words.append(f"≤ ${policies.budget.usd}")
    return " · ".join(word for word in words if word)


def repeat_of(node: PlanNode) -> str:
    """What an ``each`` or a ``loop`` does again and again, in words: ``each · 8 at once · drop``."""
    settings = node.settings
    if node.kind == "each":
        words = [node.id, f"{settings['at_once']} at once"]
        return " · ".join([*words, settings["on_error"]] if settings["on_error"] != "stop" else words)
    words = [node.id, f"at most {settings['at_most']}"]
    body = node.body
    if body is None or not isinstance(body.result, Group):
        return " · ".join(words)
    until = body.result.items[1]
    last = body.by_id[until.node] if isinstance(until, Wire) else None
    if last is not None:
        is_read = last.kind == "expression"
        words.append(f"until {text_of(body, last, short=False) if is_read else local_name(last.id)}")
    return " · ".join(words)


def value_of(node: PlanNode) -> Binding:
    """What an item or a round gives: of a round the value alone, where ``until`` is no node of its own."""
    body = node.body
    if body is None:
        return Group("tuple", ())
    if node.kind == "each" or not isinstance(body.result, Group):
        return body.result
    value, until = body.result.items
    is_work = isinstance(until, Wire) and body.by_id[until.node].kind in WORK
    return body.result if is_work else value


def text_of(plan: Planned, node: PlanNode, *, short: bool) -> str:
    """An expression in words; ``short`` leaves out the node it reads from."""
    operands = [_operand(plan, argument.binding, short=short) for argument in node.arguments]
    if node.operation == "read":
        path = "".join(f".{read.key}" if read.field else f"[{literal(read.key)}]" for read in node.path)
        return f"{operands[0]}{path}".removeprefix(".")
    if node.operation in _UNARY:
        return _UNARY[node.operation].format(operands[0] or "it")
    return f" {node.operation} ".join(operands).strip()


def _operand(plan: Planned, binding: Binding, *, short: bool) -> str:
    if isinstance(binding, Constant):
        return literal(binding.payload.json())
    if not isinstance(binding, Wire):
        return "…"
    node = plan.by_id[binding.node]
    if node.kind == "expression":
        return text_of(plan, node, short=short)
    return "" if short else local_name(node.id)


@dataclass
class _Sketcher:
    """Collects vertices and edges of one plan."""

    plan: Planned
    result: Binding
    vertices: dict[str, Vertex] = field(default_factory=dict[str, Vertex])
    edges: dict[tuple[str, str], Edge] = field(default_factory=dict[tuple[str, str], Edge])
    bodies: dict[str, Sketch] = field(default_factory=dict[str, Sketch])

    def __post_init__(self) -> None:
        self.taken = Counter(wires(self.result))
        for node in self.plan.nodes:
            self.taken.update(node.needs)
        self.sinks = self._find_sinks()

    def draw(self) -> Sketch:
        for node in self.plan.nodes:
            self._add_vertex(node)
        self._add(Vertex(id=RESULT, shape="result", title="result"))
        for node in self.plan.nodes:
            self._add_flow(node)
        self._flow(self.result, RESULT)
        for node in self.plan.nodes:
            self._add_demand(node)
        return Sketch(
            name=self.plan.name,
            vertices=tuple(self.vertices.values()),
            edges=tuple(self.edges.values()),
            scopes=(*self.plan.scopes, *self._boxes()),
        )

    def _boxes(self) -> Iterator[Scope]:
        """The boxes around the bodies of ``each`` and ``loop``, and those inside them."""
        for node in self.plan.nodes:
            if node.id in self.bodies:
                box = f"{node.id} "
                yield Scope(id=box, graph=node.kind, parent=node.scope)
                for inner in self.bodies[node.id].scopes:
                    parent = f"{box}/{inner.parent}" if inner.parent else box
                    yield replace(inner, id=f"{box}/{inner.id}", parent=parent)

    # Where things are drawn

    def _find_sinks(self) -> dict[NodeId, str]:
        """For each merging control word the vertex its branches flow to: its taker, or a junction."""
        sinks: dict[NodeId, str] = {}
        takers: dict[NodeId, str] = {}
        if isinstance(self.result, Wire):
            takers[self.result.node] = RESULT
        for node in reversed(self.plan.nodes):
            if node.kind not in _MERGES:
                continue
            alone = self.taken[node.id] == 1 and node.id in takers
            sinks[node.id] = takers[node.id] if alone else f"{node.id} (join)"
            passing = node.cases[-1:] if node.kind == "fallback" else node.cases
            for case in passing:
                if isinstance(case.binding, Wire):
                    takers[case.binding.node] = sinks[node.id]
        return sinks

    def _is_folded(self, node: PlanNode) -> bool:
        """Whether an expression is drawn as a label, because it reads from one node alone."""
        return node.kind == "expression" and len(node.needs) == 1

    def _is_passed_on(self, node_id: NodeId) -> bool:
        """Whether a control word's branches flow straight to its taker."""
        return node_id in self.sinks and not self.sinks[node_id].endswith(" (join)")

    def _add(self, vertex: Vertex) -> None:
        self.vertices[vertex.id] = vertex

    def _add_vertex(self, node: PlanNode) -> None:
        if node.kind == "input":
            self._add(Vertex(id=node.id, shape="input", title=node.id))
        elif node.kind in WORK:
            shape: Shape = node.kind  # type: ignore[assignment]  # mypy does not narrow by a frozenset
            self._add(
                Vertex(
                    id=node.id, shape=shape, title=local_name(node.id), note=note_of(node), scope=node.scope
                )
            )
        elif node.kind in {"when", "match"}:
            self._add(Vertex(id=node.id, shape="choice", title=self._subject(node), scope=node.scope))
        elif node.kind == "race":
            self._add(Vertex(id=node.id, shape="join", title="race", scope=node.scope))
        elif node.kind in REPEATED:
            self._add_body(node)
        elif node.kind in {"and", "or", "do"}:
            self._add(Vertex(id=node.id, shape="expression", title=node.kind, scope=node.scope))
        elif node.kind == "expression" and not self._is_folded(node):
            title = text_of(self.plan, node, short=False)
            self._add(Vertex(id=node.id, shape="expression", title=title, scope=node.scope))
        if node.id in self.sinks and not self._is_passed_on(node.id):
            title = node.kind if node.kind == "fallback" else ""
            self._add(Vertex(id=self.sinks[node.id], shape="join", title=title, scope=node.scope))

    def _add_body(self, node: PlanNode) -> None:
        """Draw the plan of an item or a round in a box, and where its results come together."""
        words = repeat_of(node).partition(" · ")[2]
        self._add(Vertex(id=node.id, shape="repeat", title=node.kind, note=words, scope=node.scope))
        if node.body is None:  # its wiring is faulty
            return
        box, inner = f"{node.id} ", sketch(node.body, value_of(node))
        self.bodies[node.id] = inner
        for vertex in inner.vertices:
            if vertex.shape not in {"input", "result"}:
                scope = f"{box}/{vertex.scope}" if vertex.scope else box
                self._add(replace(vertex, id=f"{box}/{vertex.id}", scope=scope))

    def _flow_through(self, node: PlanNode) -> None:
        """Draw what flows into a body, inside it, and out of it."""
        box, given = f"{node.id} ", {argument.name: argument.binding for argument in node.arguments}
        for edge in self.bodies[node.id].edges:
            target = node.id if edge.target == RESULT else f"{box}/{edge.target}"
            if edge.source in given:
                self._flow(given[edge.source], target)
            else:
                self._connect(replace(edge, source=f"{box}/{edge.source}", target=target))

    def _subject(self, node: PlanNode) -> str:
        if isinstance(node.subject, Wire):
            subject = self.plan.by_id[node.subject.node]
            if self._is_folded(subject):
                text = text_of(self.plan, subject, short=True)
                return text_of(self.plan, subject, short=False) if text.startswith(_BARE) else text
        return node.kind

    # What flows

    def _sources(self, binding: Binding | None) -> Iterator[tuple[str, str]]:
        """The vertices a binding takes values from, each with what is read from it."""
        for node_id in wires(binding):
            node = self.plan.by_id[node_id]
            if self._is_folded(node):
                label = text_of(self.plan, node, short=True)
                yield from ((source, label) for source, _ in self._sources(Wire(self._root(node).id)))
            elif node_id in self.sinks:
                if not self._is_passed_on(node_id):
                    yield self.sinks[node_id], ""
            else:
                yield node_id, ""

    def _root(self, node: PlanNode) -> PlanNode:
        while self._is_folded(node):
            node = self.plan.by_id[node.needs[0]]
        return node

    def _flow(self, binding: Binding | None, target: str, *, labels: bool = True) -> None:
        for source, label in self._sources(binding):
            style: Style = "input" if self.vertices[source].shape == "input" else "value"
            self._connect(Edge(source=source, target=target, label=label if labels else "", style=style))

    def _connect(self, edge: Edge) -> None:
        before = self.edges.get((edge.source, edge.target))
        if before is not None:
            known = before.label.split(", ") if before.label else []
            added = [edge.label] if edge.label and edge.label not in known else []
            edge = replace(before, label=", ".join(known + added))
        self.edges[edge.source, edge.target] = edge

    def _add_flow(self, node: PlanNode) -> None:
        if self._is_folded(node) or node.kind == "input":
            return
        if node.id in self.bodies:
            self._flow_through(node)
            return
        if node.kind in _MERGES:
            self._flow(node.subject, node.id, labels=False)
            for case in node.cases:
                self._flow(case.binding, self.sinks[node.id])
            return
        for argument in node.arguments:
            self._flow(argument.binding, node.id)
        self._flow(node.subject, node.id)
        for case in node.cases:
            self._flow(case.binding, node.id)

    # What sets what going

    def _add_demand(self, node: PlanNode) -> None:
        if node.kind in {"when", "match"}:
            for position, case in enumerate(node.cases):
                self._demand(node, position, [node.id], case_label(node, case))
        elif node.kind == "fallback":
            names = ", ".join(name.rpartition(".")[2] for name in node.on)
            for position in range(1, len(node.cases)):
                before = [source for source, _ in self._sources(node.cases[position - 1].binding)]
                self._demand(node, position, before, f"on {names}" if names else "on failure")

    def _demand(self, node: PlanNode, position: int, sources: list[str], label: str) -> None:
        """Draw what sets a case going, to where the work of that case alone begins."""
        case = node.cases[position]
        for source in sources:
            targets = self._entries(node, position) or self._own_targets(node, position)
            for target in targets:
                if not self._leads(target, source):
                    self._connect(Edge(source=source, target=target, label=label, style="demand"))
            if isinstance(case.binding, Constant):
                self._connect(Edge(source=targets[0], target=self.sinks[node.id]))

    def _own_targets(self, node: PlanNode, position: int) -> list[str]:
        """Where a case leads that sets no work going of its own."""
        binding = node.cases[position].binding
        if isinstance(binding, Constant):
            vertex = Vertex(
                id=f"{node.id} (case {position})",
                shape="constant",
                title=literal(binding.payload.json()),
                scope=node.scope,
            )
            self._add(vertex)
            return [vertex.id]
        given = [source for source, _ in self._sources(binding) if not self._leads(source, node.id)]
        return given or [self.sinks[node.id]]

    def _entries(self, node: PlanNode, position: int) -> list[str]:
        """The first vertices of what only this case needs."""
        case = node.cases[position]
        otherwise = self._reach(wires(self.result), without=(node.id, position))
        own = [found for found in self._at_once(wires(case.binding)) if found not in otherwise]
        drawn = [found for found in own if found in self.vertices]
        return [
            found
            for found in drawn
            if not any(source in drawn for source in self._before(self.plan.by_id[NodeId(found)]))
        ]

    def _before(self, node: PlanNode) -> set[str]:
        starts = wires(node.subject) if node.kind in CHOICE else node.needs
        return {self._root(self.plan.by_id[need]).id for need in starts}

    def _reach(self, starts: Iterable[NodeId], *, without: tuple[NodeId, int]) -> set[NodeId]:
        """Everything that may be needed if one case of one control word did not exist."""
        seen: set[NodeId] = set()
        stack = list(starts)
        while stack:
            node = self.plan.by_id[stack.pop()]
            if node.id in seen:
                continue
            seen.add(node.id)
            stack += self._needs_without(node, without[1]) if node.id == without[0] else node.needs
        return seen

    def _needs_without(self, node: PlanNode, position: int) -> list[NodeId]:
        others = [case for index, case in enumerate(node.cases) if index != position]
        return [*wires(node.subject), *(need for case in others for need in wires(case.binding))]

    def _at_once(self, starts: Iterable[NodeId]) -> list[NodeId]:
        """What is set going at once by needing some nodes: of a control word its first need alone."""
        seen: dict[NodeId, None] = {}
        stack = list(starts)
        while stack:
            node = self.plan.by_id[stack.pop()]
            if node.id in seen:
                continue
            seen[node.id] = None
            if node.kind in CHOICE:
                stack += wires(node.subject)
            elif node.kind == "fallback":
                stack += wires(node.cases[0].binding)
            else:
                stack += node.needs
        return list(seen)

    def _leads(self, start: str, end: str) -> bool:
        """Whether arrows lead from one vertex to another already."""
        seen = {start}
        stack = [start]
        while stack:
            here = stack.pop()
            ahead = {target for source, target in self.edges if source == here} - seen
            seen |= ahead
            stack += ahead
        return end in seen
