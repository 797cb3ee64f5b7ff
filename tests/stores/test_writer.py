"""The bell that wakes the writer's thread, and who waits for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import pytest

from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.stores.writer import NOW, SOON, Bell, Waiter, wake
from treadle.testing.store_samples import completed, started


def test_what_was_rung_before_is_heard() -> None:
    bell = Bell()
    bell.ring(SOON)
    bell.ring(NOW)
    assert bell.listen(None) == SOON + NOW
    assert bell.listen(0.0) == b""
    bell.close()


def test_ringing_wakes_who_listens() -> None:
    bell, heard = Bell(), list[bytes]()
    thread = threading.Thread(target=lambda: heard.append(bell.listen(None)))
    thread.start()
    bell.ring(NOW)
    thread.join()
    assert heard == [NOW]
    bell.close()


def test_a_bell_nobody_listens_to_never_blocks() -> None:
    bell = Bell()
    for _ in range(100):
        bell.ring(NOW * 4096)
    assert NOW in bell.listen(None)
    bell.close()


def test_a_closed_bell_rings_into_nobodys_file(tmp_path: Path) -> None:
    bell = Bell()
    bell.close()
    bell.close()
    path = tmp_path / "other"
    file = os.open(path, os.O_RDWR | os.O_CREAT)  # may well get the number that the pipe had
    bell.ring(NOW)
    os.close(file)
    assert path.read_bytes() == b""


def open_files() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.anyio
async def test_a_waiter_that_was_cancelled_is_woken_in_vain() -> None:
    early, late = Waiter(), Waiter()
    with anyio.move_on_after(0):
        await early.wait()
    await anyio.to_thread.run_sync(wake, [early, late])
    await late.wait()


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
async def test_a_closed_store_leaves_no_file_open(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    before = open_files()
    for number in range(3):
        await store.open()
        log = await store.create(started(RunId(f"r-{number}")))
        log.append(completed(1))
        await store.aclose()
    assert open_files() <= before
