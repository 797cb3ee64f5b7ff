"""What only the whole of a wiring shows: nodes that nobody needs, effects that a race may leave behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from treadle.ids import NodeId
from treadle.plan.declared import Blueprint
from treadle.plan.parts import WORK, Binding, Callee, PlanNode, wires
from treadle.plan.where import defined_at
from treadle.plan.wiring import Wiring


def needed(wiring: Wiring, result: Binding) -> set[NodeId]:
    """Give every node that demand can reach from the result."""
    return _reached(wiring.nodes, wires(result))


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


_OF_AGENTS: Final = ("max_turns", "max_output", "min_output")


def check_handed_down(wiring: Wiring, graph: Blueprint) -> None:
    """Tell of limits that a graph hands down to its agents, and has none to hand them to."""
    places = [("", f"graph {graph.name!r}", defined_at(graph.function), graph.policies)]
    places += [(one.id, f"subgraph {one.id!r}", one.where, one.policies) for one in wiring.scopes]
    for scope, subject, place, policies in places:
        handed = [name for name in _OF_AGENTS if getattr(policies, name) is not None]
        if handed and not _has_agent(_inside(wiring, scope)):
            name = handed[0]
            text = f"{name}={getattr(policies, name)} is for the agents that it wires, and it wires none"
            wiring.fault(subject, place, f"{text}; leave it out, or write it on the agent that a body calls")


def _inside(wiring: Wiring, scope: str) -> Iterator[PlanNode]:
    """The nodes of a subgraph and of those in it; of the whole where it is ``""``."""
    for node in wiring.nodes.values():
        if not scope or node.scope == scope or node.scope.startswith(f"{scope}/"):
            yield node


def _has_agent(nodes: Iterable[PlanNode]) -> bool:
    return any(
        node.kind == "agent" or (node.body is not None and _has_agent(node.body.nodes)) for node in nodes
    )


def _unused(node: PlanNode) -> str:
    what = "nobody needs its result, so it would never run"
    if node.kind in WORK:
        return f"{what}; for what it does besides, write do({node.id}(...), result), else leave it out"
    return f"{what}; return it or pass it on"


def sorted_faults(faults: Iterable[str]) -> tuple[str, ...]:
    """Give the faults without repetition, in the order they were found."""
    return tuple(dict.fromkeys(faults))


def certain(nodes: Mapping[NodeId, PlanNode], result: Binding) -> set[NodeId]:
    """Give the nodes that every run needs, whatever is chosen and whatever fails on the way."""
    found: set[NodeId] = set()
    waiting = list(wires(result))
    while waiting:
        node_id = waiting.pop()
        if node_id in found:
            continue
        found.add(node_id)
        node = nodes[node_id]
        waiting.extend(need for argument in node.arguments for need in wires(argument.binding))
        waiting.extend(wires(node.subject))
        if node.kind == "do":
            waiting.extend(need for case in node.cases for need in wires(case.binding))
    return found


def check_races(wiring: Wiring, result: Binding) -> None:
    """Tell of effects that happen once and that only a race is sure to need."""
    races = [node for node in wiring.nodes.values() if node.kind == "race"]
    if not races:
        return
    beyond = certain(wiring.nodes, result)
    raced = _reached(wiring.nodes, [need for race in races for need in race.needs])
    for node_id in sorted(raced - beyond):
        node = wiring.nodes[node_id]
        for one in (node, *bodies(node)):
            for subject in _effects(one):
                wiring.fault(
                    f"node {one.id!r}",
                    one.where,
                    f"{subject} declared effect='once' and only a race is sure to need it: the race goes on "
                    "without it where it loses; take it out of the race, and act on what the race gives",
                )


def _effects(node: PlanNode) -> Iterator[str]:
    """What acts once in a node: itself, or a tool that its agent may call, at any depth."""
    if node.policies.effect == "once":
        yield "it is"
    seen: set[int] = set()
    stack = list(_tools(node.callee))
    while stack:
        tool = stack.pop()
        if id(tool) not in seen:
            seen.add(id(tool))
            stack.extend(_tools(tool))
            if tool.policies.effect == "once":
                yield f"its tool {tool.name!r} is"


def _tools(callee: Callee | None) -> Sequence[Callee]:
    tools: Sequence[Callee] = getattr(callee, "tools", ())
    return tools


def bodies(node: PlanNode) -> Iterator[PlanNode]:
    """Every node inside the body of an ``each`` or a ``loop``, in bodies inside it too."""
    for inner in node.body.nodes if node.body is not None else ():
        yield inner
        yield from bodies(inner)


def _reached(nodes: Mapping[NodeId, PlanNode], start: Iterable[NodeId]) -> set[NodeId]:
    found: set[NodeId] = set()
    waiting = list(start)
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.add(node_id)
            waiting.extend(nodes[node_id].needs)
    return found
