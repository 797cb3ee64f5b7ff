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
    happened = '{"outcome": "happened", "result": {"number": NUMBER}}'
    assert f"treadle answer {doubt} --value '{happened}' --as NAME" in out
    assert """or '{"outcome": "did_not_happen"}', or '{"outcome": "run_again"}'""" in out


def test_the_inbox_tells_how_a_call_in_doubt_ended_and_of_no_answer_that_nobody_gave(
    treadle, doubt: str
) -> None:
    out = treadle("inbox").out
    assert "'pay' in node 'pay' began, and how it ended does not tell whether it happened. Did it?" in out
    assert "it ended with OSError: the line broke" in out
    assert "refused" not in out
    assert "nobody recorded" not in out
    [question] = treadle("inbox", "--json").json_lines()
    assert (question["known"], question["complaint"]) == ("it ended with OSError: the line broke", "")


def test_a_run_is_shown_with_the_error_that_left_its_call_in_doubt(treadle, doubt: str) -> None:
    run = treadle("runs", "--json").json_lines()[0]["run"]
    shown = treadle("show", run, "--json").out
    assert "in doubt: OSError: the line broke (at shop.py:13)" in shown
    assert "OSError: the line broke" in treadle("show", run).out


PICKY = SHOP.replace(
    "from pydantic import BaseModel", "from pydantic import BaseModel, field_validator"
).replace(
    "    number: int\n",
    """    number: int

    @field_validator("number")
    @classmethod
    def in_range(cls, number: int) -> int:
        if number > 99:
            raise ValueError("no such receipt")
        return number
""",
)


def test_an_answer_to_a_doubt_that_its_type_refuses_is_told_as_refused(treadle, folder: Path) -> None:
    (folder / "shop.py").write_text(PICKY)
    treadle("run", "shop.py", "--value", "3")
    asked = treadle("inbox", "--json").json_lines()[0]["id"]
    said = json.dumps({"outcome": "happened", "result": {"number": 100}})
    assert treadle("answer", asked, "--value", said, "--as", "maria").code == 0
    treadle("resume", "--all", "shop.py")
    [question] = treadle("inbox", "--json").json_lines()
    assert "no such receipt" in question["complaint"]
    assert question["known"] == ""
    assert "the last answer was refused: " in treadle("inbox").out


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


def test_a_cancelled_run_that_left_an_effect_in_doubt_says_so_everywhere(treadle, doubt: str) -> None:
    run = treadle("runs", "--json").json_lines()[0]["run"]
    words = f"{run}: in doubt whether pay happened"
    assert words in treadle("cancel", run, "shop.py", "--as", "maria").out
    assert words in treadle("runs").out
    assert "in doubt" in treadle("show", run).out


def test_a_run_that_fails_with_an_effect_in_doubt_says_so_at_its_end(treadle, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP.replace('in_doubt="ask"', 'in_doubt="fail"'))
    outcome = treadle("run", "shop.py", "--value", "3")
    assert outcome.code == 1
    assert "in doubt whether pay happened" in outcome.out
    [row] = treadle("run", "shop.py", "--value", "3", "--json").json_lines()
    assert row["doubts"] == ["pay"]
    assert "began and ended with OSError: the line broke, which does not tell" in row["answer"]


IN_A_STEP = """

@node
async def order(ctx: Context, amount: int) -> Receipt:
    paid = await ctx.step(pay, amount)
    raise ValueError("no stock")


@graph
def shop(amount: int) -> Receipt:
    return order(amount)
"""


@pytest.mark.parametrize(
    "answer", ['{"outcome": "did_not_happen"}', '{"outcome": "happened", "result": {"number": 1}}']
)
def test_what_was_settled_is_not_in_doubt_any_more(treadle, folder: Path, answer: str) -> None:
    text = SHOP.partition("@graph")[0].replace("graph, tool", "Context, graph, node, tool")
    (folder / "shop.py").write_text(text + IN_A_STEP)
    treadle("run", "shop.py", "--value", "3")
    question = treadle("inbox", "--json").json_lines()[0]["id"]
    treadle("answer", question, "--value", answer, "--as", "maria")
    outcome = treadle("resume", "--all", "shop.py")
    assert outcome.code == 1
    assert "in doubt whether" not in outcome.out + treadle("runs").out


