"""Corpora: files, JSON lines and rows become documents with names that last."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.errors import ConfigurationError
from treadle.retrieval import Corpus


def test_files_are_named_by_their_path_and_titled_by_their_first_heading(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "lost.md").write_text("# Lost or stolen #\n\nFreeze it.\n", encoding="utf-8")
    (tmp_path / "a.md").write_text("no heading", encoding="utf-8")
    documents = list(Corpus.files(tmp_path))
    assert [(d.name, d.title) for d in documents] == [("a.md", ""), ("cards/lost.md", "Lost or stolen")]


def test_a_corpus_is_read_anew_each_time(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before", encoding="utf-8")
    corpus = Corpus.files(tmp_path)
    before = corpus.version
    page.write_text("after", encoding="utf-8")
    assert [d.text for d in corpus] == ["after"]
    assert corpus.version != before


def test_json_lines_and_rows_of_the_same_documents_have_one_version(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text('{"id": 2, "q": "B", "a": "b"}\n\n{"id": 1, "q": "A", "a": "a"}\n', encoding="utf-8")
    lines = Corpus.json_lines(path, name="id", text="a", title="q")
    rows = Corpus.rows(
        [{"id": 1, "q": "A", "a": "a"}, {"id": 2, "q": "B", "a": "b"}], name="id", text="a", title="q"
    )
    assert list(lines) == list(rows)
    assert lines.version == rows.version


def test_a_text_of_json_lines_may_hold_what_ends_lines_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_bytes('{"id": "a", "text": "one\u2028two"}\r\n{"id": "b", "text": "three"}\r\n'.encode())
    found = list(Corpus.json_lines(path, name="id", text="text"))
    assert [document.text for document in found] == ["one\u2028two", "three"]


def test_the_version_tells_names_titles_and_texts_apart() -> None:
    variants = [("n", "t", ""), ("m", "t", ""), ("n", "u", ""), ("n", "t", "title")]
    rows = [[{"n": name, "x": text, "t": title}] for name, text, title in variants]
    assert len({Corpus.rows(row, name="n", text="x", title="t").version for row in rows}) == len(variants)


def test_two_documents_of_one_name_are_refused() -> None:
    rows = [{"id": 1, "text": "a"}, {"id": 1, "text": "b"}]
    with pytest.raises(ConfigurationError, match="two documents of the corpus are called '1'"):
        list(Corpus.rows(rows, name="id", text="text"))


def test_an_empty_folder_is_refused_with_the_pattern(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no file matches '\*\*/\*\.md'"):
        list(Corpus.files(tmp_path))


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigurationError, match=r"old\.md' is not UTF-8 text \(byte 3\)"):
        list(Corpus.files(tmp_path))


def test_a_missing_file_of_json_lines_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        list(Corpus.json_lines(tmp_path / "none.jsonl", name="id", text="text"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not json", "line 2 of .* is not JSON"),
        ("[1]", "line 2 of .* is not a JSON object"),
        ('{"id": 2, "test": "b"}', "has no 'text', only id, test; did you mean 'test'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(f'{{"id": 1, "text": "a"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=complaint):
        list(Corpus.json_lines(path, name="id", text="text"))
