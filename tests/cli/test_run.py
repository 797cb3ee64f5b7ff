"""``treadle run``: inputs are checked first, then run; the table and the exit code say what came of it."""

from __future__ import annotations

import gc
import io
import sys
import warnings
from pathlib import Path

import pytest

ONE = ["run", "orders.py", "--value", '{"number": 1}']

TWO_INPUTS = """
from treadle import graph, node

@node
async def add(a: int, b: int) -> int:
    return a + b

@graph
def total(a: int, b: int = 5) -> int:
    return add(a, b)
"""


def test_a_single_run_ends_with_its_answer(treadle) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 1}')
    assert outcome.code == 0
    assert "small → ship" in outcome.out
    assert "shipped 1" in outcome.out


def test_a_single_run_that_waits_for_a_person_exits_with_3(treadle) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 50}')
    assert outcome.code == 3
    assert "waits for clerks" in outcome.out
    assert "treadle answer q-" in outcome.out


WRONG = """
from treadle import each, graph, node


@node
async def bad(text: str) -> int:
    return text


@node
async def fail(text: str) -> int:
    raise KeyError(text)


@node
async def same(number: int) -> int:
    return number


@node
async def pair(text: str) -> list[str]:
    return [text, text]


@graph
def refused(text: str) -> int:
    return same(bad(text))


@graph
def raised(text: str) -> int:
    return same(fail(text))


@graph
def inside(text: str) -> int:
    return same(each(fail, pair(text))[0])


@graph
def read(text: str) -> int:
    return same(bad(pair(text)[3]))
"""


@pytest.mark.parametrize(
    ("name", "route", "told"),
    [
        ("refused", "bad", "ResultRefused: node 'bad' (attempt 1), "),
        ("raised", "fail", "node 'fail' (attempt 1): KeyError: 'zz' (at wrong.py:12)"),
        ("inside", "fail", "node 'each(0)/fail' (attempt 1): KeyError: 'zz' (at wrong.py:12)"),
        ("read", "pair[3]", "ReadFailed: [3] of 'pair', wired at "),
    ],
)
def test_a_failed_run_is_told_with_the_node_that_failed(
    treadle, folder: Path, name: str, route: str, told: str
) -> None:
    (folder / "wrong.py").write_text(WRONG)
    ran = ("run", f"wrong.py:{name}", "--value", '"zz"')
    [row] = treadle(*ran, "--json").json_lines()
    assert row["route"] == route
    assert row["answer"].startswith(told)
    assert told in treadle(*ran).out


def test_a_failed_run_exits_with_1_and_says_why(treadle) -> None:
    outcome = treadle("run", "orders.py", "--value", '{"number": 1, "note": "odd"}')
    assert outcome.code == 1
    assert "there is no shelf for it" in outcome.out


def test_a_file_that_waits_for_people_exits_with_0(treadle, messages: Path) -> None:
    messages.write_text('{"number": 1}\n{"number": 50}\n')
    outcome = treadle("run", "orders.py", "--input", str(messages))
    assert outcome.code == 0
    assert "2 runs: 1 completed, 1 waiting" in outcome.out


def test_a_file_shows_a_line_for_each_message_as_it_ends(treadle, messages: Path) -> None:
    outcome = treadle("run", "orders.py", "--input", str(messages), "--concurrency", "1")
    ends = [line.split()[:2] for line in outcome.out.splitlines() if "/3 " in line]
    assert ends == [["1/3", "completed"], ["2/3", "waiting"], ["3/3", "failed"]]


def test_json_gives_one_line_for_each_run_in_the_order_of_the_file(treadle, messages: Path) -> None:
    rows = treadle("run", "orders.py", "--input", str(messages), "--json").json_lines()
    assert [(row["status"], row["route"]) for row in rows] == [
        ("completed", "small → ship"),
        ("waiting", "large → approve"),
        ("failed", "odd → fail"),
    ]


