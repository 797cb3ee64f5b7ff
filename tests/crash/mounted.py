"""Mounting a disk that forgets (``forgetful.py``) for a test."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

FORGETFUL: Final = Path(__file__).with_name("forgetful.py")
PATIENCE: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A disk that forgets.

    Attributes:
        folder: Where programs see it.
        image: Where what stood on it is found after the power has failed, or it was unmounted.
    """

    folder: Path
    image: Path

    @property
    def database(self) -> Path:
        """The database on it, as long as it is mounted."""
        return self.folder / "runs.db"

    @property
    def left(self) -> Path:
        """The database that is left of it."""
        return self.image / "runs.db"

    @property
    def counts(self) -> dict[str, int]:
        """How many changes it saw, how many syncs and writes of the log, and how long it got with that."""
        return json.loads(self.image.with_name("counts").read_text())


def require_fuse() -> None:
    """Skip where no file system can be served from here."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here: no file system can be served for a power cut")
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as error:
        pytest.skip(f"no file system can be served for a power cut: {error}")


@contextmanager
def mounted(home: Path, **settings: Any) -> Generator[Mount]:
    """Mount a disk in a new folder, and cut its power at the end at the latest."""
    require_fuse()
    folder = home / "disk"
    folder.mkdir(parents=True)
    mount = Mount(folder=folder, image=home / "image")
    told = json.dumps({"image": str(mount.image), **settings})
    server = subprocess.Popen([sys.executable, str(FORGETFUL), str(folder), told])
    try:
        _wait_mounted(server, folder)
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", str(folder)], check=False)
        try:
            server.wait(PATIENCE)
        finally:
            server.kill()


def _wait_mounted(server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not folder.is_mount():
        if server.poll() is not None:
            pytest.skip("mounting a file system is not permitted here; mfusepy has said why")
        assert time.monotonic() < until, "the file system was not mounted"
        os.sched_yield()
