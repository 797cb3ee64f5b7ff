"""A reader who copies the blocks of a page by hand, as its top says, gets what the page shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from outputs import Outputs
from pages import Block, blocks


def python(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in a folder."""
    command = [sys.executable, "-X", "utf8", *arguments]
    return subprocess.run(
        command, input=text, cwd=folder, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def add(folder: Path, block: Block) -> None:
    """Put a block at the end of its file."""
    with (folder / block.file).open("a", encoding="utf-8") as file:
        file.write(block.text + "\n\n")


@pytest.mark.timeout(120)
def test_each_block_of_the_tutorial_runs_as_a_file_of_its_own(tmp_path: Path) -> None:
    printed = ""
    for block in blocks("docs/tutorial.md"):
        if block.file:
            add(tmp_path, block)
        elif block.language == "python":
            (tmp_path / f"block{block.line}.py").write_text(block.text, encoding="utf-8")
            ran = python(tmp_path, f"block{block.line}.py")
            assert ran.returncode == 0, f"the block at line {block.line}:\n{ran.stderr}"
            printed = ran.stdout
        elif block.language == "text" and block.follows:
            assert not Outputs().compare(block.text, printed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["docs/how-to/write-a-tool-node.md", "docs/how-to/people.md"])
def test_the_blocks_of_a_page_are_one_session(name: str, tmp_path: Path) -> None:
    found = [block for block in blocks(name) if block.language == "python"]
    for block in found:
        if block.file:
            add(tmp_path, block)
    typed = "\n\n".join(block.text for block in found if not block.file)
    session = python(tmp_path, "-i", "-q", text=f"{typed}\n\n")
    assert "Traceback" not in session.stderr, session.stderr
    assert "Error" not in session.stderr, session.stderr
