"""``Plan``: the immutable, acyclic, validated record of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from treadle.ids import NodeId, PartId, owner_of, split
from treadle.plan import document
from treadle.plan.parts import DEFAULT, Binding, Planned, PlanNode, Policies, Scope
from treadle.values import Codec, Payload

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a graph came to when it was wired: nodes in an order in which every wire points back.

    Attributes:
        name: The graph's name.
        nodes: Inputs first; every node stands after those it may need.
        result: Where the graph's result comes from.
        scopes: The subgraphs, outer ones first.
        policies: Of the graph itself.
        on_failure: ``"drain"``: running attempts finish; ``"cancel"``: they are cancelled.
        codec: Type of the result; not part of the document.
        memo: What readers of the plan have compiled it to, under names of their own.
    """

    name: str
    nodes: tuple[PlanNode, ...]
    result: Binding
    scopes: tuple[Scope, ...] = ()
    policies: Policies = DEFAULT
    on_failure: Literal["drain", "cancel"] = "drain"
    codec: Codec[Any] | None = field(default=None, compare=False, repr=False)
    memo: dict[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)

    @property
    def by_id(self) -> dict[NodeId, PlanNode]:
        """The nodes by their ids."""
        found: dict[NodeId, PlanNode] | None = self.memo.get("by_id")
        if found is None:
            found = self.memo["by_id"] = {node.id: node for node in self.nodes}
        return found

    @property
    def payload(self) -> Payload:
        """The document as it is stored in a history."""
        found: Payload | None = self.memo.get("payload")
        if found is None:
            found = self.memo["payload"] = document.to_payload(self)
        return found

    def find(self, node: NodeId) -> PlanNode | None:
        """The node of a run that has this id: of the plan itself, or of an item or a round in it."""
        found = self.by_id.get(node)
        part, name = split(node)
        if found is not None or not part:
            return found
        body = self.body_of(part)
        return None if body is None else body.by_id.get(name)

    def body_of(self, part: PartId) -> Planned | None:
        """The plan of an item or a round; this one for the run's own part, ``None`` for an unknown one."""
        if not part:
            return self
        around = self.find(owner_of(part)[0])
        return None if around is None else around.body

    def all_nodes(self) -> Iterator[PlanNode]:
        """Every node, those of the bodies of ``each`` and ``loop`` after the node that holds them."""
        return _all_nodes(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the document: what a plan is known by."""
        return self.payload.digest

    def to_json(self) -> str:
        """Write the plan as a JSON document; its form is described in ``docs/reference/plan.md``."""
        return self.payload.data.decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read a plan document.  The plan can be drawn, checked and replayed; to run it, use the graph.

        Raises:
            PlanError: It is no plan document, or from a newer version of the format.
        """
        return document.from_json(text, cls)

    def to_networkx(self) -> networkx.DiGraph[str]:
        """Give the plan as a networkx graph: an edge from each node to those that may need it.

        The body of an ``each`` or a ``loop`` stays inside its node.
        """
        import networkx  # noqa: PLC0415 - 700 ms of CPU that only those pay who ask for it

        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name)
        for node in self.nodes:
            graph.add_node(node.id, kind=node.kind, scope=node.scope)
            graph.add_edges_from((need, node.id) for need in node.needs)
        return graph


def _all_nodes(plan: Planned) -> Iterator[PlanNode]:
    for node in plan.nodes:
        yield node
        if node.body is not None:
            yield from _all_nodes(node.body)
