"""What goes over the wire: later requests add to earlier ones, byte for byte, so provider caches hit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from treadle import Engine, Prompt, agent, graph, tool
from treadle.models import AnthropicModel, ModelRequest, OpenAIModel, OpenAIResponsesModel
from treadle.testing import ModelServer, ScriptedModel, call

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One will do: what is sent does not depend on the event loop."""
    return "asyncio"


KINDS: dict[str, Callable[..., Any]] = {
    "messages": OpenAIModel,
    "input": OpenAIResponsesModel,
    "system+messages": AnthropicModel,
}
"""The interfaces, by the fields in which their conversations stand."""


def answer(request: ModelRequest) -> object:
    """Calls both tools, then one of them with something it must escape, then answers."""
    calls = sum(len(message.tool_calls) for message in request.messages)
    if calls == 0:
        return [call("zeta", text='ü\n"1"'), call("alpha", text="2")]
    return call("alpha", text="3 \u2028") if calls == 2 else "done"


async def bodies(kind: str, *, first: str = "zeta", listen: bool = False) -> list[dict[str, Any]]:
    """The bodies of an agent's requests, where one of its two tools ends before the other."""
    is_done = anyio.Event()

    async def work(name: str, text: str) -> str:
        if name != first and not text.startswith("3"):
            await is_done.wait()
        is_done.set()
        return f"{name}: {text}"

    @tool
    async def zeta(text: str) -> str:
        """Work."""
        return await work("zeta", text)

    @tool
    async def alpha(text: str) -> str:
        """Work too."""
        return await work("alpha", text)

    with ModelServer(ScriptedModel(answer)) as server:

        @agent(model=KINDS[kind]("m", base_url=server.url), tools=[zeta, alpha], instructions="be kind")
        async def clerk(text: str) -> Prompt[str]:
            return Prompt(text, system="and brief")

        @graph
        def desk(text: str) -> str:
            return clerk(text)

        async with Engine("memory:", graphs=[desk]) as engine:
            handle = await engine.start(desk, "grüß dich", run_id="r")
            if listen:
                async for _ in handle.events(pieces=True):
                    pass
            assert await handle.result() == "done"
        return [received.body for received in server.received]


def written(body: dict[str, Any], kind: str) -> bytes:
    """What stands before the conversation, and the conversation without its last bracket.

    Marks that say up to where a provider shall cache are not what it caches.
    """
    *fixed, conversation = kind.split("+")
    before = [body.get(field) for field in ("tools", *fixed)]
    text = json.dumps([*before, *body[conversation]])
    return text.replace(', "cache_control": {"type": "ephemeral"}', "").encode()[:-1]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_request_begins_with_the_one_before_it(kind: str) -> None:
    sent = [written(body, kind) for body in await bodies(kind)]
    assert len(sent) == 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(sent))


@pytest.mark.parametrize("kind", KINDS)
async def test_which_tool_was_quicker_changes_no_byte(kind: str) -> None:
    one, other = await bodies(kind, first="zeta"), await bodies(kind, first="alpha")
    assert list(map(json.dumps, one)) == list(map(json.dumps, other))


@pytest.mark.parametrize("kind", KINDS)
async def test_streamed_or_not_the_conversation_is_the_same(kind: str) -> None:
    one, other = await bodies(kind), await bodies(kind, listen=True)
    assert [written(body, kind) for body in one] == [written(body, kind) for body in other]


@pytest.mark.parametrize("kind", KINDS)
async def test_tools_are_sent_in_the_order_of_the_declaration(kind: str) -> None:
    def names(tools: Sequence[dict[str, Any]]) -> list[str]:
        return [each.get("name") or each["function"]["name"] for each in tools]

    assert [names(body["tools"]) for body in await bodies(kind)] == [["zeta", "alpha"]] * 3
