"""Which failures a run has failed with, and which were taken: what a fallback, a race or an ``each`` took is
finished, and does not run again."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.ids import NodeId
from treadle.scheduler.part import Part
from treadle.scheduler.program import Kind
from treadle.scheduler.states import FAILED

_Vertex = tuple[Part, int]


def blamed(root: Part) -> set[NodeId]:
    """The work whose failures have reached the result of a run; none where the result has not failed.

    With them go those after which a fallback could not begin with its next rung, as the run was ending.
    """
    found: set[NodeId] = set()
    seen: set[tuple[str, int]] = set()
    stack: list[_Vertex] = [(root, root.program.result), *_hopped(root)]
    while stack:
        part, vertex = stack.pop()
        if part.states[vertex] != FAILED or (part.id, vertex) in seen:
            continue
        seen.add((part.id, vertex))
        below = [one for one in _behind(part, vertex) if one[0].states[one[1]] == FAILED]
        stack.extend(below)
        if not below and part.program.kinds[vertex] is Kind.WORK:
            found.add(part.node(vertex))
    return found


def _hopped(root: Part) -> Iterator[_Vertex]:
    """What the rungs needed that fallbacks went on from when nothing could start any more."""
    for part in root.walk():
        for vertex, rung in part.demand.hops:
            yield from ((part, need) for need in part.program.cases[vertex][rung])


def _behind(part: Part, vertex: int) -> Iterator[_Vertex]:
    """What a vertex has failed for, where that has failed: of a fallback its last rung alone."""
    program = part.program
    yield from ((part, need) for need in program.inputs[vertex])
    chosen = part.chosen.get(vertex)
    if chosen is not None and program.kinds[vertex] is not Kind.RACE:
        yield from ((part, need) for need in program.cases[vertex][chosen])
    if vertex in part.items:
        yield from ((child, child.program.result) for child in part.items[vertex].open.values())
