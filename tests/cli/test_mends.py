"""What people do by mistake, and what they are told."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.cli.conftest import Treadle

from treadle.cli.inbox import example

WRONG = """
from treadle import graph, node

@node
async def shout(text: str) -> str:
    return text.upper()

@graph
def misspelt(text: str) -> str:
    return shout(txt)

@graph
def right(text: str) -> str:
    return shout(text)
"""


@pytest.fixture
def wrong(folder: Path) -> str:
    (folder / "wrong.py").write_text(WRONG)
    return "wrong.py"


def test_an_error_of_a_graphs_own_code_is_a_fault_at_its_line_and_the_other_graphs_are_checked(
    treadle: Treadle, wrong: str
) -> None:
    outcome = treadle("check", wrong)
    assert outcome.code == 1
    assert "wrong.py:10: wiring 'misspelt' raised NameError: name 'txt' is not defined" in outcome.err
    assert "wrong.py:right: no faults" in outcome.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget = Budget(usd='abc')", "given.py:2: Budget(usd='abc'): that is not an amount of money"),
        ("policy = Retry(atempts=3)", "given.py:2: Retry has no option 'atempts'; did you mean 'attempts'"),
        ("@node(timout=3)\nasync def f() -> None: ...", "given.py:2: @node has no option 'timout'"),
        ("@graph\ndef g() -> None:\n    Budget(udd=1)", "given.py:4: Budget has no option 'udd'"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_wrong_option_is_told_with_its_line(
    treadle: Treadle, folder: Path, verb: str, text: str, words: str
) -> None:
    (folder / "given.py").write_text(f"from treadle import Budget, Retry, graph, node\n{text}\n")
    outcome = treadle(verb, "given.py")
    assert outcome.code == (1 if verb == "check" and "@graph" in text else 2)
    assert words in outcome.err.replace("\n  ", " ")


@pytest.mark.parametrize("verb", ["check", "graph", "run"])
def test_one_graph_of_a_file_is_named_behind_it(treadle: Treadle, wrong: str, verb: str) -> None:
    value = ("--value", '"x"') if verb == "run" else ()
    assert treadle(verb, f"{wrong}:right", *value).code == 0


def test_a_graph_that_a_file_does_not_have_is_refused_with_the_nearest(treadle: Treadle, wrong: str) -> None:
    outcome = treadle("check", f"{wrong}:rigth")
    assert outcome.code == 2
    assert "did you mean 'right'" in outcome.err


def test_resuming_takes_what_run_printed(treadle: Treadle, waiting_run: tuple[str, str]) -> None:
    treadle("answer", waiting_run[1], "--value", '"yes"', "--as", "maria")
    assert treadle("resume", "--all", "orders.py:orders").code == 0


def test_resuming_a_run_that_is_over_says_that_nothing_runs(
    treadle: Treadle, waiting_run: tuple[str, str]
) -> None:
    run, question = waiting_run
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    treadle("resume", run, "orders.py")
    assert f"{run} is completed already: nothing runs" in treadle("resume", run, "orders.py").err
    assert treadle("resume", run, "orders.py", "--claim", "a=b").code == 2


def test_a_file_in_place_of_a_run_is_told_apart(treadle: Treadle, wrong: str) -> None:
    assert "treadle resume --all wrong.py" in treadle("resume", wrong).err


def test_a_picture_does_not_replace_the_file_it_is_of(treadle: Treadle, wrong: str) -> None:
    outcome = treadle("graph", f"{wrong}:right", "-o", wrong)
    assert outcome.code == 2
    assert Path(wrong).read_text() == WRONG


def test_the_command_says_which_release_it_is(treadle: Treadle) -> None:
    assert treadle("--version").out.startswith("treadle 0.")


def test_the_package_run_as_a_module_is_the_command(folder: Path) -> None:
    command = [sys.executable, "-m", "treadle"]
    done = subprocess.run([*command, "rums"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no verb 'rums'; did you mean 'runs'" in done.stderr
    told = subprocess.run([*command, "--version"], cwd=folder, capture_output=True, text=True, check=True)
    assert told.stdout == f"treadle {version('treadle')}\n"


def test_another_graph_that_cannot_be_wired_does_not_keep_a_run_from_going_on(
    treadle: Treadle, wrong: str
) -> None:
    treadle("run", f"{wrong}:right", "--value", '"x"')
    [run] = treadle("runs", "--json").json_lines()
    assert treadle("resume", run["run"], wrong).code == 0
    assert treadle("resume", run["run"], f"{wrong}:misspelt").code == 2


def test_a_template_stands_where_a_yes_and_a_number_go_without_quotes() -> None:
    class Form(BaseModel):
        approved: bool
        amount: int

    assert example(Form.model_json_schema()) == '{"approved": true|false, "amount": NUMBER}'
    assert example({"type": "boolean"}) == "true|false"
