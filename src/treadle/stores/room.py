"""Room for the log ahead of its need: SQLite's log is given zeros to write over, before it has to grow.

A file that grows is dear to sync: where it ends, and which blocks it has got, must reach the disk with
its content, so the file system commits its own journal too (fdatasync(2); with ext4 on Linux 6 that is three
requests to the disk instead of two).  A log that is written over pays none of that, and after its first
8 MB ours is; but each process begins with an empty one.  So it is made longer by many pages at once.

SQLite takes what stands behind its newest frame for leftovers of an earlier round: a frame counts only with
the salt and the checksum of this one, and zeros have neither
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log, 4.1).
"""

from __future__ import annotations

import os
from typing import Final

import apsw

from treadle.stores.queries import run_text

AHEAD: Final = 32
"""Pages that the log must have room for when a commit begins: more than most commits write."""

CHUNK: Final = 64
"""Pages that it is made longer by: a quarter of a megabyte, which most disks write in a millisecond."""

_HEADER: Final = 32
_FRAME_HEADER: Final = 24


class Room:
    """The pages that the log of a database has room for.

    Attributes:
        pages: How many, as far as this process knows.
    """

    __slots__ = ("_frame", "_path", "pages")

    def __init__(self, connection: apsw.Connection) -> None:
        self._path = connection.filename_wal
        self._frame = _FRAME_HEADER + int(run_text(connection, "PRAGMA page_size"))
        self.pages = 0

    def make(self, used: int) -> None:
        """See to it that there is room, in a log of so many pages.

        The caller holds SQLite's write lock: nobody else makes the log longer meanwhile.  Its locks are
        not on the log, so closing this file frees none of them.
        """
        self.pages = used + CHUNK  # where nothing comes of it, SQLite lets the log grow, and tells what fails
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            size = os.fstat(file).st_size
            if size < _HEADER + used * self._frame:  # somebody has cut it off: it begins anew
                used = 0
            missing = _HEADER + (used + AHEAD + CHUNK) * self._frame - size
            if missing <= 0 or os.pwrite(file, bytes(missing), size) == missing:
                self.pages = (size + max(missing, 0) - _HEADER) // self._frame
        except OSError:
            return
        finally:
            os.close(file)
