"""From what a person wrote to what FTS5 matches."""

from __future__ import annotations

import re
from typing import Final

_MAX_TERMS: Final = 64
"""More words than that slow a search without making it better."""

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")

STOP_WORDS: Final = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below
    between both but by can cannot could did do does doing don down during each few for from further get
    got had has have having he hello help her here hers hi him his how i if in into is it its just let like
    may me might more most must my myself need no nor not now of off on once only or other our ours out over
    own please same shall she should so some still such tell than thank thanks that the their theirs them
    then there these they this those through to too under until up us very want was we were what when where
    which while who whom whose why will with would yet you your yours
    """.split()  # noqa: SIM905 - a paragraph of words is easier to read and extend than a list
)
"""English words that say nothing about the matter.  Dropped unless nothing else is left."""


def match_expression(query: str) -> str:
    """Write the FTS5 expression that finds any of the words of a query, or ``""`` where it has none.

    Each word becomes a quoted string, so nothing a person writes is read as FTS5 syntax
    (https://www.sqlite.org/fts5.html, section 3.1, 2026-11).
    """
    words = list(dict.fromkeys(_plain(word) for word in _WORD.findall(query.lower())))
    telling = [word for word in words if word not in STOP_WORDS]
    return " OR ".join(f'"{word}"' for word in (telling or words)[:_MAX_TERMS])


def _plain(word: str) -> str:
    """A word without what follows its apostrophe: ``what's`` asks for ``what``, ``don't`` for ``don``."""
    return re.split(r"['\u2019]", word)[0]
