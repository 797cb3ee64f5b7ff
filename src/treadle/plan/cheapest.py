"""The least that every run of a plan takes, and the budgets that cannot pay for it.

What a request takes at least is its least answer (``min_output``), with its input counted as nothing:
that much is set aside before it is sent.  Requests that have ended may have taken less, so it is the
dearest single request that counts here, and not the sum of all; of calls it is the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, cast

from treadle.budget import Budget, Price
from treadle.ids import NodeId
from treadle.interfaces import Model
from treadle.plan.declared import Blueprint
from treadle.plan.parts import Binding, Callee, PlanNode, Scope
from treadle.plan.validate import certain
from treadle.plan.where import defined_at
from treadle.plan.wiring import Wiring

PriceOf = Callable[["str | Model"], Price | None]
"""Gives the price of a model, where it is known."""


class Asks(Callee, Protocol):
    """An agent, as far as its cheapest request shows it."""

    @property
    def asked(self) -> str | Model:
        """The model that its requests go to: a name, or a live object."""
        ...

    @property
    def least_output(self) -> int:
        """Output tokens that a tight budget may lower its requests to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A budget, and the agents below it that every run asks."""

    subject: str
    place: str
    budget: Budget
    agents: Sequence[PlanNode]
    may_change: bool
    """Whether a soft limit may have another model asked."""


def check_budgets(wiring: Wiring, result: Binding, graph: Blueprint) -> None:
    """Tell which budgets cannot pay for what every run needs.

    The price of a model that is declared by name depends on where it is asked: it is looked at before
    each call.
    """
    top = (f"graph {graph.name!r}", defined_at(graph.function), graph.policies.budget)
    for account in accounts(wiring.nodes, wiring.scopes, result, top):
        for text in unmet(account, _price_of):
            wiring.fault(account.subject, account.place, text)


def accounts(
    nodes: Mapping[NodeId, PlanNode],
    scopes: Sequence[Scope],
    result: Binding,
    top: tuple[str, str, Budget | None],
) -> Iterator[Account]:
    """Give every account that has a budget: of nodes, of subgraphs, of the graph; by subject."""
    agents = [node for node in map(nodes.__getitem__, sorted(certain(nodes, result))) if node.kind == "agent"]
    found = [(f"node {node.id!r}", node.where, node.policies.budget, [node]) for node in agents]
    for scope in scopes:
        inside = [node for node in agents if f"{node.scope}/".startswith(f"{scope.id}/")]
        found.append((f"subgraph {scope.id!r}", scope.where, scope.policies.budget, inside))
    found.append((*top, agents))
    may_change = any(budget is not None and budget.on_soft is not None for _, _, budget, _ in found)
    for subject, place, budget, inside in sorted(found, key=lambda one: one[0]):
        if budget is not None and inside:
            yield Account(
                subject=subject, place=place, budget=budget, agents=inside, may_change=may_change
            )  # fmt: skip


def unmet(account: Account, price_of: PriceOf) -> Iterator[str]:
    """Say which limits of a budget are below what every run takes."""
    budget, agents = account.budget, account.agents
    least = len(agents)
    if budget.calls is not None and budget.calls < least:
        yield (
            f"its Budget(calls={budget.calls}) cannot be met: every run asks a model at least "
            f"{least} {'time' if least == 1 else 'times'}; raise it"
        )
    asked = [(cast("Asks", node.callee), node.id) for node in agents if hasattr(node.callee, "least_output")]
    if budget.tokens is not None and asked:
        agent, name = max(asked, key=lambda one: one[0].least_output)
        if budget.tokens < agent.least_output:
            yield (
                f"its Budget(tokens={budget.tokens}) cannot be met: every run asks {name!r}, and a request "
                f"of it sets aside {agent.least_output} tokens for the least answer, besides its input; "
                "raise it, or give the agent a smaller min_output"
            )
    if budget.usd is not None and not account.may_change:
        yield from _too_dear(budget.usd, asked, price_of)


def _too_dear(limit: Decimal, asked: Sequence[tuple[Asks, str]], price_of: PriceOf) -> Iterator[str]:
    priced = [
        (price.worst(0, agent.least_output), price, agent.least_output, name)
        for agent, name in asked
        if (price := price_of(agent.asked)) is not None
    ]
    cost, price, tokens, name = max(priced, key=lambda one: one[0], default=(Decimal(0), None, 0, ""))
    if price is not None and limit < cost:
        yield (
            f"its Budget(usd={_plain(limit)!r}) cannot be met: every run asks {name!r}, and a request of it "
            f"sets aside {_plain(cost)} US dollars for the least answer ({tokens} tokens at "
            f"{_plain(price.output_mtok)} a million), besides its input; raise it, give the agent a smaller "
            "min_output, or a cheaper model"
        )


def _price_of(model: str | Model) -> Price | None:
    return None if isinstance(model, str) else model.price


def _plain(amount: Decimal) -> str:
    """An amount without zeros at its end and without an exponent."""
    return f"{amount.normalize():f}"
