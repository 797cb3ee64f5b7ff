"""The sockets: what a model, an index, a store, a clock and a body's context must offer.

Each is as narrow as it can be, so that a fake of it is short and a new one is one file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, ParamSpec, Protocol, cast, runtime_checkable

from typing_extensions import TypeVar

from treadle import durations
from treadle.budget import Amounts, Price
from treadle.events import Event, Recorded, RunStarted
from treadle.ids import QuestionId, RunId
from treadle.messages import Message, ModelRequest, ModelResponse
from treadle.values import Codec, Payload, codec

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", default=Any)


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


class Passages(Protocol):
    """What an index gives: see ``treadle.retrieval.Passage``."""

    def __len__(self) -> int: ...


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


class Span(Protocol):
    """A timed operation in a trace.  Times are given by the caller, in seconds since 1970."""

    @property
    def traceparent(self) -> str:
        """W3C trace context under which other spans, of other processes too, belong to this one."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Around a body: spans that the user's own code opens belong to this one."""
        ...

    def step(self, *, kind: str, name: str, step: str, at: float) -> Span:
        """Open the span of a call inside this one's body; ``kind`` is the callee's."""
        ...

    def model(self, *, model: Model, request: ModelRequest, number: int, at: float) -> ModelSpan:
        """Open the span of one request to a model; ``number`` counts those of its step, from 1."""
        ...

    def end(self, *, at: float, error: str = "", status: str = "") -> None:
        """Close it.

        Args:
            at: When it ended.
            error: Qualified name of the error's class; ``""`` where there is none: a pause is none.
            status: How it ended in one word, such as ``"waiting"`` or ``"cancelled"``.
        """
        ...


class ModelSpan(Span, Protocol):
    """The span of one request to a model: the only one that carries usage and cost."""

    def settled(
        self, *, charged: Amounts, price: Price | None, response: ModelResponse | None = None
    ) -> None:
        """Note what it cost, and what came back where something did.

        Without a response, or with one that tells no usage, ``charged`` is what was held.
        """
        ...


class RunSpan(Span, Protocol):
    """The span of a run, or of the part of it between two pauses."""

    def node(self, *, node: str, kind: str, name: str, attempt: int, at: float, scope: str = "") -> Span:
        """Open the span of an attempt; the spans of the subgraphs around it open with the first."""
        ...


class Tracer(Protocol):
    """Makes spans.  Where nobody reads traces there is none, and asking costs a check for ``None``."""

    def run(
        self,
        *,
        run_id: RunId,
        graph: str,
        digest: str,
        at: float,
        scopes: Mapping[str, tuple[str, str]],
        traceparent: str = "",
    ) -> RunSpan:
        """Open the span of a run.

        Args:
            run_id, graph, digest: The run, its graph's name and its plan's digest.
            at: When it starts.
            scopes: For each subgraph's id its graph's name and the id of the subgraph around it.
            traceparent: As recorded in ``RunStarted`` where the run was started earlier; ``""``
                begins it, below whatever span is current.
        """
        ...


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
        put(self, "prompt", prompt)
        put(self, "show", show)
        put(self, "to", to)
        put(self, "within", None if within is None else durations.seconds(within))
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
        """Which try at the node this is, counted from 1."""
        ...

    @property
    def idempotency_key(self) -> str:
        """A key for the outside world: the same whenever this very call is made again."""
        ...

    @property
    def random(self) -> random.Random:
        """Chance that comes out the same at every resume: seeded from run, node and attempt."""
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
        """Call another node as a recorded step: once it has returned, it never runs again."""
        ...

    async def ask(self, question: Ask[T]) -> T:
        """Ask a person, as ``@human`` does; costs nothing while it waits, and survives the process."""
        ...

    async def index(self, index: str | Index) -> Index:
        """Open an index: a path is opened once for each engine, an object given back as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line about a run, read without its history.

    Attributes:
        started_at, updated_at: Seconds since 1970 (UTC).
        owner: Who holds the run now, or ``""``.
    """

    id: RunId
    graph: str
    status: Literal["pending", "running", "waiting", "completed", "failed", "cancelled"]
    started_at: float
    updated_at: float
    spent: Amounts
    questions: int
    events: int
    head: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    tenant: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An open or closed question, as the inbox shows it.

    Attributes:
        asked_at, deadline: Seconds since 1970 (UTC).
        schema: JSON Schema of the answer.
        shown: What was shown with the question, as JSON data.
        state: ``"open"``; ``"answered"`` also while an answer waits to be taken up.
        opening: Counts how often it was opened; an answer is to one opening.
        complaint: Why an earlier answer was refused, or ``""``.
    """

    id: QuestionId
    run_id: RunId
    graph: str
    node: str
    to: str
    prompt: str
    schema: dict[str, Any]
    asked_at: float
    shown: Any = None
    deadline: float | None = None
    state: Literal["open", "answered", "withdrawn"] = "open"
    opening: int = 1
    about: Literal["answer", "doubt"] = "answer"
    complaint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What another process, or a caller, wants of a run: an answer or a cancellation.

    The owner of the run turns it into events.  ``id`` is given by the store, in order of arrival.
    """

    run_id: RunId
    kind: Literal["answer", "cancel"]
    at: float
    by: str
    reason: str = ""
    question: QuestionId = QuestionId("")
    opening: int = 1
    value: Payload | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not as it was written, found by ``verify``.

    Attributes:
        seq: The first event it concerns; 0 for the run as a whole.
    """

    seq: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """What was charged to one account of one run, summed by node and model."""

    run_id: RunId
    account: str
    node: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    usd: Decimal


class RunLog(Protocol):
    """The history of one run, owned by this process: the one way to append to it.

    ``append`` only puts events in a queue, in order; one writer commits what all runs have queued
    in one transaction.  Events of one ``append`` are never torn apart.
    """

    @property
    def run_id(self) -> RunId: ...

    @property
    def fence(self) -> int:
        """Grows with every change of owner; an append under an old one is refused."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether what is flushed outlives the process."""
        ...

    @property
    def queued(self) -> int:
        """Events appended and not yet committed."""
        ...

    def append(self, *events: Event) -> None:
        """Queue events, to be committed together.

        Raises:
            StoreError: An earlier append has failed; the run must be reloaded from what is recorded.
        """
        ...

    async def flush(self) -> None:
        """Return when everything appended so far is safe, against a power cut too.

        Cancelling the caller does not take the events back: they are written all the same.

        Raises:
            StoreError: A commit failed; none of the batch is recorded.
        """
        ...

    async def drained(self, below: int) -> None:
        """Return when fewer than ``below`` events are queued; they need not be power-cut safe."""
        ...

    async def release(self) -> None:
        """Flush, then give the ownership up.  Safe to call twice."""
        ...


