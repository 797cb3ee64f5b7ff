"""The writer's thread: what it is given, when it begins, and who waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from treadle.errors import StoreUnavailable
from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.stores.bell import Waiter
from treadle.stores.writer import Job, Stop, Writer
from treadle.testing.store_samples import completed, started


class Noting:
    """A database that notes what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[Job]] = []
        self.has_come = threading.Event()

    def commit(self, jobs: Sequence[Job]) -> list[Waiter]:
        """Note the jobs."""
        self.batches.append([job for job in jobs if not isinstance(job, Stop)])
        self.has_come.set()
        return []

    def rest(self) -> None:
        """Nothing is to be tidied up."""

    def give_up(self, error: Exception) -> list[Waiter]:
        """Nobody waits for anything but jobs."""
        return []

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.anyio
async def test_a_job_that_nobody_waits_for_is_done_too() -> None:
    database, job = Noting(), Job()
    writer = Writer(database, "a test")
    writer.start()
    for _ in range(2):  # the second time the thread has worked, and may be asleep
        writer.put(job)
        assert await anyio.to_thread.run_sync(database.has_come.wait, 10)
        database.has_come.clear()
    await writer.stop()
    assert [one for batch in database.batches for one in batch] == [job, job]


@pytest.mark.anyio
async def test_jobs_that_tasks_queue_in_one_turn_are_one_batch() -> None:
    database, jobs = Noting(), [Job() for _ in range(20)]
    writer = Writer(database, "a test")
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(writer.do, job)
        await anyio.wait_all_tasks_blocked()
        writer.start()
    await writer.stop()
    assert len(database.batches[0]) == len(jobs)
    assert set(database.batches[0]) == set(jobs)


@pytest.mark.anyio
async def test_a_job_that_comes_while_the_thread_leaves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, check = [False, True], Writer.check

    def look(writer: Writer) -> None:
        if looks.pop(0):  # at the first look it has not left yet
            check(writer)

    writer = Writer(Noting(), "a test")
    writer.start()
    await writer.stop()
    monkeypatch.setattr(Writer, "check", look)
    with anyio.fail_after(10), pytest.raises(StoreUnavailable, match="closed"):
        await writer.do(Job())


def open_files() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


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
