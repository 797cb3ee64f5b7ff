"""What no verb can work with is one clear error, with the mend and the right exit code, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import GRAPHS, Treadle

Waiting = tuple[str, str]
FILES = {
    "folder": "'folder' is a directory; name a file with graphs such as folder/in.py",
    "bare": "'bare' is a directory; name a file with graphs",
    "zzz": "there is no file 'zzz'; name a Python file with graphs",
    "ordesr.py": "there is no file 'ordesr.py'; did you mean 'orders.py'?",
    "empty.py": "there is no graph in empty.py; declare one with @graph",
    "syntax.py": "syntax.py:1: invalid syntax",
    "nul.py": "nul.py: source code string cannot contain null bytes",
    "text.txt": "text.txt' is not a Python file",
    "orders.py:ordres": "there is no graph 'ordres' in orders.py; did you mean 'orders'?; it has orders",
}


@pytest.fixture
def files(folder: Path) -> Path:
    (folder / "folder").mkdir()
    (folder / "bare").mkdir()
    (folder / "folder" / "in.py").write_text(GRAPHS)
    for name, text in (("empty.py", ""), ("syntax.py", "def f(:"), ("nul.py", "x\0"), ("text.txt", "hello")):
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "verb",
    ["run FILE", "check FILE", "graph FILE", "resume RUN FILE", "cancel RUN FILE"],
)
def test_a_file_that_gives_no_graph_is_told_with_what_to_write(
    treadle: Treadle, files: Path, waiting_run: Waiting, verb: str, file: str
) -> None:
    outcome = treadle(*verb.replace("RUN", waiting_run[0]).replace("FILE", file).split())
    assert (outcome.code, outcome.out) == (2, "")
    assert FILES[file] in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("file", ["nowhere.py", "orders.py:ordres", "empty.py"])
def test_a_cancellation_with_a_wrong_file_is_not_recorded(
    treadle: Treadle, files: Path, waiting_run: Waiting, file: str
) -> None:
    run, question = waiting_run
    assert treadle("cancel", run, file).code == 2
    treadle("answer", question, "--value", '"yes"', "--as", "maria")
    assert treadle("resume", run, "orders.py").code == 0


def test_a_run_is_cancelled_with_one_graph_of_a_file(treadle: Treadle, waiting_run: Waiting) -> None:
    assert f"{waiting_run[0]}: cancelled" in treadle("cancel", waiting_run[0], "orders.py:orders").out


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[" * 100_000, "--value is not JSON (nested too deeply to be read)"),
        ("1" * 5000, "--value is not JSON (a number has too many digits to be read)"),
        ("NaN", "--value is not JSON (NaN is not JSON)"),
        ("yes", "text stands in quotes of its own, as in --value '\"yes\"'"),
        ("", "--value is not JSON (Expecting value"),
    ],
)
def test_an_answer_that_is_no_json_is_told_on_a_few_lines(
    treadle: Treadle, waiting_run: Waiting, value: str, words: str
) -> None:
    outcome = treadle("answer", waiting_run[1], "--value", value, "--as", "maria")
    assert (outcome.code, words in outcome.err, len(outcome.err) < 400) == (2, True, True), outcome.err
    inputs = treadle("run", "orders.py", "--value", value)
    assert (inputs.code, "not JSON" in inputs.err or "Input should" in inputs.err) == (2, True)


@pytest.mark.parametrize("source", ["nowhere.jsonl", "folder"])
def test_inputs_that_cannot_be_read_are_told_with_what_to_name(
    treadle: Treadle, files: Path, source: str
) -> None:
    outcome = treadle("run", "orders.py", "--input", source)
    assert outcome.code == 2
    assert "cannot be read: " in outcome.err
    assert "name a file of JSON lines, or - for standard input" in outcome.err


@pytest.mark.parametrize(
    "verb", ["runs", "inbox", "doubt", "show r-1", "verify r-1", "cancel r-1", "resume --all"]
)
def test_a_store_without_a_name_is_told_with_a_url(treadle: Treadle, verb: str) -> None:
    outcome = treadle(*verb.split(), "--store", "")
    assert (outcome.code, "write 'sqlite:///treadle.db' for a file" in outcome.err) == (2, True)


def test_a_beginning_of_several_ids_asks_for_more_of_it(treadle: Treadle, waiting_run: Waiting) -> None:
    treadle("run", "orders.py", "--value", '{"number": 1}')
    outcome = treadle("show", waiting_run[0][:4])
    assert (outcome.code, "write more of the id" in outcome.err) == (2, True)
