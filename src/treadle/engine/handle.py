"""``RunHandle``: a run, as the process that started or resumed it sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Final, Generic, Literal, Protocol, TypeVar, cast, overload

import anyio
from anyio.lowlevel import checkpoint

from treadle.engine.listening import Listener, Pieces
from treadle.engine.tracked import AT_REST, FINAL, Status, Tracked
from treadle.events import Recorded, RunEnded
from treadle.ids import RunId
from treadle.interfaces import Store
from treadle.messages import Piece

R = TypeVar("R", covariant=True)

STOPPED_WITHIN: Final = 1.0
"""Seconds that somebody who leaves a run he is attached to waits for it to be gone."""


class Heard(Protocol):
    """Where answers are heard while they are written."""

    @property
    def pieces(self) -> Pieces: ...


class Home(Protocol):
    """What a handle needs of its engine."""

    @property
    def services(self) -> Heard: ...

    @property
    def store(self) -> Store: ...

    async def flush(self, run_id: RunId) -> None: ...

    async def cancel(self, run_id: str, *, by: str = "", reason: str = "") -> None: ...


class RunHandle(Generic[R]):
    """A run, as the process that started or resumed it sees it.

    It stays valid while the run waits for people, and after the run has ended.
    """

    def __init__(self, engine: Home, tracked: Tracked) -> None:
        self._engine = engine
        self._tracked = tracked

    @property
    def id(self) -> RunId:
        """The run's id."""
        return RunId(self._tracked.run_id)

    @property
    def status(self) -> Status:
        """``pending``, ``running``, ``waiting``, ``completed``, ``failed`` or ``cancelled``."""
        return self._tracked.status

    async def result(self) -> R:
        """Give the run's result, waiting for it, and for people, as long as it takes.

        Cancelling the caller leaves the run alone.

        Raises:
            NodeFailed: A node's own code raised; the original error is the cause.
            RunError, ProviderError: Another reason the run failed, by its own class.
            RunCancelled: Somebody cancelled it.
            StoreError: This process lost the run; what is recorded is intact, resume it.
        """
        tracked = self._tracked
        while tracked.status not in FINAL and not tracked.is_lost:
            await tracked.wait_change()
        if tracked.error is not None:
            raise tracked.error
        return cast("R", tracked.value)

    async def settled(self) -> Status:
        """Return once the run has ended or waits for people, and say which.

        Other tasks get their turn first, so that a caller who asks again and again holds nobody up.
        """
        await checkpoint()
        tracked = self._tracked
        while tracked.status not in AT_REST and not tracked.is_lost:
            await tracked.wait_change()
        return tracked.status

    @property
    def questions(self) -> tuple[str, ...]:
        """Ids of the questions the run waits for, while it waits."""
        return self._tracked.questions

    @overload
    def events(self, after: int = 0) -> AsyncGenerator[Recorded]: ...
    @overload
    def events(self, after: int = 0, *, pieces: Literal[True]) -> AsyncGenerator[Recorded | Piece]: ...

    def events(self, after: int = 0, *, pieces: bool = False) -> AsyncGenerator[Recorded | Piece]:
        """Give the run's events once they are safely recorded, from one on, until it ends.

        Where another process works on the run, they are given as soon as it has committed them.
        Who stops listening leaves nothing behind, and the run goes on; see ``attached``.

        Args:
            after: The ``seq`` of the last event that is known already.
            pieces: Give what models write while they write it, too, as ``Piece``s between the events:
                those of a request after its ``MoneyHeld`` and before its ``MoneySettled``.  They are of
                requests sent by this process from now on, and are not recorded.

        Raises:
            StoreError, RunError: This process lost the run; what it had recorded was given.

        Example::

            async for item in handle.events(pieces=True):
                if isinstance(item, Piece) and item.delta.kind == "text":
                    print(item.delta.text, end="", flush=True)
        """
        return self._events_and_pieces(after) if pieces else self._events(after)

    async def _events(self, after: int) -> AsyncGenerator[Recorded]:
        tracked = self._tracked
        while True:
            is_lost = tracked.is_lost
            for recorded in await self._read(after):
                after = recorded.seq
                yield recorded
                if isinstance(recorded.event, RunEnded):
                    return
            if is_lost and tracked.error is not None:
                raise tracked.error
            await self._wait_for_more(after)

    async def _events_and_pieces(self, after: int) -> AsyncGenerator[Recorded | Piece]:
        with self._engine.services.pieces.listen(self.id) as heard:
            async with aclosing(self._heard(after, heard)) as items:
                async for item in items:
                    yield item

    async def _heard(self, after: int, heard: Listener) -> AsyncGenerator[Recorded | Piece]:
        tracked = self._tracked
        while True:
            is_lost = tracked.is_lost
            heard.begin()
            for item in heard.among(await self._read(after)):
                yield item
                if isinstance(item, Recorded):
                    after = item.seq
            if tracked.error is not None and is_lost:
                raise tracked.error
            if heard.is_over:
                return
            await self._wait_for_more(after, heard)

    async def _read(self, after: int) -> list[Recorded]:
        """The events after one, safely recorded."""
        listed = await self._engine.store.read(self.id, after=after)
        if listed:
            await self._engine.flush(self.id)
        return listed

    @overload
    def attached(self, after: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Recorded]]: ...
    @overload
    def attached(
        self, after: int = 0, *, pieces: Literal[True]
    ) -> AbstractAsyncContextManager[AsyncIterator[Recorded | Piece]]: ...

    def attached(
        self, after: int = 0, *, pieces: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[Recorded | Piece]]:
        """Give the run's events to somebody for whom alone it runs: who leaves cancels it.

        Left before the run has ended (by an exception, a cancellation, a ``break``), the block returns
        once nothing of the run is left, or after a second, where bodies do not let go.

        Args:
            after: The ``seq`` of the last event that is known already.
            pieces: Give what models write while they write it, too; see ``events``.

        Example::

            async with handle.attached() as events:     # the browser has gone: so has the run
                async for recorded in events:
                    await response.send(recorded.event)
        """
        return self._attached(self._events_and_pieces(after) if pieces else self._events(after))

    @asynccontextmanager
    async def _attached(
        self, items: AsyncGenerator[Recorded | Piece]
    ) -> AsyncGenerator[AsyncIterator[Recorded | Piece]]:
        try:
            async with aclosing(items):
                yield items
        finally:
            with anyio.move_on_after(STOPPED_WITHIN, shield=True):
                await self._leave()

    async def _leave(self) -> None:
        """Cancel the run, unless it is over, and return once nothing of it is left here."""
        tracked = self._tracked
        if tracked.status not in FINAL and not tracked.is_lost:
            await self.cancel(by="attached", reason="whoever it ran for has gone")
        while tracked.status not in FINAL and not tracked.is_lost:
            await tracked.wait_change()

    async def _wait_for_more(self, after: int, heard: Listener | None = None) -> None:
        """Return when the run has another event or piece, or this process has lost it."""

        async def watch(scope: anyio.CancelScope) -> None:
            while not self._tracked.is_lost:
                await self._tracked.wait_change()
            scope.cancel()

        async def listen(heard: Listener, scope: anyio.CancelScope) -> None:
            await heard.wait()
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            if heard is not None:
                group.start_soon(listen, heard, group.cancel_scope)
            await self._engine.store.changed(self.id, after=after)
            group.cancel_scope.cancel()

    async def history(self) -> list[Recorded]:
        """Give all events recorded so far."""
        await self._engine.flush(self.id)
        return await self._engine.store.read(self.id)

    async def cancel(self, *, by: str = "", reason: str = "") -> None:
        """Ask for the run to be cancelled; return once that is safely recorded."""
        await self._engine.cancel(self.id, by=by, reason=reason)
