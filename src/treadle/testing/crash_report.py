"""``CrashReport``: what ``crash_everywhere`` did, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Generic, Literal, TypeVar

R = TypeVar("R")

How = Literal[
    "before append",
    "after append",
    "unflushed append",
    "closed append",
    "again append",
    "before command",
    "after command",
]
"""How a process ends, and at what.

At an append: ``before`` and ``after`` it is recorded; ``unflushed``, before it and with all lost that nobody
had flushed; ``closed`` in good order, right after it; ``again``, after it, and whoever takes the run up after
its own first append.  At a command of the scheduler (the start of an attempt
or of its backoff, a choice, a cancellation, a withdrawal, a pause, the end): ``before`` anything of it is
done; ``after``, when the event loop has come round: what it started waits for something, or is over.
"""

WAYS: Final[dict[How, str]] = {
    "before append": "before an append",
    "after append": "after an append",
    "unflushed append": "before an append, unflushed ones lost",
    "closed append": "closed after an append",
    "again append": "after an append, then while taken up",
    "before command": "before a command",
    "after command": "after a command",
}
"""What people read of each, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One crash of an unfinished run, which made no difference.

    Attributes:
        how: How the process ended.
        at: At which append or command, from 1.
        what: The kinds of the append's events, or the command and its node.
        recorded: How many events were recorded when the run was taken up.
        doubts: How often a person was then asked whether an effect had happened.
        lost: Charged for requests that were under way, in USD.
    """

    how: How
    at: int
    what: str
    recorded: int
    doubts: int
    lost: Decimal

    def __str__(self) -> str:
        return f"{self.how} {self.at} ({self.what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport(Generic[R]):
    """What ``crash_everywhere`` did; printed, it is a table.

    Attributes:
        graph: The graph's name.
        value: The undisturbed result; ``None`` where the run fails, as it was said to.
        appends, commands: Those of the undisturbed run.
        crashes: Every crash of an unfinished run, in the order in which they came.
    """

    graph: str
    value: R | None
    appends: int
    commands: int
    crashes: Sequence[Crash]

    @property
    def struck(self) -> int:
        """How often an unfinished run was struck."""
        return len(self.crashes)

    @property
    def doubts(self) -> int:
        """How often a person was asked whether an effect had happened."""
        return sum(crash.doubts for crash in self.crashes)

    @property
    def lost(self) -> Decimal:
        """Charged for requests that were under way at a crash, in USD, in all runs together."""
        return sum((crash.lost for crash in self.crashes), Decimal(0))

    def __str__(self) -> str:
        head = (
            f"graph {self.graph!r}: {self.appends} appends and {self.commands} commands; crashed "
            f"{self.struck} times and taken up again, with no difference to an undisturbed run"
        )
        width = max(map(len, WAYS.values()))
        lines = [head, f"  {'':{width}}  times  in doubt  charged as lost"]
        return "\n".join([*lines, *(self._line(how, width) for how in WAYS)])

    def _line(self, how: How, width: int) -> str:
        crashes = [crash for crash in self.crashes if crash.how == how]
        doubts, lost = sum(crash.doubts for crash in crashes), sum(crash.lost for crash in crashes)
        money = f"{lost} USD" if lost else "-"
        return f"  {WAYS[how]:{width}}  {len(crashes):5}  {doubts or '-':>8}  {money:>15}"
