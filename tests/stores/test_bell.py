"""Waking tasks from a thread: through an eventfd, or through what every event loop offers."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import anyio
import pytest
from anyio.to_thread import run_sync

from treadle.errors import StoreError, TreadleError
from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.stores.bell import Bells, Waiter, wake
from treadle.stores.transaction import SqliteDatabase
from treadle.testing.store_samples import RUN, completed, started

pytestmark = pytest.mark.anyio


def no_file(*_: int) -> NoReturn:
    """Fail as where a process has no file left to open."""
    raise OSError(errno.EMFILE, "Too many open files")


def open_files() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def join_writers() -> None:
    """Wait until the threads of all stores have ended."""
    for thread in threading.enumerate():
        if thread.name.startswith("treadle writer"):
            thread.join(10)


async def follow(store: SqliteStore) -> None:
    """Wait for a run to get on, until that is refused."""
    with pytest.raises(TreadleError):
        await store.changed(RUN, after=99)


@pytest.fixture(params=["as it is", "without a file", "with too many files", "on another system"])
def bells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bells]:
    """Bells, under all that they may find."""
    if request.param == "without a file":
        monkeypatch.setattr(os, "eventfd", no_file, raising=False)
    if request.param == "with too many files":
        monkeypatch.setattr("treadle.stores.bell._SELECTABLE", 0)
    if request.param == "on another system":
        monkeypatch.setattr("treadle.stores.bell._HAS_EVENTFD", False)
    found = Bells()
    yield found
    found.close()


async def test_tasks_go_on_when_a_thread_wakes_them(bells: Bells) -> None:
    waiters = [Waiter(bells.here()) for _ in range(3)]
    await run_sync(wake, waiters)
    for waiter in waiters:
        await waiter.wait()


async def test_a_waiter_that_was_cancelled_is_woken_in_vain(bells: Bells) -> None:
    early, late = Waiter(bells.here()), Waiter(bells.here())
    with anyio.move_on_after(0):
        await early.wait()
    await run_sync(wake, [early, late])
    await late.wait()


async def test_who_was_woken_before_the_bell_was_let_go_of_goes_on(bells: Bells) -> None:
    waiter = Waiter(bells.here())
    rings = threading.Thread(target=wake, args=([waiter],))
    rings.start()
    rings.join()
    bells.close()
    await waiter.wait()


def test_an_event_loop_that_has_ended_is_rung_in_vain(bells: Bells) -> None:
    async def come() -> Waiter:
        return Waiter(bells.here())

    wake([asyncio.run(come())])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_the_file_of_an_event_loop_that_has_ended_is_closed(bells: Bells) -> None:
    async def come() -> None:
        bells.here()

    before = open_files()
    asyncio.run(come())
    bells.close()
    assert open_files() <= before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_a_store_that_stays_open_keeps_no_file_for_each_event_loop_that_has_ended(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    before = open_files()

    async def record(number: int) -> None:
        await store.open()
        await store.create(started(RunId(f"r-{number}")))

    for number in range(20):
        asyncio.run(record(number))
    asyncio.run(store.aclose())
    gc.collect()
    assert open_files() <= before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_a_store_whose_closing_is_cancelled_leaves_no_file_open(tmp_path: Path) -> None:
    async def give_up_closing() -> None:
        store = SqliteStore(str(tmp_path / "runs.db"))
        await store.open()
        await store.create(started())
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])

    before = open_files()
    asyncio.run(give_up_closing())
    join_writers()
    gc.collect()
    assert open_files() <= before


async def test_who_follows_a_run_while_the_store_is_closed_is_told(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    await store.open()
    await store.create(started())
    async with anyio.create_task_group() as group:
        group.start_soon(follow, store)
        await anyio.wait_all_tasks_blocked()
        await store.aclose()


async def test_who_waits_when_the_writer_dies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    await store.open()
    log = await store.create(started())
    monkeypatch.setattr(SqliteDatabase, "commit", lambda *_: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(follow, store)
            await anyio.wait_all_tasks_blocked()
            log.append(completed(1))
            await log.drained(1)
    with pytest.raises(StoreError, match="has stopped"):
        log.append(completed(2))
    join_writers()


def test_an_event_loop_that_listens_to_no_files_wakes_its_tasks_too() -> None:
    class Deaf(asyncio.SelectorEventLoop):
        """An event loop as it may be: ``add_reader`` is not for every one."""

        def add_reader(self, *_: object) -> NoReturn:
            raise NotImplementedError

    async def wait() -> None:
        waiter = Waiter(Bells().here())
        await run_sync(wake, [waiter])
        await asyncio.wait_for(waiter.wait(), 10)

    with asyncio.Runner(loop_factory=Deaf) as runner:
        runner.run(wait())


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="the system has no eventfd")
def test_a_handler_of_signals_that_raises_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    read, bells = os.eventfd_read, Bells()

    def interrupted(file: int) -> NoReturn:
        read(file)
        raise KeyboardInterrupt

    async def wait() -> Waiter:
        waiter = Waiter(bells.here())
        threading.Thread(target=wake, args=([waiter],)).start()
        await waiter.wait()
        return waiter

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        monkeypatch.setattr(os, "eventfd_read", interrupted)
        task = loop.create_task(wait())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, 10))


async def test_two_event_loops_read_from_one_store_at_once(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    await store.open()
    await store.create(started())

    async def read() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(read_often)

    async def read_often() -> None:
        for _ in range(50):
            await store.run(RUN)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run_sync, anyio.run, read)
            await read()
    await store.aclose()


async def test_one_store_serves_two_event_loops_at_once(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    await store.open()

    async def record(run_id: str) -> None:
        log = await store.create(started(RunId(run_id)))
        for number in range(1, 20):
            log.append(completed(number))
            await log.flush()

    async with anyio.create_task_group() as group:
        group.start_soon(run_sync, anyio.run, record, "there")
        group.start_soon(record, "here")
    assert {run.events for run in await store.runs()} == {20}
    await store.aclose()
