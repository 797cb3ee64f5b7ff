"""What only the whole of a wiring shows: nodes that nobody needs."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.ids import NodeId
from treadle.plan.parts import WORK, Binding, PlanNode, wires
from treadle.plan.wiring import Wiring


def needed(wiring: Wiring, result: Binding) -> set[NodeId]:
    """Give every node that demand can reach from the result."""
    found: set[NodeId] = set()
    waiting = list(wires(result))
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.add(node_id)
            waiting.extend(wiring.nodes[node_id].needs)
    return found


def kept(wiring: Wiring, result: Binding) -> tuple[PlanNode, ...]:
    """Give the plan's nodes in order: the inputs and all that demand can reach; tell of the rest.

    A subgraph may leave an argument unused: what was wired for it goes without a word.
    """
    reached = needed(wiring, result)
    used = reached | wiring.consumed
    for node in reversed(wiring.nodes.values()):
        if node.id in reached or node.kind == "input":
            continue
        if node.id in used:
            used.update(node.needs)
        elif node.kind != "expression":
            wiring.fault(f"node {node.id!r}", node.where, _unused(node))
            used.update(node.needs)
    return tuple(node for node in wiring.nodes.values() if node.kind == "input" or node.id in reached)


def _unused(node: PlanNode) -> str:
    what = "nobody needs its result, so it would never run"
    if node.kind in WORK:
        return f"{what}; for what it does besides, write do({node.id}(...), result), else leave it out"
    return f"{what}; return it or pass it on"


def sorted_faults(faults: Iterable[str]) -> tuple[str, ...]:
    """Give the faults without repetition, in the order they were found."""
    return tuple(dict.fromkeys(faults))
