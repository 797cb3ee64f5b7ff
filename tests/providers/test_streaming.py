"""Answers heard while they are written: pieces in their place between the events, and the same history."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anyio
import pytest
from interfaces import KINDS, Serve, ask
from pydantic import BaseModel

from treadle import Context, Engine, Prompt, Retry, agent, graph, tool
from treadle.budget import NOTHING, Price
from treadle.engine.listening import Listener
from treadle.errors import ProviderUnavailable
from treadle.events import Event, MoneyHeld, MoneySettled, Recorded, RunEnded
from treadle.ids import NodeId, StepId
from treadle.messages import Delta, ModelRequest, Piece
from treadle.providers.serving import FORMATS
from treadle.stores import MemoryStore
from treadle.testing import ModelServer, Reply, ScriptedModel, call

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
SAID = "It is on its way to you."


class Answer(BaseModel):
    said: str


@tool
async def find(ctx: Context, key: str) -> str:
    """Find it."""
    return f"found {key}"


def pipeline(model: Any) -> Any:
    @agent(model=model, tools=[find], retry=Retry(attempts=2, wait=0.001))
    async def clerk(question: str) -> Prompt[Answer]:
        return Prompt(question)

    @graph
    def desk(question: str) -> Answer:
        return clerk(question)

    return desk


def answer(request: ModelRequest) -> object:
    """Call two tools, then answer."""
    if len(request.messages) == 1:
        return [call("find", key="a"), call("find", key="b")]
    return Answer(said=SAID)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The end of the path and the class of each interface."""
    return KINDS[request.param]


async def play(model: Any, *, listen: bool) -> tuple[list[Recorded | Piece], Answer]:
    """Run the pipeline with or without a listener; gives what was heard and the result."""
    desk = pipeline(model)
    async with Engine(MemoryStore()) as engine:
        handle = await engine.start(desk, "where is it?", run_id="r-1")
        heard: list[Recorded | Piece] = []
        if listen:
            heard = [item async for item in handle.events(pieces=True)]
        else:
            heard = [item async for item in handle.events()]
        return heard, await handle.result()


def without_times(items: list[Recorded | Piece]) -> list[Event]:
    """The events of a history, but for when they were."""
    events = [item.event for item in items if isinstance(item, Recorded)]
    timeless: list[Event] = []
    for event in events:
        fields = {field.name for field in dataclasses.fields(event)}
        still = {name: 0.0 for name in ("at", "started_at") if name in fields}
        timeless.append(dataclasses.replace(event, **still))
    return timeless


async def test_streaming_or_not_the_history_is_the_same(serve: Serve, kind: tuple[str, Any]) -> None:
    histories: list[list[Event]] = []
    for listen in (True, False):
        server = serve(ScriptedModel(answer))
        model = kind[1]("m", base_url=server.url, price=PRICE)
        heard, result = await play(model, listen=listen)
        assert result.said == SAID
        assert [bool(received.body.get("stream")) for received in server.received] == [listen, listen]
        histories.append(without_times(heard))
    streamed, whole = (sorted(map(repr, events)) for events in histories)  # tools run side by side
    assert streamed == whole


async def test_pieces_come_between_the_hold_and_the_settlement_of_their_request(
    serve: Serve, kind: tuple[str, Any]
) -> None:
    model = kind[1]("m", base_url=serve(ScriptedModel(answer)).url)
    heard, _ = await play(model, listen=True)
    texts: dict[StepId, str] = {}
    open_now: set[tuple[Any, ...]] = set()
    for item in heard:
        if isinstance(item, Piece):
            assert (item.node, item.attempt, item.step, item.request) in open_now
            texts[item.step] = texts.get(item.step, "") + item.delta.text
        elif isinstance(item.event, MoneyHeld | MoneySettled):
            key = (item.event.node, item.event.attempt, item.event.step, item.event.request)
            (open_now.add if isinstance(item.event, MoneyHeld) else open_now.discard)(key)
    assert isinstance(heard[-1], Recorded)
    assert isinstance(heard[-1].event, RunEnded)
    assert Answer.model_validate_json(list(texts.values())[-1]) == Answer(said=SAID)
    named = [item.delta.name for item in heard if isinstance(item, Piece) and item.delta.name]
    assert named == ["find", "find"]


async def test_a_stream_that_breaks_is_charged_as_held_and_tried_again(
    serve: Serve, kind: tuple[str, Any]
) -> None:
    path, model_class = kind
    form = FORMATS[path]
    whole = form.write(ScriptedModel([Answer(said=SAID)]).respond(ask()), model="m", key=b"")
    half = list(form.stream(whole))[:-4]
    broken = Reply(headers={"content-type": "text/event-stream"}, chunks=half, cut=True)
    server = serve(ScriptedModel([Answer(said=SAID)]), faults={1: broken})
    heard, result = await play(model_class("m", base_url=server.url, price=PRICE), listen=True)
    assert result.said == SAID
    held = [item.event for item in heard if isinstance(item, Recorded) and isinstance(item.event, MoneyHeld)]
    settled = [
        item.event for item in heard if isinstance(item, Recorded) and isinstance(item.event, MoneySettled)
    ]
    assert [event.outcome for event in settled] == ["failed", "completed"]
    assert settled[0].charged == held[0].held
    assert settled[1].charged.tokens == settled[1].usage.total_tokens
    assert {item.request for item in heard if isinstance(item, Piece)} == {1, 2}


