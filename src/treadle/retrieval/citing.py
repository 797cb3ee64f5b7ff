"""Quotations: passages written into a prompt, and words checked against what was retrieved."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from treadle.interfaces import Passage


def quote(passages: Iterable[Passage]) -> str:
    """Write passages for a prompt: numbered from 1, each under its document's name and title.

    The same passages always give the same text, so that provider caches hit.
    """
    return (
        "\n\n".join(
            f"[{number}] {_source(passage)}\n{passage.text}"
            for number, passage in enumerate(passages, start=1)
        )
        or "(nothing was found)"
    )


def _source(passage: Passage) -> str:
    return f"{passage.document}: {passage.title}" if passage.title else passage.document


def cite(quotation: str, passages: Iterable[Passage]) -> Passage | None:
    """Find where a quotation stands in what was retrieved.

    Words must be equal, letter by letter; only the white space between them may differ, since models
    and line breaks change it.

    Returns:
        The quoted part of the first passage that holds it, with its own exact span; ``None`` where no
        passage does, or the quotation has no words.
    """
    words = quotation.split()
    if not words:
        return None
    pattern = re.compile(r"\s+".join(map(re.escape, words)))
    for passage in passages:
        if found := pattern.search(passage.text):
            start, end = (passage.start + place for place in found.span())
            return dataclasses.replace(passage, text=found.group(), start=start, end=end)
    return None
