"""Every recorded exchange is read as the official SDK reads it: text, calls, usage, reason to stop.

What was recorded is served again over real HTTP, to the SDK and to ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from interfaces import KINDS, ask
from recordings import ANSWERED, REFUSED, STREAMED, interface_of

from treadle.budget import Usage
from treadle.errors import ProviderError, RequestRejected
from treadle.messages import Delta, ModelResponse, Opaque, Reasoning
from treadle.providers.serving import FORMATS
from treadle.testing import ModelServer, Reply, ScriptedModel

WHOLE = [row for row in ANSWERED if not row.get("sse")]
LONG = bool(os.environ.get("TREADLE_ATTACK"))

Said = dict[str, Any]
"""What an answer says, in words that both readings are put into."""


def named(row: dict[str, Any]) -> str:
    return f"{row['path'].rpartition('/')[2]}-{row['cassette'].rpartition('/')[2][:70]}"


def reply_of(row: dict[str, Any]) -> Reply:
    headers = {name: value for name, value in row["headers"].items() if name == "retry-after"}
    if row.get("sse"):
        return Reply(headers={**headers, "content-type": "text/event-stream"}, chunks=[row["sse"]])
    return Reply(status=row["status"], headers=headers, body=row["json"])


def ours(response: ModelResponse) -> Said:
    return {
        "text": response.message.text,
        "calls": [(call.id, call.name, json.loads(call.arguments)) for call in response.message.tool_calls],
        "reasoning": [part.text for part in response.message.parts if isinstance(part, Reasoning)],
        "unknown": [part.content.get("type") for part in response.message.parts if isinstance(part, Opaque)],
        "usage": response.usage,
        "stop": response.stop,
        "model": response.model,
        "id": response.response_id,
    }


# -- the same in the SDKs' words -------------------------------------------------------------------------


def of_chat(theirs: Any) -> Said:
    message, usage, reason = theirs.choices[0].message, theirs.usage, theirs.choices[0].finish_reason
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()]
    if message.function_call:
        calls = [("call_0", message.function_call.name, json.loads(message.function_call.arguments))]
    # OpenAI itself says "stop" beside tool calls where a tool was forced.
    ended = "tools" if calls else "end"
    annotated = [None] if getattr(message, "annotations", None) else []
    return {
        "text": message.content or "",
        "calls": calls,
        "reasoning": [],
        "unknown": annotated,
        "usage": chat_usage(usage),
        "stop": {"stop": ended, "tool_calls": "tools", "function_call": "tools"}.get(reason, reason),
        "model": theirs.model,
        "id": theirs.id,
    }


def chat_usage(usage: Any) -> Usage | None:
    if usage is None:
        return None
    read, written = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=(read and read.cached_tokens) or 0,
        cache_write_tokens=(read and getattr(read, "cache_write_tokens", 0)) or 0,
        reasoning_tokens=(written and written.reasoning_tokens) or 0,
    )


def of_response(theirs: Any) -> Said:
    calls = [
        (item.call_id, item.name, json.loads(item.arguments))
        for item in theirs.output
        if item.type == "function_call"
    ]
    usage = theirs.usage
    return {
        "text": theirs.output_text,
        "calls": calls,
        "reasoning": [
            "\n\n".join(piece.text for piece in item.summary)
            for item in theirs.output
            if item.type == "reasoning"
        ],
        "unknown": [
            item.type for item in theirs.output if item.type not in {"message", "reasoning", "function_call"}
        ],
        "usage": Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.input_tokens_details.cached_tokens or 0,
            cache_write_tokens=getattr(usage.input_tokens_details, "cache_write_tokens", 0) or 0,
            reasoning_tokens=usage.output_tokens_details.reasoning_tokens or 0,
        ),
        "stop": "tools" if calls else "end",
        "model": theirs.model,
        "id": theirs.id,
    }


def of_message(theirs: Any) -> Said:
    known = {"text", "tool_use", "thinking", "redacted_thinking"}
    usage = theirs.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
    stops = {"end_turn": "end", "stop_sequence": "end", "tool_use": "tools", "max_tokens": "length"}
    return {
        "text": "".join(block.text for block in theirs.content if block.type == "text"),
        "calls": [
            (block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"
        ],
        "reasoning": [block.thinking for block in theirs.content if block.type == "thinking"],
        "unknown": [block.type for block in theirs.content if block.type not in known],
        "usage": Usage(
            input_tokens=usage.input_tokens + read + written,
            output_tokens=usage.output_tokens,
            cache_read_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=thought,
        ),
        "stop": stops.get(theirs.stop_reason, theirs.stop_reason),
        "model": theirs.model,
        "id": theirs.id,
    }


def plain() -> httpx2.Client:
    """Without the certificates, which take a tenth of a second to load."""
    return httpx2.Client(verify=False, trust_env=False)


def theirs(url: str, row: dict[str, Any]) -> Said:
    """Ask with the SDK itself, and let it put streams together with its own means."""
    if interface_of(row) == "anthropic":
        return _their_message(url, streamed=bool(row.get("sse")))
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=plain()) as sdk:
        if interface_of(row) == "openai":
            return _their_chat(sdk, streamed=bool(row.get("sse")))
        if not row.get("sse"):
            return of_response(sdk.responses.create(model="m", input="hello"))
        with sdk.responses.stream(model="m", input="hello") as responses:
            return of_response(responses.get_final_response())


def _their_chat(sdk: openai.OpenAI, *, streamed: bool) -> Said:
    said: Any = [{"role": "user", "content": "hello"}]
    if not streamed:
        return of_chat(sdk.chat.completions.create(model="m", messages=said))
    with sdk.chat.completions.stream(model="m", messages=said) as completion:
        return of_chat(completion.get_final_completion())


def _their_message(url: str, *, streamed: bool) -> Said:
    said: Any = [{"role": "user", "content": "hello"}]
    base = url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key="none", max_retries=0, http_client=plain()) as sdk:
        if not streamed:
            return of_message(sdk.messages.create(model="m", max_tokens=100, messages=said))
        with sdk.messages.stream(model="m", max_tokens=100, messages=said) as message:
            return of_message(message.get_final_message())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("row", ANSWERED, ids=named)
async def test_a_recorded_answer_is_read_as_the_sdk_reads_it(row: dict[str, Any]) -> None:
    _, kind = KINDS[interface_of(row)]
    told: list[Delta] = []
    with ModelServer(ScriptedModel([]), faults=lambda _: reply_of(row)) as server:
        expected = theirs(server.url, row)
        model = kind("m", base_url=server.url)
        response = await (model.stream(ask(), told.append) if row.get("sse") else model.complete(ask()))
        await model.aclose()
    read = ours(response)
    if expected["usage"] is None:  # the stream was not asked for it
        expected["usage"] = Usage(
            input_tokens=model.input_bound(ask().messages, ask()), output_tokens=ask().max_output_tokens
        )
    assert read == expected
    assert "".join(delta.text for delta in told if delta.kind == "text") == (read["text"] if told else "")


def streamed_reply(row: dict[str, Any]) -> Reply:
    """A recorded answer that came at once, sent as a stream by our own server."""
    form = FORMATS[KINDS[interface_of(row)][0]]
    return Reply(headers={"content-type": "text/event-stream"}, chunks=form.stream(row["json"]))


@pytest.mark.attack
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("row", WHOLE if LONG else WHOLE[::3], ids=named)
async def test_an_answer_is_the_same_when_it_is_streamed(row: dict[str, Any]) -> None:
    """By the SDK's own reading, too: so the streams of our server are such as the provider's."""
    _, kind = KINDS[interface_of(row)]
    replies = {1: reply_of(row), 2: streamed_reply(row), 3: streamed_reply(row)}
    with ModelServer(ScriptedModel([]), faults=replies) as server:
        whole, streamed = theirs(server.url, row), theirs(server.url, {**row, "sse": "asked for"})
        model = kind("m", base_url=server.url)
        response = await model.stream(ask(), lambda _: None)
        await model.aclose()
    assert streamed == whole
    assert ours(response) == whole


def test_the_recordings_hold_what_they_are_kept_for() -> None:
    """So that no change of the file makes the test above an empty one."""
    kinds = {(interface_of(row), bool(row.get("sse"))) for row in ANSWERED}
    assert kinds == {(name, streamed) for name in KINDS for streamed in (False, True)}
    assert len(ANSWERED) == 132
    assert any("retry-after" in row["headers"] for row in ANSWERED)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("row", REFUSED, ids=named)
async def test_recorded_refusals_are_not_tried_again(row: dict[str, Any], *, streamed: bool) -> None:
    _, kind = KINDS[interface_of(row)]
    with ModelServer(ScriptedModel([]), faults={1: reply_of(row)}) as server:
        model = kind("m", base_url=server.url)
        with pytest.raises(RequestRejected) as caught:
            await (model.stream(ask(), lambda _: None) if streamed else model.complete(ask()))
        assert caught.value.status == row["status"]
        assert not caught.value.retryable
        await model.aclose()


def cuts(events: str) -> Iterator[str]:
    """A stream cut short after each of its events."""
    pieces = events.rstrip().split("\n\n")
    for length in range(len(pieces)):
        yield "".join(f"{piece}\n\n" for piece in pieces[:length])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("row", sorted(STREAMED, key=lambda row: len(row["sse"]))[:6], ids=named)
async def test_a_stream_cut_anywhere_is_whole_or_an_error(row: dict[str, Any]) -> None:
    _, kind = KINDS[interface_of(row)]
    shorter = list(cuts(row["sse"]))
    replies = [
        Reply(headers={"content-type": "text/event-stream"}, chunks=[cut] if cut else [], cut=True)
        for cut in [*shorter, row["sse"]]
    ]
    with ModelServer(ScriptedModel([]), faults=lambda number: replies[number - 1]) as server:
        model = kind("m", base_url=server.url)
        outcomes: list[object] = []
        for _ in replies:
            try:
                outcomes.append(ours(await model.stream(ask(), lambda _: None)) | {"usage": None})
            except ProviderError as error:
                outcomes.append(error.retryable)
        await model.aclose()
    assert outcomes[0] is True
    whole = outcomes[-1]
    assert isinstance(whole, dict)
    assert all(outcome is True or outcome == whole for outcome in outcomes)
