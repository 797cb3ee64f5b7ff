"""The derived tables, kept in the transaction of the event that explains them.

``derived.Derived`` says the same for events in memory, and ``verify`` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import apsw
from pydantic_core import to_json

from treadle.errors import StoreError
from treadle.events import (
    CancelRequested,
    MoneySettled,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunResumed,
)
from treadle.stores.derived import RUNNING
from treadle.stores.queries import execute, execute_rows, fetch_one

SEQ_BITS: Final = 32
"""An event's row is ``(number of the run << SEQ_BITS) + seq``."""


def event_row(number: int, seq: int) -> int:
    """Give the row an event stands in."""
    return (number << SEQ_BITS) + seq


def end(connection: apsw.Connection, ended: Mapping[int, str]) -> None:
    """Note which runs are over, with what status; what they asked, and what was asked of them, goes too."""
    numbers = to_json(list(ended)).decode()
    execute_rows(connection, "end_runs", list(ended.items()))
    execute(connection, "withdraw_questions", (numbers,))
    execute(connection, "drop_requests", (numbers,))


def _resumed(connection: apsw.Connection, number: int, _seq: int, _event: RunResumed) -> None:
    execute(connection, "set_status", (RUNNING, number))


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


CHANGES: Final[Mapping[type, Callable[[apsw.Connection, int, int, Any], None]]] = {
    RunResumed: _resumed,
    MoneySettled: _settled,
    QuestionAsked: _asked,
    QuestionAnswered: _answered,
    QuestionWithdrawn: _withdrawn,
    CancelRequested: _cancelled,
}
"""What an event changes at once, given its run and its place; ``end`` does the rest."""
