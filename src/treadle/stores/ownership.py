"""Which process may append to a run: locks of the operating system that die with their holder.

One file stands beside the database (``support.db-locks``); byte ``n`` of it is the lock of the run
with number ``n``.  The database file itself is never locked here: closing any descriptor of a file
drops all locks a process has on it, and those on the database are SQLite's.

POSIX record locks are used, not ``flock``: a forked child does not inherit them, so a run is free as
soon as its owner is dead, whatever children it left behind.  They do not exclude threads of one
process, so what this process holds is kept in a table as well.  The file stays where it is, empty:
taking it away while another process is about to lock it would leave two files and two owners.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
import threading
from types import ModuleType
from typing import Final

from treadle.errors import StoreUnavailable

_FLOCK: Final = "@hhqqi0q" if sys.platform.startswith("linux") else "@qqihhi"
"""``struct flock`` of fcntl(2): type, whence, start, length, pid; the BSDs have the type further back."""


class Locks:
    """The locks of one file, shared by all stores of this process on the same database."""

    __slots__ = ("_fd", "_held", "path", "users")

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = 0
        self._held: set[int] = set()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def take(self, number: int) -> bool:
        """Lock a run; ``False`` where somebody has it, this process included."""
        with _guard:
            if number in self._held:
                return False
            try:
                _posix().lockf(self._fd, _posix().LOCK_EX | _posix().LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                return False
            self._held.add(number)
            return True

    def give(self, number: int) -> None:
        """Unlock a run."""
        with _guard:
            if number in self._held:
                self._held.discard(number)
                _posix().lockf(self._fd, _posix().LOCK_UN, 1, number)

    def is_taken(self, number: int) -> bool:
        """Tell whether somebody has it, without touching the lock (``F_GETLK``)."""
        with _guard:
            return number in self._held or self._is_taken_elsewhere(number)

    def close(self) -> None:
        """Close the file, which drops what is still held."""
        os.close(self._fd)

    def _is_taken_elsewhere(self, number: int) -> bool:
        fcntl = _posix()
        if sys.platform.startswith("linux"):
            query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
            kind = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, query))[0]
        else:
            query = struct.pack(_FLOCK, number, 1, 0, fcntl.F_WRLCK, os.SEEK_SET, 0)
            kind = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, query))[3]
        return bool(kind != fcntl.F_UNLCK)


_open: dict[str, Locks] = {}
_guard = threading.Lock()


@functools.cache
def _posix() -> ModuleType:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none, and must be able to import this file
    except ImportError:
        raise StoreUnavailable(
            "the SQLite store needs POSIX file locks to know who owns a run, and this system has none; "
            "use 'memory:' here, or run under WSL"
        ) from None
    return fcntl


def require_locks() -> None:
    """Raise ``StoreUnavailable`` where the system has no POSIX locks, before anything is made."""
    _posix()


def open_locks(database: str) -> Locks:
    """Give the locks beside a database, by whatever name it is reached.

    Raises:
        StoreUnavailable: The file cannot be made.
    """
    path = f"{os.path.realpath(database)}-locks"
    with _guard:
        try:
            locks = _open.get(path) or Locks(path)
        except OSError as error:
            raise StoreUnavailable(
                f"the lock file {path!r} cannot be opened ({error.strerror}); "
                "make its directory writable for this user"
            ) from error
        _open[path] = locks
        locks.users += 1
        return locks


def close_locks(locks: Locks) -> None:
    """Give a share back; the last one closes the file."""
    with _guard:
        locks.users -= 1
        if locks.users == 0 and _open.get(locks.path) is locks:
            del _open[locks.path]
            locks.close()


def _forget_after_fork() -> None:
    global _guard  # noqa: PLW0603 - the parent's thread may have held it while forking
    _guard = threading.Lock()
    for locks in _open.values():
        locks.close()  # the child holds none of them, so this frees nothing
        locks.users = 0
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
