"""A disk that forgets: what is not synced is gone when the power fails, as on a real one.

``python forgetful.py MOUNT SETTINGS`` mounts a file system through FUSE and serves it until it is unmounted.
It keeps two states of every file: what programs see, and what stands on the disk.  Only fsync and
fdatasync bring one to the other, for names only an fsync of the directory does.  When the power fails,
every call gives EIO from there on, and what stands on the disk is written to the folder ``image``.

A sync that fails does as Linux does (https://wiki.postgresql.org/wiki/Fsync_Errors): what it was to write
stays visible, counts as written, and never reaches the disk unless it is written anew.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mfusepy

SECTOR: Final = 512
"""Bytes that a disk writes as one."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a disk fails.

    Attributes:
        image: The folder that what stands on the disk is written to; ``counts`` beside it says what it saw.
        cut_at: At which change the power fails: a write, a cut to length, a sync, a new or removed name; at
            the unmount, where it is 0.
        keeps: Whether unsynced sectors reach the disk by chance, as they may on a real one.
        seed: For that chance.
        room: Bytes in all files; no limit where it is 0.
        refusals: After so many writes refused for want of room somebody makes room; never where it is 0.
        process: A file with the number of the process that dies when the power fails.
        failing_syncs: The numbers of the syncs of the log that fail.
        failing_moves: The numbers of the syncs of the database itself that fail.
        failing_writes: The numbers of the writes to the log that fail.
    """

    image: str
    cut_at: int = 0
    keeps: bool = False
    seed: str = ""
    room: int = 0
    refusals: int = 0
    process: str = ""
    failing_syncs: Sequence[int] = ()
    failing_moves: Sequence[int] = ()
    failing_writes: Sequence[int] = ()


@dataclass(eq=False)
class File:
    """One file, as programs see it and as it stands on the disk.

    Attributes:
        pending: Sectors that programs see, and that the next sync will write.
    """

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    pending: dict[int, None] = field(default_factory=dict[int, None])

    def write(self, data: bytes, offset: int) -> None:
        """Change what programs see."""
        self._lengthen(offset)
        self.seen[offset : offset + len(data)] = data
        self.pending.update(dict.fromkeys(range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1)))

    def cut(self, length: int) -> None:
        """Shorten it or lengthen it."""
        last = len(self.seen) // SECTOR
        self._lengthen(length)
        del self.seen[length:]
        self.pending.update(dict.fromkeys(range(length // SECTOR, max(last, length // SECTOR) + 1)))

    def sync(self) -> None:
        """Bring to the disk what is pending, and the length."""
        self.keep(self.pending)
        del self.safe[len(self.seen) :]
        self.pending.clear()

    def keep(self, sectors: Iterator[int] | dict[int, None]) -> None:
        """Bring some sectors to the disk."""
        for sector in sectors:
            start = sector * SECTOR
            piece = self.seen[start : start + SECTOR]
            self.safe.extend(bytes(max(0, start + len(piece) - len(self.safe))))
            self.safe[start : start + len(piece)] = piece

    def _lengthen(self, length: int) -> None:
        self.seen.extend(bytes(max(0, length - len(self.seen))))


class Disk:
    """Files with one directory, and the moment at which the power fails."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names: dict[str, File] = {}
        self.safe_names: dict[str, File] = {}
        self.changes = 0
        self.syncs = 0
        self.moves = 0
        self.writes = 0
        self.refused = 0
        self.most = 0
        self.is_dead = False

    def change(self) -> None:
        """Count a change that is about to be made, unless the power fails before it."""
        self.check()
        self.changes += 1
        if self.changes == self.settings.cut_at:
            self.fail()
            if self.settings.process:
                os.kill(int(Path(self.settings.process).read_text()), signal.SIGKILL)
            self.check()

    def check(self) -> None:
        """Raise ``OSError`` once the power has failed."""
        if self.is_dead:
            raise OSError(errno.EIO, "the power has failed")

    def create(self, name: str) -> None:
        """Make an empty file."""
        self.change()
        self.names[name] = File()

    def remove(self, name: str) -> None:
        """Remove a name."""
        self.change()
        del self.names[name]

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self.change()
        self.names[new] = self.names.pop(old)

    def write(self, name: str, data: bytes, offset: int) -> None:
        """Write, where there is room."""
        self.change()
        file = self.names[name]
        grows = max(0, offset + len(data) - len(file.seen))
        if grows and self.is_full(grows):
            self.refused += any(data)  # zeros only make room ahead of need, and nobody is told
            raise OSError(errno.ENOSPC, "no room is left")
        self.writes += name.endswith("-wal")
        if name.endswith("-wal") and self.writes in self.settings.failing_writes:
            raise OSError(errno.EIO, "a write fails")
        file.write(data, offset)
        if name.endswith("-wal"):
            self.most = max(self.most, self.size - len(file.seen) + len(file.seen.rstrip(b"\0")))

    def cut(self, name: str, length: int) -> None:
        """Set the length of a file."""
        self.change()
        self.names[name].cut(length)

    def sync(self, name: str) -> None:
        """Bring a file to the disk, or fail to, and forget that there was something to bring."""
        self.change()
        self.syncs += name.endswith("-wal")
        self.moves += name.endswith(".db")
        fails = name.endswith("-wal") and self.syncs in self.settings.failing_syncs
        if fails or (name.endswith(".db") and self.moves in self.settings.failing_moves):
            self.names[name].pending.clear()
            raise OSError(errno.EIO, "a sync fails")
        self.names[name].sync()

    def sync_names(self) -> None:
        """Bring the directory to the disk."""
        self.change()
        self.safe_names = dict(self.names)

    def is_full(self, more: int) -> bool:
        """Whether there is no room for so many bytes more."""
        room, refusals = self.settings.room, self.settings.refusals
        if not room or 0 < refusals <= self.refused:
            return False
        return more + self.size > room

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(len(file.seen) for file in self.names.values())

    def fail(self) -> None:
        """Cut the power: write what stands on the disk to the image."""
        if self.is_dead:
            return
        self.is_dead = True
        image, chance = Path(self.settings.image), random.Random(self.settings.seed)
        image.mkdir()
        for name, file in self.safe_names.items():
            if self.settings.keeps:
                file.keep(iter([sector for sector in file.pending if chance.random() < 0.5]))
            (image / name).write_bytes(file.safe)
        counts = {
            "changes": self.changes,
            "syncs": self.syncs,
            "moves": self.moves,
            "writes": self.writes,
            "most": self.most,
        }
        image.with_name("counts").write_text(json.dumps(counts))


