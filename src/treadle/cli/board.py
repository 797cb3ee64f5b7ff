"""Progress of several runs: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from treadle.cli.words import dollars, duration, shorten
from treadle.events import (
    AttemptFailed,
    AttemptParked,
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    Progress,
    StepStarted,
)
from treadle.views.table import Row

REFRESH: Final = 8
"""Pictures a second."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One run under way."""

    message: str
    now: str = ""
    done: list[str] = field(default_factory=list[str])
    cost_usd: Decimal = Decimal(0)

    def see(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, StepStarted):
            self.now = event.node if event.callee_kind == "model" else f"{event.node}: {event.callee}"
        elif isinstance(event, MoneyHeld):
            self.now = f"{event.node}: {event.model}"
        elif isinstance(event, Progress):
            self.now = f"{event.node}: {event.message}"
        elif isinstance(event, AttemptFailed):
            self.now = f"{event.node} failed: {event.failure.type}"
        elif isinstance(event, AttemptParked):
            self.now = f"{event.node} waits for a person"
        elif isinstance(event, NodeCompleted):
            self.done.append(event.node)
            self.now = ""
        elif isinstance(event, MoneySettled):
            self.cost_usd += event.charged.usd


class Board:
    """Shows how far some runs are.

    Args:
        out: Where to; a live picture where it is a terminal.
        total: How many runs there will be.
    """

    def __init__(self, out: Console, total: int) -> None:
        self._out = out
        self._total = total
        self._under_way: dict[int, Line] = {}
        self._counts: dict[str, int] = {}
        self._ended_cost = Decimal(0)
        self._began = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._live = Live(
                console=self._out, refresh_per_second=REFRESH, transient=True, get_renderable=self._picture
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, number: int, message: str) -> None:
        """A run begins."""
        self._under_way[number] = Line(message=message)

    def see(self, number: int, event: Event) -> None:
        """Something happened in a run."""
        if number in self._under_way:
            self._under_way[number].see(event)

    def end(self, number: int, row: Row) -> None:
        """A run is over, or waits for a person."""

        self._under_way.pop(number, None)
        self._counts[row.status] = self._counts.get(row.status, 0) + 1
        self._ended_cost += row.cost_usd
        if self._live is None and self._total > 1:
            ended = sum(self._counts.values())
            words = f"{ended}/{self._total} {row.status}  {shorten(row.message, 40)}  {row.route}"
            self._out.print(f"{words}  {dollars(row.cost_usd)}  {duration(row.seconds)}", soft_wrap=True)

    def _picture(self) -> Any:
        """What the live board shows now."""

        ended = sum(self._counts.values())
        cost = self._ended_cost + sum((line.cost_usd for line in self._under_way.values()), Decimal(0))
        counts = "  ".join(f"{number} {status}" for status, number in self._counts.items())
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self._total, completed=ended, width=24),
            f"{ended}/{self._total}  {counts}  {dollars(cost)}  {duration(time.monotonic() - self._began)}",
        )
        rows = Table.grid(padding=(0, 2))
        room = max(3, self._out.height - 4)
        for line in list(self._under_way.values())[:room]:
            rows.add_row(
                shorten(line.message, self._out.width // 2), shorten(_state(line), self._out.width // 2 - 6)
            )
        return Group(head, rows)


def _state(line: Line) -> str:
    return line.now or (f"after {line.done[-1]}" if line.done else "starting")
