"""Several processes on one database: one owner, one answer, nothing torn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from treadle.errors import OwnedElsewhere, OwnershipLost
from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.testing.store_samples import RUN, answered, asked, completed, started

pytestmark = pytest.mark.anyio
SCRIPT = str(Path(__file__).with_name("owner_process.py"))


@contextmanager
def process(path: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, SCRIPT, path, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert line(child) == "open"
        yield child
    finally:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


async def prepare(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(asked())
    await log.release()
    await store.aclose()


async def test_a_run_is_free_once_its_owner_is_killed(path: str) -> None:
    await prepare(path)
    store = SqliteStore(path)
    await store.open()
    with process(path, "hold") as child:
        assert line(child) == "owned"
        with pytest.raises(OwnedElsewhere, match=f"process {child.pid} on"):
            await store.own(RUN)
        assert (await store.run(RUN)).status == "running"
        assert f"process {child.pid}" in (await store.run(RUN)).owner
        child.kill()
        child.wait()
        assert (await store.run(RUN)).status == "pending"
        log = await store.own(RUN)
    assert log.fence == 3
    assert [r.event for r in await store.read(RUN)] == [started(), asked(), completed(1)]
    await store.aclose()


async def test_of_two_processes_one_owns_the_run(path: str) -> None:
    await prepare(path)
    with process(path, "own") as one, process(path, "own") as other:
        go(one)
        go(other)
        said = sorted([line(one), line(other)])
    assert said[0].startswith("OwnedElsewhere: run 'r-1' is owned by process")
    assert said[1] == "owned 2"


async def test_of_two_processes_one_answers(path: str) -> None:
    await prepare(path)
    store = SqliteStore(path)
    await store.open()
    log = await store.own(RUN)
    with process(path, "submit", "maria") as one, process(path, "submit", "joe") as other:
        go(one)
        go(other)
        said = sorted([line(one), line(other)])
    assert said[0].startswith("refused: the answer to question 'q-4k7d2m9c' was not taken")
    assert said[1] == "taken"
    (request,) = await store.requests()
    log.append(answered(by=request.by))
    await log.flush()
    assert await store.requests() == []
    await store.aclose()


async def test_a_change_by_another_process_is_seen(path: str) -> None:
    await prepare(path)
    store = SqliteStore(path)
    await store.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: store.changed(RUN, after=2))
        with process(path, "hold") as child, anyio.fail_after(20):
            assert await anyio.to_thread.run_sync(line, child) == "owned"
            await store.changed(RUN, after=2)
    await store.aclose()


async def test_several_processes_write_at_once(path: str) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(process(path, "write", name)) for name in "123"]
        for child in children:
            go(child)
        assert [line(child) for child in children] == ["done"] * 3
    store = SqliteStore(path)
    await store.open()
    for name in ("r-1", "r-2", "r-3"):
        assert len(await store.read(RunId(name))) == 51
        assert await store.verify(RunId(name)) == []
    await store.aclose()


async def test_an_overtaken_owner_can_append_nothing(path: str) -> None:
    await prepare(path)
    old, new = SqliteStore(path), SqliteStore(path)
    await old.open()
    await new.open()
    log = await old.own(RUN)
    # What the lock normally prevents: somebody has removed the lock file by hand.
    assert old._parts is not None
    old._parts.locks.give(log.number)
    taken = await new.own(RUN)
    taken.append(completed(1))
    await taken.flush()
    log.append(completed(2))
    with pytest.raises(OwnershipLost, match="another owner"):
        await log.flush()
    assert len(await new.read(RUN)) == 3
    await old.aclose()
    await new.aclose()


async def test_an_overtaken_process_can_append_nothing_before_the_new_owner_has_either(path: str) -> None:
    await prepare(path)
    with process(path, "append") as child:
        assert line(child) == "owned"
        await anyio.Path(f"{path}-locks").unlink()  # by hand: the lock of the owner is gone with it
        store = SqliteStore(path)
        await store.open()
        log = await store.own(RUN)
        go(child)
        assert line(child).startswith("OwnershipLost: run 'r-1' has another owner by now")
    log.append(completed(1))
    await log.flush()
    assert [r.event for r in await store.read(RUN)] == [started(), asked(), completed(1)]
    await store.aclose()


async def test_two_stores_of_one_process_exclude_each_other(path: str) -> None:
    await prepare(path)
    one, other = SqliteStore(path), SqliteStore(path)
    await one.open()
    await other.open()
    log = await one.own(RUN)
    with pytest.raises(OwnedElsewhere):
        await other.own(RUN)
    await other.aclose()  # must not drop the lock of the first: POSIX locks go with any descriptor
    with process(path, "own") as child:
        go(child)
        assert line(child).startswith("OwnedElsewhere")
    await log.release()
    await one.aclose()


FORKING = """
import os, sys, anyio
from treadle.stores import SqliteStore
from treadle.errors import StoreError
from treadle.testing.store_samples import RUN, completed

async def child(store, log):
    for use in (log.append, store.read, store.own):
        try:
            await use(completed(1) if use == log.append else RUN)
        except StoreError as error:
            print(error, flush=True)
    sys.stdin.readline()

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    log = await store.own(RUN)
    if os.fork() == 0:
        await child(store, log)
    os._exit(0)

anyio.run(main)
"""


async def test_a_forked_child_neither_holds_nor_uses_what_its_parent_opened(path: str) -> None:
    await prepare(path)
    command = [sys.executable, "-W", "ignore", "-c", FORKING, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - it lives for as long as the test
        said = [line(parent) for _ in range(3)]
        parent.wait()  # the child lives on
        assert all("opened before the process forked" in words for words in said)
        store = SqliteStore(path)
        await store.open()
        assert (await store.own(RUN)).fence == 3
        await store.aclose()
        go(parent)