class Served(mfusepy.Operations):
    """What the kernel asks of a disk."""

    use_ns = True

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._made_at = time.time_ns()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        mode, size = stat.S_IFDIR | 0o755, 0
        if path != "/":
            if path[1:] not in self._disk.names:
                raise OSError(errno.ENOENT, "no such file")
            mode, size = stat.S_IFREG | 0o644, len(self._disk.names[path[1:]].seen)
        owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._made_at)
        return {"st_mode": mode, "st_nlink": 1, "st_size": size, **owner, **times}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._disk.names]

    def create(self, path: str, mode: int, fi: object = None) -> int:
        self._disk.create(path[1:])
        return 0

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._disk.check()
        return bytes(self._disk.names[path[1:]].seen[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._disk.write(path[1:], data, offset)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._disk.cut(path[1:], length)
        return 0

    def unlink(self, path: str) -> int:
        self._disk.remove(path[1:])
        return 0

    def rename(self, old: str, new: str) -> int:
        self._disk.rename(old[1:], new[1:])
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._disk.sync(path[1:])
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._disk.sync_names()
        return 0

    def destroy(self, path: str) -> None:
        self._disk.fail()


if __name__ == "__main__":
    disk = Disk(Settings(**json.loads(sys.argv[2])))
    mfusepy.FUSE(Served(disk), sys.argv[1], foreground=True, nothreads=True, fsname="forgetful")
