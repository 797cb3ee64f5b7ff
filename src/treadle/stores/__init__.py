"""Stores keep histories: what happened in each run, in order, never edited.

Here live the two stores (``MemoryStore``, ``SqliteStore``), the one writer thread that a database
gets, and the form in which events, payloads and the hash chain are written.  What must never be
here: a rule about graphs, money or people; a store keeps facts and sums them up.

The rule a newcomer would break: everything besides the events (summaries, questions, ledger,
requests) is derived from them, in the same transaction, so that ``verify`` can recompute it.  A
column that no event explains does not belong in a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.stores.memory import MemoryStore

if TYPE_CHECKING:
    from treadle.stores.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore"]


def __getattr__(name: str) -> Any:
    if name == "SqliteStore":
        from treadle.stores.sqlite import SqliteStore  # noqa: PLC0415 - loads the SQLite driver on first use

        return SqliteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
