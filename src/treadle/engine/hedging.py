"""Two requests at once for one answer: the second is sent where the first takes long."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

import anyio

from treadle.engine.failures import innermost
from treadle.errors import InternalError, ProviderError
from treadle.interfaces import HedgedModel, Model

R = TypeVar("R")


def unhedged(declared: str | Model) -> tuple[str | Model, float | None]:
    """The model that is asked, and after how many seconds a second time; ``None`` where it is not hedged."""
    if not hasattr(declared, "hedge_after"):
        return declared, None
    model = cast("HedgedModel", declared)
    return model.hedged, model.hedge_after


async def first_answer(
    first: Callable[[], Awaitable[R]],
    second: Callable[[], Awaitable[R | None]],
    *,
    is_sent: Callable[[], bool],
) -> R:
    """Give the first of two answers; the other request is cancelled, and has ended when this returns.

    Where one fails, the other is waited for, if it was sent.  Cancelling cancels both.

    Args:
        first: Sends the first request.
        second: Waits, and sends the second; ``None`` where it does without.
        is_sent: Whether the second one is on its way.

    Raises:
        ProviderError: The first one's, where both failed.
    """
    race = _Race(first, second, is_sent)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(race.run_second, tasks.cancel_scope)
            await race.run_first(tasks.cancel_scope)
    except BaseExceptionGroup as group:
        raise innermost(group) from group
    if race.answers:
        return race.answers[0]
    if race.error is None:
        raise InternalError("a hedged request ended without an answer or an error; please report this")
    raise race.error


class _Race(Generic[R]):
    """How far the two are."""

    def __init__(
        self,
        first: Callable[[], Awaitable[R]],
        second: Callable[[], Awaitable[R | None]],
        is_sent: Callable[[], bool],
    ) -> None:
        self.answers: list[R] = []
        self.error: ProviderError | None = None
        self._first = first
        self._second = second
        self._is_sent = is_sent
        self._second_has_ended = False

    async def run_first(self, scope: anyio.CancelScope) -> None:
        try:
            self.answers.append(await self._first())
        except ProviderError as error:
            self.error = error
        if self.answers or self._second_has_ended or not self._is_sent():
            scope.cancel()

    async def run_second(self, scope: anyio.CancelScope) -> None:
        answer = None
        with contextlib.suppress(ProviderError):  # its request records it; the first may still answer
            answer = await self._second()
        self._second_has_ended = True
        if answer is not None:
            self.answers.append(answer)
        if self.answers or self.error is not None:
            scope.cancel()
