"""``run``: one graph, in memory, in one line."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

from treadle.engine.engine import Engine
from treadle.errors import RunWaiting
from treadle.nodes.graph import Graph

P = ParamSpec("P")
R = TypeVar("R")


async def run(graph: Graph[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a graph in memory and give its result.

    Raises:
        NodeFailed: A node's own code raised; the original error is the cause.
        RunWaiting: A person is asked: nobody can answer a run in memory, so give it a store.
        RunError, ProviderError: Another reason the run failed, by its own class.

    Example::

        reply = await run(support, ticket)
    """
    async with Engine("memory:") as engine:
        handle = await engine.start(graph, *args, **kwargs)
        if await handle.settled() == "waiting":
            raise RunWaiting(
                f"run {handle.id!r} of graph {graph.name!r} waits for a person (questions "
                f"{', '.join(handle.questions)}), and a run in memory ends here; keep it in a store: "
                "Engine('sqlite:///runs.db')",
                run_id=handle.id,
                questions=handle.questions,
            )
        return await handle.result()
