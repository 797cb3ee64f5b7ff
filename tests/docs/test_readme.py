"""The README: the two commands of its quick start, and its picture."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from pages import ROOT, blocks, section

QUICK_START = section("README.md", "Quick start")


def commands() -> list[str]:
    """The ``sh`` blocks of the quick start."""
    return [
        block.text for block in blocks("README.md") if block.language == "sh" and block.text in QUICK_START
    ]


def test_the_quick_start_has_two_commands_of_one_line_each() -> None:
    assert [command.count("\n") for command in commands()] == [1, 1]
    assert len(re.findall(r"^```", QUICK_START, re.MULTILINE)) == 4


def test_the_commands_make_their_environment_and_use_it() -> None:
    for command in commands():
        steps = [shlex.split(step) for step in command.split("&&")]
        assert steps[0] == ["python3", "-m", "venv", ".venv"]
        assert all(step[0].startswith(".venv/bin/") for step in steps[1:])


def test_the_files_that_the_first_command_names_are_there() -> None:
    words = shlex.split(commands()[0])
    files = [word for word in words if word.startswith("examples/")]
    assert len(files) == 2
    assert all((ROOT / file).is_file() for file in files)


def test_the_picture_is_what_the_command_draws_today(tmp_path: Path) -> None:
    drawn = tmp_path / "support.svg"
    treadle = Path(sys.executable).with_name("treadle")
    command = [treadle, "graph", "examples/support.py", "--format", "svg"]
    subprocess.run([*command, "--output", str(drawn)], cwd=ROOT, check=True)
    assert drawn.read_text() == (ROOT / "docs/images/support.svg").read_text(), (
        "the picture is old; draw it anew: "
        "treadle graph examples/support.py --format svg -o docs/images/support.svg"
    )
