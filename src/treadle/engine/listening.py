"""Who listens to answers while they are written: pieces go to listeners here, never to the history.

A request is streamed only where somebody listens to its run when it is sent; the history is the same
either way, because a stream ends in the very response that comes at once otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio

from treadle.events import Event, MoneySettled, Recorded, RunEnded
from treadle.ids import NodeId, RunId, StepId
from treadle.messages import Delta, Piece

Each = Callable[[Delta], None]


class Listener:
    """What one listener has not taken yet.

    Pieces of one text that wait for a slow listener are joined, so what waits is never more than the
    answers themselves.

    Attributes:
        is_over: Whether the run has ended.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._early: list[_Waiting] = []
        self._late: list[_Waiting] = []
        self._news = anyio.Event()

    def hear(self, piece: Piece) -> None:
        """Take a piece in."""
        if self._late and self._late[-1].goes_on(piece):
            self._late[-1].texts.append(piece.delta.text)
        else:
            self._late.append(_Waiting(piece))
        self._news.set()

    async def wait(self) -> None:
        """Return when something waits."""
        await self._news.wait()

    def begin(self) -> None:
        """The history is about to be read: what waits now was told before anything read is newer."""
        self._early, self._late = [*self._early, *self._late], []
        self._news = anyio.Event()

    def among(self, events: Sequence[Recorded]) -> Iterator[Recorded | Piece]:
        """The events that were read, with what was told in its place among them.

        All pieces of a request stand before the event that settles it.  What else was told before the
        reading began follows the events: what its requests were held by is among them.
        """
        for recorded in events:
            yield from self._before(recorded.event)
            self.is_over = isinstance(recorded.event, RunEnded)
            yield recorded
        early, self._early = self._early, []
        yield from (waiting.whole() for waiting in early)

    def _before(self, event: Event) -> list[Piece]:
        if not isinstance(event, MoneySettled):
            return []
        key = (event.node, event.attempt, event.step, event.request)
        found = [waiting.whole() for waiting in (*self._early, *self._late) if waiting.key == key]
        self._early = [waiting for waiting in self._early if waiting.key != key]
        self._late = [waiting for waiting in self._late if waiting.key != key]
        return found


class Pieces:
    """The listeners of an engine, by run."""

    def __init__(self) -> None:
        self._listeners: dict[RunId, list[Listener]] = {}

    @contextmanager
    def listen(self, run_id: RunId) -> Generator[Listener]:
        """Listen to a run for as long as the block lasts."""
        listener = Listener()
        self._listeners.setdefault(run_id, []).append(listener)
        try:
            yield listener
        finally:
            others = self._listeners[run_id]
            others.remove(listener)
            if not others:
                del self._listeners[run_id]

    def teller(self, run_id: RunId, node: NodeId, attempt: int, step: StepId, request: int) -> Each | None:
        """What tells the pieces of one request; ``None`` where nobody listens."""
        if run_id not in self._listeners:
            return None

        def tell(delta: Delta) -> None:
            piece = Piece(node=node, attempt=attempt, step=step, request=request, delta=delta)
            for listener in self._listeners.get(run_id, ()):
                listener.hear(piece)

        return tell


class _Waiting:
    """Pieces of one text, joined when they are taken."""

    __slots__ = ("first", "key", "texts")

    def __init__(self, piece: Piece) -> None:
        self.first = piece
        self.key: tuple[Any, ...] = (piece.node, piece.attempt, piece.step, piece.request)
        self.texts = [piece.delta.text]

    def goes_on(self, piece: Piece) -> bool:
        """Whether a piece is more of the same text."""
        first, delta = self.first.delta, piece.delta
        same = (first.kind, first.index) == (delta.kind, delta.index) and not delta.name
        return same and self.key == (piece.node, piece.attempt, piece.step, piece.request)

    def whole(self) -> Piece:
        """All of it as one piece."""
        first = self.first
        delta = Delta(
            kind=first.delta.kind,
            text="".join(self.texts),
            index=first.delta.index,
            name=first.delta.name,
        )
        return Piece(
            node=first.node, attempt=first.attempt, step=first.step, request=first.request, delta=delta
        )
