"""Writing a file once more, after a sync of it has failed.

Linux reports a failed fsync once and then holds the pages for written: the next fsync succeeds, and what
the first was to write is not on the disk (https://wiki.postgresql.org/wiki/Fsync_Errors, 2018; "Can
Applications Recover from fsync Failures?", USENIX ATC 2020).  SQLite does not know of it: a later
commit would be acknowledged, and after a power cut the log would end before it.  What programs
see is still whole, so writing it again where it stands makes the system owe it to the disk again.
"""

from __future__ import annotations

import os
from typing import Final

CHUNK: Final = 1 << 20
"""Bytes at a time."""


def write_again(path: str) -> None:
    """Write the bytes of a file again where they stand, and sync them; nothing where there is none.

    Nobody else may be writing to it: the caller holds SQLite's write lock.  Its locks are not on the
    log, so closing this file frees none of them.

    Raises:
        OSError: The disk still fails.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        place = 0
        while data := os.pread(file, CHUNK, place):
            os.pwrite(file, data, place)
            place += len(data)
        os.fsync(file)
    finally:
        os.close(file)
