"""SQL as named text: each statement stands in ``sql/queries.sql`` under its name, with a sentence above."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

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


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