def test_standard_input_is_read(treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"number": 3}\n')))
    assert treadle("run", "orders.py", "--input", "-").code == 0


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029"])
def test_a_text_may_hold_what_ends_lines_elsewhere(treadle, messages: Path, mark: str) -> None:
    note = f"the shelf{mark}is full"
    messages.write_bytes(f'{{"number": 1, "note": "{note}"}}\r\n{{"number": 2}}\r\n'.encode())
    rows = treadle("run", "orders.py", "--input", str(messages), "--json").json_lines()
    assert [row["answer"] for row in rows] == ["shipped 1", "shipped 2"]


def test_every_bad_line_is_reported_and_nothing_runs(treadle, messages: Path) -> None:
    messages.write_text('{"number": 1}\nnope\n\n{"number": "x"}\n{"note": "y"}\n')
    outcome = treadle("run", "orders.py", "--input", str(messages))
    assert outcome.code == 2
    assert "line 2: not JSON" in outcome.err
    assert "line 4: number: Input should be a valid integer" in outcome.err
    assert "line 5: number: Field required" in outcome.err
    assert not Path("treadle.db").exists()


def test_an_object_gives_the_inputs_of_a_graph_with_several(treadle, folder: Path) -> None:
    (folder / "two.py").write_text(TWO_INPUTS)
    assert treadle("run", "two.py", "--value", '{"a": 1}', "--json").json_lines()[0]["answer"] == "6"
    outcome = treadle("run", "two.py", "--value", '{"c": 1}')
    assert "c: there is no such parameter" in outcome.err
    assert "a: is missing" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "order.py", "--value", "1"], "did you mean 'orders.py'"),
        (["run", "orders.py:order", "--value", "1"], "did you mean 'orders'"),
        (["run", "orders.py"], "needs order; give --input"),
        (["run", "orders.py", "--input", "none.jsonl"], "cannot be read"),
        (["run", "orders.py", "--value", "{}", "--input", "x"], "not both"),
        ([*ONE, "--budget-usd", "much"], "not an amount of money"),
        ([*ONE, "--store", "mysql:x"], "no store speaks 'mysql:'"),
        (["run", "orders.py", "--value", "NaN"], "NaN is not JSON"),
    ],
)
def test_what_cannot_be_run_is_one_clear_error(treadle, arguments: list[str], words: str) -> None:
    outcome = treadle(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1 / 0\n", "bad.py:1: importing it raised ZeroDivisionError"),
        ("def f(:\n", "bad.py:1: invalid syntax"),
        ("x = 1\n", "there is no graph in bad.py"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("import sys\n\nsys.exit(0)\n", "bad.py:3: importing it ends the process: it calls sys.exit(0)"),
        ("x = '\0'\n", "bad.py: source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_clear_error(
    treadle, folder: Path, text: str, words: str
) -> None:
    (folder / "bad.py").write_text(text)
    outcome = treadle("run", "bad.py")
    assert outcome.code == 2
    assert words in outcome.err


def test_a_body_that_ends_the_process_is_no_success(treadle, folder: Path) -> None:
    text = (folder / "orders.py").read_text().replace("raise ValueError", "raise SystemExit(0) #")
    (folder / "exits.py").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the event loop stops at once, and leaves tasks that never began
        outcome = treadle("run", "exits.py", "--value", '{"number": 1, "note": "odd"}')
        gc.collect()
    assert outcome.code == 1
    assert "a body called sys.exit(0)" in outcome.err


def test_the_graph_that_no_other_uses_is_the_default(treadle, folder: Path) -> None:
    text = (folder / "orders.py").read_text()
    outer = "@graph\ndef outer(order: Order) -> str:\n    return orders(order)\n"
    (folder / "nested.py").write_text(f"{text}\n\n{outer}")
    outcome = treadle("run", "nested.py", "--value", '{"number": 1}', "--json")
    assert outcome.json_lines()[0]["status"] == "completed"
    assert treadle("runs", "--graph", "outer", "--json").json_lines()


def test_several_graphs_must_be_named(treadle, folder: Path) -> None:
    text = (folder / "orders.py").read_text()
    (folder / "both.py").write_text(
        f"{text}\n\n@graph\ndef other(order: Order) -> str:\n    return ship(order)\n"
    )
    assert "name one, as in both.py:orders" in treadle("run", "both.py", "--value", '{"number": 1}').err
    assert treadle("run", "both.py:other", "--value", '{"number": 70}').code == 0
