"""The command line, called in this process, and a small file of graphs to call it with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle.cli.main import main

GRAPHS = """
from typing import Literal
from pydantic import BaseModel
from treadle import Ask, graph, human, match, node


class Order(BaseModel):
    number: int
    note: str = ""


@node
async def sort(order: Order) -> Literal["small", "large", "odd"]:
    if order.note == "odd":
        return "odd"
    return "small" if order.number < 10 else "large"


@node
async def ship(order: Order) -> str:
    return f"shipped {order.number}"


@node
async def fail(order: Order) -> str:
    raise ValueError("there is no shelf for it")


@human(to="clerks")
async def approve(order: Order) -> Ask[str]:
    return Ask(f"May order {order.number} go?", show=order)


@graph
def orders(order: Order) -> str:
    return match(sort(order), {"small": ship(order), "large": approve(order), "odd": fail(order)})
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    def json_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Treadle = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with ``orders.py``; what it imports is forgotten afterwards."""
    (tmp_path / "orders.py").write_text(GRAPHS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def treadle(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Treadle:
    """Runs a command in the working directory."""
    assert Path(os.getcwd()) == folder  # noqa: PTH109 - what the command will see

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["treadle", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def messages(folder: Path) -> Path:
    """A file of three orders: one is shipped, one waits for a person, one fails."""
    lines = [{"number": 1}, {"number": 50}, {"number": 2, "note": "odd"}]
    path = folder / "orders.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def waiting_run(treadle: Treadle) -> tuple[str, str]:
    """Ids of a run that waits for a person, and of its question."""
    treadle("run", "orders.py", "--value", '{"number": 50}')
    question = treadle("inbox", "--json").json_lines()[0]
    return question["run_id"], question["id"]
