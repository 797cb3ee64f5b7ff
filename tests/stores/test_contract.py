"""The store contract, run by both stores on every event loop."""

from __future__ import annotations

import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import apsw

from treadle.interfaces import Store
from treadle.stores import MemoryStore, SqliteStore
from treadle.testing.database_contract import DatabaseContract, Tampering
from treadle.testing.store_contract import StoreContract

FLIP = (
    "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'node.', 'nude.') AS BLOB) WHERE id = :place"
)
SHIFT = "UPDATE events SET id = :to WHERE id = :place"
COPY = "INSERT INTO events SELECT :to, hash, body, parts, inline FROM events WHERE id = :place"
TAMPERING: dict[Tampering, list[str]] = {
    "flip": [FLIP],
    "delete": ["DELETE FROM events WHERE id = :place"],
    "swap": [
        "UPDATE events SET id = -1 WHERE id = :place",
        "UPDATE events SET id = :place WHERE id = :place + 1",
        "UPDATE events SET id = :place + 1 WHERE id = -1",
    ],
    "insert": [COPY],
    "truncate": ["DELETE FROM events WHERE id >= :place"],
    "payload": [
        "UPDATE payloads SET form = 0, content = CAST('\"forged\"' AS BLOB) WHERE id = "
        "(SELECT CAST(parts AS TEXT) ->> '$.result' FROM events WHERE id = :place)"
    ],
    "inline": ["UPDATE events SET inline = CAST('\"shore\"' AS BLOB) WHERE id = :place"],
}


class TestMemoryStore(StoreContract):
    def new_store(self, folder: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(DatabaseContract):
    def new_store(self, folder: Path) -> Store:
        return SqliteStore(str(folder / "runs.db"))

    @contextmanager
    def broken(self, store: Store, folder: Path) -> Generator[None]:
        """Let this process write two pages behind what the WAL holds, and no more: a real write fails."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        held = len((folder / "runs.db-wal").read_bytes().rstrip(b"\0"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (held + 8192, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def tamper(self, folder: Path, how: Tampering, seq: int) -> None:
        connection = apsw.Connection(str(folder / "runs.db"))
        for statement in TAMPERING[how]:
            values = {"place": (1 << 32) + seq, "to": (1 << 32) + 10}
            connection.execute(statement, {k: v for k, v in values.items() if f":{k}" in statement})
            assert connection.changes() > 0, statement
        connection.close()
