"""The derived tables, kept in the transaction of the event that explains them.

``derived.Derived`` says the same for events in memory, and ``verify`` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import apsw

from treadle.errors import StoreError
from treadle.events import (
    CancelRequested,
    Event,
    MoneySettled,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
    RunStarted,
)
from treadle.stores.derived import RUNNING
from treadle.stores.queries import execute, fetch_one

SEQ_BITS: Final = 32
"""An event's row is ``(number of the run << SEQ_BITS) + seq``."""


def event_row(number: int, seq: int) -> int:
    """Give the row an event stands in."""
    return (number << SEQ_BITS) + seq


def derive(connection: apsw.Connection, number: int, seq: int, event: Event) -> None:
    """Bring the derived tables up to an event that is being recorded."""
    kind: type = type(event)
    change = _CHANGES.get(kind)
    if change is not None:
        change(connection, number, seq, event)


def _resumed(connection: apsw.Connection, number: int, _seq: int, _event: RunResumed) -> None:
    execute(connection, "set_status", (RUNNING, number))


def _ended(connection: apsw.Connection, number: int, _seq: int, event: RunEnded) -> None:
    execute(connection, "set_status", (event.status, number))
    execute(connection, "withdraw_questions", (number,))
    execute(connection, "drop_requests", (number,))


def _settled(connection: apsw.Connection, number: int, _seq: int, event: MoneySettled) -> None:
    charged = event.charged
    usd, tokens, calls = fetch_one(connection, "get_spent", (number,)) or ("0", 0, 0)
    spent = (str(Decimal(usd) + charged.usd), tokens + charged.tokens, calls + charged.calls, number)
    execute(connection, "set_spent", spent)
    for account in event.accounts:
        _charge(connection, (number, account, event.node, event.model), event)


def _charge(connection: apsw.Connection, key: tuple[int, str, str, str], event: MoneySettled) -> None:
    line = fetch_one(connection, "get_line", key)
    rowid, requests, input_tokens, output_tokens, usd = line or (None, 0, 0, 0, "0")
    sums = (
        requests + 1,
        input_tokens + event.usage.input_tokens,
        output_tokens + event.usage.output_tokens,
        str(Decimal(usd) + event.charged.usd),
    )
    if rowid is None:
        execute(connection, "insert_line", (*key, *sums))
    else:
        execute(connection, "update_line", (*sums, rowid))


def _asked(connection: apsw.Connection, number: int, seq: int, event: QuestionAsked) -> None:
    row = {
        "id": event.question,
        "run": number,
        "event": event_row(number, seq),
        "to": event.to,
        "at": event.at,
        "deadline": event.deadline,
        "opening": event.opening,
    }
    if fetch_one(connection, "open_question", row) is None:
        raise StoreError(f"the question id {event.question!r} belongs to another run")
    execute(connection, "drop_answers", (number, event.question))


def _answered(connection: apsw.Connection, number: int, _seq: int, event: QuestionAnswered) -> None:
    row = (event.by, event.value.digest, event.question, number)
    execute(connection, "answer_question", row)
    execute(connection, "drop_answers", (number, event.question))


def _withdrawn(connection: apsw.Connection, number: int, _seq: int, event: QuestionWithdrawn) -> None:
    execute(connection, "withdraw_question", (event.question, number))
    execute(connection, "drop_answers", (number, event.question))


def _cancelled(connection: apsw.Connection, number: int, _seq: int, _event: CancelRequested) -> None:
    execute(connection, "drop_cancels", (number,))


def _started(_connection: apsw.Connection, _number: int, seq: int, event: RunStarted) -> None:
    if seq != 1:
        raise StoreError(f"run {event.run_id!r} has started already; only `create` records a RunStarted")


_CHANGES: Final[dict[type, Callable[[apsw.Connection, int, int, Any], None]]] = {
    RunStarted: _started,
    RunResumed: _resumed,
    RunEnded: _ended,
    MoneySettled: _settled,
    QuestionAsked: _asked,
    QuestionAnswered: _answered,
    QuestionWithdrawn: _withdrawn,
    CancelRequested: _cancelled,
}
