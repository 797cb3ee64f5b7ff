"""Pictures of a plan: SVG for people, Mermaid for documents, a text tree for terminals, and its JSON.

Drawing needs the plan alone: no code of the graph, no run, no library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

from treadle.errors import ConfigurationError, nearest
from treadle.ids import NodeId
from treadle.plan.parts import WORK, Binding, Constant, Planned, PlanNode, Wire, wires
from treadle.plan.plan import Plan
from treadle.plan.sketch import (
    Edge,
    Shape,
    Sketch,
    case_label,
    literal,
    local_name,
    note_of,
    repeat_of,
    sketch,
    text_of,
    value_of,
)
from treadle.plan.svg import svg

Format = Literal["svg", "mermaid", "text", "json"]


def draw(plan: Plan, form: str = "text") -> str:
    """Draw a plan.

    Args:
        plan: What to draw.
        form: ``"svg"``, ``"mermaid"`` (flowchart syntax of Mermaid 10 and later), ``"text"`` (what needs
            what, from the result down) or ``"json"`` (the plan document itself).

    Raises:
        ConfigurationError: There is no such format.

    Example:
        >>> print(draw(support.plan, "mermaid"))  # doctest: +SKIP
    """
    if form not in _FORMATS:
        known = ", ".join(get_args(Format))
        raise ConfigurationError(
            f"plans are not drawn as {form!r}{nearest(form, _FORMATS)}; take one of {known}"
        )
    return _FORMATS[form](plan)


def mermaid(plan: Plan) -> str:
    """Write a plan as a Mermaid flowchart."""
    drawn = sketch(plan)
    names = {vertex.id: f"n{number}" for number, vertex in enumerate(drawn.vertices)}
    lines = ["flowchart TD", *_mermaid_box(drawn, "", names, "  ")]
    lines += [_mermaid_edge(edge, names) for edge in drawn.edges]
    for shape, style in _MERMAID_CLASSES.items():
        members = [names[vertex.id] for vertex in drawn.vertices if vertex.shape == shape]
        if members:
            lines += [f"  classDef {shape} {style}", f"  class {','.join(members)} {shape}"]
    return "\n".join(lines) + "\n"


_MERMAID_SHAPES: Final[Mapping[Shape, tuple[str, str]]] = {
    "input": ("([", "])"),
    "result": ("([", "])"),
    "choice": ("{{", "}}"),
    "join": ("((", "))"),
}

_MERMAID_CLASSES: Final[Mapping[Shape, str]] = {
    "agent": "fill:#f3eeff,stroke:#7c4ddb,color:#1f2328",
    "tool": "fill:#fff3e2,stroke:#c06d00,color:#1f2328",
    "retriever": "fill:#e3f6f3,stroke:#0b7f72,color:#1f2328",
    "human": "fill:#ffecf0,stroke:#c22f56,color:#1f2328",
    "choice": "fill:#fffbe0,stroke:#927500,color:#1f2328",
    "result": "fill:#dcf5e3,stroke:#1a7f37,color:#1f2328",
}


def _mermaid_text(text: str) -> str:
    """Quote a text; Mermaid reads entities written with ``#``."""
    escaped = text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    return f'"{escaped}"'


def _mermaid_box(drawn: Sketch, scope: str, names: Mapping[str, str], indent: str) -> Iterator[str]:
    for vertex in drawn.vertices:
        if vertex.scope == scope:
            opening, closing = _MERMAID_SHAPES.get(vertex.shape, ("[", "]"))
            text = f"{vertex.title}\n{vertex.note}" if vertex.note else vertex.title or " "
            label = _mermaid_text(text).replace("\n", "<br/>")
            yield f"{indent}{names[vertex.id]}{opening}{label}{closing}"
    for number, box in enumerate(drawn.scopes):
        if box.parent == scope:
            yield f"{indent}subgraph s{number} [{_mermaid_text(local_name(box.id))}]"
            yield from _mermaid_box(drawn, box.id, names, indent + "  ")
            yield f"{indent}end"


