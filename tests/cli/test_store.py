"""``runs``, ``show``, ``verify`` on stores in every condition, and what needs no store at all."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.cli.main import VERBS as LISTED

VERBS = list(LISTED)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(treadle, verb: str) -> None:
    outcome = treadle(verb, "--help")
    assert outcome.code == 0
    assert f"Example: treadle {verb}" in outcome.out


def test_treadle_alone_shows_examples(treadle) -> None:
    outcome = treadle()
    text = outcome.out + outcome.err
    assert "treadle run examples/support.py --input tickets.jsonl" in text
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_each_verb_says_of_itself(treadle, verb: str) -> None:
    said = " ".join(treadle(verb, "--help").out.split())
    assert LISTED[verb].removesuffix(".") in said


def test_a_misspelt_verb_is_refused_with_the_nearest(treadle) -> None:
    outcome = treadle("rnu")
    assert outcome.code == 2
    assert "there is no verb 'rnu'; did you mean 'run'?" in outcome.err


def test_help_loads_neither_engine_nor_provider() -> None:
    dear = ["openai", "apsw", "networkx", "treadle.engine.engine", "rich.live", "jsonschema"]
    code = f"import sys, treadle.cli.main; print([name for name in {dear} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_runs_are_listed_newest_first(treadle) -> None:
    for number in (1, 2):
        treadle("run", "orders.py", "--value", json.dumps({"number": number}))
    rows = treadle("runs", "--json").json_lines()
    assert len(rows) == 2
    assert rows[0]["started_at"] > rows[1]["started_at"]
    assert rows[0]["run"] in treadle("runs", "--limit", "1").out


def test_a_misspelt_status_is_refused_with_the_nearest(treadle, waiting_run) -> None:
    outcome = treadle("runs", "--status", "complted")
    assert outcome.code == 2
    assert "did you mean 'completed'" in outcome.err
    assert "pending, running, waiting, completed" in " ".join(treadle("runs", "--help").out.split())


def test_a_store_without_runs_of_that_kind_does_not_look_empty(treadle, waiting_run) -> None:
    assert "no runs match --graph shiping in" in treadle("runs", "--graph", "shiping").out
    assert treadle("runs", "--status", "failed", "--json").out == ""


def test_the_beginning_of_an_id_names_a_run_where_no_other_begins_so(treadle, waiting_run) -> None:
    run, _ = waiting_run
    assert run in treadle("show", run[:-3]).out
    treadle("run", "orders.py", "--value", '{"number": 1}')
    outcome = treadle("show", "r-")
    assert outcome.code == 2
    assert "2 runs begin with 'r-'" in outcome.err


@pytest.mark.parametrize("head", ["abc", "", "z" * 64])
def test_a_head_that_is_no_hash_is_a_mistake_of_the_command(treadle, waiting_run, head: str) -> None:
    outcome = treadle("verify", waiting_run[0], "--head", head)
    assert outcome.code == 2
    assert "64 hexadecimal digits" in outcome.err


def test_show_draws_the_tree(treadle, waiting_run) -> None:
    outcome = treadle("show", waiting_run[0])
    assert "├─ sort node" in outcome.out
    assert "approve person" in outcome.out
    assert "waits for clerks" in outcome.out


def test_show_gives_the_timeline_as_json(treadle, waiting_run) -> None:
    shown = json.loads(treadle("show", waiting_run[0], "--json").out)
    assert (shown["status"], shown["route"]) == ("waiting", "large → approve")
    assert shown["run"] == waiting_run[0]  # as every other list has it
    assert [child["name"] for child in shown["timeline"]["children"]] == ["sort", "approve"]


def test_show_lists_events(treadle, waiting_run) -> None:
    lines = treadle("show", waiting_run[0], "--events", "--json").json_lines()
    assert (lines[0]["kind"], lines[0]["node"]) == ("run_started", "")
    assert [line["node"] for line in lines if line["kind"] == "question_asked"] == ["approve"]


def test_an_unknown_run_names_the_nearest(treadle, waiting_run) -> None:
    run = waiting_run[0]
    outcome = treadle("show", run[:-1] + "?")
    assert outcome.code == 2
    assert f"did you mean {run!r}" in outcome.err


def test_verify_tells_what_was_changed(treadle, waiting_run) -> None:
    run = waiting_run[0]
    assert treadle("verify", run).code == 0
    head = json.loads(treadle("verify", run, "--json").out)["head"]
    assert treadle("verify", run, "--head", head).code == 0
    outcome = treadle("verify", run, "--head", "0" * 64)
    assert outcome.code == 1
    assert "not as they were written" in outcome.err


def test_a_store_that_is_not_there_is_not_made(treadle) -> None:
    outcome = treadle("runs", "--store", "sqlite:///none.db")
    assert (outcome.code, Path("none.db").exists()) == (2, False)
    assert "`treadle run` makes it" in outcome.err


def test_a_foreign_database_is_left_alone(treadle) -> None:
    with sqlite3.connect("foreign.db") as database:
        database.execute("create table customers (name)")
    database.close()
    before = Path("foreign.db").read_bytes()
    for verb in (["runs"], ["run", "orders.py", "--value", '{"number": 1}']):
        outcome = treadle(*verb, "--store", "sqlite:///foreign.db")
        assert (outcome.code, outcome.out) == (2, "")
        assert "another program" in outcome.err
        assert Path("foreign.db").read_bytes() == before


@pytest.mark.parametrize("store", ["notes.txt", "no/such/folder/runs.db", "newer.db"])
def test_a_store_that_cannot_be_opened_is_told_before_anything_else(treadle, store: str) -> None:
    Path("notes.txt").write_text("milk, bread\n" * 1000)
    treadle("run", "orders.py", "--value", '{"number": 1}', "--store", "sqlite:///newer.db")
    with sqlite3.connect("newer.db") as database:
        database.execute("pragma user_version = 99")
    database.close()
    outcome = treadle("run", "orders.py", "--value", '{"number": 1}', "--store", f"sqlite:///{store}")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")


def test_a_run_in_memory_that_asks_a_person_says_that_nobody_can_answer(treadle) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 50}', "--store", "memory:")
    assert outcome.code == 3
    assert (
        "1 question waits for clerks, and nobody can answer: the run is gone with this process" in outcome.out
    )
    assert "--store sqlite:///treadle.db" in outcome.out
    assert "treadle inbox" not in outcome.out


def test_a_run_in_memory_that_fails_names_no_command_that_finds_nothing(treadle) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 1, "note": "odd"}', "--store", "memory:")
    assert outcome.code == 1
    assert "treadle show" not in outcome.out


def test_a_damaged_database_is_one_clear_error(treadle) -> None:
    Path("damaged.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    for verb in (["runs"], ["inbox"], ["show", "r-1"], ["run", "orders.py", "--value", '{"number": 1}']):
        outcome = treadle(*verb, "--store", "sqlite:///damaged.db")
        assert outcome.code == 2
        assert outcome.err.startswith("error: ")
        assert "Traceback" not in outcome.err


def test_the_store_can_be_named_by_the_environment(treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_STORE", "sqlite:///elsewhere.db")
    treadle("run", "orders.py", "--value", '{"number": 1}')
    assert Path("elsewhere.db").exists()
    assert len(treadle("runs", "--json").json_lines()) == 1


@pytest.mark.parametrize("form", ["text", "svg", "mermaid", "json"])
def test_a_graph_is_drawn(treadle, form: str) -> None:
    outcome = treadle("graph", "orders.py", "--format", form)
    assert outcome.code == 0
    assert "approve" in outcome.out


def test_a_drawing_is_written_to_a_file(treadle) -> None:
    assert treadle("graph", "orders.py", "--format", "svg", "-o", "orders.svg").code == 0
    assert Path("orders.svg").read_text().startswith("<svg")
    assert treadle("graph", "orders.py", "-o", "no/such/folder.svg").code == 2


def test_check_reports_all_faults_of_all_graphs(treadle, folder: Path) -> None:
    assert "no faults (3 nodes, 1 human, 1 match)" in treadle("check", "orders.py").out
    text = (folder / "orders.py").read_text()
    (folder / "wrong.py").write_text(
        f"{text}\n\n@graph\ndef wrong(order: Order) -> int:\n    return ship(order)\n"
    )
    outcome = treadle("check", "wrong.py")
    assert outcome.code == 1
    assert "wrong.py:wrong: 1 fault" in outcome.err


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_names_every_option(treadle, verb: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    own = page.partition(f"## `treadle {verb}`")[2].partition("\n## ")[0]
    options = set(re.findall(r"--[a-z-]+", treadle(verb, "--help").out.partition("Options:")[2])) - {"--help"}
    assert own
    assert not {option for option in options if option not in own}
