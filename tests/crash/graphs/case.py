"""What every graph to crash comes with: inputs, a script for its model, people, and a till to act on."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from treadle.errors import DidNotHappen
from treadle.interfaces import Question
from treadle.messages import ModelRequest
from treadle.models import Price
from treadle.nodes.graph import Graph
from treadle.testing import ScriptedModel

PRICE: Final = Price(input_mtok=Decimal(1), output_mtok=Decimal(4))

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS acts (id INTEGER PRIMARY KEY, key TEXT, what TEXT, result TEXT, times INTEGER);
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, prompt TEXT);
"""


class Till:
    """The world outside: it keeps what was done, whatever becomes of who did it.

    Args:
        path: A database outlives the processes that use it; ``":memory:"`` does not.
    """

    def __init__(self, path: str = ":memory:") -> None:
        self._rows = sqlite3.connect(path, isolation_level=None)
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.executescript(_SCHEMA)

    def act(self, key: str, what: str, result: Any) -> Any:
        """Do something; who asks twice gets it twice, so a person has to be asked what happened."""
        self._rows.execute(
            "INSERT INTO acts (key, what, result, times) VALUES (?, ?, ?, 1)", (key, what, json.dumps(result))
        )
        return result

    def act_under_key(self, key: str, what: str, result: Any) -> Any:
        """Do something under a key; the same key again changes nothing."""
        done = self._rows.execute("UPDATE acts SET times = times + 1 WHERE key = ?", (key,)).rowcount
        return result if done else self.act(key, what, result)

    def find(self, key: str) -> Any:
        """Give what was done under a key; raises ``DidNotHappen``."""
        done = self._rows.execute("SELECT result FROM acts WHERE key = ?", (key,)).fetchone()
        if done is None:
            raise DidNotHappen(f"nothing was done under {key}")
        return json.loads(done[0])

    def ask(self, request: ModelRequest) -> None:
        """Take note of a request that has reached the model."""
        self._rows.execute("INSERT INTO requests (prompt) VALUES (?)", (request.messages[0].text,))

    def settle(self, question: Question) -> object:
        """Be the person who looks whether an effect in doubt happened."""
        found = re.search(r"idempotency key (\S+?)\)", question.prompt)
        assert found is not None, question.prompt
        try:
            return {"outcome": "happened", "result": self.find(found[1])}
        except DidNotHappen:
            return {"outcome": "run_again"}

    @property
    def done(self) -> list[str]:
        """Everything that was done, as often as it was."""
        return [row[0] for row in self._rows.execute("SELECT what FROM acts ORDER BY what")]

    @property
    def keys(self) -> set[str]:
        """The keys under which something was done."""
        return {row[0] for row in self._rows.execute("SELECT key FROM acts")}

    @property
    def requests(self) -> int:
        """How many requests have reached the model."""
        return int(self._rows.execute("SELECT count(*) FROM requests").fetchone()[0])

    def take(self) -> list[str]:
        """Everything that was done since the last time."""
        done = self.done
        self._rows.execute("DELETE FROM acts")
        return done

    def close(self) -> None:
        """Leave it as it is."""
        self._rows.close()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph to crash.

    Attributes:
        wired: The graph; its agents name no model.
        args: Its inputs.
        says: What the model says to a request; it looks at nothing else.
        answers: What people answer, by the first word of the question.
    """

    wired: Graph[..., Any]
    args: Sequence[Any]
    says: Callable[[ModelRequest], object]
    answers: dict[str, object]

    def graph(self, till: Till) -> Graph[..., Any]:
        """The graph with its model, whose requests the till counts."""

        def says(request: ModelRequest) -> object:
            till.ask(request)
            return self.says(request)

        return self.wired.using(model=ScriptedModel(says, price=PRICE))

    def answer(self, question: Question) -> object:
        """What a person says."""
        return self.answers[question.prompt.split()[0]]


def turns(request: ModelRequest) -> int:
    """How often the model has been told what tools gave."""
    messages = request.messages
    return sum(
        message.role == "tool" and messages[place - 1].role != "tool"
        for place, message in enumerate(messages)
    )
