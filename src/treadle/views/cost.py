"""What a run was charged, by node and model, read from its history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from treadle.budget import ZERO, Usage
from treadle.events import MoneySettled, Recorded
from treadle.views.timeline import add_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """What some requests took together.

    Attributes:
        node, model: Whose they were; ``""`` where the line sums over all.
        requests: How many were sent, failed and retried ones too.
        lost: How many of them were charged at their worst case, because their process died meanwhile.
        basis: Where the prices come from, such as ``"genai-prices"``; several joined by a comma.
    """

    node: str
    model: str
    requests: int
    lost: int
    usage: Usage
    usd: Decimal
    basis: str


def costs(history: Iterable[Recorded]) -> list[CostLine]:
    """Give a line for each node and model, the dearest first."""
    return _lines(_settled(history), by_node=True, by_model=True)


def costs_by_node(history: Iterable[Recorded]) -> list[CostLine]:
    """Give a line for each node, the dearest first."""
    return _lines(_settled(history), by_node=True, by_model=False)


def costs_by_model(history: Iterable[Recorded]) -> list[CostLine]:
    """Give a line for each model, the dearest first."""
    return _lines(_settled(history), by_node=False, by_model=True)


def total_cost(history: Iterable[Recorded]) -> CostLine:
    """Give one line for the whole run."""
    return _line("", "", list(_settled(history)))


def _settled(history: Iterable[Recorded]) -> Iterator[MoneySettled]:
    return (recorded.event for recorded in history if isinstance(recorded.event, MoneySettled))


def _lines(settled: Iterable[MoneySettled], *, by_node: bool, by_model: bool) -> list[CostLine]:
    groups: dict[tuple[str, str], list[MoneySettled]] = {}
    for event in settled:
        key = (event.node if by_node else "", event.model if by_model else "")
        groups.setdefault(key, []).append(event)
    lines = [_line(node, model, events) for (node, model), events in groups.items()]
    return sorted(lines, key=lambda line: line.usd, reverse=True)


def _line(node: str, model: str, events: Sequence[MoneySettled]) -> CostLine:
    return CostLine(
        node=node,
        model=model,
        requests=len(events),
        lost=sum(event.outcome == "lost" for event in events),
        usage=add_usage(event.usage for event in events),
        usd=sum((event.charged.usd for event in events), ZERO),
        basis=", ".join(sorted({event.basis for event in events if event.basis})),
    )
