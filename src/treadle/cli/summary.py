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

    made = table(*_COLUMNS, right=("tokens", "cost", "time"))
    for column, width in zip(made.columns, _widths(rows, out.width), strict=True):
        column.width = width
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


def _widths(rows: Sequence[Row], width: int) -> list[int]:
    """Share a terminal's width out: figures get what they need, words the rest."""
    from treadle.cli.words import count, dollars

    tokens = max(6, len(count(sum(row.tokens for row in rows))))
    cost = max(7, len(dollars(sum((row.cost_usd for row in rows), Decimal(0)))))
    models = [len(", ".join(row.models)) for row in rows]
    model = min(max(5, *models, 0), 20 if width >= 100 else 10)
    route = min(max(5, *(len(row.route) for row in rows), 0), 24 if width >= 100 else 14)
    rest = max(20, width - tokens - cost - model - route - 8 - 2 * len(_COLUMNS) + 2)
    message = rest * 2 // 5
    return [message, route, rest - message, model, tokens, cost, 8]


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


def as_json(row: Row) -> dict[str, Any]:
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
