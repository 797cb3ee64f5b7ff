"""What happens to connections: closed when a request is cancelled, kept when an answer is whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from interfaces import ALL, Interface, Serve, ask

from treadle import Engine, Prompt, agent, graph
from treadle.events import MoneyHeld, Recorded
from treadle.providers import service
from treadle.providers.serving import FORMATS, Reply
from treadle.testing import ScriptedModel

pytestmark = pytest.mark.anyio
each = pytest.mark.parametrize("interface", ALL, ids=str)
each_streamed = pytest.mark.parametrize("interface", [one for one in ALL if one.streamed], ids=str)

EVENTS = {"content-type": "text/event-stream"}


class Endless:
    """An answer, or its beginning, that goes on as long as somebody reads.

    Attributes:
        begun: Set when its first bytes were sent.
        gone: Set when nobody reads any more.
    """

    def __init__(self, pieces: list[str], filler: str) -> None:
        self.pieces, self.filler = pieces, filler
        self.begun, self.gone = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self.pieces
            self.begun.set()
            while not threading.Event().wait(0.005):
                yield self.filler
        finally:
            self.gone.set()


def written(interface: Interface) -> list[str]:
    form = FORMATS[interface.path]
    body = form.write(ScriptedModel(["the answer"]).respond(ask()), model="m", key=b"")
    return list(form.stream(body))


def endless(interface: Interface, *, whole: bool = False) -> tuple[Endless, Reply]:
    pieces = written(interface) if whole else written(interface)[:2]
    if not interface.streamed:
        answer = Endless([], " ")
        return answer, Reply(chunks=answer)
    answer = Endless(pieces, ": still here\n\n")
    return answer, Reply(headers=EVENTS, chunks=answer)


@each
async def test_a_cancelled_request_closes_its_connection(serve: Serve, interface: Interface) -> None:
    answer, reply = endless(interface)
    model: Any = interface.model(serve(ScriptedModel([]), faults={1: reply}))
    async with anyio.create_task_group() as group:
        group.start_soon(interface.ask, model, ask())
        assert await to_thread.run_sync(answer.begun.wait, 20)
        group.cancel_scope.cancel()
    assert await to_thread.run_sync(answer.gone.wait, 20)
    await model.aclose()


@each_streamed
async def test_an_answer_that_is_whole_does_not_wait_for_what_follows(
    serve: Serve, interface: Interface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_CLOSING", 0.02)
    answer, reply = endless(interface, whole=True)
    model = interface.model(serve(ScriptedModel([]), faults={1: reply}))
    assert (await interface.ask(model, ask())).message.text == "the answer"
    assert await to_thread.run_sync(answer.gone.wait, 20)
    await model.aclose()


@each
async def test_one_connection_serves_request_after_request(serve: Serve, interface: Interface) -> None:
    server = serve(ScriptedModel(lambda _: "a"))
    model = interface.model(server)
    for _ in range(3):
        await interface.ask(model, ask())
    assert server.connections == 1
    await model.aclose()


@each_streamed
async def test_a_listener_who_leaves_a_run_of_his_own_leaves_no_connection(
    serve: Serve, interface: Interface
) -> None:
    answer, reply = endless(interface)
    model = interface.model(serve(ScriptedModel([]), faults={1: reply}))

    @agent(model=model)
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(question: str) -> str:
        return clerk(question)

    async with Engine("memory:") as engine:
        handle = await engine.start(desk, "where is it?")
        async with handle.attached(pieces=True) as items:
            async for item in items:
                if isinstance(item, Recorded) and isinstance(item.event, MoneyHeld):
                    assert await to_thread.run_sync(answer.begun.wait, 20)
                    break
        assert handle.status == "cancelled"
        assert await to_thread.run_sync(answer.gone.wait, 20)
