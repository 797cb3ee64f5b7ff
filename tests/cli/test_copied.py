"""What people copy from the screen: names of batches, ids of questions, commands to be filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Treadle

from treadle.cli.batch import Command
from treadle.cli.options import DEFAULT_STORE
from treadle.cli.stopping import DEFAULT_GRACE

MADE = "b-1m823ba0n016c"

ORDERS = '''
from treadle import Ask, graph, human, node, tool

@tool(effect="once")
async def refund(order: str) -> str:
    """Refund an order."""
    return f"refunded {order}"

@human(to="managers")
async def sign(letter: str) -> Ask[str]:
    return Ask("Sign this letter", show=letter)

@node
async def check(order: str) -> str:
    return f"{order}, checked"
'''

BEFORE = """
@graph
def complaint(order: str) -> str:
    return sign(refund(order))
"""

AFTER = """
@node
async def greet(letter: str) -> str:
    return f"Dear customer, {letter}"

@graph
def complaint(order: str) -> str:
    return sign(greet(refund(check(order))))
"""


@pytest.mark.parametrize("columns", ["60", "80", "120", "200"])
@pytest.mark.parametrize("name", ["spring-catalog1", "spring" + "g" * 58])
def test_the_name_of_a_batch_is_whole_on_every_terminal(
    treadle: Treadle, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: str, name: str
) -> None:
    (folder / "an-order.jsonl").write_text(json.dumps({"number": 1}) + "\n")
    assert treadle("run", "orders.py", "--input", "an-order.jsonl", "--batch", name).code == 0
    monkeypatch.setenv("COLUMNS", columns)
    out = treadle("runs").out
    assert out.count(name[:5]) == out.count(name) == 1


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("monda", "those that begin so: monday"),
        (MADE, "those there are: monday"),
    ],
)
def test_a_batch_that_is_named_wrongly_begins_nothing(
    treadle: Treadle, messages: Path, named: str, words: str
) -> None:
    treadle("run", "orders.py", "--input", str(messages), "--batch", "monday")
    outcome = treadle("run", "orders.py", "--input", str(messages), "--batch", named)
    assert outcome.code == 2
    assert f"is of batch {named!r}, {words}; nothing was run or spent" in outcome.err
    assert len(treadle("runs", "--json").json_lines()) == 3


def test_another_name_begins_a_batch_and_its_own_name_goes_on_with_another_file(
    treadle: Treadle, messages: Path, folder: Path
) -> None:
    treadle("run", "orders.py", "--input", str(messages), "--batch", "monday")
    assert treadle("run", "orders.py", "--input", str(messages), "--batch", "tuesday").code == 1
    (folder / "more.jsonl").write_text("\n" * 3 + json.dumps({"number": 4}) + "\n")
    assert treadle("run", "orders.py", "--input", "more.jsonl", "--batch", "monday").code == 0
    assert len(treadle("runs", "--json").json_lines()) == 7


@pytest.fixture
def edited(treadle: Treadle, folder: Path) -> tuple[str, str, str]:
    """A run that an edit stopped and a claim let go on, its withdrawn question and the one asked now."""
    (folder / "shop.py").write_text(ORDERS + BEFORE)
    (folder / "shop_now.py").write_text(ORDERS + AFTER)
    [row] = treadle("run", "shop.py", "--value", '"17"', "--json").json_lines()
    [before] = treadle("inbox", "--json").json_lines()
    assert "AmbiguousHistory" in treadle("resume", row["run"], "shop_now.py").out
    assert treadle("resume", row["run"], "shop_now.py", "--claim", "refund=refund").code == 3
    [now] = treadle("inbox", "--json").json_lines()
    return row["run"], before["id"], now["id"]


def test_only_the_question_that_is_asked_now_waits_after_an_edit(
    treadle: Treadle, edited: tuple[str, str, str]
) -> None:
    run, before, now = edited
    outcome = treadle("resume", run, "shop_now.py")
    assert "1 question waits for managers" in outcome.out
    assert (before in outcome.out, f"treadle answer {now} " in outcome.out) == (False, True)
    shown = treadle("show", run)
    assert [line.split()[3] for line in shown.out.splitlines() if f"─ {before}" in line] == ["withdrawn"]
    assert (f"answer {before}" in shown.out, f"answer {now}" in shown.out) == (False, True)
    assert treadle("show", run, "--json").out.count(f'"{now}": "managers"') == 1


def test_an_answer_to_what_was_asked_before_an_edit_is_sent_to_the_inbox(
    treadle: Treadle, edited: tuple[str, str, str]
) -> None:
    _, before, _ = edited
    outcome = treadle("answer", before, "--value", '"yes"', "--as", "maria")
    assert (outcome.code, "what is asked now stands in `treadle inbox`" in outcome.err) == (2, True)


def test_a_question_that_was_answered_is_said_to_be_and_that_resuming_goes_on(treadle: Treadle) -> None:
    store = ("--store", "sqlite:///other.db")
    [row] = treadle("run", "orders.py", "--value", '{"number": 50}', "--json", *store).json_lines()
    [question] = row["waits"]
    command = f"treadle answer {question} --value JSON --as NAME --store sqlite:///other.db"
    assert f"waits for clerks: {command}" in treadle("show", row["run"], *store).out
    treadle("answer", question, "--value", '"yes"', "--as", "maria", *store)
    shown = treadle("show", row["run"], *store).out
    resume = f"treadle resume {row['run']} FILE --store sqlite:///other.db goes on"
    assert (f"{question} to clerks was answered: {resume}" in shown, "waits for" in shown) == (True, False)
    assert json.loads(treadle("show", row["run"], "--json", *store).out)["waits"] == {}


@pytest.mark.parametrize(
    ("value", "name", "words"),
    [
        ('"yes"', "NAME", "--as NAME is to be filled in: say who answers"),
        ('"..."', "maria", "--value is the form as it was printed, to be filled in"),
    ],
)
def test_a_printed_command_that_was_not_filled_in_is_refused(
    treadle: Treadle, waiting_run: tuple[str, str], value: str, name: str, words: str
) -> None:
    _, question = waiting_run
    outcome = treadle("answer", question, "--value", value, "--as", name)
    assert (outcome.code, words in outcome.err) == (2, True)
    assert len(treadle("inbox", "--json").json_lines()) == 1


def test_a_doubt_is_settled_by_somebody_with_a_name(treadle: Treadle, waiting_run: tuple[str, str]) -> None:
    _, question = waiting_run
    outcome = treadle("doubt", question, "--again", "--as", "NAME")
    assert (outcome.code, "say who says so" in outcome.err) == (2, True)


@pytest.mark.parametrize(("is_named", "option"), [(False, ""), (True, " --batch b-1m823ba0n016c")])
def test_a_file_of_which_nothing_was_begun_is_begun_without_the_name_that_nobody_knows(
    is_named: bool, option: str
) -> None:
    command = Command(file="f.py", source="a.jsonl", batch=MADE, concurrency=8, budget_usd=None,
                      grace=DEFAULT_GRACE, store=DEFAULT_STORE, as_json=False, is_named=is_named)  # fmt: skip
    assert command.begin(is_known=False) == f"treadle run f.py --input a.jsonl{option}"
    assert "--batch" in command.begin(is_known=True)