def _mermaid_edge(edge: Edge, names: Mapping[str, str]) -> str:
    arrow = "-.->" if edge.style == "demand" else "-->"
    label = f"|{_mermaid_text(edge.label)}|" if edge.label else ""
    return f"  {names[edge.source]} {arrow}{label} {names[edge.target]}"


def text(plan: Plan) -> str:
    """Write what the result needs as a tree, each node's own needs once."""
    inputs = ", ".join(node.id for node in plan.nodes if node.kind == "input")
    branches: list[Branch] = []
    if isinstance(plan.result, Constant):
        branches.append((literal(plan.result.payload.json()), None))
    branches += [("", node_id) for node_id in wires(plan.result)]
    return "\n".join([f"{plan.name}({inputs})", *_TextTree(plan).lines(branches, "")]) + "\n"


Branch = tuple[str, NodeId | None]
"""What stands before a node on its line, and the node; ``None`` where the words are all."""


class _TextTree:
    """Draws the needs of nodes, and remembers which have been drawn."""

    def __init__(self, plan: Planned) -> None:
        self.plan = plan
        self.seen: set[NodeId] = set()

    def lines(self, branches: Sequence[Branch], indent: str, *, more: bool = False) -> Iterator[str]:
        """Draw branches; ``more``: others follow below them."""
        for number, (label, node_id) in enumerate(branches):
            is_last = number == len(branches) - 1 and not more
            start, below = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            if node_id is None:
                yield f"{indent}{start}{label}"
                continue
            node, read = self._root(node_id)
            again = node.id in self.seen and bool(node.needs)
            self.seen.add(node.id)
            line = f"{label}{self._words(node)}{f'  → {read}' if read else ''}"
            yield f"{indent}{start}{line}{'  (above)' if again else ''}"
            if not again:
                body = node.body
                yield from self.lines(self._needs(node), indent + below, more=body is not None)
                if body is not None:
                    word = "every item: " if node.kind == "each" else "every round: "
                    inside = [(word, node_id) for node_id in wires(value_of(node))]
                    yield from _TextTree(body).lines(inside, indent + below)

    def _root(self, node_id: NodeId) -> tuple[PlanNode, str]:
        """The node behind a chain of reads, and what is read from it."""
        node = self.plan.by_id[node_id]
        read = ""
        while node.kind == "expression" and len(node.needs) == 1:
            read = read or text_of(self.plan, node, short=True)
            node = self.plan.by_id[node.needs[0]]
        return node, read

    def _words(self, node: PlanNode) -> str:
        if node.kind in WORK:
            return f"{node.id}  [{note_of(node)}]"
        if node.body is not None:
            return f"{repeat_of(node)}: {node.body.name}"
        if node.kind == "expression":
            return text_of(self.plan, node, short=False)
        return node.id

    def _needs(self, node: PlanNode) -> list[Branch]:
        found: list[Branch] = []
        for argument in node.arguments:
            found += self._branches("", argument.binding, constants=False)
        if node.subject is not None:
            found += self._branches("on ", node.subject)
        for number, case in enumerate(node.cases):
            found += self._branches(self._case(node, number, case_label(node, case)), case.binding)
        return list(dict.fromkeys(found))

    def _case(self, node: PlanNode, number: int, label: str) -> str:
        if node.kind == "fallback":
            return "else: " if number else "first: "
        return f"{label}: " if node.kind in {"when", "match"} else ""

    def _branches(self, label: str, binding: Binding, *, constants: bool = True) -> list[Branch]:
        if isinstance(binding, Constant):
            return [(f"{label}{literal(binding.payload.json())}", None)] if constants else []
        if isinstance(binding, Wire):
            return [(label, binding.node)]
        return [
            branch for item in binding.items for branch in self._branches(label, item, constants=constants)
        ]


_FORMATS: Final[Mapping[str, Callable[[Plan], str]]] = {
    "svg": lambda plan: svg(sketch(plan)),
    "mermaid": mermaid,
    "text": text,
    "json": lambda plan: plan.to_json() + "\n",
}
