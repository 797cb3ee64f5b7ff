"""What a node's code is given, and what it asks people."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, ParamSpec, Protocol, cast

from typing_extensions import TypeVar

from treadle import given
from treadle.ids import RunId
from treadle.interfaces.outside import Index
from treadle.interfaces.tools import ToolServer, ToolSession
from treadle.values import Codec, codec

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", default=Any)


@dataclass(frozen=True, slots=True, init=False)
class Ask(Generic[T]):
    """A question to a person; the answer is a ``T``, checked before the run goes on.

    A ``@human`` body returns one, and the node fills in whom it asks, by when, and the type of the
    answer.  Asked by ``ctx.ask`` inside another body, it must say them itself.

    Attributes:
        prompt: The question in words.
        show: What is shown with it: any value that pydantic can write as JSON, or ``None``.
        to: Who is asked: a person or a group, by name.
        within: Seconds in which the answer is due, or ``None`` for ever.
        answer: The type of the answer, or ``None`` where the node says it.

    Example:
        >>> Ask("May we refund 30 euros?", to="support-leads", within="4h", answer=bool).within
        14400.0

    Raises:
        ConfigurationError: The question is no text, or ``within`` no length of time.
    """

    prompt: str
    show: object
    to: str
    within: float | None
    answer: Any

    def __init__(
        self,
        prompt: str,
        *,
        show: object = None,
        to: str = "",
        within: float | str | None = None,
        answer: type[T] | None = None,
    ) -> None:
        put = object.__setattr__
        if not isinstance(cast("object", prompt), str):
            raise given.wrong("Ask", "prompt", prompt, "text", "f'May order {order.number} go?'")
        put(self, "prompt", prompt)
        put(self, "show", show)
        put(self, "to", to)
        put(self, "within", None if within is None else given.seconds("Ask", "within", within))
        put(self, "answer", answer)

    @property
    def codec(self) -> Codec[T]:
        """Reads and writes the answer.

        Raises:
            TypeError: Nothing says what type the answer has.
        """
        if self.answer is None:
            raise TypeError(f"Ask({self.prompt!r}) says no type of answer; write Ask(..., answer=bool)")
        return codec(self.answer)

    def addressed(self, *, to: str, within: float | None, answer: object) -> Ask[T]:
        """Fill in what the question leaves open."""
        return Ask(
            self.prompt,
            show=self.show,
            to=self.to or to,
            within=within if self.within is None else self.within,
            answer=cast("type[T]", answer if self.answer is None else self.answer),
        )


class Context(Protocol):
    """What a node's body is given as ``ctx``: the way to everything that is recorded."""

    @property
    def run_id(self) -> RunId: ...

    @property
    def attempt(self) -> int:
        """Which attempt at the node this is, counted from 1.

        A step has that of the body that makes it: another try at a step is no other attempt.
        """
        ...

    @property
    def idempotency_key(self) -> str:
        """A key for the outside world: the same whenever this very call is made again."""
        ...

    @property
    def random(self) -> random.Random:
        """Chance that comes out the same at every resume: seeded from run, node and attempt.

        Tasks that a body runs side by side share it, and the time: draw before you start them, or in
        steps of their own, for which of them comes first is up to the event loop.
        """
        ...

    def now(self) -> datetime:
        """The time as this body first saw it: recorded, so a resumed body reads the same."""
        ...

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell people how far the body is; ``fraction`` is between 0 and 1."""
        ...

    def resource(self, kind: type[R]) -> R:
        """Give the engine's resource of a type, such as a database pool (``Engine(resources=)``)."""
        ...

    async def step(self, node: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call another node as a recorded step: once it has returned, it never runs again.

        A graph can be called too: each of its nodes is a step inside this one.
        """
        ...

    async def ask(self, question: Ask[T]) -> T:
        """Ask a person, as ``@human`` does; costs nothing while it waits, and survives the process."""
        ...

    async def index(self, index: str | Index) -> Index:
        """Open an index: a path is opened once for each engine, an object given back as it is."""
        ...

    async def session(self, server: ToolServer) -> ToolSession:
        """Give the run's session with a program that offers tools: opened once for a run, closed with it.

        Raises:
            ToolUnavailable: It cannot be reached.
        """
        ...
