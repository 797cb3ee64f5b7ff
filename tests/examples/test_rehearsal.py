"""The rehearsal model: any text gets a valid answer, from the request alone."""

from __future__ import annotations

import inspect
import json
import string
from typing import Any, Literal

import pytest
import support_rehearsal
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support_rehearsal import MARK, respond

from treadle.messages import Message, ModelRequest, OutputSpec, Text, ToolCall, ToolResult, ToolSpec
from treadle.retrieval import Passage, cite, quote


class Triage(BaseModel):
    question: str
    difficulty: Literal["easy", "hard", "person"]


class Reply(BaseModel):
    answer: str
    sources: list[str] = []


TOOLS = tuple(
    ToolSpec(name=name, description="", parameters={"type": "object"})
    for name in ("find_account", "find_payments", "replace_card", "refund")
)
PAGE = "# Lost card\n\n## Freeze it\n\nFreeze the card at once. Then ask for a replacement of your card."
PASSAGE = Passage(
    text=PAGE,
    document="lost.md",
    digest="d",
    start=0,
    end=len(PAGE),
    score=1.0,
    corpus="c",
    title="Lost card",
)
WORDS = st.sampled_from(
    ["my", "card", "lost", "charged", "twice", "fee", "transfer", "someone", "卡", "где", "[1]", "##"]
)
MESSAGES = st.text(max_size=200) | st.lists(WORDS, max_size=20).map(" ".join)


def request(
    output: type[BaseModel], text: str, *, tools: tuple[ToolSpec, ...] = (), more: tuple[Message, ...] = ()
) -> ModelRequest:
    prompt = f"Solve the problem of customer c-101, and of no other.\n\n{quote([PASSAGE])}{MARK}{text}"
    first = Message(role="user", parts=(Text(text=prompt),))
    spec = OutputSpec(name=output.__name__, schema=output.model_json_schema())
    return ModelRequest(messages=(first, *more), tools=tools, output=spec)


def converse(text: str, results: dict[str, Any]) -> tuple[list[str], Reply]:
    """Play the agent loop: the tools it called, in order, and its answer."""
    called: list[str] = []
    more: tuple[Message, ...] = ()
    for _ in range(4):
        answer = respond(request(Reply, text, tools=TOOLS, more=more))
        if not isinstance(answer, list):
            return called, Reply.model_validate(answer)
        called += [call.name for call in answer]
        given_back = [
            ToolResult(call_id=call.id, name="", content=results.get(call.name, "it failed: no such thing"))
            for call in answer
        ]
        more += (
            Message(role="assistant", parts=tuple(answer)),
            Message(role="tool", parts=tuple(given_back)),
        )
    raise AssertionError("no answer after four requests")


ACCOUNT = json.dumps({"cards": [{"id": "card-1", "last_digits": "0001", "state": "active"}]})
FEE = {
    "id": "pay-4",
    "made_on": "2026-11-17",
    "kind": "fee",
    "text": "Fee",
    "amount": "1.50",
    "state": "completed",
}
RECEIPT = json.dumps({"accepted": True, "number": "n-1", "note": "it is done"})
BANK = {
    "find_account": ACCOUNT,
    "find_payments": json.dumps([FEE, {**FEE, "id": "pay-5"}]),
    "replace_card": RECEIPT,
    "refund": RECEIPT,
}


@given(MESSAGES)
def test_any_text_is_triaged(text: str) -> None:
    triage = Triage.model_validate(respond(request(Triage, text)))
    assert triage.question.strip()


@given(MESSAGES)
def test_any_text_gets_an_answer_that_quotes_what_was_retrieved(text: str) -> None:
    reply = Reply.model_validate(respond(request(Reply, text)))
    quotation = reply.answer.partition("“")[2].removesuffix("”")
    assert cite(quotation, [PASSAGE])
    assert reply.sources == ["lost.md"]


@given(MESSAGES, st.sampled_from([BANK, {}]))
def test_any_text_ends_a_conversation_with_tools(text: str, results: dict[str, Any]) -> None:
    called, reply = converse(text, results)
    assert called[:2] == ["find_account", "find_payments"]
    assert len(called) <= 3
    assert reply.answer


@given(MESSAGES)
def test_the_same_request_gets_the_same_answer(text: str) -> None:
    assert respond(request(Triage, text)) == respond(request(Triage, text))
    assert converse(text, BANK) == converse(text, BANK)


@given(st.text(string.printable))
def test_free_text_is_answered_too(text: str) -> None:
    asked = ModelRequest(messages=(Message(role="user", parts=(Text(text=text),)),))
    assert isinstance(respond(asked), str)
    assert isinstance(respond(ModelRequest(messages=())), str)


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("My card is lost!", "replace_card", {"card": "card-1", "reason": "lost"}),
        ("Someone stole my card", "replace_card", {"card": "card-1", "reason": "stolen"}),
        ("i have not received my card", "replace_card", {"card": "card-1", "reason": "not arrived"}),
        ("Why was I charged a fee?", "refund", {"payment": "pay-4", "reason": "Why was I charged a fee?"}),
        ("Charged twice!", "refund", {"payment": "pay-4", "reason": "Charged twice!"}),
    ],
)
def test_it_changes_what_the_message_is_about(text: str, tool: str, arguments: dict[str, str]) -> None:
    looks = tuple(ToolCall(id=name, name=name, arguments="{}") for name in ("find_account", "find_payments"))
    results = tuple(ToolResult(call_id=call.id, name=call.name, content=BANK[call.name]) for call in looks)
    more = (Message(role="assistant", parts=looks), Message(role="tool", parts=results))
    [call] = respond(request(Reply, text, tools=TOOLS, more=more))
    assert isinstance(call, ToolCall)
    assert (call.name, json.loads(call.arguments)) == (tool, arguments)


def test_a_message_without_tools_called_for_reports_the_payment() -> None:
    pending = {**FEE, "kind": "transfer", "text": "Transfer to Jo", "amount": "120", "state": "pending"}
    called, reply = converse("My transfer is late", {**BANK, "find_payments": json.dumps([pending])})
    assert called == ["find_account", "find_payments"]
    assert "Your 'Transfer to Jo' of £120.00 is pending." in reply.answer


def test_the_shipped_messages_take_every_route(messages: list[dict[str, Any]]) -> None:
    taken = [respond(request(Triage, message["body"])) for message in messages]
    counts = {level: sum(Triage.model_validate(t).difficulty == level for t in taken) for level in
              ("easy", "hard", "person")}  # fmt: skip
    assert counts["easy"] >= 10
    assert counts["hard"] >= 10
    assert 4 <= counts["person"] <= 10


def test_no_intent_is_known_to_it(judgments: dict[str, dict[str, Any]]) -> None:
    source = inspect.getsource(support_rehearsal)
    assert not [j["intent"] for j in judgments.values() if j["intent"] in source]
