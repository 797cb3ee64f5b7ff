"""``--budget-usd`` is one account for all runs of a command, and stays theirs when they are resumed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

TALK = """
from decimal import Decimal
from treadle import Ask, Prompt, agent, graph, human, match
from treadle.models import Price
from treadle.testing import ScriptedModel

PRICE = Price(input_mtok=Decimal(0), output_mtok=Decimal(100))


@human(to="clerks")
async def approve(text: str) -> Ask[str]:
    return Ask("May I?", show=text)


def answer(request) -> str:
    return "five words of an answer"


@agent(model=ScriptedModel(answer, name="small", price=PRICE), max_output=100)
async def say(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def talk(text: str) -> str:
    return match(text, {"now": say(text)}, otherwise=say(approve(text)))
"""

ONE = Decimal("0.01")
"""The worst case of one call."""


@pytest.fixture
def talk(folder: Path) -> str:
    (folder / "talk.py").write_text(TALK)
    (folder / "two.jsonl").write_text('"now"\n"ask"\n')
    return "talk.py"


def answered(treadle) -> str:
    """The id of the run whose question is answered by this."""
    [question] = treadle("inbox", "--json").json_lines()
    assert treadle("answer", question["id"], "--value", '"go"', "--as", "maria").code == 0
    return str(question["run_id"])


def test_a_total_holds_for_the_runs_of_its_command_that_are_resumed(treadle, talk: str) -> None:
    treadle("run", talk, "--input", "two.jsonl", "--budget-usd", str(ONE), "--concurrency", "1")
    run = answered(treadle)
    outcome = treadle("resume", "--all", talk)
    assert outcome.code == 1
    assert "goes on under the total of b-" in outcome.out
    assert "the total that --budget-usd set has" in outcome.out
    assert "go on under a larger total, `treadle resume RUN FILE --budget-usd X`" in outcome.out
    assert treadle("show", run, "--json").out


def test_another_total_is_that_of_the_command_with_what_it_has_spent(treadle, talk: str) -> None:
    [spent, _] = treadle(
        "run", talk, "--input", "two.jsonl", "--budget-usd", str(ONE), "--concurrency", "1", "--json"
    ).json_lines()
    run = answered(treadle)
    refused = treadle("resume", run, talk, "--budget-usd", str(ONE))
    assert (refused.code, "BudgetExceeded" in refused.out) == (1, True)
    enough = str(ONE + Decimal(spent["cost_usd"]))
    outcome = treadle("resume", run, talk, "--budget-usd", enough)
    assert outcome.code == 0
    assert "the total of b-" in outcome.out
    assert f"${enough}, of which $" in outcome.out


def test_a_batch_that_goes_on_keeps_its_total_without_being_told(treadle, talk: str, folder: Path) -> None:
    command = ("run", talk, "--input", "two.jsonl", "--batch", "monday", "--concurrency", "1")
    treadle(*command, "--budget-usd", str(ONE))
    (folder / "two.jsonl").write_text('"now"\n"ask"\n"now"\n')
    outcome = treadle(*command, "--json")
    assert [row["status"] for row in outcome.json_lines()] == ["completed", "waiting", "failed"]
    assert "BudgetExceeded" in outcome.json_lines()[2]["answer"]
    assert treadle("runs", "--json").json_lines()[0]["labels"]["budget_usd"] == str(ONE)


def test_a_total_for_runs_that_nobody_counted_is_refused(treadle, talk: str) -> None:
    treadle("run", talk, "--value", '"ask"')
    outcome = treadle("resume", answered(treadle), talk, "--budget-usd", "5")
    assert outcome.code == 2
    assert "was begun without it" in outcome.err


def test_a_total_for_runs_of_two_commands_is_refused(treadle, talk: str) -> None:
    for _ in range(2):
        treadle("run", talk, "--value", '"ask"', "--budget-usd", "5")
    outcome = treadle("resume", "--all", talk, "--budget-usd", "5")
    assert outcome.code == 2
    assert "is the total of one command, and these are runs of 2" in outcome.err
    assert treadle("resume", "--all", talk).code == 0


def test_a_batch_with_another_message_in_a_line_is_refused(treadle, talk: str, folder: Path) -> None:
    command = ("run", talk, "--input", "two.jsonl", "--batch", "monday")
    treadle(*command)
    (folder / "two.jsonl").write_text('"now"\n"other"\n"now"\n')
    outcome = treadle(*command)
    assert (outcome.code, outcome.out) == (2, "")
    assert "line 2 of two.jsonl is not what batch 'monday' began there" in outcome.err
    assert len(treadle("runs", "--json").json_lines()) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--input", "two.jsonl", "--batch", "a b"], "--batch 'a b' is no name"),
        (["--value", '"x"', "--batch", "monday"], "give --input PATH with it"),
    ],
)
def test_a_batch_that_is_none_is_refused(treadle, talk: str, options: list[str], words: str) -> None:
    outcome = treadle("run", talk, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err


def test_runs_of_a_graph_with_an_input_called_labels_run_unmarked(treadle, folder: Path) -> None:
    (folder / "named.py").write_text(
        "from treadle import graph, node\n\n\n@node\nasync def count(labels: list[str]) -> int:\n"
        "    return len(labels)\n\n\n@graph\ndef named(labels: list[str]) -> int:\n    return count(labels)\n"
    )
    (folder / "lists.jsonl").write_text('["a"]\n["a", "b"]\n')
    rows = treadle("run", "named.py", "--input", "lists.jsonl", "--json").json_lines()
    assert [row["answer"] for row in rows] == ["1", "2"]
    outcome = treadle("run", "named.py", "--input", "lists.jsonl", "--batch", "x")
    assert (outcome.code, "cannot be marked" in outcome.err) == (2, True)
    assert json.loads(treadle("runs", "--json").out.splitlines()[0])["labels"] == {}
