"""SQL as named text: each statement stands in ``sql/queries.sql`` under its name, with a sentence above.

Statements are run by name through the functions here, which also give their rows a type.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final, cast

import apsw

from treadle.errors import InternalError

Row = tuple[Any, ...]
"""The columns of one row, in the order of the statement."""

Bindings = Sequence[Any] | Mapping[str, Any]
"""Parameters of a statement, by place or by name."""

MOST_ROWS: Final = 64
"""Rows in one statement at most."""

_run: Final[Callable[..., Any]] = cast("Any", apsw.Connection).execute
"""The driver's own types depend on a ``Buffer`` that type checkers do not know on Python 3.11."""

_ROW: Final = re.compile(r"VALUES (\([?, ]+\))")
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@functools.cache
def queries() -> Mapping[str, str]:
    """Give the statements by name."""
    text = (resources.files("treadle.stores") / "sql" / "queries.sql").read_text(encoding="utf-8")
    _, *pieces = _NAME.split(text)
    return {name: _without_comments(body) for name, body in zip(pieces[::2], pieces[1::2], strict=True)}


@functools.cache
def migrations() -> Mapping[int, str]:
    """Give the migrations, by the version of the schema each one leads to."""
    folder = resources.files("treadle.stores") / "sql"
    files = {file.name: file for file in folder.iterdir() if re.match(r"\d{4}_", file.name)}
    return {int(name[:4]): files[name].read_text(encoding="utf-8") for name in sorted(files)}


def execute(connection: apsw.Connection, name: str, bindings: Bindings = ()) -> None:
    """Run a statement that gives nothing."""
    _run(connection, queries()[name], bindings)


def execute_rows(connection: apsw.Connection, name: str, rows: Sequence[Row]) -> None:
    """Run a statement that takes rows (``VALUES (?, ...)``) on some, with few calls into SQLite.

    Each call lets go of the interpreter, and whoever else is busy takes it.
    """
    start = 0
    while start < len(rows):
        left = len(rows) - start
        size = left if left < 16 else 16 if left < MOST_ROWS else MOST_ROWS
        values = tuple(itertools.chain.from_iterable(rows[start : start + size]))
        _run(connection, _repeated(name, size), values)
        start += size


@functools.cache
def _repeated(name: str, size: int) -> str:
    """The statement for so many rows; few sizes are used, so each is compiled once."""
    text = queries()[name]
    found = _ROW.search(text)
    if found is None:
        raise InternalError(f"the statement {name!r} takes no rows; please report this")
    return text.replace(found[0], f"VALUES {', '.join([found[1]] * size)}")


def fetch_one(connection: apsw.Connection, name: str, bindings: Bindings = ()) -> Row | None:
    """Run a statement and give its first row, or ``None``."""
    row: Row | None = _run(connection, queries()[name], bindings).fetchone()
    return row


def fetch_all(connection: apsw.Connection, name: str, bindings: Bindings = ()) -> list[Row]:
    """Run a statement and give its rows."""
    rows: list[Row] = _run(connection, queries()[name], bindings).fetchall()
    return rows


def fetch_each(connection: apsw.Connection, name: str, bindings: Bindings = ()) -> Iterator[Row]:
    """Run a statement and give its rows one by one, for callers that stop early."""
    yield from _run(connection, queries()[name], bindings)


def fetch_column(connection: apsw.Connection, name: str, bindings: Bindings = ()) -> list[str]:
    """Run a statement and give the first column of its rows, which is text."""
    return [row[0] for row in fetch_all(connection, name, bindings)]


def run_text(connection: apsw.Connection, text: str) -> Any:
    """Run SQL that is no named statement (a pragma, a migration), and give its value if it has one."""
    return _run(connection, text).get


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
