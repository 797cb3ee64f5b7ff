"""What stands in README.md and docs/ runs, and does what the pages say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from outputs import Outputs
from pages import NAMES, blocks
from running import Page

KNOWN = {"python", "text", "console", "sh", "toml", "json", "sql", "mermaid", "bash"}
RUN = [name for name in NAMES if {block.language for block in blocks(name)} & {"python", "console"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a page; what it imports is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith("treadle") and (getattr(sys.modules[name], "__file__", None) or "").startswith(
            str(tmp_path)
        ):
            del sys.modules[name]
    sys.modules.pop("page", None)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RUN)
def test_a_page_runs(name: str, folder: Path) -> None:
    Page(name, folder).run()


@pytest.mark.parametrize("name", NAMES)
def test_every_block_says_what_it_is(name: str) -> None:
    assert not [block.line for block in blocks(name) if block.language not in KNOWN]


def test_an_output_that_differs_is_told() -> None:
    assert Outputs().compare("a\n", "b\n")
    assert Outputs().compare("a\n...\nz\n", "a\nb\n")


def test_times_may_differ_and_ids_are_remembered() -> None:
    outputs = Outputs()
    assert not outputs.compare("q-aaaaaaaa  took 5 ms\n...\nend\n", "q-bbbbbbbb took 1.20 s\nx\ny\nend\n")
    assert outputs.command("treadle answer q-aaaaaaaa") == "treadle answer q-bbbbbbbb"
    assert outputs.compare("q-aaaaaaaa\n", "q-cccccccc\n")
