"""Opening a database file: is it ours, is it whole, and is its schema up to date."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from treadle.errors import FormatMismatch, StoreError, StoreUnavailable
from treadle.stores.queries import migrations, run_text

APPLICATION_ID: Final = 0x54524C31
"""``TRL1``: marks a file as a store of ours (``PRAGMA application_id``)."""

BUSY_SECONDS: Final = 30.0
"""How long to wait for another process that is writing."""


def connect(path: str, *, read_only: bool = False) -> apsw.Connection:
    """Open a connection to a store that ``prepare`` has seen.

    Raises:
        StoreUnavailable, FormatMismatch
    """
    with translated(path):
        flags = apsw.SQLITE_OPEN_READWRITE | (0 if read_only else apsw.SQLITE_OPEN_CREATE)
        connection = apsw.Connection(path, flags=flags)
        connection.set_busy_timeout(round(BUSY_SECONDS * 1000))
        if read_only:
            run_text(connection, "PRAGMA query_only = 1")
        return connection


def prepare(path: str) -> apsw.Connection:
    """Open a database for writing, make it where there is none, and bring its schema up to date.

    Raises:
        StoreUnavailable: It cannot be reached or written.
        FormatMismatch: It is another program's, damaged, or from a newer release.
    """
    _check_place(path)
    connection = connect(path)
    try:
        with translated(path):
            _check_owner(connection, path)
            _use_wal(connection, path)
            _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(path: str) -> Generator[None]:
    """Turn SQLite's errors into ours, with the path and what to do."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: Exception, path: str) -> StoreError:
    """Give our error for one of SQLite's."""
    if isinstance(error, apsw.NotADBError):
        return FormatMismatch(
            f"{path!r} is not an SQLite database; choose another path for the store, or move that file away"
        )
    if isinstance(error, apsw.CorruptError | apsw.SQLError):
        return FormatMismatch(
            f"{path!r} is damaged ({error}); put a backup in its place, "
            f"or save what can be read with `sqlite3 {path} .recover`"
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreUnavailable(
            f"{path!r} was locked by another process for {BUSY_SECONDS:g} seconds; "
            "end what is writing to it for so long, then resume"
        )
    if isinstance(error, apsw.FullError):
        return StoreUnavailable(
            f"{path!r} could not be written: the disk is full; make room, then resume the runs "
            "(everything acknowledged is there)"
        )
    if isinstance(error, apsw.IOError | OSError):
        return StoreUnavailable(
            f"{path!r} could not be read or written: the disk fails ({error}); look after the disk, then "
            "resume the runs (everything acknowledged is there)"
        )
    if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | apsw.AuthError):
        return StoreUnavailable(
            f"{path!r} cannot be opened for writing ({error}); "
            "give this user write access to the file and its directory"
        )
    return StoreUnavailable(f"{path!r} could not be read or written: {type(error).__name__}: {error}")


def _check_place(path: str) -> None:
    folder = Path(path).parent
    if not folder.is_dir():
        raise StoreUnavailable(f"{str(folder)!r} is not a directory; make it first: mkdir -p {folder}")
    if Path(path).is_dir():
        raise StoreUnavailable(f"{path!r} is a directory; give the path of a file, such as {path}/treadle.db")
    present = Path(path).exists()
    if present and not Path(path).stat().st_size and Path(f"{os.path.realpath(path)}-locks").exists():
        raise FormatMismatch(
            f"{path!r} is empty, and was a store before; put a backup in its place, or begin a new store by "
            f"removing {path} and {path}-locks"
        )
    if not os.access(path if present else folder, os.W_OK):
        raise StoreUnavailable(f"{path!r} cannot be written by this user; change its permissions or its path")


def _check_owner(connection: apsw.Connection, path: str) -> None:
    mark, version = _number(connection, "application_id"), _number(connection, "user_version")
    if mark == APPLICATION_ID:
        newest = max(migrations())
        if version > newest:
            raise FormatMismatch(
                f"{path!r} has schema {version}, and this release knows up to {newest}; "
                "upgrade treadle, or choose another path"
            )
        return
    if run_text(connection, "SELECT 1 FROM sqlite_schema LIMIT 1") or mark or version:
        raise FormatMismatch(
            f"{path!r} is a database of another program, and was left as it is; "
            "choose another path for the store"
        )


def _use_wal(connection: apsw.Connection, path: str) -> None:
    mode = run_text(connection, "PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise StoreUnavailable(
            f"{path!r} stands on a file system without shared memory (journal mode {mode!r}); "
            "put it on a disk of this machine"
        )


def _migrate(connection: apsw.Connection, path: str) -> None:
    if _number(connection, "user_version") >= max(migrations()):
        return
    run_text(connection, "BEGIN IMMEDIATE")
    with connection:  # a savepoint within; the outer transaction ends below
        _check_owner(connection, path)  # another process may have come first
        for version, text in migrations().items():
            if version > _number(connection, "user_version"):
                run_text(connection, text)
                run_text(connection, f"PRAGMA user_version = {version}")
        run_text(connection, f"PRAGMA application_id = {APPLICATION_ID}")
    run_text(connection, "COMMIT")


def _number(connection: apsw.Connection, pragma: str) -> int:
    return int(run_text(connection, f"PRAGMA {pragma}"))
