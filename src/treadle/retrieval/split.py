"""Splitting a text into spans small enough to be shown to a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

DEFAULT_LENGTH: Final = 1_200
"""Characters in a passage at most: about 300 tokens of English, so that four passages stay cheap."""

_BLANK_LINES: Final = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING: Final = re.compile(r"#{1,6}[^\S\n]")
_SENTENCE_END: Final = re.compile(r"[.!?]\s")

Span = tuple[int, int]
"""First character and the one after the last."""


def split(text: str, *, length: int = DEFAULT_LENGTH) -> list[Span]:
    """Split a text into spans that a person would call passages.

    Paragraphs are gathered as long as they fit; a Markdown heading begins a new passage and stays
    with what follows it; a paragraph that is too long is cut after a sentence, else between words.

    Args:
        length: Characters in a span at most, at least 1.

    Returns:
        Spans in order, without overlap and without white space at their ends; between them they hold
        every character of the text that is not white space.
    """
    if length < 1:
        raise ValueError(f"split(length=...) is at least 1 character, not {length!r}")
    spans: list[Span] = []
    only_headings = False
    for start, end in _pieces(text, length):
        is_heading = _HEADING.match(text, start) is not None
        fits = bool(spans) and end - spans[-1][0] <= length
        if fits and (only_headings or not is_heading):
            spans[-1] = (spans[-1][0], end)
            only_headings = only_headings and is_heading
        else:
            spans.append((start, end))
            only_headings = is_heading
    return spans


def _pieces(text: str, length: int) -> Iterator[Span]:
    for start, end in _paragraphs(text):
        rest = (start, end)
        while rest[1] - rest[0] > length:
            cut = _cut(text, rest[0], length)
            yield _trimmed(text, rest[0], cut)
            rest = _trimmed(text, cut, end)
        yield rest


def _paragraphs(text: str) -> Iterator[Span]:
    start = 0
    for gap in _BLANK_LINES.finditer(text):
        yield from _worded(text, start, gap.start())
        start = gap.end()
    yield from _worded(text, start, len(text))


def _worded(text: str, start: int, end: int) -> Iterator[Span]:
    if text[start:end].strip():
        yield _trimmed(text, start, end)


def _cut(text: str, start: int, length: int) -> int:
    """Where to cut a paragraph that is too long: never at its first character."""
    limit = start + length
    sentences = [found.start() + 1 for found in _SENTENCE_END.finditer(text, start + length // 2, limit + 1)]
    if sentences:
        return sentences[-1]
    words = [place for place in range(limit, start, -1) if text[place].isspace()]
    return words[0] if words else limit


def _trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    words = text[start:end]
    return start + len(words) - len(words.lstrip()), end - len(words) + len(words.rstrip())
