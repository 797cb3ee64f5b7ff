"""Treadle runs agent pipelines that their owners can answer for.

Agents, tools, retrieval and people are declared as one typed graph; an async engine runs every node
the moment its inputs are there; each run leaves one history: checkpoint, trace, ledger and audit.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    """Which release this is."""

    from treadle.budget import Budget
    from treadle.engine.engine import Engine
    from treadle.engine.handle import RunHandle
    from treadle.engine.run import run
    from treadle.errors import (
        BudgetExceeded,
        InDoubt,
        NodeFailed,
        NodeTimeout,
        PlanError,
        ProviderError,
        RunCancelled,
        RunError,
        RunWaiting,
        TreadleError,
        WiringError,
    )
    from treadle.failure import Failure
    from treadle.interfaces import Ask, Context, Passage
    from treadle.nodes.agent import Prompt, agent
    from treadle.nodes.function import node
    from treadle.nodes.graph import graph
    from treadle.nodes.human import human
    from treadle.nodes.retriever import Retriever
    from treadle.nodes.tool import tool
    from treadle.plan.flow import do, fallback, is_none, match, narrow, not_, race, some, when
    from treadle.plan.plan import Plan
    from treadle.plan.repeat import each, loop
    from treadle.retry import Retry, Wait

__all__ = [
    # what a graph is made of
    "agent", "graph", "human", "node", "tool", "Retriever", "Ask", "Prompt", "Context", "Passage",
    # control words
    "when", "match", "each", "loop", "fallback", "race", "do", "not_", "is_none", "some", "narrow",
    # policies
    "Budget", "Retry", "Wait",
    # running
    "Engine", "RunHandle", "run", "Plan", "Failure",
    # errors
    "TreadleError", "WiringError", "PlanError", "RunError", "NodeFailed", "NodeTimeout", "BudgetExceeded",
    "ProviderError", "InDoubt", "RunWaiting", "RunCancelled",
]  # fmt: skip

_ERRORS = (
    "BudgetExceeded", "InDoubt", "NodeFailed", "NodeTimeout", "PlanError", "ProviderError", "RunCancelled",
    "RunError", "RunWaiting", "TreadleError", "WiringError",
)  # fmt: skip
_ROOMS = {
    "budget": ("Budget",),
    "engine.engine": ("Engine",),
    "engine.handle": ("RunHandle",),
    "engine.run": ("run",),
    "errors": _ERRORS,
    "failure": ("Failure",),
    "interfaces": ("Ask", "Context", "Passage"),
    "nodes.agent": ("Prompt", "agent"),
    "nodes.function": ("node",),
    "nodes.graph": ("graph",),
    "nodes.human": ("human",),
    "nodes.retriever": ("Retriever",),
    "nodes.tool": ("tool",),
    "plan.flow": ("do", "fallback", "is_none", "match", "narrow", "not_", "race", "some", "when"),
    "plan.plan": ("Plan",),
    "plan.repeat": ("each", "loop"),
    "retry": ("Retry", "Wait"),
}
_HOMES = {name: f"treadle.{room}" for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a name's room when it is first asked for, so that importing the package costs next to nothing."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("treadle")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
