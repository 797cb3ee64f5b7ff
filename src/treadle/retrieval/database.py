"""The file of an index: opened for one reading or one transaction, and its errors made ours."""

# pyright: reportUnknownMemberType=false
# apsw's own types name collections.abc.Buffer, which Python has from 3.12 on.

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ConfigurationError, FormatMismatch, StoreUnavailable

if TYPE_CHECKING:
    import apsw

_APPLICATION: Final = 0x54524458  # "TRDX" in SQLite's application_id, so that a foreign file is known
_FORMAT: Final = 1
_BUSY_SECONDS: Final = 10.0

_SCHEMA: Final = f"""
create table setting (name text primary key, value text not null);
create table document (name text primary key, digest text not null, title text not null);
create table passage (
    id integer primary key, document text not null,
    start integer not null, end integer not null, text text not null
);
create index passage_document on passage (document);
create virtual table word using fts5 (
    title, text, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
);
pragma application_id = {_APPLICATION};
pragma user_version = {_FORMAT};
"""


class Database:
    """An open index file."""

    __slots__ = ("_connection",)

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and give all its rows."""
        return list(self._connection.execute(statement, values))

    def setting(self, name: str) -> str:
        """A value kept beside the passages, ``""`` where there is none."""
        found = self.rows("select value from setting where name = ?", (name,))
        return str(found[0][0]) if found else ""

    def is_made(self, path: Path) -> bool:
        """Whether the tables are there; ``False`` where the file is empty.

        Raises:
            FormatMismatch: It is something else, or from a newer release.
        """
        [(application, written, changes)] = self.rows(
            "select * from pragma_application_id, pragma_user_version, pragma_schema_version"
        )
        if (application, written) == (_APPLICATION, _FORMAT):
            return True
        if application == _APPLICATION:
            raise FormatMismatch(
                f"index {str(path)!r} has format {written}, this release writes {_FORMAT}; "
                f"delete the file and build it again, or use the release that made it"
            )
        if application or changes:
            raise FormatMismatch(
                f"{str(path)!r} is an SQLite database, but no index of Treadle's; "
                f"it was left as it is, give another path"
            )
        return False

    def make(self) -> None:
        """Create the tables."""
        self._connection.execute(_SCHEMA)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Write all that is done inside, or nothing; waits for another writer, for a while."""
        self._connection.execute("begin immediate")
        try:
            yield
            self._connection.execute("commit")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("rollback")


@contextlib.contextmanager
def reading(path: Path) -> Generator[Database]:
    """Open an index that is there.

    Raises:
        ConfigurationError: There is no such file.
        FormatMismatch: It is no index of ours, is damaged, or from a newer release.
        StoreUnavailable: It cannot be read now.
    """
    if not path.exists():
        raise ConfigurationError(
            f"there is no index {str(path)!r}; make it with "
            f"treadle.retrieval.build_index({str(path)!r}, Corpus.files('FOLDER')), or give the right path"
        )
    with _open(path, create=False) as database:
        if not database.is_made(path):
            raise FormatMismatch(f"index {str(path)!r} is empty; delete the file and build it again")
        yield database


@contextlib.contextmanager
def writing(path: Path) -> Generator[Database]:
    """Open an index, or begin one, for a single transaction; the errors are those of ``reading``."""
    with _open(path, create=True) as database, database.transaction():
        if not database.is_made(path):
            database.make()
        yield database


@contextlib.contextmanager
def _open(path: Path, *, create: bool) -> Generator[Database]:
    import apsw  # noqa: PLC0415 - only those pay for it who search

    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    try:
        with contextlib.closing(apsw.Connection(str(path), flags=flags)) as connection:
            connection.set_busy_timeout(round(_BUSY_SECONDS * 1000))
            yield Database(connection)
    except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError) as error:
        raise FormatMismatch(
            f"index {str(path)!r} is damaged, or no index at all: {error}; delete the file and build it again"
        ) from error
    except apsw.Error as error:
        raise StoreUnavailable(
            f"index {str(path)!r} cannot be used: {error}; check that the path can be read and written, "
            f"and that no other program locks it"
        ) from error
