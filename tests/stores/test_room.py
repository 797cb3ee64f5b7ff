"""The log is made longer before it has to grow: seldom, and without harm to what stands in it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import NoReturn

import apsw
import pytest

from treadle.ids import RunId
from treadle.interfaces import RunLog
from treadle.stores import SqliteStore
from treadle.testing.store_samples import RUN, completed, started

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is made."""
    return tmp_path / "runs.db"


def size_of_log(path: Path) -> int:
    """Bytes of the log of a database."""
    return Path(f"{path}-wal").stat().st_size


async def steps(log: RunLog, first: int, count: int) -> None:
    """Record some steps, each safe before the next."""
    for number in range(first, first + count):
        log.append(completed(number, "x" * 200))
        await log.flush()


async def test_the_log_is_made_longer_seldom(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    log, sizes = await store.create(started()), set[int]()
    for number in range(200):
        await steps(log, number, 1)
        sizes.add(size_of_log(path))
    assert len(sizes) < 20
    await store.aclose()


async def test_what_a_process_left_behind_in_a_log_with_room_is_all_there(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    await steps(await store.create(started()), 1, 50)
    left = tmp_path / "left.db"
    for suffix in ("", "-wal"):  # as they stand where the process is killed now
        shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
    await store.aclose()
    after = SqliteStore(str(left))
    await after.open()
    assert len(await after.read(RUN)) == 51
    assert await after.verify(RUN) == []
    await after.aclose()


async def test_two_who_write_in_turn_leave_each_others_steps_alone(path: Path) -> None:
    stores = [SqliteStore(str(path)) for _ in range(2)]
    for store in stores:
        await store.open()
    logs = [await store.create(started(RunId(f"r-{number}"))) for number, store in enumerate(stores)]
    for turn in range(60):
        await steps(logs[turn % 2], turn, 1 + turn % 7)
    for number, store in enumerate(stores):
        assert await store.verify(RunId(f"r-{number}")) == []
        await store.aclose()


async def test_the_log_of_a_database_that_was_put_in_its_place_is_left_alone(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    log = await store.create(started())
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE t (x)")
    size = size_of_log(path)
    await steps(log, 1, 200)
    assert size_of_log(path) == size
    other.close()
    await store.aclose()


@pytest.mark.parametrize("count", [1, 20, 21, 60])
async def test_a_log_that_another_program_cuts_off_is_given_room_from_its_beginning(
    path: Path, count: int
) -> None:
    store = SqliteStore(str(path))
    await store.open()
    log = await store.create(started())
    await steps(log, 1, count)
    other = apsw.Connection(str(path))
    assert other.pragma("user_version")
    other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert size_of_log(path) == 0
    await steps(log, count + 1, 3)
    assert 30 * 4120 < size_of_log(path) < 110 * 4120
    await store.aclose()


@pytest.mark.parametrize("call", ["open", "pwrite"])
async def test_where_no_room_can_be_made_the_log_grows_by_itself(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = SqliteStore(str(path))
    await store.open()
    log = await store.create(started())
    monkeypatch.setattr(f"treadle.stores.room.os.{call}", refuse)
    await steps(log, 1, 60)
    monkeypatch.undo()
    assert size_of_log(path) > 60 * 3 * 4096
    assert await store.verify(RUN) == []
    await store.aclose()
