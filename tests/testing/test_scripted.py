"""``ScriptedModel`` in the process."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import BaseModel

from treadle.budget import Price, Usage
from treadle.errors import ConfigurationError, RequestRejected
from treadle.interfaces import Model
from treadle.messages import Message, ModelRequest, ModelResponse, OutputSpec, Text, ToolSpec, user
from treadle.testing import ScriptedModel, call


class Verdict(BaseModel):
    amount: Decimal


ASKED = ModelRequest(messages=(user("12345678"),))
WRAPPED = OutputSpec(name="level", schema={"type": "object", "properties": {"answer": {"type": "integer"}}})


def test_it_is_a_model() -> None:
    assert isinstance(ScriptedModel([]), Model)


@pytest.mark.anyio
async def test_answers_come_one_after_another() -> None:
    model = ScriptedModel(["one", "two"])
    assert [(await model.complete(ASKED)).message.text for _ in range(2)] == ["one", "two"]
    assert list(model.requests) == [ASKED, ASKED]


def test_when_answers_run_out_it_says_so() -> None:
    with pytest.raises(RequestRejected, match="no answer left for request 1"):
        ScriptedModel([], name="mute").respond(ASKED)


def test_a_function_answers_from_the_request_alone() -> None:
    model = ScriptedModel(lambda request: request.messages[0].text[::-1])
    assert model.respond(ASKED).message.text == "87654321"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Verdict(amount=Decimal("1.50")), '{"amount":"1.50"}'),
        ({"amount": 3}, '{"amount":3}'),
        ([1, 2], "[1,2]"),
        (None, "null"),
    ],
)
def test_data_becomes_json(answer: object, text: str) -> None:
    assert ScriptedModel([answer]).respond(ASKED).message.text == text


def test_what_is_no_object_is_put_into_the_form_asked_for() -> None:
    request = ModelRequest(messages=(user("rate it"),), output=WRAPPED)
    model = ScriptedModel([3, {"answer": 3}])
    assert model.respond(request).message.text == '{"answer":3}'
    assert model.respond(request).message.text == '{"answer":3}'


def test_equal_tool_calls_in_one_answer_have_different_ids() -> None:
    response = ScriptedModel([[call("f", x=1), call("f", x=1)]]).respond(ASKED)
    first, second = response.message.tool_calls
    assert (first.id != second.id, first.arguments, response.stop) == (True, '{"x": 1}', "tools")


def test_an_exception_in_the_script_is_raised() -> None:
    with pytest.raises(KeyError):
        ScriptedModel([KeyError("x")]).respond(ASKED)


def test_a_whole_response_is_given_as_it_is_and_counted_where_it_has_no_usage() -> None:
    said = Message(role="assistant", parts=(Text(text="abcd"),))
    given = ModelResponse(message=said, usage=Usage(input_tokens=7))
    model = ScriptedModel([given, ModelResponse(message=said)])
    assert model.respond(ASKED) is given
    assert model.respond(ASKED).usage == Usage(input_tokens=2, output_tokens=1)


def test_usage_counts_four_bytes_a_token_tools_included() -> None:
    tool = ToolSpec(name="f", description="", parameters={})
    plain = ScriptedModel(["ü" * 3]).respond(ASKED).usage
    assert plain == Usage(input_tokens=2, output_tokens=2)
    request = ModelRequest(messages=ASKED.messages, tools=(tool,))
    model = ScriptedModel(["x"])
    assert plain.input_tokens < model.respond(request).usage.input_tokens


def test_the_output_limit_is_a_wall() -> None:
    request = ModelRequest(messages=ASKED.messages, max_output_tokens=2)
    response = ScriptedModel(["123456789"]).respond(request)
    assert (response.message.text, response.stop, response.usage.output_tokens) == ("12345678", "length", 2)


def test_it_costs_nothing_unless_a_price_is_given() -> None:
    price = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
    free = ScriptedModel([]).price
    assert (free.input_mtok, free.basis) == (Decimal(0), "local")
    assert ScriptedModel([], price=price).price is price


def test_text_or_a_coroutine_function_is_no_script() -> None:
    async def answer(request: ModelRequest) -> str:
        return ""

    for script in ("hello", answer):
        with pytest.raises(ConfigurationError, match="a list of answers, or a plain function"):
            ScriptedModel(script)
