"""What a terminal shows while runs go on, and what Ctrl-C leaves behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from treadle.budget import Amounts
from treadle.cli.board import Board
from treadle.cli.summary import print_table
from treadle.cli.words import ago, console, dollars, duration, shorten, table
from treadle.events import MoneyHeld
from treadle.ids import NodeId, StepId
from treadle.views.table import Row

TREADLE = [sys.executable, "-c", "from treadle.cli.main import main; main()"]


def row(**changes: object) -> Row:
    values: dict[str, object] = {
        "run_id": "r-1", "status": "completed", "message": "Where is my card, which I ordered? " * 3,
        "route": "hard → expert", "answer": "It is on its way to you. " * 5, "models": ("small",),
        "tokens": 1234, "cost_usd": Decimal("0.000088"), "seconds": 0.5, "waits": {},
    }  # fmt: skip
    return Row(**{**values, **changes})  # type: ignore[arg-type]  # a table of defaults


def table_at(width: int, *rows: Row) -> list[str]:
    out = io.StringIO()
    print_table(Console(file=out, width=width, highlight=False), rows, seconds=1.0)
    return out.getvalue().splitlines()


def test_the_table_fits_terminals_of_any_width() -> None:
    for width in (60, 80, 100, 120, 200):
        lines = table_at(width, row(), row(status="waiting", waits={"q-1": "leads"}))
        assert max(map(len, lines[:-1])) <= width


def test_a_narrow_table_shows_all_figures() -> None:
    text = "\n".join(table_at(80, row()))
    assert all(figure in text for figure in ("1,234", "$0.000088", "500 ms", "hard → expert", "model small"))


def test_a_live_board_shows_where_each_run_is() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with Board(console, 2) as board:
        board.begin(0, "Where is my card?")
        board.see(
            0,
            MoneyHeld(
                at=0.0, node=NodeId("expert"), attempt=1, step=StepId(""), request=1, accounts=(),
                held=Amounts(), model="small",
            ),
        )  # fmt: skip
        board.end(1, row())
    assert "1/2  1 completed" in out.getvalue()
    assert "expert: small" in out.getvalue()


def test_amounts_are_never_rounded_to_nothing() -> None:
    amounts = ["0", "0.0000042", "0.0123", "12.5", "1234.567"]
    assert [dollars(Decimal(amount)) for amount in amounts] == [
        "$0", "$0.0000042", "$0.0123", "$12.50", "$1,234.57",
    ]  # fmt: skip


def test_times_and_texts_are_short() -> None:
    assert (duration(0.0444), duration(75), duration(None)) == ("44 ms", "75 s", "")
    assert (ago(100.0, now=100.2), ago(100.0, now=400.0)) == ("just now", "5 min ago")
    assert shorten("one\ntwo  three", 9) == "one two…"


def test_ctrl_c_leaves_runs_that_can_be_resumed(folder: Path) -> None:
    (folder / "many.jsonl").write_text("".join(json.dumps({"number": 1}) + "\n" for _ in range(3000)))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*TREADLE, "run", "orders.py", "--input", "many.jsonl"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while "/3000 " not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "\n  treadle resume --all orders.py\n" in err
    assert "Traceback" not in err
    resumed = subprocess.run([*TREADLE, "resume", "--all", "orders.py"], capture_output=True, text=True)
    assert resumed.returncode == 0
    listed = subprocess.run([*TREADLE, "runs", "--json", "--limit", "5000"], capture_output=True, text=True)
    assert {json.loads(line)["status"] for line in listed.stdout.splitlines()} == {"completed"}


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_disturb_the_cleaning_up(folder: Path, second: signal.Signals) -> None:
    (folder / "many.jsonl").write_text("".join(json.dumps({"number": 1}) + "\n" for _ in range(3000)))
    with subprocess.Popen(
        [*TREADLE, "run", "orders.py", "--input", "many.jsonl"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while "/3000 " not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.send_signal(second)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode in {130, 143}  # of signals at the same instant, either is the first
    draining, stopped, *_ = err.splitlines()
    assert draining.endswith(
        ": nothing more is started, and attempts under way may finish within 8 s; a second signal stops "
        "them at once"
    )
    assert stopped.startswith(
        "stopped; what was recorded is kept, and `treadle run orders.py --input many.jsonl "
    )


def test_no_control_character_of_a_text_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    rows = table("message")
    rows.add_row("\x1b[2Jgone \x9b2J")
    out.print("\x1b]0;title\x07 and\nmore")
    out.print(rows)
    shown = capsys.readouterr().out
    assert not [character for character in shown if not (character.isprintable() or character == "\n")]
    assert "title" in shown
    assert "and\nmore" in shown
    assert "gone" in shown


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["words", "json"])
def test_runs_go_on_to_their_end_when_nobody_reads_the_words_any_more(
    folder: Path, options: list[str]
) -> None:
    (folder / "many.jsonl").write_text("".join(json.dumps({"number": 1}) + "\n" for _ in range(300)))
    with subprocess.Popen(
        [*TREADLE, "run", "orders.py", "--input", "many.jsonl", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    listed = subprocess.run([*TREADLE, "runs", "--json", "--limit", "500"], capture_output=True, text=True)
    assert [json.loads(line)["status"] for line in listed.stdout.splitlines()] == ["completed"] * 300
