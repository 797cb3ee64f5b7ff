"""The graphs an engine can run, by name: a history names its graph, and code never comes out of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.errors import ConfigurationError, nearest
from treadle.nodes.graph import Graph


class Registry:
    """Graphs by name.

    Args:
        rehearse: Told the rehearsal of a graph whose module defines one.
    """

    def __init__(self, rehearse: Callable[[str, object], None]) -> None:
        self._graphs: dict[str, Graph[..., Any]] = {}
        self._rehearse = rehearse

    def add(self, graph: Graph[..., Any]) -> None:
        """Take a graph in; taking it in twice does no harm.

        Raises:
            ConfigurationError: Another graph has this name.
            PlanError: It is wired wrongly.
        """
        _ = graph.plan  # told now, not when a run of it is taken up
        known = self._graphs.setdefault(graph.name, graph)
        if known is not graph and known.function is not graph.function:
            raise ConfigurationError(
                f"two graphs are called {graph.name!r}; a run is recorded under its graph's name, so give "
                "one of them another: graph.named('...')"
            )
        self._graphs[graph.name] = graph
        rehearsal = getattr(graph.function, "__globals__", {}).get("rehearsal")
        if rehearsal is not None:
            self._rehearse(graph.name, rehearsal)

    def __contains__(self, name: str) -> bool:
        return name in self._graphs

    def find(self, name: str) -> Graph[..., Any]:
        """Give a graph by its name.

        Raises:
            ConfigurationError: The engine was not given it.
        """
        found = self._graphs.get(name)
        if found is None:
            raise ConfigurationError(
                f"graph {name!r} is not registered with this engine{nearest(name, self._graphs)}; "
                "write Engine(..., graphs=[...])"
            )
        return found
