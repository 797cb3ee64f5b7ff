"""Several runs at once, followed on a board, each to its end or to where it waits for a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio

from treadle.cli.board import Board
from treadle.engine.handle import RunHandle
from treadle.errors import TreadleError
from treadle.interfaces import RunSummary, Store
from treadle.views.table import Row, summarise

Begin = Callable[[], Awaitable[RunHandle[Any]]]
"""Starts a run, or resumes one."""

_OVER: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run to be brought to its end: how it begins, and what it is about, for the board.

    Attributes:
        refused: Makes a row of a run that cannot begin; without it, that ends all.
    """

    begin: Begin
    message: str
    refused: Callable[[TreadleError], Row] | None = None


async def perform(
    tasks: Sequence[Task], board: Board, store: Store, *, at_once: int, rows: dict[int, Row] | None = None
) -> list[Row]:
    """Bring runs to their ends, so many at once, and give a row for each, in order.

    A run that fails, or waits for a person, is a row like any other.

    Args:
        rows: Where each row is put as soon as there is one, by the number of its task: so it outlives an
            error, and a stop.

    Raises:
        TreadleError: One cannot begin and is no row, or the store cannot be written; the others are parked.
    """
    rows = {} if rows is None else rows
    waiting = iter(enumerate(tasks))
    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(at_once, len(tasks))):
                group.start_soon(_work, waiting, board, store, rows)
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors
    return [rows[number] for number in range(len(tasks))]


def refuse(run: RunSummary, message: str, error: TreadleError) -> Row:
    """Make the row of a run that cannot go on, while others do."""
    return Row(
        run_id=run.id,
        status="failed",
        message=message,
        route="",
        answer=f"cannot go on: {error}",
        models=(),
        tokens=run.spent.tokens,
        cost_usd=run.spent.usd,
        seconds=0.0,
        waits={},
    )


def _first(error: BaseException) -> BaseException:
    """The one error to show of a group: each of them ended the whole."""
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error


async def _work(
    waiting: Iterator[tuple[int, Task]], board: Board, store: Store, rows: dict[int, Row]
) -> None:
    for number, task in waiting:
        board.begin(number, task.message)
        rows[number] = await _row(task, board, store, number)
        board.end(number, rows[number])


async def _row(task: Task, board: Board, store: Store, number: int) -> Row:
    """Bring one run to its end; give what came of it."""
    try:
        handle = await task.begin()
    except TreadleError as error:
        if task.refused is None:
            raise
        return task.refused(error)
    async with anyio.create_task_group() as group:
        group.start_soon(_follow, handle, board, number)
        await finish(handle, store)
        group.cancel_scope.cancel()
    return summarise(await handle.history())


async def _follow(handle: RunHandle[Any], board: Board, number: int) -> None:
    async for recorded in handle.events():
        board.see(number, recorded.event)


async def finish(handle: RunHandle[Any], store: Store) -> None:
    """Return when the run is over, or waits and nobody has answered; how it ended stands in its history.

    Raises:
        StoreError: This process lost the run.
    """
    while (status := await handle.settled()) == "waiting":
        events = (await store.run(handle.id)).events
        if not await store.requests(handle.id):
            return
        await store.changed(handle.id, after=events)  # an answer that the engine is about to take up
    if status not in _OVER:
        await handle.result()
