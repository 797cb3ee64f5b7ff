"""A call whose effect is in doubt, as the command line tells of it and has it settled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SHOP = """
from pydantic import BaseModel
from treadle import graph, tool


class Receipt(BaseModel):
    number: int


@tool(effect="once", in_doubt="ask")
async def pay(amount: int) -> Receipt:
    "Pay."
    raise OSError("the line broke")


@graph
def shop(amount: int) -> Receipt:
    return pay(amount)
"""


@pytest.fixture
def doubt(treadle, folder: Path) -> str:
    """The question about a payment in doubt."""
    (folder / "shop.py").write_text(SHOP)
    assert treadle("run", "shop.py", "--value", "3").code == 3
    [question] = treadle("inbox", "--json").json_lines()
    assert isinstance(question["id"], str)
    return question["id"]


def test_the_inbox_shows_all_three_answers_to_a_doubt(treadle, doubt: str) -> None:
    out = treadle("inbox").out
    happened = '{"outcome": "happened", "result": {"number": 0}}'
    assert f"treadle answer {doubt} --value '{happened}' --as NAME" in out
    assert """or '{"outcome": "did_not_happen"}', or '{"outcome": "run_again"}'""" in out


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('{"outcome": "happened"}', "'result' is a required property"),
        ('{"outcome": "happened", "result": {"number": "x"}}', "answer.result.number: 'x' is not of type"),
        ('{"outcome": "happend"}', "answer.outcome: 'happend' is not one of 'happened', 'did_not_happen'"),
        ('{"outcome": "run_again", "result": {"number": 1}}', "'result' was unexpected"),
        ("{}", "'outcome' is a required property"),
    ],
)
def test_an_answer_that_settles_no_doubt_is_refused_at_once(
    treadle, doubt: str, value: str, complaint: str
) -> None:
    outcome = treadle("answer", doubt, "--value", value, "--as", "maria")
    assert outcome.code == 2
    assert complaint in outcome.err
    assert treadle("inbox", "--json").json_lines()[0]["state"] == "open"


def test_what_a_call_in_doubt_gave_is_what_the_run_goes_on_with(treadle, doubt: str) -> None:
    happened = json.dumps({"outcome": "happened", "result": {"number": 7}})
    assert treadle("answer", doubt, "--value", happened, "--as", "maria").code == 0
    [row] = treadle("resume", "--all", "shop.py", "--json").json_lines()
    assert (row["status"], row["answer"]) == ("completed", '{"number": 7}')
