"""How long the keyword index takes: building, refreshing, searching, by number of documents.

python benchmarks/retrieval.py [--documents 10000]

The documents are made of words drawn by Zipf's law, as in real text; the queries of ten such words.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from treadle.retrieval import Document, build_index

WORDS = 20_000
WORDS_IN_DOCUMENT = 120
QUERIES = 200


def texts(count: int, length: int, chance: random.Random) -> list[str]:
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    drawn = chance.choices(range(WORDS), weights, k=count * length)
    return [" ".join(f"w{word}" for word in drawn[at : at + length]) for at in range(0, len(drawn), length)]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(count: int, path: Path) -> str:
    chance = random.Random(1)
    documents = [
        Document(name=f"d{place}", text=text)
        for place, text in enumerate(texts(count, WORDS_IN_DOCUMENT, chance))
    ]
    build = timed(lambda: build_index(path, documents))
    again = timed(lambda: build_index(path, documents))
    index = build_index(path, documents)
    queries = texts(QUERIES, 10, chance)
    times = sorted(timed(lambda query=query: index.search_blocking(query, k=4)) * 1000 for query in queries)
    return (
        f"{count:>9} {build:>9.2f} {again:>13.3f} {statistics.median(times):>11.2f} "
        f"{times[int(len(times) * 0.99)]:>9.2f} {path.stat().st_size / 1e6:>8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000, help="the largest corpus")
    largest = parser.parse_args().documents
    print("documents   build s  unchanged s  p50 ms/query   p99 ms       MB")
    with tempfile.TemporaryDirectory() as folder:
        for count in (largest // 100, largest // 10, largest):
            print(measure(count, Path(folder) / f"{count}.sqlite"))


if __name__ == "__main__":
    main()
