"""Graphs to crash, in processes of their own.

``python worker.py`` reads orders from standard input, one JSON line each, and carries each out in a forked
child, which starts the run or takes it up, answers whatever it asks people, and notes what it was
told is safe.  For each it prints the child's number and, later, how it ended: ``{"signal": 9}``, or
``{"code": 0}``.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from pydantic_core import to_json

sys.path.insert(0, str(Path(__file__).parent))

from graphs import CASES, STEADY
from graphs.case import Case, Till

from treadle import Engine
from treadle.engine.handle import RunHandle
from treadle.errors import StoreError
from treadle.interfaces import Question
from treadle.stores import SqliteStore
from treadle.stores.transaction import SqliteDatabase
from treadle.stores.writer import Job

RUN: Final = "r-crash"
PATIENCE: Final = 30.0

PRELOADED: Final = ("trio", "docstring_parser", "anyio._backends._asyncio", "anyio._backends._trio")
"""What a child would else import after its fork."""

_PR_SET_PTRACER: Final = 0x59616D61
_ANYBODY: Final = ctypes.c_ulong(-1)


@dataclass(frozen=True, kw_only=True)
class Order:
    """One process.

    Attributes:
        case: Which graph.
        database, till, told: Files; ``told`` is where it notes what it was told is safe.
        stops: Whether it stops itself first, so that somebody can attach to it.
        syncs: Whether flushes reach the disk; without, the store never does more than write.
        tries: How often it takes the run up after its store has failed.
    """

    case: str
    database: str
    till: str
    told: str
    backend: str = "asyncio"
    stops: bool = False
    syncs: bool = True
    tries: int = 1


class Told:
    """Notes what this process was told is safe, outside of the disk that may fail."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, kind: str, *what: object) -> None:
        os.write(self._file, to_json([kind, *what]) + b"\n")


async def within_patience(order: Order) -> None:
    """Work, and give up where nothing comes of it."""
    with anyio.fail_after(PATIENCE):
        await work(order, Told(order.told))


async def work(order: Order, told: Told) -> None:
    """Start the run or take it up, and answer people's questions until it ends.

    Where its store fails, the engine goes on, and takes the run up as often as was ordered.
    """
    case, till = {**CASES, **STEADY}[order.case], Till(order.till)
    if not order.syncs:
        SqliteDatabase._must_sync = _never  # type: ignore[method-assign]  # the control: nothing is ever synced
    async with Engine(SqliteStore(order.database), resources=[till]) as engine:
        for left in reversed(range(order.tries)):
            try:
                await drive(engine, case, till, told)
            except* StoreError as errors:
                told("failed", *leaves(errors))
                if not left:
                    raise
            else:
                return


def leaves(error: BaseException) -> list[str]:
    """What failed, in words."""
    if not isinstance(error, BaseExceptionGroup):
        return [f"{type(error).__name__}: {error}"]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def _never(self: SqliteDatabase, jobs: Sequence[Job]) -> bool:
    return False


async def drive(engine: Engine, case: Case, till: Till, told: Told) -> None:
    """Bring the run to its end."""
    handle = await engine.start(case.graph(till), *case.args, run_id=RUN)
    told("started")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, handle, told)
        while await handle.settled() == "waiting":
            questions = await engine.questions(run_id=RUN)
            if not questions:
                await anyio.sleep(0.05)  # its store could not be read or written: the engine tries again
            for question in questions:
                value = answer(case, till, question)
                await engine.answer(question.id, value, by="maria", opening=question.opening)
                told("answered", question.id, question.opening)
        told("result", await handle.result())
        tasks.cancel_scope.cancel()


async def follow(handle: RunHandle[object], told: Told) -> None:
    """Note every event that is shown; the store's failure is told by who waits for the result."""
    with suppress(StoreError):
        async for recorded in handle.events():
            told("event", recorded.seq, recorded.hash)


def answer(case: Case, till: Till, question: Question) -> object:
    """What the person says, who looks into the till where an effect is in doubt."""
    return till.settle(question) if question.about == "doubt" else case.answer(question)


def main() -> None:
    """Take orders until standard input closes."""
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            perform(order)
        print(json.dumps(child), flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"signal": -code} if code < 0 else {"code": code}), flush=True)


def perform(order: Order) -> None:
    """Be the child: whatever happens, never return to the loop above."""
    code = 1
    Path(order.told).with_name("process").write_text(str(os.getpid()))
    try:
        if order.stops:
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        anyio.run(within_patience, order, backend=order.backend)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
