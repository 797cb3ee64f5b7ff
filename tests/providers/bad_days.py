"""What a provider does on a bad day, made for real by a loopback server; and how each day has to end."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from interfaces import Interface, ask

from treadle.errors import (
    AgentStopped,
    MalformedResponse,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from treadle.messages import Message, ModelResponse, Refusal, Text, ToolCall
from treadle.providers.serving import FORMATS, Reply
from treadle.providers.serving_events import event
from treadle.testing import ScriptedModel

RIGHT = '{"said": "It is on its way."}'
EVENTS = {"content-type": "text/event-stream"}

Charge = Literal["call", "held", "usage"]
"""What a request is charged: the call alone, what was held for it, or what the provider counted."""


class Provider:
    """What one interface's provider can send back."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.streamed = interface.streamed
        self.is_anthropic = interface.name == "anthropic"
        self.form = FORMATS[interface.path]

    def says(self, answer: object, **fields: Any) -> Reply:
        """A good answer."""
        written = self._written(answer)
        if self.streamed:
            return Reply(
                headers=EVENTS | fields.pop("headers", {}), chunks=self.form.stream(written), **fields
            )
        return Reply(body=written, **fields)

    def fails(self, status: int, *, code: str = "", said: str = "no", **headers: str) -> Reply:
        """An answer with an error status, in the provider's own words."""
        kind = code if not self.is_anthropic else ""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply(status=status, body=self.form.error(status, said, kind), headers=named)

    def fails_with_200(self) -> Reply:
        """An overload that shows only within a response of status 200."""
        if not self.streamed:
            return Reply(body=self.form.error(529, "Overloaded", "" if self.is_anthropic else "server_error"))
        begun = list(self.form.stream(self._written(RIGHT)))[:3]
        error = {"code": "server_error", "message": "Overloaded"}
        last = {
            "anthropic": event(self.form.error(529, "Overloaded", ""), name="error"),
            "openai": event({"error": error}),
            "openai-responses": event(
                {"type": "response.failed", "response": {"status": "failed", "error": error}},
                name="response.failed",
            ),
        }[self.interface.name]
        return Reply(headers=EVENTS, chunks=[*begun, last])

    def breaks_off(self) -> Reply:
        """Half an answer, and then the connection is gone."""
        written = self._written(RIGHT)
        if self.streamed:
            return Reply(headers=EVENTS, chunks=list(self.form.stream(written))[:3], cut=True)
        return Reply(body=written, cut=True)

    def ends_early(self) -> Reply:
        """Half an answer, ended as if it were whole."""
        if self.streamed:
            return Reply(headers=EVENTS, chunks=list(self.form.stream(self._written(RIGHT)))[:3])
        return Reply(body='{"id": "x", "mod')

    def talks_rubbish(self) -> Reply:
        """No JSON where JSON has to be."""
        if self.streamed:
            begun = list(self.form.stream(self._written(RIGHT)))[:2]
            return Reply(headers=EVENTS, chunks=[*begun, "event: message_delta\ndata: {not json\n\n"])
        return Reply(body="<html>502 Bad Gateway</html>")

    def trickles(self, *, to_the_end: bool) -> Reply:
        """An answer that comes a few bytes at a time, or goes on so for ever."""
        written = self._written(RIGHT)
        if self.streamed:
            pieces = list(self.form.stream(written))
            chunks = _slowly(pieces) if to_the_end else _slowly(pieces[:-3], ": wait\n\n")
            return Reply(headers=EVENTS, chunks=chunks)
        text = json.dumps(written)
        pieces = [text[at : at + 40] for at in range(0, len(text), 40)]
        return Reply(chunks=_slowly(pieces) if to_the_end else _slowly([], " "))

    def _written(self, answer: object) -> dict[str, Any]:
        response = ScriptedModel([answer]).respond(ask())
        return self.form.write(response, model="test-model", key=b"k")


def _slowly(pieces: list[str], filler: str = "") -> Iterator[str]:
    """Pieces with pauses, and then filler for as long as somebody reads, where there is any."""
    pause = threading.Event()
    for piece in pieces:
        yield piece
        pause.wait(0.001)
    while filler and not pause.wait(0.01):
        yield filler


def _in_an_hour() -> str:
    return email.utils.formatdate(time.time() + 3600, usegmt=True)


def _said(*parts: Text | Refusal | ToolCall, stop: Any = "") -> Message | ModelResponse:
    message = Message(role="assistant", parts=parts)
    return ModelResponse(message=message, stop=stop) if stop else message


CUT_CALL = ToolCall(id="c1", name="find", arguments='{"key": "a')
OVERFLOW = "prompt is too long: 9 tokens > 8 maximum"


@dataclass(frozen=True)
class Day:
    """One bad day.

    Attributes:
        name: As the table of the documentation calls it.
        replies: What the provider sends first; after that it answers right.
        error: How the run ends; ``None``: with the right answer.
        requests: How many requests that takes.
        charged: What each is charged.
        waits: The seconds waited, as (least, most), or ``None`` for none.
        slow: Whether the first request runs into its timeout.
    """

    name: str
    replies: Callable[[Provider], list[Reply]]
    error: type[Exception] | None = None
    requests: int = 2
    charged: tuple[Charge, ...] = ("call", "usage")
    waits: tuple[float, float] | None = (0.4, 2.0)
    slow: bool = False
    says: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


