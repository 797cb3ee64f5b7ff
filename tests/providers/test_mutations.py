"""Whatever a server answers, it is read or refused by one typed error; what is unknown is kept.

Recorded answers are changed at random places: values of other types, fields taken away, fields and
kinds that nobody knows.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import ANSWERED, interface_of

from treadle.budget import Usage
from treadle.errors import ProviderError
from treadle.messages import Delta, Message, ModelRequest, ModelResponse, Text, user
from treadle.providers import anthropic_wire, openai_responses_wire, openai_wire
from treadle.providers.anthropic_stream import MessageStream
from treadle.providers.http_errors import Asked, from_status
from treadle.providers.openai_responses_stream import ResponseStream
from treadle.providers.openai_stream import ChatStream
from treadle.values import codec

ASKED = Asked(provider="openai", address="http://here", model="m")
WHOLE = [row for row in ANSWERED if not row.get("sse")]
STREAMED = [row for row in ANSWERED if row.get("sse")]
READ: dict[str, Callable[..., ModelResponse]] = {
    "openai": openai_wire.read_response,
    "openai-responses": openai_responses_wire.read_response,
    "anthropic": anthropic_wire.read_response,
}
STRANGE: list[Any] = [None, True, -1, 1.5, 10**30, "", "strange", [], [3], {}, {"type": "strange"}, [[{}]]]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container of some JSON data with each of its keys."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy with one to three changes."""
    changed = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        found = list(places(changed))
        if not found:
            break
        holder, key = chance.choice(found)
        if isinstance(holder, dict) and chance.random() < 0.3:
            holder[f"unknown_{chance.randint(0, 9)}"] = copy.deepcopy(chance.choice(STRANGE))
        elif chance.random() < 0.3:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(chance.choice(STRANGE))
    return changed


def check(response: ModelResponse, interface: str) -> None:
    """What was read can be stored as it is, and sent back."""
    stored = codec(ModelResponse)
    assert stored.decode(stored.encode(response)) == response
    assert min(response.usage.input_tokens, response.usage.output_tokens) >= 0
    request = ModelRequest(messages=(user("a"), response.message, user("b")))
    body: Any = {
        "openai": lambda: openai_wire.request_body(request, model="m", limit_as="max_tokens"),
        "openai-responses": lambda: openai_responses_wire.request_body(request, model="m"),
        "anthropic": lambda: anthropic_wire.request_body(request, model="m", cache=True),
    }[interface]()
    json.dumps(body)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 2**32))
def test_a_changed_answer_is_read_or_refused(number: int, seed: int) -> None:
    row = WHOLE[number]
    interface = interface_of(row)
    try:
        response = READ[interface](mutated(row["json"], random.Random(seed)), worst=Usage)
    except ProviderError:
        return
    check(response, interface)


def events_of(row: dict[str, Any]) -> list[Any]:
    lines = [line[5:].strip() for line in row["sse"].splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def put_together(interface: str, events: list[Any]) -> ModelResponse:
    told: list[Delta] = []
    streams: dict[str, Any] = {
        "openai": lambda: ChatStream(told.append),
        "openai-responses": lambda: ResponseStream(told.append, ASKED),
        "anthropic": lambda: MessageStream(told.append),
    }
    stream = streams[interface]()
    for event in events:
        if isinstance(event, dict):
            stream.take(event)
    assert all(isinstance(delta.text, str) and isinstance(delta.index, int) for delta in told)
    return READ[interface](stream.whole(), worst=Usage)


@given(st.integers(0, len(STREAMED) - 1), st.integers(0, 2**32))
def test_a_changed_stream_is_read_or_refused(number: int, seed: int) -> None:
    row = STREAMED[number]
    interface, chance = interface_of(row), random.Random(seed)
    events = events_of(row)
    if chance.random() < 0.3:
        chance.shuffle(events)
    try:
        response = put_together(interface, mutated(events, chance))
    except ProviderError:
        return
    check(response, interface)


@given(st.sampled_from([200, 400, 402, 429, 500]), st.integers(0, 2**32))
def test_a_changed_error_is_an_error(status: int, seed: int) -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "m", "param": "p", "code": "c"}}
    error = from_status(status, {}, mutated(body, random.Random(seed)), asked=ASKED)
    assert isinstance(error, ProviderError)


@pytest.mark.parametrize("interface", READ)
def test_nothing_in_a_message_is_lost_between_interfaces(interface: str) -> None:
    """A conversation that one model began can go on with another: its words and calls are all sent."""
    for row in WHOLE:
        message = READ[interface_of(row)](row["json"], worst=Usage).message
        sent = json.dumps(_sent(interface, message), ensure_ascii=False)
        for call in message.tool_calls:
            assert call.id in sent
        for part in message.parts:
            if isinstance(part, Text):
                assert json.dumps(part.text, ensure_ascii=False)[1:-1] in sent


def _sent(interface: str, message: Message) -> dict[str, Any]:
    request = ModelRequest(messages=(user("a"), message))
    if interface == "anthropic":
        return anthropic_wire.request_body(request, model="m", cache=False)
    if interface == "openai":
        return openai_wire.request_body(request, model="m", limit_as="max_tokens")
    return openai_responses_wire.request_body(request, model="m")
