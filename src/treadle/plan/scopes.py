"""Which subgraph, item or round a node of a run stands in: what spans and trees group nodes by.

A scope is named by its path: ``support``, ``each(3)`` for an item whose body is a graph of several
nodes, ``each(3)/support`` for a subgraph in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from treadle.ids import NodeId, PartId, owner_of, split
from treadle.plan.parts import Planned, PlanNode


class ScopeNames(Mapping[str, tuple[str, str]]):
    """For each scope of a run its graph and the scope around it (``""`` for the run itself).

    Iterating gives those that are known before the run; items and rounds are found when asked for.
    """

    def __init__(self, plan: Planned) -> None:
        self._plan = plan
        self._known = {scope.id: (scope.graph, scope.parent) for scope in plan.scopes}

    def __getitem__(self, scope: str) -> tuple[str, str]:
        return self._known.get(scope) or _inside(self._plan, scope)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def scope_of(plan: Planned, node: NodeId, planned: PlanNode) -> str:
    """The scope that a node of a run stands in; a body that is one node is no scope of its own."""
    part = PartId("") if node in plan.by_id else split(node)[0]
    if not part:
        return planned.scope
    if planned.scope:
        return f"{part}/{planned.scope}"
    body = plan.body_of(part)
    return _around(plan, part) if body is None or _is_single(body) else part


def _around(plan: Planned, part: PartId) -> str:
    node, _ = owner_of(part)
    planned = plan.find(node)
    return "" if planned is None else scope_of(plan, node, planned)


def _is_single(body: Planned) -> bool:
    return sum(node.kind not in ("input", "expression") for node in body.nodes) == 1


def _inside(plan: Planned, scope: str) -> tuple[str, str]:
    """Read the name of a scope that only a run has."""
    part, name = split(NodeId(scope))
    body = plan.body_of(part)
    for inner in body.scopes if part and body is not None else ():
        if inner.id == name:
            return inner.graph, f"{part}/{inner.parent}" if inner.parent else part
    item = PartId(scope)
    body = plan.body_of(item) if scope.endswith(")") else None
    if body is None:
        raise KeyError(scope)
    return body.name, _around(plan, item)
