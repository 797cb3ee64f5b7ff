"""Waking tasks from a thread: through an eventfd, or through what every event loop offers."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import anyio
import pytest
from anyio.to_thread import run_sync

from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.stores.bell import Bells, Waiter, wake
from treadle.testing.store_samples import completed, started

pytestmark = pytest.mark.anyio


def no_file(*_: int) -> NoReturn:
    """Fail as where a process has no file left to open."""
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(params=["as it is", "without a file", "on another system"])
def bells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bells]:
    """Bells, under all that they may find."""
    if request.param == "without a file":
        monkeypatch.setattr(os, "eventfd", no_file, raising=False)
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

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(come())
    bells.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


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
