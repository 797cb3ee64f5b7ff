"""What the outside world must offer: the time, models, indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from treadle.budget import Price
from treadle.messages import Message, ModelRequest, ModelResponse


class Clock(Protocol):
    """The time, so that tests can make it jump."""

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return once ``now()`` has reached the moment; a cancellation point in any case."""
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

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int:
        """The most input tokens that these messages of a request can be counted as.

        UTF-8 bytes plus the provider's documented overheads: a byte-level tokenizer never makes more
        tokens than bytes.  Called with the whole conversation, or with the part after the last
        response, whose own count is then added by the caller.  ``request`` gives tools and output
        form, whose text counts when ``messages`` is the whole conversation.
        """
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
