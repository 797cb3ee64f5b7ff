"""Files that are no index, or no longer one: one clear error each, and nothing is overwritten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from treadle.errors import ConfigurationError, FormatMismatch, StoreUnavailable
from treadle.retrieval import Document, KeywordIndex, build_index, open_index

DOCUMENTS = [Document(name=f"page {number}", text="lost card " * 200) for number in range(40)]


def build(path: Path) -> KeywordIndex:
    return build_index(path, DOCUMENTS)


def test_a_missing_index_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no index .*build_index\("):
        open_index(tmp_path / "none.sqlite")


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are longer than the header of a database\n" * 20, encoding="utf-8")
    before = path.read_bytes()
    for use in (open_index, build):
        with pytest.raises(FormatMismatch, match=r"no index at all.*build it again"):
            use(path)
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table customer (id)")
    connection.close()
    before = path.read_bytes()
    for use in (open_index, build):
        with pytest.raises(FormatMismatch, match="no index of Treadle's; it was left as it is"):
            use(path)
    assert path.read_bytes() == before


def test_an_index_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    build_index(path, DOCUMENTS)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 9")
    connection.close()
    with pytest.raises(FormatMismatch, match="has format 9, this release writes 1"):
        open_index(path)


def test_an_empty_file_is_no_index_but_can_become_one(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.touch()
    with pytest.raises(FormatMismatch, match="is empty"):
        open_index(path)
    assert build_index(path, DOCUMENTS).search_blocking("lost")


def test_a_damaged_index_is_reported_at_the_search(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    build_index(path, DOCUMENTS)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(FormatMismatch, match="damaged"):
        open_index(path).search_blocking("lost")


def test_a_folder_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        open_index(tmp_path)


def test_asking_for_no_passages_is_refused(tmp_path: Path) -> None:
    index = build_index(tmp_path / "index.sqlite", DOCUMENTS)
    with pytest.raises(ValueError, match="at least 1 passage"):
        index.search_blocking("lost", k=0)
