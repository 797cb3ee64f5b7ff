"""A graph as one step of a body, or as a tool that a model calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

from treadle.errors import PlanError
from treadle.interfaces import Context, Model
from treadle.nodes.graph import Graph
from treadle.plan.parts import Definition, Parameter, Planned, Policies
from treadle.values import Codec


class _Walker(Protocol):
    """A context that goes through plans: that of a step."""

    async def walk(self, plan: Planned, arguments: Mapping[str, Any]) -> Any:
        """Go through a graph's plan: each of its nodes is a call of this body."""
        ...


class GraphStep:
    """A graph as ``ctx.step`` and agents call it.

    It has the budget that the graph declares, and what an agent says of its tools; the other policies
    of a graph are for its nodes.

    Attributes:
        graph: The graph.
        policies: Those that hold for the graph as a whole.
    """

    __slots__ = ("graph", "policies")

    def __init__(self, graph: Graph[..., Any]) -> None:
        self.graph = graph
        self.policies: Policies = replace(graph.policies, retry=None, timeout=None, idle=None, model=None)

    def __repr__(self) -> str:
        return repr(self.graph)

    def under(self, model: str | Model) -> GraphStep:
        """Give it as a body of a graph calls it that was given a model."""
        return GraphStep(self.graph.under(model))

    @property
    def name(self) -> str:
        """What its step, or the tool, is called."""
        return self.graph.name

    @property
    def function(self) -> Callable[..., Any]:
        """The plain function; its docstring is what a model reads."""
        return self.graph.function

    @property
    def definition(self) -> Definition:
        """What it is: half of the identity of its results."""
        return self.graph.definition

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What it takes."""
        return self.graph.parameters

    @property
    def result(self) -> Codec[Any]:
        """Writes and reads what it gives."""
        return self.graph.result

    @property
    def plain(self) -> None:
        """There is no function to call."""
        return None

    @property
    def plan_digest(self) -> str:
        """What its plan is known by, so that an edit of the graph is an edit of whoever offers it."""
        return "" if self.faults else self.graph.plan.digest

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of the graph, and of what is wired in it.

        Raises:
            WiringError: The graph cannot be wired, or contains itself.
        """
        try:
            _ = self.graph.plan
        except PlanError as error:
            return tuple(error.faults)
        return ()

    @property
    def description(self) -> str:
        """The docstring, as models read it."""
        return inspect.getdoc(self.function) or ""

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Go through the plan; each node is a recorded call inside this step."""
        return await cast("_Walker", ctx).walk(self.graph.plan, arguments)
