"""What a run's events add up to: status, spending, ledger, questions.

The one definition of every derived table.  The memory store reads it; ``verify`` recomputes a
database's tables with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, cast

from treadle.budget import NOTHING, Amounts
from treadle.events import (
    CancelRequested,
    Event,
    MoneySettled,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
)
from treadle.ids import QuestionId, RunId
from treadle.interfaces import LedgerLine, Question
from treadle.interfaces.storage import ENDED, NOT_FOUND_OUT

State = Literal["open", "answered", "withdrawn"]
Status = Literal["pending", "running", "waiting", "completed", "failed", "cancelled"]
LedgerKey = tuple[str, str, str]
"""Account, node, model."""

RUNNING: Final = "running"
"""The recorded status of a run that has not ended."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """A question as its events leave it.

    Attributes:
        seq: Of the event that opened it last.
        answer: Digest of the answer, and ``by`` who gave it; ``""`` while there is none.
    """

    event: QuestionAsked
    seq: int
    state: State = "open"
    by: str = ""
    answer: str = ""


@dataclass(slots=True)
class Charged:
    """What one line of the ledger has summed up to."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class Derived:
    """The sums over the events applied so far.

    Attributes:
        cancel_seq: The last event that took a request to cancel up, 0 for none; ``ended_seq`` the last with
            which the run was over.
    """

    seq: int = 0
    cancel_seq: int = 0
    ended_seq: int = 0
    updated_at: float = 0.0
    status: str = RUNNING
    spent: Amounts = NOTHING
    ledger: dict[LedgerKey, Charged] = field(default_factory=dict[LedgerKey, Charged])
    questions: dict[QuestionId, Asked] = field(default_factory=dict[QuestionId, Asked])

    def apply(self, event: Event) -> None:
        """Take the next event in."""
        self.seq += 1
        self.updated_at = event.at
        change = _CHANGES.get(type(event))
        if change is not None:
            change(self, event)

    @property
    def has_ended(self) -> bool:
        """Whether the run is over (and has not been resumed since)."""
        return self.status != RUNNING


def _resumed(derived: Derived, _event: RunResumed) -> None:
    derived.status = RUNNING


def _ended(derived: Derived, event: RunEnded) -> None:
    derived.status, derived.ended_seq = event.status, derived.seq
    for asked in derived.questions.values():
        if asked.state == "open":
            asked.state = "withdrawn"


def _settled(derived: Derived, event: MoneySettled) -> None:
    derived.spent += event.charged
    for account in event.accounts:
        charged = derived.ledger.setdefault((account, event.node, event.model), Charged())
        charged.requests += 1
        charged.input_tokens += event.usage.input_tokens
        charged.output_tokens += event.usage.output_tokens
        charged.usd += event.charged.usd


def _asked(derived: Derived, event: QuestionAsked) -> None:
    derived.questions[event.question] = Asked(event=event, seq=derived.seq)


def _answered(derived: Derived, event: QuestionAnswered) -> None:
    asked = derived.questions.get(event.question)
    if asked is not None:
        asked.state, asked.by, asked.answer = "answered", event.by, event.value.digest


def _withdrawn(derived: Derived, event: QuestionWithdrawn) -> None:
    asked = derived.questions.get(event.question)
    if asked is not None:
        asked.state = "withdrawn"


def _cancelled(derived: Derived, _event: CancelRequested) -> None:
    derived.cancel_seq = derived.seq


_CHANGES: Final[dict[type, Callable[[Derived, Any], None]]] = {
    RunResumed: _resumed,
    RunEnded: _ended,
    MoneySettled: _settled,
    QuestionAsked: _asked,
    QuestionAnswered: _answered,
    QuestionWithdrawn: _withdrawn,
    CancelRequested: _cancelled,
}


def status(recorded: str, *, is_owned: bool, was_released: bool, questions: int) -> Status:
    """Give the status people see.

    A run that has not ended is *running* while somebody owns it; *waiting* where its owner let it go
    because of open questions; *pending* where it can go on and nobody works on it.
    """
    if recorded != RUNNING:
        return cast("Status", recorded)
    if is_owned:
        return "running"
    return "waiting" if was_released and questions else "pending"


_IS_KNOWN: Final = re.compile(rf"{re.escape(ENDED)}|'[^']*'{re.escape(NOT_FOUND_OUT)}")


def as_question(event: QuestionAsked, *, run_id: RunId, graph: str, state: State) -> Question:
    """Give a question as the inbox shows it."""
    is_known = event.about == "doubt" and _IS_KNOWN.match(event.complaint) is not None
    return Question(
        id=event.question,
        run_id=run_id,
        graph=graph,
        node=event.node,
        to=event.to,
        prompt=event.prompt,
        schema=event.schema.json(),
        asked_at=event.at,
        shown=None if event.shown is None else event.shown.json(),
        deadline=event.deadline,
        state=state,
        opening=event.opening,
        about=event.about,
        complaint="" if is_known else event.complaint,
        known=event.complaint if is_known else "",
    )


def as_ledger(run_id: RunId, ledger: dict[LedgerKey, Charged]) -> list[LedgerLine]:
    """Give ledger lines ordered by account, node and model."""
    return [
        LedgerLine(
            run_id=run_id,
            account=account,
            node=node,
            model=model,
            requests=charged.requests,
            input_tokens=charged.input_tokens,
            output_tokens=charged.output_tokens,
            usd=charged.usd,
        )
        for (account, node, model), charged in sorted(ledger.items())
    ]
