"""The keyword index: what it finds, in what order, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.retrieval import Changes, Corpus, Document, Index, KeywordIndex, build_index, open_index
from treadle.retrieval.keywords import refresh
from treadle.retrieval.query import match_expression

PAGES = {
    "cards/lost.md": "# Lost card\n\nFreeze a lost card in the app.\n\n## Replacement\n\nA new card costs 5.",
    "cards/arrival.md": "# Card arrival\n\nCards arrive within a week.",
    "money/topup.md": "# Top up\n\nTopping up by card is free. Visit the café.",
}


def corpus(pages: dict[str, str]) -> Corpus:
    return Corpus(lambda: [Document(name=name, text=text) for name, text in pages.items()])


@pytest.fixture
def index(tmp_path: Path) -> KeywordIndex:
    return build_index(tmp_path / "index.sqlite", corpus(PAGES))


@pytest.mark.anyio
async def test_the_passage_that_shares_most_words_comes_first(index: KeywordIndex) -> None:
    socket: Index = index
    found = await socket.search("How do I freeze my lost card?", k=2)
    assert found[0].document == "cards/lost.md"
    assert "Freeze a lost card" in found[0].text


@pytest.mark.anyio
async def test_searches_run_side_by_side(index: KeywordIndex) -> None:
    found: list[int] = []

    async def search() -> None:
        found.append(len(await index.search("card", k=9)))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(search)
    assert found == [4] * 20


@pytest.mark.anyio
async def test_an_index_opened_with_documents_makes_its_file_at_the_first_search(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    index = open_index(path, documents=corpus(PAGES))
    assert not path.exists()
    assert await index.search("arrive", k=1)
    assert open_index(path).version() == corpus(PAGES).version


def test_a_passage_is_a_slice_of_its_document(index: KeywordIndex) -> None:
    for passage in index.search_blocking("card", k=9):
        page = PAGES[passage.document]
        assert passage.text == page[passage.start : passage.end]
        assert passage.digest == Document(name="", text=page).digest
        assert passage.corpus == corpus(PAGES).version


@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\n é界"), max_size=200), st.integers(1, 50)
)
@settings(max_examples=25)
def test_passages_of_any_text_are_slices(
    tmp_path_factory: pytest.TempPathFactory, text: str, length: int
) -> None:
    document = Document(name="page", text=f"{text} known {text}")
    path = tmp_path_factory.mktemp("slices") / "index.sqlite"
    for passage in build_index(path, [document], length=length).search_blocking(document.text, k=99):
        assert passage.text == document.text[passage.start : passage.end]


@pytest.mark.parametrize(
    "query", ["topping", "TOPPED up by cards!", "cafe", "Café", "what's the top-up?", "Cards' arrivals"]
)
def test_endings_accents_and_case_do_not_matter(index: KeywordIndex, query: str) -> None:
    assert index.search_blocking(query)


def test_a_query_without_known_words_finds_nothing(index: KeywordIndex) -> None:
    assert [index.search_blocking(query) for query in ("", "?!", "zebra", "银行卡", "\x00")] == [[]] * 5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> KeywordIndex:
    return build_index(tmp_path_factory.mktemp("index") / "index.sqlite", corpus(PAGES))


SYNTAX = st.sampled_from(
    ['"', "card", "*", "NEAR(", ")", " OR ", "AND", "NOT", "title:", "^", "-", "+", "{", "}", "'"]
)


@given(st.text() | st.lists(SYNTAX).map(" ".join) | st.lists(SYNTAX).map("".join))
def test_no_text_is_read_as_syntax(shared: KeywordIndex, query: str) -> None:
    shared.search_blocking(query)


def test_a_query_of_thousands_of_words_is_cut_short(index: KeywordIndex) -> None:
    query = " ".join(f"word{number}" for number in range(5_000))
    assert match_expression(query).count(" OR ") == 63
    assert index.search_blocking(f"card {query} {'x' * 100_000}")


def test_stop_words_count_only_where_nothing_else_is_said() -> None:
    assert match_expression("Where is my card") == '"card"'
    assert match_expression("Where is it?") == '"where" OR "is" OR "it"'


def test_equal_scores_are_ordered_by_document_and_place(tmp_path: Path) -> None:
    text = "\n\n".join(["same words"] * 3)
    documents = [Document(name=name, text=text) for name in ("b", "a", "c")]
    found = build_index(tmp_path / "i.sqlite", documents, length=12).search_blocking("same", k=7)
    assert [(p.document, p.start) for p in found] == [
        ("a", 0), ("a", 12), ("a", 24), ("b", 0), ("b", 12), ("b", 24), ("c", 0),
    ]  # fmt: skip


def test_refreshing_keeps_what_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    assert refresh(path, corpus({"a": "one", "b": "two", "c": "three"})) == Changes(added=3)
    after = corpus({"a": "one", "b": "too", "d": "four"})
    assert refresh(path, after) == Changes(added=1, changed=1, removed=1, kept=1)
    assert refresh(path, after) == Changes(kept=3)


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    build_index(path, corpus(PAGES))
    before = path.read_bytes()
    build_index(path, corpus(PAGES))
    assert path.read_bytes() == before


def test_another_length_splits_everything_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    build_index(path, corpus({"a": "one two"}))
    assert [p.text for p in build_index(path, corpus({"a": "one two"}), length=3).search_blocking("two")] == [
        "two"
    ]


CORPORA = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.sampled_from(["card ", "fee\n\n", "lost "])).map("".join)
)


@given(st.lists(CORPORA, min_size=2, max_size=4))
@settings(max_examples=25)
def test_a_refreshed_index_answers_like_a_new_one(
    tmp_path_factory: pytest.TempPathFactory, corpora: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("refreshed")
    refreshed, *_ = [build_index(folder / "refreshed.sqlite", corpus(pages)) for pages in corpora]
    anew = build_index(folder / "anew.sqlite", corpus(corpora[-1]))
    for query in ("card", "fee lost", "card fee lost"):
        assert refreshed.search_blocking(query, k=9) == anew.search_blocking(query, k=9)
