"""A small bank: an SQLite file with customers, cards and payments, made and filled on first use.

The file is ``SUPPORT_BANK``, by default ``support-bank.db`` in the working directory.  It always holds the
same customers, ``c-101`` to ``c-180``, so that two runs can be compared row by row.

What changes the bank takes an idempotency key and stores it ``unique`` with the row it made.  The same
key again changes nothing and gives the same receipt; ``deliveries`` counts how often it came.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Generator
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from pydantic import BaseModel

T = TypeVar("T")


class Card(BaseModel):
    """A card of a customer; ``state`` is active, frozen, blocked or on its way."""

    id: str
    last_digits: str
    state: str


class Account(BaseModel):
    """A customer's balance in pounds, and cards."""

    customer: str
    name: str
    balance: Decimal
    cards: list[Card]


class Payment(BaseModel):
    """One line of a statement; ``kind`` is card, cash, transfer, top-up or fee."""

    id: str
    made_on: date
    kind: str
    text: str
    amount: Decimal
    state: str


class Receipt(BaseModel):
    """What the bank did, or why it refused."""

    accepted: bool
    number: str
    note: str


class Unknown(LookupError):
    """The bank has no such customer."""


SCHEMA = """
create table customer (id text primary key, name text not null, balance text not null);
create table card (
    id text primary key, customer text not null references customer,
    last_digits text not null, state text not null
);
create table payment (
    id text primary key, customer text not null references customer, made_on text not null,
    kind text not null, text text not null, amount text not null, state text not null
);
create table card_order (
    number text primary key, key text not null unique, card text not null references card,
    reason text not null, note text not null, deliveries integer not null default 1
);
create table refund (
    number text primary key, key text not null unique, payment text not null references payment,
    reason text not null, note text not null, deliveries integer not null default 1
);
pragma user_version = 1;
"""

NAMES = (
    "Ada",
    "Ben",
    "Chidi",
    "Dora",
    "Elif",
    "Finn",
    "Grete",
    "Hugo",
    "Inés",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
)
SHOPS = ("Greengrocer", "Bookshop", "Railway", "Cinema", "Pharmacy", "Bakery")
TODAY = date(2026, 11, 20)
IN_TURN = threading.Lock()  # threads that wait for SQLite's own lock sleep longer than they need to


async def account(customer: str) -> Account:
    """Give a customer's balance and cards."""
    return await _in_thread(partial(_account, customer))


async def payments(customer: str) -> list[Payment]:
    """Give a customer's payments, the newest first."""
    return await _in_thread(partial(_payments, customer))


async def replace_card(card: str, reason: str, *, key: str) -> Receipt:
    """Block a card and order a new one; a card is replaced once."""
    return await _in_thread(partial(_replace_card, card, reason, key=key))


async def refund(payment: str, reason: str, *, key: str) -> Receipt:
    """Give a fee, or a payment that was charged twice, back to the balance; a payment is refunded once."""
    return await _in_thread(partial(_refund, payment, reason, key=key))


async def _in_thread(work: Callable[[sqlite3.Connection], T]) -> T:
    def run() -> T:
        with _transaction() as bank:
            return work(bank)

    return await anyio.to_thread.run_sync(run)


@contextlib.contextmanager
def _transaction() -> Generator[sqlite3.Connection]:
    path = Path(os.environ.get("SUPPORT_BANK", "support-bank.db"))
    connecting = contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None))
    with IN_TURN, connecting as bank:
        bank.row_factory = sqlite3.Row
        bank.execute("begin immediate")
        with bank:  # commits, or rolls back where something was raised
            _make(bank, path)
            yield bank


def _make(bank: sqlite3.Connection, path: Path) -> None:
    if bank.execute("pragma user_version").fetchone()[0] == 1:
        return
    if bank.execute("select count(*) from sqlite_master").fetchone()[0]:
        raise RuntimeError(f"{str(path)!r} is another database; set SUPPORT_BANK to a file of its own")
    for statement in SCHEMA.split(";"):
        bank.execute(statement)
    for number in range(101, 181):
        _fill(bank, f"c-{number}", random.Random(number))