class Store(Protocol):
    """Keeps histories.  One contract for memory, SQLite and PostgreSQL: ``treadle.testing.store_contract``."""

    @property
    def url(self) -> str: ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes can write requests to it, so that an engine must look for them."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        Raises:
            StoreUnavailable: It cannot be reached or written.
            FormatMismatch: It is not ours, is damaged, or is from a newer release.
        """
        ...

    async def aclose(self) -> None:
        """Commit what is queued, release every ownership, and stop the writer."""
        ...

    async def create(self, started: RunStarted) -> RunLog:
        """Record a new run durably, and own it.

        Raises:
            RunExists: The id is taken (by whatever graph and inputs; the engine compares).
        """
        ...

    async def own(self, run_id: RunId) -> RunLog:
        """Take the ownership of a run that has none.

        Raises:
            UnknownRun: There is no such run.
            OwnedElsewhere: A living process (or this one) holds it; the error says who.
        """
        ...

    async def read(self, run_id: RunId, *, after: int = 0) -> list[Recorded]:
        """Give the events with a ``seq`` above ``after``, in order; those still queued are not seen.

        Raises:
            UnknownRun, FormatMismatch
        """
        ...

    async def changed(self, run_id: RunId, *, after: int) -> None:
        """Return when the run has an event above ``after`` that ``read`` would give."""
        ...

    async def runs(
        self, *, status: str | None = None, graph: str | None = None, limit: int = 100
    ) -> list[RunSummary]:
        """Give summaries, the newest run first."""
        ...

    async def run(self, run_id: RunId) -> RunSummary:
        """Give one summary; raises ``UnknownRun``."""
        ...

    async def questions(
        self, *, state: str | None = "open", to: str | None = None, run_id: RunId | None = None
    ) -> list[Question]:
        """Give questions, the oldest first; ``state=None`` gives closed ones too."""
        ...

    async def question(self, question_id: QuestionId) -> Question:
        """Give one question; raises ``QuestionError`` with the nearest known id."""
        ...

    async def submit(self, request: Request) -> None:
        """Put a request for the owner of a run, durably.

        The same answer by the same person again is fine and changes nothing.

        Raises:
            QuestionError: The question has been answered or withdrawn, or its deadline has passed
                at ``request.at``.
            UnknownRun: There is no such run.
        """
        ...

    async def requests(self, run_id: RunId | None = None) -> list[Request]:
        """Give requests not taken up yet, in order of arrival.

        One is taken up, and no longer given, once its owner has appended the event that answers it
        (``QuestionAnswered`` or ``QuestionAsked`` with a next opening; ``CancelRequested``), in that
        same transaction; requests of ended runs are not given.
        """
        ...

    async def ledger(self, run_id: RunId) -> list[LedgerLine]:
        """Give what a run was charged, from the ledger table."""
        ...

    async def verify(self, run_id: RunId, *, head: str | None = None) -> list[Fault]:
        """Recompute the chain, and compare it with a head kept elsewhere where one is given."""
        ...


Body = Callable[..., Coroutine[Any, Any, Any]]
"""The async function a node was declared with."""
