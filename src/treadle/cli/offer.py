"""Which model will answer and what it may cost, in one line, before anything is spent."""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Any

from anyio.to_thread import run_sync

from treadle.budget import Budget
from treadle.compose import AUTO, ModelChoice, choose_model
from treadle.errors import ConfigurationError
from treadle.messages import INTERFACES
from treadle.nodes.graph import Graph
from treadle.plan.plan import Plan


def model_names(plan: Plan) -> list[str]:
    """The names of models that a plan's agents declare, in order of appearance."""
    found: dict[str, None] = {}
    for node in plan.all_nodes():
        name = node.policies.model or (node.definition.model if node.definition else "")
        if _is_open(name):
            found[name] = None
    return list(found)


def model_objects(plan: Plan) -> list[str]:
    """The models that a plan's agents were given as objects, as ``provider:name``, in order of appearance."""
    found: dict[str, None] = {}
    for node in plan.all_nodes():
        name = node.policies.model or (node.definition.model if node.definition else "")
        if name and not _is_open(name):
            found[name] = None
    return list(found)


def _is_open(name: str) -> bool:
    """Whether a name is one that is opened, rather than that of an object."""
    return name in AUTO or name.partition(":")[0] in INTERFACES


async def choose(plan: Plan, rehearsal: object | None) -> dict[str, ModelChoice]:
    """Find out what the names of models come to.

    Raises:
        ConfigurationError: One of them comes to nothing.
    """
    found: dict[str, ModelChoice] = {}
    for name in model_names(plan):
        found[name] = await run_sync(functools.partial(choose_model, name, rehearsal=rehearsal))
        await _close(found[name].model)
    return found


async def _close(model: Any) -> None:
    if hasattr(model, "aclose"):
        await model.aclose()


def line(choices: dict[str, ModelChoice], graph: Graph[..., Any], *, runs: int, total: Decimal | None) -> str:
    """The line: models, where they come from, and the money that can be spent at most."""
    return f"{models_in_words(choices, graph.plan)}; {_money(graph.policies.budget, runs=runs, total=total)}"


def models_in_words(choices: dict[str, ModelChoice], plan: Plan) -> str:
    """Which models answer, and where they come from."""
    words = [_named_models(choices)] if choices else []
    parts = (model.partition(":") for model in model_objects(plan))
    given = [f"{name} of {provider}" for provider, _, name in parts]
    if given:
        words.append(f"{', '.join(given)} (from the file itself)")
    return ", ".join(words) or "no model is asked"


def _named_models(choices: dict[str, ModelChoice]) -> str:
    if any(choice.is_rehearsal for choice in choices.values()):
        return (
            "REHEARSAL: no model is configured, so the file's scripted rehearsal answers in its place "
            "(to ask a real one, set OPENAI_API_KEY, ANTHROPIC_API_KEY or OPENAI_BASE_URL)"
        )
    by_model: dict[tuple[str, str, str], list[str]] = {}
    for name, choice in choices.items():
        by_model.setdefault((choice.model.name, choice.model.provider, choice.source), []).append(name)
    return ", ".join(
        f"{model} of {provider} for {' and '.join(names)} (from {source})"
        for (model, provider, source), names in by_model.items()
    )


def _money(budget: Budget | None, *, runs: int, total: Decimal | None) -> str:
    each = budget.usd if budget is not None else None
    bounds = [amount for amount in (total, None if each is None else each * runs) if amount is not None]
    if not bounds:
        return "no limit on money (set one with --budget-usd, or budget= on the graph)"
    message = f", ${each} a run" if each is not None and runs > 1 else ""
    return f"at most ${min(bounds)} in all for {runs} run{'s' * (runs != 1)}{message}"


def read_amount(text: str | None) -> Decimal | None:
    """Read ``--budget-usd``.

    Raises:
        ConfigurationError: It is not an amount of money.
    """
    if text is None:
        return None
    try:
        return Budget(usd=text).usd
    except ValueError as error:
        raise ConfigurationError(
            f"--budget-usd {text!r} is not an amount of money; write for example 0.50"
        ) from error