def test_what_is_in_doubt_is_listed_with_all_that_helps_to_look_it_up(treadle, doubt: str) -> None:
    out = treadle("doubt").out
    [row] = treadle("doubt", "--json").json_lines()
    assert (row["call"], row["arguments"], row["ended"], row["question"]) == (
        "pay",
        {"amount": 3},
        "OSError: the line broke",
        doubt,
    )
    assert f"idempotency key {row['idempotency_key']}" in out
    assert f"treadle doubt {doubt} --happened '{{\"number\": NUMBER}}' --as NAME" in out
    assert f"or treadle doubt {doubt} --did-not-happen --as NAME" in out


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (("--happened", '{"number": 7}'), "completed"),
        (("--did-not-happen",), "failed"),
        (("--again",), "waiting"),
    ],
)
def test_one_command_settles_it_and_the_run_goes_on(
    treadle, doubt: str, said: tuple[str, ...], status: str
) -> None:
    outcome = treadle("doubt", doubt, *said, "--as", "maria", "--reason", "I asked the bank")
    assert outcome.code == 0
    assert f"recorded: {doubt} answered by maria" in outcome.out
    [row] = treadle("resume", "--all", "shop.py", "--json").json_lines()
    assert row["status"] == status
    assert bool(treadle("doubt", "--json").json_lines()) == (status == "waiting")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (("--happened", "7"), """fill in --happened '{"number": NUMBER}'"""),
        (("--happened", "seven"), "--happened is not JSON"),
        ((), "say one of --happened JSON, --did-not-happen and --again"),
        (("--again", "--did-not-happen"), "say one of"),
    ],
)
def test_what_settles_nothing_is_refused(treadle, doubt: str, said: tuple[str, ...], complaint: str) -> None:
    outcome = treadle("doubt", doubt, *said, "--as", "maria")
    assert outcome.code == 2
    assert complaint in outcome.err
    assert treadle("inbox", "--json").json_lines()[0]["state"] == "open"


def test_who_settles_it_must_be_said(treadle, doubt: str) -> None:
    assert "--as NAME" in treadle("doubt", doubt, "--again").err


def test_an_ordinary_question_is_no_doubt(treadle, waiting_run: tuple[str, str]) -> None:
    outcome = treadle("doubt", waiting_run[1], "--again", "--as", "maria")
    assert outcome.code == 2
    assert f"answer it with `treadle answer {waiting_run[1]}`" in outcome.err
    assert "nothing is in doubt" in treadle("doubt").out


def test_doubts_that_nobody_is_asked_about_are_listed_too(treadle, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP.replace('in_doubt="ask"', 'in_doubt="fail"'))
    treadle("run", "shop.py", "--value", "3")
    run = treadle("runs", "--json").json_lines()[0]["run"]
    [row] = treadle("doubt", "--run", run, "--json").json_lines()
    assert (row["run"], row["status"], row["question"]) == (run, "failed", None)
    assert f"declared in_doubt='ask', treadle resume {run} FILE asks what happened" in treadle("doubt").out


def test_after_a_failure_that_was_declared_a_person_can_be_asked_all_the_same(treadle, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP.replace('in_doubt="ask"', 'in_doubt="fail"'))
    treadle("run", "shop.py", "--value", "3")
    run = treadle("runs", "--json").json_lines()[0]["run"]
    (folder / "paid.py").write_text(SHOP)
    assert treadle("resume", run, "paid.py").code == 3
    [row] = treadle("doubt", "--json").json_lines()
    treadle("doubt", row["question"], "--happened", '{"number": 7}', "--as", "maria")
    assert treadle("resume", run, "paid.py").code == 0


def test_a_cancelled_run_keeps_its_doubt_in_the_list(treadle, doubt: str) -> None:
    run = treadle("runs", "--json").json_lines()[0]["run"]
    treadle("cancel", run, "shop.py", "--as", "maria")
    [row] = treadle("doubt", "--json").json_lines()
    assert (row["status"], row["question"]) == ("cancelled", None)
    assert "the run is over, and nothing makes the call again" in treadle("doubt").out


BESIDE = (
    SHOP.replace("import graph, tool", "import graph, node, tool").replace("    return pay(amount)\n", "")
    + """    return both(pay(amount), stock(amount))


@node
async def stock(amount: int) -> int:
    raise ValueError("no stock")


@node
async def both(paid: Receipt, left: int) -> Receipt:
    return paid
"""
)


def test_a_doubt_in_a_run_that_another_node_fails_says_what_is_to_be_mended_first(
    treadle, folder: Path
) -> None:
    (folder / "shop.py").write_text(BESIDE)
    assert treadle("run", "shop.py", "--value", "3").code == 1
    [before] = treadle("doubt", "--json").json_lines()
    assert treadle("resume", before["run"], "shop.py").code == 1
    out = treadle("doubt").out
    assert "it ended with OSError: the line broke" in out
    assert "but first mend node stock" in out
    [again] = treadle("doubt", "--json").json_lines()
    assert again["began_at"] == before["began_at"]


def test_a_doubt_that_opens_again_is_not_settled_by_a_command_that_is_repeated(treadle, doubt: str) -> None:
    assert treadle("doubt", doubt, "--again", "--as", "maria").code == 0
    treadle("resume", "--all", "shop.py")
    repeated = treadle("doubt", doubt, "--again", "--as", "maria")
    assert repeated.code != 0
    assert "opened again since" in " ".join(repeated.err.split())
    assert "--as NAME --opening 2" in treadle("inbox").out
    assert "--again --as NAME --opening 2" in treadle("doubt").out
    assert treadle("doubt", doubt, "--again", "--as", "maria", "--opening", "2").code == 0
