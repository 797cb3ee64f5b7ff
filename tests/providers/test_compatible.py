"""What compatible servers do otherwise than OpenAI: read as they mean it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from treadle.budget import Usage
from treadle.errors import MalformedResponse
from treadle.messages import Delta, ModelResponse
from treadle.providers import openai_responses_wire, openai_wire
from treadle.providers.anthropic_stream import MessageStream
from treadle.providers.http_errors import Asked
from treadle.providers.openai_responses_stream import ResponseStream
from treadle.providers.openai_stream import ChatStream

ASKED = Asked(provider="openai", address="http://here/v1", model="m")


def streamed(pieces: Sequence[dict[str, Any]], told: list[Delta]) -> list[tuple[str, str, str]]:
    """The tool calls that a stream of pieces of calls comes to."""
    stream = ChatStream(told.append)
    for piece in pieces:
        stream.take({"choices": [{"delta": {"tool_calls": [piece]}}]})
    stream.take({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    response = openai_wire.read_response(stream.whole(), worst=Usage)
    return [(call.id, call.name, call.arguments) for call in response.message.tool_calls]


def begun(name: str, arguments: str = "", **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


def more(arguments: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"arguments": arguments}}


def test_calls_that_all_say_the_same_index_are_told_apart_by_their_ids() -> None:
    told: list[Delta] = []
    pieces = [begun("f", '{"x"', index=0, id="a"), more(":1}", index=0), begun("g", "{", index=0, id="b"),
              more("}", index=0), begun("h", "{}", index=1, id="c")]  # fmt: skip
    assert streamed(pieces, told) == [("a", "f", '{"x":1}'), ("b", "g", "{}"), ("c", "h", "{}")]
    assert len({delta.index for delta in told}) == 3


def test_a_call_that_says_its_id_and_name_with_each_piece_is_one_call() -> None:
    pieces = [begun("f", '{"x"', index=0, id="a"), begun("f", ":1}", index=0, id="a")]
    assert streamed(pieces, []) == [("a", "f", '{"x":1}')]


def test_pieces_without_an_index_go_on_with_the_call_before_them() -> None:
    pieces = [begun("f", '{"x"', id="a"), more(":1}"), begun("f", "{}", id="b")]
    assert streamed(pieces, []) == [("a", "f", '{"x":1}'), ("b", "f", "{}")]


def test_reasoning_that_only_the_total_counts_is_counted() -> None:
    usage = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
             "completion_tokens_details": {"reasoning_tokens": 94}}  # fmt: skip
    assert openai_wire.read_usage(usage, Usage) == Usage(
        input_tokens=32, output_tokens=103, reasoning_tokens=94
    )


@pytest.mark.parametrize("total", [0, 41, None, "135"])
def test_a_total_that_says_nothing_more_changes_nothing(total: object) -> None:
    usage = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": total}
    assert openai_wire.read_usage(usage, Usage) == Usage(input_tokens=32, output_tokens=9)


def chat(reason: str) -> ModelResponse:
    choice = {"message": {"content": "The refund is"}, "finish_reason": reason}
    return openai_wire.read_response({"choices": [choice]}, worst=Usage)


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_an_answer_that_the_server_gave_up_is_no_answer(reason: str) -> None:
    with pytest.raises(MalformedResponse, match=f"it was given up: {reason!r}") as caught:
        chat(reason)
    assert caught.value.retryable
    assert chat("a_new_reason").message.text == "The refund is"


def test_a_piece_that_is_null_adds_nothing() -> None:
    told: list[Delta] = []
    stream = MessageStream(told.append)
    block: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    stream.take({"type": "content_block_start", "index": 0, "content_block": block})
    for piece in ('{"x"', None, ": 1}"):
        delta = {"type": "input_json_delta", "partial_json": piece}
        stream.take({"type": "content_block_delta", "index": 0, "delta": delta})
    assert stream.whole()["content"][0]["input"] == {"x": 1}
    ResponseStream(told.append, ASKED).take({"type": "response.output_text.delta", "delta": None})
    assert "".join(delta.text for delta in told) == '{"x": 1}'


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_did_not_come_about_is_no_answer(status: str) -> None:
    with pytest.raises(MalformedResponse, match=f"it was given up: {status!r}"):
        openai_responses_wire.read_response({"status": status, "output": []}, worst=Usage)
