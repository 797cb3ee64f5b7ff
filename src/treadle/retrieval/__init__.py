"""Finding the passages of a corpus that answer a query, and showing where each stands.

Here live documents and how they are split (``corpus``, ``split``), the keyword index over them
(``keywords``, ``query``), and quotations (``citing``).  Never here: models, prompts, or anything
about runs; a node that searches is ``treadle.Retriever``, which knows only the ``Index`` socket.

The rule a newcomer would break: a passage is a slice.  ``passage.text == document[start:end]`` holds
for every passage of every index, so nothing may tidy, join or shorten its words.
"""

from __future__ import annotations

from treadle.interfaces import Index, Passage
from treadle.retrieval.citing import cite, quote
from treadle.retrieval.corpus import Corpus, Document
from treadle.retrieval.keywords import Changes, KeywordIndex, build_index, open_index
from treadle.retrieval.split import split

__all__ = [
    "Changes",
    "Corpus",
    "Document",
    "Index",
    "KeywordIndex",
    "Passage",
    "build_index",
    "cite",
    "open_index",
    "quote",
    "split",
]
