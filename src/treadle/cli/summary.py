"""The table at the end of a run on a file, and what to do about what waits."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from treadle.views.table import Row

if TYPE_CHECKING:
    from rich.console import Console


def print_table(out: Console, rows: Sequence[Row], *, seconds: float) -> None:
    """Print a line for each run and one for all, on the width there is."""
    from rich.text import Text

    from treadle.cli.words import count, dollars, duration, status_style, table

    is_wide = out.width >= 100
    made = table(*_COLUMNS, right=("tokens", "cost", "time"))
    made.expand = True
    for column in made.columns:
        column.ratio = _RATIOS.get(str(column.header))
        column.max_width = _MOST_WIDE[is_wide].get(str(column.header))
    for row in rows:
        made.add_row(
            _line(row.message),
            Text(row.route, status_style(row.status)),
            _outcome(row),
            ", ".join(row.models),
            count(row.tokens),
            dollars(row.cost_usd),
            duration(row.seconds),
        )
    made.add_section()
    made.add_row(
        f"{len(rows)} message{'s' * (len(rows) != 1)}",
        "",
        _counts(rows),
        "",
        count(sum(row.tokens for row in rows)),
        dollars(sum((row.cost_usd for row in rows), Decimal(0))),
        duration(seconds),
        style="bold",
    )
    out.print(made)


_COLUMNS = ("message", "route", "answer", "model", "tokens", "cost", "time")


_RATIOS = {"message": 2, "answer": 3}
"""How the width that figures leave is shared out."""

_MOST_WIDE = {True: {"route": 26, "model": 20}, False: {"route": 14, "model": 8}}
"""Where words are cut, on a wide terminal and on a narrow one."""


def _line(text: str) -> str:
    return " ".join(text.split())


def _outcome(row: Row) -> Any:
    from rich.text import Text

    from treadle.cli.words import status_style

    if row.waits:
        question, to = next(iter(row.waits.items()))
        return Text(f"{question} waits for {to}", status_style("waiting"))
    style = status_style(row.status) if row.status != "completed" else ""
    return Text(_line(row.answer) or row.status, style)


def _counts(rows: Sequence[Row]) -> str:
    found: dict[str, int] = {}
    for row in rows:
        found[row.status] = found.get(row.status, 0) + 1
    return ", ".join(f"{number} {status}" for status, number in found.items())


def print_waiting(out: Console, rows: Sequence[Row], *, file: str, store: str) -> None:
    """Say what waits for whom, and how it goes on."""
    from treadle.cli.options import DEFAULT_STORE

    waiting = {question: to for row in rows for question, to in row.waits.items()}
    if not waiting:
        return
    option = "" if store == DEFAULT_STORE else f" --store {store}"
    first = next(iter(waiting))
    names = ", ".join(sorted(set(waiting.values())))
    verb, some = ("waits", "question") if len(waiting) == 1 else ("wait", "questions")
    out.print(
        f"\n{len(waiting)} {some} {verb} for {names}; nothing runs and nothing is spent meanwhile:",
        style="yellow",
    )
    for line in (
        f"treadle inbox{option}",
        f"treadle answer {first} --value JSON --as NAME{option}",
        f"treadle resume --all {file}{option}",
    ):
        out.print(f"  {line}", style="cyan", soft_wrap=True)


def as_plain_data(row: Row) -> dict[str, Any]:
    """One run as plain data."""
    return {
        "run": row.run_id,
        "status": row.status,
        "message": row.message,
        "route": row.route,
        "answer": row.answer,
        "models": list(row.models),
        "tokens": row.tokens,
        "cost_usd": str(row.cost_usd),
        "seconds": round(row.seconds, 6),
        "waits": dict(row.waits),
    }
