"""Amounts, times and tables as people read them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table

from treadle import durations

STATUS_STYLES = {
    "completed": "green",
    "claimed": "dim green",
    "failed": "bold red",
    "in doubt": "bold red",
    "lost": "red",
    "waiting": "yellow",
    "running": "cyan",
    "pending": "cyan",
    "cancelled": "dim",
    "withdrawn": "dim",
}

_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code != 10}
"""Control characters but the end of a line: the escape character would let a text move the cursor."""


WHOLE = 19
"""Columns that the id of a run takes."""


def console(*, err: bool = False) -> Console:
    """A console that is plain where nobody looks; the width of a pipe is 120 columns unless COLUMNS says."""

    class Harmless(Console):
        """Shows what models and people wrote as words: no control character of theirs reaches a terminal."""

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else text.translate(_CONTROLS), style, control)

        def on_broken_pipe(self) -> None:
            nobody_reads(self.file)

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 120
    return Harmless(stderr=err, width=width, highlight=False, emoji=False, markup=False)


def nobody_reads(stream: IO[str]) -> None:
    """Send the words of a stream nowhere from now on: who read them has gone, such as ``head``, and what
    the command does goes on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def table(
    *columns: str, right: Sequence[str] = (), wrap: Sequence[str] = (), whole: Sequence[str] = ()
) -> Table:
    """An unboxed table; columns in ``wrap`` may be folded, the others keep to one line.

    Those in ``whole`` are never cut, as what is to be copied must not be.
    """
    made = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False
    )
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in wrap,
            overflow="fold" if name in wrap else "ellipsis",
            min_width=WHOLE if name in whole else None,
        )
    return made


def status_style(status: str) -> str:
    """The style a status is shown in."""
    return STATUS_STYLES.get(status, "")


def dollars(amount: Decimal) -> str:
    """An amount of money: four decimals below a dollar, more where that would round it to nothing."""
    if not amount:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if abs(amount) >= Decimal("0.0001") else f"${amount:.{1 - amount.adjusted()}f}"


def count(number: int) -> str:
    """A whole number with thousands set apart; nothing for zero."""
    return f"{number:,}" if number else ""


def duration(seconds: float | None) -> str:
    """A length of time, or nothing where there is none."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else durations.describe(seconds)


def moment(at: float) -> str:
    """A moment in local time, with its zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def ago(at: float, *, now: float) -> str:
    """How long ago a moment was."""
    return f"{durations.describe(max(now - at, 0.01))} ago" if now - at >= 1 else "just now"


def shorten(text: str, width: int) -> str:
    """A text on one line, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}…"


def print_json(value: object) -> None:
    """Print a value as one JSON document; decimals become text."""
    _write(json.dumps(value, ensure_ascii=False, indent=2, default=_plain) + "\n")


def print_json_lines(values: Iterable[object]) -> None:
    """Print values as JSON lines."""
    for value in values:
        _write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return dict(value)
