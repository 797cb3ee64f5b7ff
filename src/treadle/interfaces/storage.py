"""What a store must offer: histories to append to, and what can be read without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

from treadle.budget import Amounts
from treadle.events import Event, Recorded, RunStarted
from treadle.ids import QuestionId, RunId
from treadle.values import Payload


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
class DueRun:
    """A run that has not ended and has a deadline (seconds since 1970, UTC)."""

    id: RunId
    graph: str
    deadline: float


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
        known: Of a call in doubt, what is known of how it ended, or ``""``.
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
    known: str = ""


ENDED: Final = "it ended with "
NOT_FOUND_OUT: Final = " could not find out: "
"""What the recorded word on a call in doubt begins with, or says after the name of who looked.

It stands where else the refusal of an answer is recorded; ``Question`` holds the two apart.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What another process, or a caller, wants of a run: an answer, a cancellation, or that a question
    whose deadline has passed is closed.

    The owner of the run turns it into events.  ``id`` is given by the store, in order of arrival.  Whichever
    of an answer and a ``"late"`` comes first to an opening of a question, the other comes too late.
    """

    run_id: RunId
    kind: Literal["answer", "cancel", "late"]
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
    def was_abandoned(self) -> bool:
        """Whether the owner before died without letting the run go."""
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
    """Keeps histories.  Every store passes one contract: ``treadle.testing.store_contract``."""

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
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        ids: Sequence[RunId] | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Give summaries, the newest run first; ``ids`` names the runs, those there are not are left out."""
        ...

    async def run(self, run_id: RunId) -> RunSummary:
        """Give one summary; raises ``UnknownRun``."""
        ...

    async def due_runs(self, due: float) -> list[DueRun]:
        """Give the unfinished runs whose deadline is at a moment or before, the earliest first."""
        ...

    async def questions(
        self,
        *,
        state: str | None = "open",
        to: str | None = None,
        run_id: RunId | None = None,
        due: float | None = None,
    ) -> list[Question]:
        """Give questions, the oldest first.

        Args:
            state: ``None`` gives closed ones too.
            due: Only those with a deadline at this moment or before.
        """
        ...

    async def question(self, question_id: QuestionId) -> Question:
        """Give one question; raises ``QuestionError`` with the nearest known id."""
        ...

    async def submit(self, request: Request) -> None:
        """Put a request for the owner of a run, durably.

        The same answer by the same person again is fine and changes nothing; so is a ``"late"`` for a
        question that is answered, closed or opened anew.

        Raises:
            QuestionError: The question has been answered or withdrawn, or its deadline has passed
                at ``request.at``, or somebody has had it closed for that.
            UnknownRun: There is no such run.
        """
        ...

    async def requests(self, run_id: RunId | None = None) -> list[Request]:
        """Give requests not taken up yet, in order of arrival.

        One is taken up, and no longer given, once its owner has appended the event that answers it
        (``QuestionAnswered``, ``QuestionWithdrawn``, or ``QuestionAsked`` with a next opening;
        ``CancelRequested``), in that same transaction; requests of ended runs are not given.
        """
        ...

    async def ledger(self, run_id: RunId) -> list[LedgerLine]:
        """Give what a run was charged, from the ledger table."""
        ...

    async def verify(self, run_id: RunId, *, head: str | None = None) -> list[Fault]:
        """Recompute the chain, and compare it with a head kept elsewhere where one is given."""
        ...
