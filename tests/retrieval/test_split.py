"""Splitting: spans are slices, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.retrieval import split

TEXTS = st.text(st.sampled_from("ab .\n#é界\t\u2028"), max_size=300) | st.text(max_size=200)


def slices(text: str, length: int) -> list[str]:
    return [text[start:end] for start, end in split(text, length=length)]


@given(TEXTS, st.integers(1, 60))
def test_spans_hold_every_word_once_in_order(text: str, length: int) -> None:
    assert "".join("".join(slices(text, length)).split()) == "".join(text.split())


@given(TEXTS, st.integers(1, 60))
def test_spans_are_ordered_trimmed_and_no_longer_than_asked(text: str, length: int) -> None:
    end_before = 0
    for start, end in split(text, length=length):
        assert end_before <= start < end <= start + length
        assert text[start:end] == text[start:end].strip()
        end_before = end


def test_paragraphs_are_gathered_while_they_fit() -> None:
    assert slices("One.\n\nTwo.\n\nThree.", 10) == ["One.\n\nTwo.", "Three."]


def test_a_heading_begins_a_passage_and_stays_with_what_follows() -> None:
    text = "# Cards\n\n## Lost\n\nFreeze it.\n\n## Found\n\nThaw it."
    assert slices(text, 200) == ["# Cards\n\n## Lost\n\nFreeze it.", "## Found\n\nThaw it."]


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    assert slices("Pay at once. Wait a while then.", 20) == ["Pay at once.", "Wait a while then."]


def test_a_paragraph_without_sentences_is_cut_between_words() -> None:
    assert slices("alpha beta gamma", 11) == ["alpha beta", "gamma"]


def test_a_word_longer_than_a_passage_is_cut_anywhere() -> None:
    assert slices("abcdefgh", 3) == ["abc", "def", "gh"]


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 character"):
        split("text", length=0)
