"""Quotations: written into prompts, and checked against what was retrieved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from treadle.retrieval import Passage, cite, quote


def passage(document: str, *, start: int, end: int, name: str = "page.md", title: str = "") -> Passage:
    return Passage(
        text=document[start:end],
        document=name,
        digest="d",
        start=start,
        end=end,
        score=1.0,
        corpus="c",
        title=title,
    )


def test_passages_are_numbered_under_their_sources() -> None:
    passages = [passage("abc", start=0, end=3, title="Letters"), passage("xyz", start=1, end=3, name="b.md")]
    assert quote(passages) == "[1] page.md: Letters\nabc\n\n[2] b.md\nyz"


def test_no_passages_say_so() -> None:
    assert quote([]) == "(nothing was found)"


@given(st.text(max_size=80), st.data())
def test_any_words_of_a_passage_are_found_at_their_place(document: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    found = cite(document[start:end], [passage(document, start=0, end=len(document))])
    assert (found is None) == (not document[start:end].split())
    if found:
        assert document[found.start : found.end] == found.text
        assert found.text.split() == document[start:end].split()


def test_white_space_may_differ_and_letters_may_not() -> None:
    passages = [passage("Freeze the\n  card at once.", start=0, end=26)]
    assert cite("the card  at", passages) is not None
    assert cite("The card at", passages) is None


def test_the_span_counts_from_the_start_of_the_document() -> None:
    found = cite("once", [passage("Freeze it. Do so at once.", start=11, end=25)])
    assert found is not None
    assert (found.text, found.start, found.end) == ("once", 20, 24)


def test_signs_of_regular_expressions_are_plain_letters() -> None:
    assert cite("a.c", [passage("abc", start=0, end=3)]) is None
    assert cite("(50 %*)", [passage("a fee (50 %*) is due", start=0, end=20)]) is not None
