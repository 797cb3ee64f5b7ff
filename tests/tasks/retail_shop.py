"""A shop in a SQLite file, with the rules that its policy and the descriptions of its tools give it.

What is written is written in one transaction with a line that says under which key it was done.  A key
is not looked at again: who does a thing twice finds it done twice.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from treadle.errors import DidNotHappen

DATA: Final = Path(__file__).parents[1] / "data" / "tau2_retail"

Record = dict[str, Any]
Changes = dict[tuple[str, str], Record]
Death = Literal["", "begun", "acted"]
"""When a process dies at a call: before it does anything, or when it has, before anybody knows."""

_SCHEMA: Final = """
CREATE TABLE records (kind TEXT, id TEXT, data TEXT, was TEXT, PRIMARY KEY (kind, id));
CREATE TABLE calls (place INTEGER PRIMARY KEY, name TEXT, key TEXT, result TEXT);
"""


class Refused(Exception):
    """The shop does not do what was asked, and has done nothing."""


def make_shop(path: Path) -> None:
    """Put the whole shop into a new file."""
    rows = sqlite3.connect(path)
    rows.executescript(_SCHEMA)
    for kind, records in json.loads(gzip.decompress((DATA / "db.json.gz").read_bytes())).items():
        lines = [(kind, key, json.dumps(record)) for key, record in records.items()]
        rows.executemany("INSERT INTO records VALUES (?1, ?2, ?3, ?3)", lines)
    rows.commit()
    rows.close()


class Shop:
    """An open shop.

    Args:
        path: Its file, made by ``make_shop``.
        death, at: Kill this process at its so-many-th call.
    """

    def __init__(self, path: Path, *, death: Death = "", at: int = 0) -> None:
        self._rows = sqlite3.connect(path, isolation_level=None)
        self._rows.execute("PRAGMA synchronous = OFF")
        self._death: Death = death
        self._at = at
        self._begun = 0

    def close(self) -> None:
        """Leave it as it is."""
        self._rows.close()

    def call(self, name: str, key: str, work: Callable[[], Any]) -> Any:
        """Do one thing: wholly and with a line of its own, or not at all."""
        self._begun += 1
        self._die("begun")
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            result = work()
        except BaseException as error:
            self._rows.execute("ROLLBACK")
            if isinstance(error, Refused):
                self._note(name, "", None)
                self._die("acted")
            raise
        self._note(name, key, result)
        self._rows.execute("COMMIT")
        self._die("acted")
        return result

    def _note(self, name: str, key: str, result: Any) -> None:
        line = (name, key, json.dumps(result))
        self._rows.execute("INSERT INTO calls (name, key, result) VALUES (?, ?, ?)", line)

    def _die(self, death: Death) -> None:
        if self._death == death and self._begun == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def find(self, key: str) -> Any:
        """Give what was done under a key; raises ``DidNotHappen``."""
        row = self._rows.execute("SELECT result FROM calls WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise DidNotHappen(f"nothing was done under {key}")
        return json.loads(row[0])

    @property
    def calls(self) -> list[str]:
        """The names of all calls so far, in their order, those that were refused too."""
        return [row[0] for row in self._rows.execute("SELECT name FROM calls ORDER BY place")]

    def changed(self) -> Changes:
        """The records that are not what they were, by kind and id; null stands for nothing."""
        rows = self._rows.execute("SELECT kind, id, data, was FROM records WHERE data IS NOT was")
        records = [(kind, key, json.loads(data), json.loads(was)) for kind, key, data, was in rows]
        return {(kind, key): stated(now) for kind, key, now, before in records if now != before}

    def was(self, kind: str, key: str) -> Record:
        """A record as it was before anybody came."""
        row = self._rows.execute("SELECT was FROM records WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return stated(json.loads(row[0]))

    def get(self, kind: str, key: str) -> Record:
        """Give one record."""
        row = self._rows.execute("SELECT data FROM records WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        if row is None:
            raise Refused(f"there is no {key!r} among the {kind}")
        record: Record = json.loads(row[0])
        return record

    def put(self, kind: str, key: str, record: Record) -> Record:
        """Change one record."""
        self._rows.execute(
            "UPDATE records SET data = ? WHERE kind = ? AND id = ?", (json.dumps(record), kind, key)
        )
        return record

    def find_user(self, fits: Callable[[Record], bool]) -> str:
        """Give the id of the user who fits."""
        for key, data in self._rows.execute("SELECT id, data FROM records WHERE kind = 'users'"):
            if fits(json.loads(data)):
                return str(key)
        raise Refused("there is no such user")

    def order(self, key: str, status: str) -> Record:
        """Give an order that is in a state."""
        order = self.get("orders", key)
        if order["status"] != status:
            raise Refused(f"order {key} is {order['status']}, not {status}")
        return order

    def variant(self, product: str, item: str) -> Record:
        """Give a variant of a product."""
        found: Record | None = self.get("products", product)["variants"].get(item)
        if found is None:
            raise Refused(f"product {product} has no variant {item}")
        return found

    def payment_method(self, user: str, key: str) -> Record:
        """Give a user's way to pay."""
        found: Record | None = self.get("users", user)["payment_methods"].get(key)
        if found is None:
            raise Refused(f"{user} cannot pay with {key}")
        return found

    def move_money(self, user: str, key: str, amount: float) -> None:
        """Put money on a gift card, or take it off; of other ways to pay the shop keeps no balance.

        Raises:
            Refused: There is not that much on it.
        """
        if self.payment_method(user, key)["source"] != "gift_card":
            return
        record = self.get("users", user)
        card = record["payment_methods"][key]
        if card["balance"] + amount < 0:
            raise Refused(f"{key} has {card['balance']}, and {-amount} are needed")
        card["balance"] = round(card["balance"] + amount, 2)
        self.put("users", user, record)


def stated(record: Record) -> Record:
    """A record without what is null."""
    return {key: value for key, value in record.items() if value is not None}


def swaps(shop: Shop, order: Record, old: Sequence[str], new: Sequence[str]) -> list[tuple[Record, Record]]:
    """The items of an order to take out, and the variants of the same products to put in.

    Raises:
        Refused: An item is not there as often as it is named, or a variant is not to be had.
    """
    if len(old) != len(new):
        raise Refused("each item needs one to take its place")
    taken = taken_out(order, old)
    pairs = [
        (item, shop.variant(item["product_id"], wanted)) for item, wanted in zip(taken, new, strict=True)
    ]
    for _, variant in pairs:
        if not variant["available"]:
            raise Refused(f"{variant['item_id']} is not to be had")
    return pairs


def taken_out(order: Record, wanted: Sequence[str]) -> list[Record]:
    """The items of an order with these numbers.

    Raises:
        Refused: One is not there as often as it is named.
    """
    there = Counter(item["item_id"] for item in order["items"])
    for item, count in Counter(wanted).items():
        if there[item] < count:
            raise Refused(f"{item} is {there[item]} times in the order, not {count} times")
    left = list(order["items"])
    return [left.pop([item["item_id"] for item in left].index(number)) for number in wanted]


def difference(pairs: Sequence[tuple[Record, Record]]) -> float:
    """What the new ones cost more than the old ones."""
    total = 0.0
    for item, variant in pairs:
        total += variant["price"] - item["price"]
    return total


def copy_of(template: Path, path: Path) -> Path:
    """A shop of its own for one run."""
    shutil.copyfile(template, path)
    return path