def _fill(bank: sqlite3.Connection, customer: str, chance: random.Random) -> None:
    """Write one customer: a card, an ordinary payment, one charged twice, a fee, and what is pending."""
    balance = Decimal(chance.randrange(5_000, 400_000)) / 100
    bank.execute("insert into customer values (?, ?, ?)", (customer, chance.choice(NAMES), str(balance)))
    card = (f"card-{customer}", customer, f"{chance.randrange(10_000):04}", "active")
    bank.execute("insert into card values (?, ?, ?, ?)", card)
    first, second = chance.sample(SHOPS, 2)
    twice = (5, "card", second, chance.randrange(300, 9_000))
    lines = [
        (1, "transfer", "Transfer to a new recipient", 12_000, "pending"),
        (2, "top-up", "Top-up by card", 5_000, "pending"),
        (3, "cash", "Cash machine, High Street", 3_000, "pending"),
        (3, "fee", "Fee for a payment or withdrawal", 150, "completed"),
        (*twice, "completed"),
        (*twice, "completed"),
        (9, "card", first, chance.randrange(300, 9_000), "completed"),
    ]
    for place, (days, kind, text, pence, state) in enumerate(lines, start=1):
        made_on = (TODAY - timedelta(days=days)).isoformat()
        line = (f"pay-{customer}-{place}", customer, made_on, kind, text, str(Decimal(pence) / 100), state)
        bank.execute("insert into payment values (?, ?, ?, ?, ?, ?, ?)", line)


def _account(customer: str, bank: sqlite3.Connection) -> Account:
    row = bank.execute("select * from customer where id = ?", (customer,)).fetchone()
    if row is None:
        raise Unknown(f"no customer {customer!r}; ask for the customer's number, such as 'c-101'")
    cards = bank.execute(
        "select id, last_digits, state from card where customer = ? order by id", (customer,)
    )
    return Account(
        customer=customer,
        name=row["name"],
        balance=Decimal(row["balance"]),
        cards=[Card.model_validate(dict(card)) for card in cards],
    )


def _payments(customer: str, bank: sqlite3.Connection) -> list[Payment]:
    _account(customer, bank)
    rows = bank.execute("select * from payment where customer = ? order by made_on desc, id", (customer,))
    return [Payment.model_validate(dict(row)) for row in rows]


def _replace_card(card: str, reason: str, bank: sqlite3.Connection, *, key: str) -> Receipt:
    if earlier := _delivered(bank, "card_order", key):
        return earlier
    row = bank.execute("select * from card where id = ?", (card,)).fetchone()
    if row is None:
        return _refused(f"there is no card {card!r}")
    if row["state"] in {"blocked", "on its way"}:
        return _refused(f"card {card} is {row['state']} already")
    bank.execute("update card set state = 'blocked' where id = ?", (card,))
    new = (f"{card}-new", row["customer"], f"{(int(row['last_digits']) + 1) % 10_000:04}", "on its way")
    bank.execute("insert into card values (?, ?, ?, ?)", new)
    note = f"card ending {row['last_digits']} is blocked, a new one is on its way"
    return _delivered_first(bank, "card_order", (f"order-{card}", key, card, reason, note))


def _refund(payment: str, reason: str, bank: sqlite3.Connection, *, key: str) -> Receipt:
    if earlier := _delivered(bank, "refund", key):
        return earlier
    row = bank.execute("select * from payment where id = ?", (payment,)).fetchone()
    if row is None:
        return _refused(f"there is no payment {payment!r}")
    if row["state"] == "refunded":
        return _refused(f"payment {payment} is refunded already")
    if row["kind"] != "fee" and not _is_charged_twice(bank, row):
        return _refused(f"payment {payment} is neither a fee nor charged twice; a colleague must look at it")
    holder = bank.execute("select id, balance from customer where id = ?", (row["customer"],)).fetchone()
    balance = Decimal(holder["balance"]) + Decimal(row["amount"])
    bank.execute("update customer set balance = ? where id = ?", (str(balance), holder["id"]))
    bank.execute("update payment set state = 'refunded' where id = ?", (payment,))
    note = f"£{Decimal(row['amount']):.2f} for {row['text']!r} is back in the balance"
    return _delivered_first(bank, "refund", (f"refund-{payment}", key, payment, reason, note))


def _is_charged_twice(bank: sqlite3.Connection, row: sqlite3.Row) -> bool:
    same = "customer = :customer and made_on = :made_on and text = :text and amount = :amount"
    query = f"select count(*) from payment where {same} and kind = 'card' and state = 'completed'"  # noqa: S608
    return bool(bank.execute(query, dict(row)).fetchone()[0] > 1)


def _delivered(bank: sqlite3.Connection, table: str, key: str) -> Receipt | None:
    """The receipt of what was done under this key before."""
    row = bank.execute(f"select number, note from {table} where key = ?", (key,)).fetchone()  # noqa: S608
    if row is None:
        return None
    bank.execute(f"update {table} set deliveries = deliveries + 1 where key = ?", (key,))  # noqa: S608
    return Receipt(accepted=True, number=row["number"], note=row["note"])


def _delivered_first(bank: sqlite3.Connection, table: str, row: tuple[str, str, str, str, str]) -> Receipt:
    bank.execute(f"insert into {table} values (?, ?, ?, ?, ?, 1)", row)  # noqa: S608 - tables of this file
    return Receipt(accepted=True, number=row[0], note=row[4])


def _refused(why: str) -> Receipt:
    return Receipt(accepted=False, number="", note=why)
