"""``Plan``: the immutable, acyclic, validated record of a graph."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from treadle.ids import NodeId
from treadle.plan import document
from treadle.plan.parts import DEFAULT, Binding, PlanNode, Policies, Scope
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

    @functools.cached_property
    def by_id(self) -> dict[NodeId, PlanNode]:
        """The nodes by their ids."""
        return {node.id: node for node in self.nodes}

    @functools.cached_property
    def payload(self) -> Payload:
        """The document as it is stored in a history."""
        return document.to_payload(self)

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
        """Give the plan as a networkx graph: an edge from each node to those that may need it."""
        import networkx  # noqa: PLC0415 - 700 ms of CPU that only those pay who ask for it

        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name)
        for node in self.nodes:
            graph.add_node(node.id, kind=node.kind, scope=node.scope)
            graph.add_edges_from((need, node.id) for need in node.needs)
        return graph
