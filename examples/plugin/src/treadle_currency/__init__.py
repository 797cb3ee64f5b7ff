"""Currencies for Treadle: a tool that converts, an index of words, a model that needs no key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from treadle import Context, Passage, tool
from treadle.models import (
    Message,
    ModelRequest,
    ModelResponse,
    Price,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)


@dataclass(frozen=True)
class Rates:
    """What one euro is worth, by currency: a resource of the engine."""

    per_euro: Mapping[str, Decimal]


@tool
async def convert(ctx: Context, amount: Decimal, source: str, target: str) -> Decimal:
    """Convert an amount of money from one currency to another, rounded to cents.

    Args:
        amount: How much.
        source: The currency it is in, such as "EUR".
        target: The currency that is wanted.
    """
    rates = ctx.resource(Rates).per_euro
    for currency in (source, target):
        if currency not in rates:
            raise LookupError(f"no rate for {currency!r}; there are {', '.join(sorted(rates))}")
    return round(amount / rates[source] * rates[target], 2)


class Glossary:
    """Words and what they mean; a query finds those it shares the most words with."""

    def __init__(self, meanings: Mapping[str, str]) -> None:
        self._entries = {word: f"{word}: {meaning}" for word, meaning in meanings.items()}
        self._version = _digest("\n".join(self._entries.values()))

    async def search(self, query: str, *, k: int) -> list[Passage]:
        """Give at most ``k`` entries, best first."""
        wanted = _words(query)
        scored = {word: len(wanted & _words(entry)) for word, entry in self._entries.items()}
        best = sorted((word for word in scored if scored[word]), key=lambda word: (-scored[word], word))
        return [self._passage(word, scored[word]) for word in best[:k]]

    def _passage(self, word: str, score: int) -> Passage:
        text = self._entries[word]
        return Passage(
            text=text,
            document=word,
            digest=_digest(text),
            start=0,
            end=len(text),
            score=float(score),
            corpus=self._version,
        )


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Clerk:
    """A model that knows one thing: how to have "100 EUR in JPY" converted."""

    name = "clerk-1"
    provider = "treadle-currency"
    price = Price(input_mtok=Decimal(0), output_mtok=Decimal(0), basis="local")

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Ask for the tool where an amount is asked for, and put its result before what was found."""
        last = request.messages[-1]
        results = [part.content for part in last.parts if isinstance(part, ToolResult)]
        asked = re.search(r"([\d.]+) ([A-Z]{3}) in ([A-Z]{3})", request.messages[0].text)
        offered = "convert" in [shown.name for shown in request.tools]
        if asked and offered and not results:
            amount, source, target = asked.groups()
            arguments = json.dumps({"amount": amount, "source": source, "target": target})
            call = ToolCall(id="call-1", name="convert", arguments=arguments)
            return self._answer(request, call)
        found = re.findall(r"^- (.*)$", request.messages[0].text, re.MULTILINE)
        return self._answer(request, Text(text="\n".join([*results, *found]) or "I do not know."))

    def _answer(self, request: ModelRequest, part: Text | ToolCall) -> ModelResponse:
        message = Message(role="assistant", parts=(part,))
        used = Usage(input_tokens=self.input_bound(request.messages, request), output_tokens=20)
        return ModelResponse(
            message=message,
            usage=used,
            model=self.name,
            stop="tools" if message.tool_calls else "end",
        )

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int:
        """Count bytes: no token is shorter than one."""
        del request
        return sum(len(str(part).encode()) for message in messages for part in message.parts)
