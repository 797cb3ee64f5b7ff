"""What the handbook's index finds for the messages that ship with the example.

A regression test, not a claim: 40 messages, judged by those who wrote the pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle.retrieval import Corpus, KeywordIndex, build_index

HANDBOOK = Corpus.files(Path(__file__).parents[2] / "examples" / "data" / "handbook")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> KeywordIndex:
    return build_index(tmp_path_factory.mktemp("index") / "handbook.sqlite", HANDBOOK)


def test_most_messages_find_a_page_that_answers_them(
    index: KeywordIndex, messages: list[dict[str, Any]], judgments: dict[str, dict[str, Any]]
) -> None:
    ranks: list[int | None] = []
    for message in messages:
        found = [passage.document for passage in index.search_blocking(message["body"], k=4)]
        pages = judgments[message["id"]]["pages"]
        ranks.append(next((rank for rank, page in enumerate(found, start=1) if page in pages), None))
    assert sum(rank == 1 for rank in ranks) >= 32
    assert sum(rank is not None for rank in ranks) >= 37


def test_every_judged_page_exists(judgments: dict[str, dict[str, Any]]) -> None:
    names = {document.name for document in HANDBOOK}
    assert {page for judgment in judgments.values() for page in judgment["pages"]} <= names


def test_every_section_is_a_passage_of_its_own(index: KeywordIndex) -> None:
    found = index.search_blocking("card", k=200)
    assert all(passage.text.count("\n## ") + passage.text.startswith("## ") <= 1 for passage in found)
