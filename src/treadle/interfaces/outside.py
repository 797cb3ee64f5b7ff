"""What the outside world must offer: the time, models, indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from treadle.budget import Price
from treadle.messages import Delta, Message, ModelRequest, ModelResponse


class Clock(Protocol):
    """The time, so that tests can make it jump."""

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return once ``now()`` has reached the moment; a cancellation point in any case."""
        ...


@runtime_checkable
class TimeoutClock(Clock, Protocol):
    """A clock that timeouts of attempts go by too; with any other they go by the event loop's time."""

    async def time_out_at(self, moment: float) -> None:
        """Return once ``now()`` has reached the moment while what is timed went on in vain."""
        ...


@runtime_checkable
class Model(Protocol):
    """A thing that completes messages: one request in, one response out.

    An implementation sends one request for each call and never retries by itself: the engine owns
    retries, so that every request is held, settled and recorded.
    """

    @property
    def name(self) -> str:
        """The provider's name for it, such as ``"gpt-5-mini"``."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it, in OpenTelemetry's words: ``"openai"``, ``"anthropic"``, ..."""
        ...

    @property
    def price(self) -> Price | None:
        """What it costs, or ``None`` where nobody knows."""
        ...

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request.

        Raises:
            ProviderError: No answer came; the subclass says why, ``retryable`` whether to try again.
        """
        ...

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """The most input tokens that these messages of a request can be counted as, or ``None``.

        ``None`` says that a part of them has no bound, such as a picture; a budget of money or tokens
        then refuses the request.

        UTF-8 bytes plus the provider's documented overheads: a byte-level tokenizer never makes more
        tokens than bytes.  Called with the whole conversation, or with the part after the last
        response, whose own count is then added by the caller.  ``request`` gives tools and output
        form, whose text counts when ``messages`` is the whole conversation.
        """
        ...


@runtime_checkable
class StreamingModel(Model, Protocol):
    """A model that can also give its answer while it writes it."""

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, and give the same response that ``complete`` gives.

        Args:
            request: What to ask.
            each: Is told each piece as it comes; it returns at once and never raises.

        Raises:
            ProviderError: No whole answer came, whatever pieces did.
        """
        ...


class HedgedModel(Model, Protocol):
    """A model whose requests are sent a second time where the first takes long; the engine does that."""

    @property
    def hedged(self) -> str | Model:
        """The model that is asked: a name, or an object."""
        ...

    @property
    def hedge_after(self) -> float:
        """Seconds after which the second is sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document that answers a query.

    Attributes:
        text: The words, exactly as they stand in the document.
        document: Name of the document, such as a file's path below the corpus.
        digest: SHA-256 of the whole document.
        start, end: The span of ``text`` in the document, in characters; ``end`` is exclusive.
        score: Higher is better; comparable within one answer only.
        corpus: Version of the corpus: a digest over its documents.
        title: A heading to show, or ``""``.
    """

    text: str
    document: str
    digest: str
    start: int
    end: int
    score: float
    corpus: str
    title: str = ""


class Index(Protocol):
    """Answers a query with passages."""

    async def search(self, query: str, *, k: int) -> list[Passage]:
        """Give at most ``k`` passages, best first."""
        ...
