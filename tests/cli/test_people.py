"""``inbox``, ``answer``, ``resume``, ``cancel``: a person's answer from another process."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from tests.cli.conftest import GRAPHS


def test_the_inbox_shows_what_is_asked_and_how_to_answer(treadle, waiting_run) -> None:
    _, question = waiting_run
    outcome = treadle("inbox")
    assert "May order 50 go?" in outcome.out
    assert "number: 50" in outcome.out
    assert f"treadle answer {question} --value '\"...\"' --as NAME" in outcome.out


def test_the_inbox_can_be_narrowed(treadle, waiting_run) -> None:
    assert treadle("inbox", "--to", "clerks", "--json").json_lines()
    assert "nothing waits for managers" in treadle("inbox", "--to", "managers").out


def test_an_answer_completes_the_run_when_it_is_resumed(treadle, waiting_run) -> None:
    run, question = waiting_run
    assert treadle("answer", question, "--value", '"yes"', "--as", "maria", "--reason", "paid").code == 0
    outcome = treadle("resume", run, "orders.py", "--json")
    assert (outcome.code, outcome.json_lines()[0]["answer"]) == (0, "yes")
    assert "answered by maria" in treadle("show", run).out


def test_a_beginning_of_the_id_will_do_where_one_open_question_has_it(treadle, waiting_run) -> None:
    _, question = waiting_run
    assert "there is no question" in treadle("answer", question[:5], "--value", '"yes"', "--as", "joe").err
    outcome = treadle("answer", question[:8], "--value", '"yes"', "--as", "maria")
    assert f"{question} answered by maria" in outcome.out


def test_resume_all_takes_up_every_run_that_waits(treadle, waiting_run) -> None:
    _, question = waiting_run
    treadle("run", "orders.py", "--value", '{"number": 60}')
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    outcome = treadle("resume", "--all", "orders.py", "--json")
    assert [row["status"] for row in outcome.json_lines()] == ["completed", "waiting"]
    assert outcome.code == 0


def test_the_files_of_the_project_are_used_where_none_is_named(treadle, waiting_run, folder: Path) -> None:
    run, _ = waiting_run
    assert "no file with graphs was named" in treadle("resume", run).err
    (folder / "pyproject.toml").write_text('[tool.treadle]\ngraphs = ["orders.py"]\n')
    assert treadle("resume", run).code == 3


def test_a_failed_run_can_be_resumed(treadle, folder: Path) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 1, "note": "odd"}', "--json")
    run = outcome.json_lines()[0]["run"]
    assert treadle("resume", run, "orders.py").code == 1
    assert "runs again what failed" in treadle("show", run).out


@pytest.mark.parametrize(
    ("value", "words"),
    [("yes", "--value is not JSON"), ("3", "is not of type 'string'")],
)
def test_an_answer_of_the_wrong_form_is_not_recorded(treadle, waiting_run, value: str, words: str) -> None:
    _, question = waiting_run
    outcome = treadle("answer", question, "--value", value, "--as", "maria")
    assert outcome.code == 2
    assert words in outcome.err
    assert treadle("inbox", "--json").json_lines()[0]["state"] == "open"


def test_a_second_answer_is_refused_and_the_same_one_is_fine(treadle, waiting_run) -> None:
    _, question = waiting_run
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    assert treadle("answer", question, "--value", '"yes"', "--as", "maria").code == 0
    assert treadle("answer", question, "--value", '"no"', "--as", "maria").code == 2


@pytest.mark.parametrize("is_over", [False, True])
def test_a_refused_second_answer_says_who_answered_and_when(treadle, waiting_run, is_over: bool) -> None:
    run, question = waiting_run
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    if is_over:
        treadle("resume", run, "orders.py")
    outcome = treadle("answer", question, "--value", '"no"', "--as", "sam")
    assert outcome.code == 2
    assert re.search(r"'maria' has answered it at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+;", outcome.err)


def test_the_same_answer_to_a_run_that_is_over_does_not_ask_to_resume_it(treadle, waiting_run) -> None:
    run, question = waiting_run
    same = ("answer", question, "--value", '"yes"', "--as", "maria")
    assert "go on with: treadle resume" in treadle(*same).out
    treadle("resume", run, "orders.py")
    outcome = treadle(*same)
    assert outcome.code == 0
    assert "treadle resume" not in outcome.out
    assert f"{run} has taken it up, and is completed" in outcome.out


def test_what_the_commands_suggest_names_the_store_that_was_named(treadle) -> None:
    elsewhere = ("--store", "sqlite:///elsewhere.db")
    treadle("run", "orders.py", "--value", '{"number": 50}', *elsewhere)
    assert "--as NAME --store sqlite:///elsewhere.db" in treadle("inbox", *elsewhere).out
    [question] = treadle("inbox", "--json", *elsewhere).json_lines()
    outcome = treadle("answer", question["id"], "--value", '"yes"', "--as", "maria", *elsewhere)
    assert "FILE --store sqlite:///elsewhere.db" in outcome.out


def test_an_unknown_question_is_one_clear_error(treadle, waiting_run) -> None:
    _, question = waiting_run
    outcome = treadle("answer", question[:-1] + "!", "--value", "1", "--as", "maria")
    assert outcome.code == 2
    assert question in outcome.err


def test_a_cancelled_run_asks_nobody_any_more(treadle, waiting_run) -> None:
    run, _ = waiting_run
    outcome = treadle("cancel", run, "orders.py", "--as", "maria", "--reason", "she called")
    assert outcome.out == f"{run}: cancelled\n"
    assert "cancelled by maria: she called" in treadle("show", run).out
    assert treadle("inbox", "--json").json_lines() == []
    assert "over already: cancelled" in treadle("cancel", run).err


def test_a_run_whose_graph_is_not_at_hand_is_refused(treadle, waiting_run, folder: Path) -> None:
    (folder / "other.py").write_text(
        "from treadle import graph, node\n\n@node\nasync def one() -> int:\n    return 1\n\n"
        "@graph\ndef other() -> int:\n    return one()\n"
    )
    outcome = treadle("resume", waiting_run[0], "other.py")
    assert outcome.code == 2
    assert "need graph 'orders'" in outcome.err


def test_runs_of_other_graphs_are_left_alone_with_a_word(treadle, waiting_run, folder: Path) -> None:
    (folder / "others.py").write_text(GRAPHS.replace("orders", "others"))
    treadle("run", "others.py", "--value", '{"number": 60}')
    question = treadle("inbox", "--json").json_lines()[1]["id"]
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    outcome = treadle("resume", "--all", "others.py", "--json")
    assert (outcome.code, [row["status"] for row in outcome.json_lines()]) == (0, ["completed"])
    assert "left alone: 1 run of 'orders', which is not in what was given" in outcome.err


def test_where_all_runs_are_of_other_graphs_there_is_nothing_to_resume(
    treadle, waiting_run, folder: Path
) -> None:
    (folder / "others.py").write_text(GRAPHS.replace("orders", "others"))
    outcome = treadle("resume", "--all", "others.py")
    assert outcome.code == 0
    assert "left alone: 1 run of 'orders'" in outcome.out
    assert "nothing to resume" in outcome.out


def test_of_all_runs_those_that_cannot_go_on_are_failed_rows_and_the_others_go_on(
    treadle, waiting_run
) -> None:
    stuck, _ = waiting_run
    treadle("run", "orders.py", "--value", '{"number": 60}')
    with sqlite3.connect("treadle.db") as database:
        database.execute("UPDATE events SET hash = zeroblob(32) WHERE id = (SELECT min(id) FROM events)")
    database.close()
    outcome = treadle("resume", "--all", "orders.py", "--json")
    rows = outcome.json_lines()
    assert (outcome.code, [row["status"] for row in rows]) == (1, ["failed", "waiting"])
    assert rows[0]["run"] == stuck
    assert "cannot go on: " in rows[0]["answer"]


def test_nothing_to_resume_is_no_failure(treadle) -> None:
    treadle("run", "orders.py", "--value", '{"number": 1}')
    outcome = treadle("resume", "--all", "orders.py")
    assert (outcome.code, "nothing to resume" in outcome.out) == (0, True)
    outcome = treadle("resume", "--all", "orders.py", "--json")
    assert (outcome.out, "nothing to resume" in outcome.err) == ("", True)


@pytest.mark.parametrize("nobody", ["", " "])
def test_who_answers_must_be_said(treadle, waiting_run, nobody: str) -> None:
    outcome = treadle("answer", waiting_run[1], "--value", '"yes"', "--as", nobody)
    assert (outcome.code, "say who answers, with --as NAME" in outcome.err) == (2, True)
    assert treadle("answer", waiting_run[1], "--value", '"yes"', "--as", "maria").code == 0
