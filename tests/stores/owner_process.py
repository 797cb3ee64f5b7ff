"""A process that owns runs, for tests: ``python owner_process.py DATABASE VERB [ARGUMENT]``."""

from __future__ import annotations

import sys

import anyio

from treadle.errors import QuestionError, TreadleError
from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.testing.store_samples import RUN, answer, completed, started


async def hold(store: SqliteStore, _argument: str) -> None:
    """Own the run, say so, and go on until somebody ends this process."""
    log = await store.own(RUN)
    log.append(completed(1))
    await log.flush()
    print("owned", flush=True)
    await anyio.sleep_forever()


async def own(store: SqliteStore, argument: str) -> None:
    """Try to own the run, and say how it went."""
    await anyio.to_thread.run_sync(sys.stdin.readline)
    try:
        log = await store.own(RUN)
    except TreadleError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    else:
        print(f"owned {log.fence}", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)


async def append(store: SqliteStore, argument: str) -> None:
    """Own the run, append to it when told, and say how it went."""
    log = await store.own(RUN)
    print("owned", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    log.append(completed(2))
    try:
        await log.flush()
        print("appended", flush=True)
    except TreadleError as error:
        print(f"{type(error).__name__}: {error}", flush=True)


async def submit(store: SqliteStore, by: str) -> None:
    """Answer the question, and say how it went."""
    await anyio.to_thread.run_sync(sys.stdin.readline)
    try:
        await store.submit(answer(by=by))
        print("taken", flush=True)
    except QuestionError as error:
        print(f"refused: {error}", flush=True)


async def write(store: SqliteStore, argument: str) -> None:
    """Write a run of its own, every event flushed."""
    await anyio.to_thread.run_sync(sys.stdin.readline)
    log = await store.create(started(RunId(f"r-{argument}")))
    for number in range(50):
        log.append(completed(number, "x" * 500))
        await log.flush()
    print("done", flush=True)


async def main(path: str, verb: str, argument: str = "") -> None:
    store = SqliteStore(path)
    await store.open()
    print("open", flush=True)
    verbs = {"hold": hold, "own": own, "append": append, "submit": submit, "write": write}
    await verbs[verb](store, argument)
    await store.aclose()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