_ONCE: dict[str, Any] = {"requests": 1, "waits": None}
_REFUSED: dict[str, Any] = {**_ONCE, "charged": ("call",)}
_STOPPED: dict[str, Any] = {**_ONCE, "error": AgentStopped, "charged": ("usage",)}
_LOST: dict[str, Any] = {"charged": ("held", "usage")}
_ASKED_AGAIN: dict[str, Any] = {"charged": ("usage", "usage"), "waits": None}

DAYS = [
    Day("429", lambda p: [p.fails(429, code="rate_limit_exceeded")]),
    Day("429 with Retry-After", lambda p: [p.fails(429, retry_after="7")], waits=(7, 7)),
    Day("429 with retry-after-ms", lambda p: [p.fails(429, retry_after_ms="3500")], waits=(3.5, 3.5)),
    Day("429 with a date", lambda p: [p.fails(429, retry_after=_in_an_hour())], waits=(60, 60)),
    Day("429 with a date long past", lambda p: [p.fails(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")]),
    Day("429 with an absurd wait", lambda p: [p.fails(429, retry_after="1e15")], waits=(60, 60)),
    Day("429 with a negative wait", lambda p: [p.fails(429, retry_after="-5")]),
    Day("429 with words for a wait", lambda p: [p.fails(429, retry_after="soon")]),
    Day(
        "429 every time",
        lambda p: [p.fails(429) for _ in range(9)],
        error=RateLimited,
        requests=3,
        charged=("call", "call", "call"),
        waits=(1.2, 5.0),
    ),
    Day(
        "429, a quota is used up",
        lambda p: [
            p.fails(429, code="insufficient_quota", said="You exceeded your current quota", retry_after="1")
        ],
        error=RateLimited,
        **_REFUSED,
    ),
    Day("402", lambda p: [p.fails(402, retry_after="1")], error=RateLimited, **_REFUSED),
    Day("401", lambda p: [p.fails(401)], error=RequestRejected, **_REFUSED),
    Day("400", lambda p: [p.fails(400, retry_after="1")], error=RequestRejected, **_REFUSED),
    Day(
        "context overflow",
        lambda p: [p.fails(400, code="context_length_exceeded", said=OVERFLOW)],
        error=RequestRejected,
        says="does not fit the model's context window",
        **_REFUSED,
    ),
    Day("500", lambda p: [p.fails(500)]),
    Day("529", lambda p: [p.fails(529, retry_after="2")], waits=(2, 2)),
    Day("500, and not to be tried again", lambda p: [p.fails(500, x_should_retry="false")],
        error=ProviderUnavailable, **_REFUSED),
    Day("200 with an error inside", lambda p: [p.fails_with_200()], **_LOST),
    Day("connection dropped before the answer", lambda _: [Reply(drop=True)], **_LOST),
    Day("connection dropped within the answer", lambda p: [p.breaks_off()], **_LOST),
    Day("answer that ends early", lambda p: [p.ends_early()], **_LOST),
    Day("malformed JSON", lambda p: [p.talks_rubbish()], **_LOST),
    Day(
        "malformed JSON every time",
        lambda p: [p.talks_rubbish() for _ in range(9)],
        error=MalformedResponse,
        requests=3,
        charged=("held", "held", "held"),
        waits=(1.2, 5.0),
    ),
    Day("tool arguments cut", lambda p: [p.says(_said(CUT_CALL))], **_ASKED_AGAIN),
    Day(
        "tool arguments cut at the output limit",
        lambda p: [p.says(_said(CUT_CALL, stop="length"))],
        **_STOPPED,
    ),
    Day(
        "answer cut at the output limit",
        lambda p: [p.says(_said(Text(text='{"sa'), stop="length"))],
        **_STOPPED,
    ),
    Day("refusal", lambda p: [p.says(_said(Refusal(text="I will not")))], **_STOPPED),
    Day("content filter", lambda p: [p.says(_said(stop="filter"))], **_STOPPED),
    Day("empty answer", lambda p: [p.says(_said())], **_ASKED_AGAIN),
    Day("empty answer twice", lambda p: [p.says(_said()) for _ in range(2)], AgentStopped, **_ASKED_AGAIN),
    Day("slow first byte", lambda p: [p.says(RIGHT, hold=threading.Event())], slow=True, **_LOST),
    Day("trickle without end", lambda p: [p.trickles(to_the_end=False)], slow=True, **_LOST),
    Day("slow trickle", lambda p: [p.trickles(to_the_end=True)], **_ONCE, charged=("usage",)),
    Day("right answer with Retry-After", lambda p: [p.says(RIGHT, headers={"retry-after": "31"})],
        **_ONCE, charged=("usage",)),
]  # fmt: skip
