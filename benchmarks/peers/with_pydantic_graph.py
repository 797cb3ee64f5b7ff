"""pydantic-graph's side: GraphBuilder with steps, a broadcast edge and a join, as its documentation shows.

It has no store of its own, and a join takes all branches of one fork, so that the layered graph, whose
nodes take three of ten, cannot be drawn with it but as a barrier for each layer.
"""

from __future__ import annotations

import itertools
from typing import Any

from measure import NODES, main
from pydantic_graph import GraphBuilder, StepContext, reduce_list_append


async def body(ctx: StepContext[None, None, int]) -> int:
    return ctx.inputs


def chain() -> Any:
    made: Any = GraphBuilder(input_type=int, output_type=int)
    steps = [made.step(body, node_id=f"n{number}") for number in range(NODES)]
    nodes = [made.start_node, *steps, made.end_node]
    made.add(*(made.edge_from(one).to(two) for one, two in itertools.pairwise(nodes)))
    return made.build()


def fan() -> Any:
    made: Any = GraphBuilder(input_type=int, output_type=list[int])
    steps = [made.step(body, node_id=f"n{number}") for number in range(NODES - 1)]
    join = made.join(reduce_list_append, initial_factory=list[int])
    made.add(
        made.edge_from(made.start_node).to(*steps),
        made.edge_from(*steps).to(join),
        made.edge_from(join).to(made.end_node),
    )
    return made.build()


CHAIN, FAN = chain(), fan()
main({"chain": (lambda: CHAIN.run(inputs=1), NODES), "fan": (lambda: FAN.run(inputs=1), NODES)})