def _trickle(first: list[str], given: threading.Event) -> Iterator[str]:
    """The beginning of a stream, and then comments for as long as somebody reads."""
    yield from first
    given.set()
    pause = threading.Event()
    while not pause.wait(0.01):
        yield ": still here\n\n"


async def test_a_run_cancelled_while_it_streams_is_charged_as_held(
    serve: Serve, kind: tuple[str, Any]
) -> None:
    path, model_class = kind
    form = FORMATS[path]
    whole = form.write(ScriptedModel([Answer(said=SAID)]).respond(ask()), model="m", key=b"")
    given = threading.Event()
    slow = Reply(
        headers={"content-type": "text/event-stream"}, chunks=_trickle(list(form.stream(whole))[:-4], given)
    )
    desk = pipeline(model_class("m", base_url=serve(ScriptedModel([]), faults={1: slow}).url, price=PRICE))
    async with Engine(MemoryStore()) as engine:
        handle = await engine.start(desk, "where is it?")
        items: list[Recorded | Piece] = []
        async for item in handle.events(pieces=True):
            items.append(item)
            if isinstance(item, Piece) and items and handle.status == "running":
                await handle.cancel()
    events = [item.event for item in items if isinstance(item, Recorded)]
    [held] = [event for event in events if isinstance(event, MoneyHeld)]
    [settled] = [event for event in events if isinstance(event, MoneySettled)]
    assert (settled.outcome, settled.charged) == ("cancelled", held.held)
    assert handle.status == "cancelled"


async def test_nobody_who_left_is_told_anything(serve: Serve) -> None:
    server = serve(ScriptedModel(answer))
    desk = pipeline(KINDS["openai"][1]("m", base_url=server.url))
    async with Engine(MemoryStore()) as engine:
        listening = engine.services.pieces
        handle = await engine.start(desk, "where is it?")
        events = handle.events(pieces=True)
        async for item in events:
            if isinstance(item, Piece):
                break
        await events.aclose()
        assert listening.teller(handle.id, NodeId("n"), 1, StepId("s"), 1) is None
        assert (await handle.result()).said == SAID


async def test_a_model_that_cannot_stream_is_asked_for_whole_answers() -> None:
    class Plain:
        name, provider, price = "plain", "here", PRICE

        def __init__(self) -> None:
            self._inside = ScriptedModel(answer)
            self.complete = self._inside.complete
            self.input_bound = self._inside.input_bound

    heard, result = await play(Plain(), listen=True)
    assert result.said == SAID
    assert all(isinstance(item, Recorded) for item in heard)


async def test_a_scripted_model_streams_in_the_process_too() -> None:
    heard, _ = await play(ScriptedModel(answer), listen=True)
    assert SAID in "".join(item.delta.text for item in heard if isinstance(item, Piece))


# -- the listener itself ------------------------------------------------------------------------------


def piece(text: str, *, request: int = 1, index: int = 0, name: str = "") -> Piece:
    delta = Delta(kind="text", text=text, index=index, name=name)
    return Piece(node=NodeId("n"), attempt=1, step=StepId("s"), request=request, delta=delta)


def settled(request: int) -> Recorded:
    event = MoneySettled(
        at=0, node=NodeId("n"), attempt=1, step=StepId("s"), request=request, accounts=(), charged=NOTHING,
        started_at=0,
    )  # fmt: skip
    return Recorded(seq=1, hash="", event=event)


def told(listener: Listener, *events: Recorded) -> list[str]:
    """What a listener gives around some events, by its text."""
    return [
        item.delta.text if isinstance(item, Piece) else item.event.kind for item in listener.among(events)
    ]


async def test_what_waits_for_a_slow_listener_is_joined_by_text() -> None:
    listener = Listener()
    for text in ("a", "b"):
        listener.hear(piece(text))
    listener.hear(piece("c", index=1))
    listener.hear(piece("d", index=1, name="f"))
    listener.begin()
    assert told(listener) == ["ab", "c", "d"]
    assert told(listener) == []


async def test_pieces_told_during_a_read_come_before_the_end_of_their_request() -> None:
    listener = Listener()
    listener.hear(piece("early"))
    listener.begin()
    listener.hear(piece("late"))
    listener.hear(piece("next", request=2))  # its hold may not have been read yet
    assert told(listener, settled(1)) == ["early", "late", "money_settled"]
    with anyio.fail_after(5):
        await listener.wait()
    listener.begin()
    assert told(listener) == ["next"]


async def test_streamed_errors_are_the_same_as_whole_ones(serve: Serve, kind: tuple[str, Any]) -> None:
    error = ProviderUnavailable("down", provider="scripted", retryable=True, status=529, retry_after=2.0)
    server: ModelServer = serve(ScriptedModel([error, error]))
    model = kind[1]("m", base_url=server.url)
    for asked in (model.complete(ask()), model.stream(ask(), lambda _: None)):
        with pytest.raises(ProviderUnavailable) as caught:
            await asked
        assert (caught.value.status, caught.value.retry_after) == (529, 2.0)
    await model.aclose()
