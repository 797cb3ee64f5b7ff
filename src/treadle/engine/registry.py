"""The graphs an engine can run, by name: a history names its graph, and code never comes out of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from treadle import given
from treadle.budget import Budget
from treadle.errors import ConfigurationError, nearest
from treadle.nodes.graph import Graph
from treadle.nodes.node import budget_faults
from treadle.nodes.options import budget_for
from treadle.plan.plan import Plan

_NOTHING: Final[Mapping[str, Any]] = {}
_OPTIONS: Final = ("run_id", "tenant", "budget", "labels", "deadline")


class Registry:
    """Graphs by name.

    Args:
        rehearse: Told the rehearsal of a graph whose module defines one.
    """

    def __init__(self, rehearse: Callable[[str, object], None]) -> None:
        self._graphs: dict[str, Graph[..., Any]] = {}
        self._rehearse = rehearse

    def add(self, graph: Graph[..., Any]) -> Plan:
        """Take a graph in, and give its plan; taking it in twice does no harm.

        Raises:
            ConfigurationError: It is no graph, or another graph has this name.
            PlanError: It is wired wrongly.
        """
        check_graph(graph)
        plan = graph.plan  # told now, not when a run of it is taken up
        name = graph.name
        known = self._graphs.get(name)
        if known is not graph:
            if known is not None and known.function is not graph.function:
                raise ConfigurationError(
                    f"two graphs are called {name!r}; a run is recorded under its graph's name, so give "
                    "one of them another: graph.named('...')"
                )
            self._graphs[name] = graph
        rehearsal = getattr(graph.function, "__globals__", _NOTHING).get("rehearsal")
        if rehearsal is not None:
            self._rehearse(name, rehearsal)
        return plan

    def add_all(self, graphs: Iterable[Graph[..., Any]]) -> None:
        """Take several in.

        Raises:
            ConfigurationError, PlanError: As ``add``.
        """
        for graph in graphs:
            self.add(graph)

    @property
    def providers(self) -> set[str]:
        """The providers of the models that the agents in the plans are declared with."""
        nodes = (node for graph in self._graphs.values() for node in graph.plan.all_nodes())
        return {provider for node in nodes if node.callee is not None for provider in _providers(node.callee)}

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


def _providers(callee: object) -> Iterator[str]:
    """What stands before the colon in the names of the models that an agent, or its tools, ask."""
    policies, definition = getattr(callee, "policies", None), getattr(callee, "definition", None)
    for model in (getattr(policies, "model", None), getattr(definition, "model", None)):
        yield (model or "").partition(":")[0]
    for tool in getattr(callee, "tools", ()):
        yield from _providers(getattr(tool, "target", tool))


def check_door(
    graphs: object, resources: object, *, tenant: object, clock: object, fresh_copies: object
) -> None:
    """Make sure that what an engine is made with is of the kinds it wants, before anything is opened.

    Raises:
        ConfigurationError: Something is of another kind.
    """
    for name, value in (("graphs", graphs), ("resources", resources)):
        is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        if not is_list:
            called = value.name if isinstance(value, Graph) else "..."
            raise ConfigurationError(f"{name}={value!r} is no list; write {name}=[{called}]")
    if tenant is not None:
        checked_id("tenant", tenant)
    if clock is not None and not all(callable(getattr(clock, name, None)) for name in ("now", "sleep_until")):
        raise given.wrong(
            "Engine", "clock", clock, "a clock such as that of treadle.testing", "JumpingClock()"
        )
    given.yes_or_no("Engine", "fresh_copies", fresh_copies)


def check_graph(graph: object) -> None:
    """Make sure that what is to run is a graph.

    Raises:
        ConfigurationError: It is a node, a plain function, a name...
    """
    if isinstance(graph, Graph):
        return
    name = str(getattr(graph, "__name__", "") or repr(graph))
    if callable(graph):
        raise ConfigurationError(
            f"{name} is no graph, and engines run graphs alone; wire it in one: put @graph over "
            f"`def main(...): return {name}(...)`, and run main"
        )
    raise ConfigurationError(f"{name} is no graph; give the function itself that @graph stands over")


def take_options(graph: Graph[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of a run out of the keywords it is started with; inputs of that name stay.

    Raises:
        ConfigurationError: The graph is none, or an option is of another type.
    """
    check_graph(graph)
    if not given:
        return {}
    inputs = {parameter.name for parameter in graph.parameters}
    options: dict[str, Any] = {
        name: given.pop(name) for name in _OPTIONS if name in given and name not in inputs
    }
    check_options(options)
    return options


def check_options(options: Mapping[str, object]) -> None:
    """Make sure that what a run is started with has the types it is recorded with.

    Raises:
        ConfigurationError: A budget is a number, labels are a list, an id is no text.
    """
    budget, labels = options.get("budget"), options.get("labels")
    _check_budget(budget)
    if labels is not None and not _is_text_by_text(labels):
        raise ConfigurationError(
            f"labels={labels!r} are no labels; write a dict of text, such as labels={{'customer': 'c-17'}}"
        )
    for name in ("run_id", "tenant"):
        if options.get(name) is not None:
            checked_id(name, options[name])


def checked_id(name: str, value: object) -> str:
    """Give an id that a user wrote.

    Raises:
        ConfigurationError: It is no text.
    """
    if isinstance(value, str):
        return value
    found: object = getattr(value, "id", None)
    text = found if isinstance(found, str) else str(value)
    raise ConfigurationError(f"{name}={value!r} is no text; write {name}={text!r}")


def check_budgets(budgets: Mapping[str, Budget] | None) -> Mapping[str, Budget] | None:
    """Make sure that an engine is given a budget for each tenant, by name.

    Raises:
        ConfigurationError: It is no mapping, a name is no text, or a budget is a number, say.
    """
    given = cast("object", budgets)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"budgets={given!r} says not whose they are; write budgets={{'acme': Budget(usd=\"25\")}}"
        )
    for tenant, budget in cast("Mapping[object, object]", given).items():
        if not isinstance(tenant, str):
            raise ConfigurationError(
                f"budgets={{{tenant!r}: ...}}: the name of a tenant is text, not {tenant!r}"
            )
        if not isinstance(budget, Budget):
            wanted = budget_for(budget).removeprefix("budget=")
            raise ConfigurationError(
                f"budgets={{{tenant!r}: {budget!r}}} gives no Budget; write budgets={{{tenant!r}: {wanted}}}"
            )
        for fault in budget_faults(budget):
            raise ConfigurationError(f"budgets={{{tenant!r}: ...}}: {fault}")
    return budgets


def _check_budget(budget: object) -> None:
    """Make sure that a budget is one; ``None`` is none.

    Raises:
        ConfigurationError: It is a number, say.
    """
    if budget is not None and not isinstance(budget, Budget):
        wanted = budget_for(budget).removeprefix("budget=")
        raise ConfigurationError(f"budget={budget!r} is no Budget; write {wanted}")
    for fault in budget_faults(budget):
        raise ConfigurationError(fault)


def _is_text_by_text(labels: object) -> bool:
    if not isinstance(labels, Mapping):
        return False
    pairs = cast("Mapping[object, object]", labels).items()
    return all(isinstance(key, str) and isinstance(value, str) for key, value in pairs)
