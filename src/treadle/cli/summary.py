"""The table at the end of a run on a file, and what to do about what waits."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from treadle.cli.options import DEFAULT_STORE
from treadle.cli.words import count, dollars, duration, shorten, status_style, table
from treadle.views.table import Row

WIDE = 100
"""From so many columns on, a run is one line; below, words are folded once."""


def print_table(out: Console, rows: Sequence[Row], *, seconds: float) -> None:
    """Print a line for each run, on the width there is, and one for all of them."""
    is_wide = out.width >= WIDE
    models = sorted({", ".join(row.models) for row in rows} - {""})
    hidden: set[str] = set() if is_wide or len(models) > 1 else {"model"}
    columns = [name for name in _COLUMNS if name not in hidden]
    made = table(*columns, right=("tokens", "cost", "time"), wrap=() if is_wide else ("message", "answer"))
    made.expand = True
    for column in made.columns:
        column.ratio = _RATIOS.get(str(column.header))
        column.max_width = _MOST_WIDE[is_wide].get(str(column.header))
    for row in rows:
        cells = _cells(row, is_wide=is_wide)
        made.add_row(*(cells[name] for name in columns))
    out.print(made)
    tokens, cost = sum(row.tokens for row in rows), sum((row.cost_usd for row in rows), Decimal(0))
    total = f"{_counts(rows)}; {count(tokens) or 0} tokens, {dollars(cost)}, {duration(seconds)}"
    model = f"; model {models[0]}" if hidden and models else ""
    out.print(f"{len(rows)} run{'s' * (len(rows) != 1)}: {total}{model}", style="bold")


_COLUMNS = ("message", "route", "answer", "model", "tokens", "cost", "time")

_RATIOS = {"message": 2, "answer": 3}
"""How the width that figures leave is shared out."""

_MOST_WIDE = {True: {"route": 26, "model": 20}, False: {"route": 14, "model": 8}}
"""Where words are cut, on a wide terminal and on a narrow one."""


def _cells(row: Row, *, is_wide: bool) -> dict[str, Any]:
    cut = 400 if is_wide else 36
    return {
        "message": shorten(row.message, cut),
        "route": Text(row.route, status_style(row.status)),
        "answer": _outcome(row, cut + cut // 2),
        "model": ", ".join(row.models),
        "tokens": count(row.tokens),
        "cost": dollars(row.cost_usd),
        "time": duration(row.seconds),
    }


def _outcome(row: Row, cut: int) -> Any:
    if row.waits:
        question, to = next(iter(row.waits.items()))
        return Text(f"{question} waits for {to}", status_style("waiting"))
    style = status_style(row.status) if row.status != "completed" else ""
    return Text(shorten(row.answer, cut) or row.status, style)


def _counts(rows: Sequence[Row]) -> str:
    found: dict[str, int] = {}
    for row in rows:
        found[row.status] = found.get(row.status, 0) + 1
    return ", ".join(f"{number} {status}" for status, number in found.items())


def print_failures(out: Console, rows: Sequence[Row], *, store: str) -> None:
    """Say in full why runs failed or what they left in doubt, and where to look."""
    for row in rows:
        if row.doubts:
            out.print(
                f"\n{doubt_line(row.run_id, row.doubts, store=store)}", style="bold red", soft_wrap=True
            )
        if row.status == "failed":
            out.print(f"\n{row.run_id} failed: {row.answer}", style="red", soft_wrap=True)
            if not is_gone(store):
                out.print(f"  treadle show {row.run_id}{store_option(store)}", style="cyan", soft_wrap=True)


def doubt_line(run_id: str, doubts: Sequence[str], *, store: str) -> str:
    """Say of a run that is over what may have happened all the same, and where to look."""
    look = "" if is_gone(store) else f": treadle show {run_id}{store_option(store)}"
    return f"{run_id}: {doubt_words(doubts)}{look}"


def death_line(run_id: str, deaths: int, *, store: str) -> str:
    """Say of a run that it keeps killing its worker, and how to order it all the same."""
    return (
        f"{run_id}: the process that worked on it died {deaths} times in a row, so nobody takes it up by "
        f"itself: treadle resume {run_id} FILE{store_option(store)}"
    )


def doubt_words(doubts: Sequence[str]) -> str:
    """Say which calls may have happened."""
    return f"in doubt whether {', '.join(doubts)} happened; what is recorded does not tell"


GONE: Final = f"gone with this process: memory: keeps nothing, and --store {DEFAULT_STORE} does"
"""What is said of runs that no other command will find."""


def is_gone(store: str) -> bool:
    """Whether what a store holds ends with the command."""
    return store.startswith("memory:")


def store_option(store: str) -> str:
    """The option that names a store, where it is not the usual one."""
    return "" if store == DEFAULT_STORE else f" --store {store}"


def print_waiting(out: Console, rows: Sequence[Row], *, file: str, store: str) -> None:
    """Say what waits for whom, and how it goes on."""
    waiting = {question: to for row in rows for question, to in row.waits.items()}
    if not waiting:
        return
    option = store_option(store)
    first = next(iter(waiting))
    names = ", ".join(sorted(set(waiting.values())))
    verb, some = ("waits", "question") if len(waiting) == 1 else ("wait", "questions")
    if is_gone(store):
        some = f"{len(waiting)} {some} {verb} for {names}, and nobody can answer: the run is {GONE}"
        out.print(f"\n{some}", style="yellow", soft_wrap=True)
        return
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
        "doubts": list(row.doubts),
    }
