"""Two nodes and a graph, run in memory.

python examples/first.py
"""

import anyio

from treadle import graph, node, run


@node
async def read(text: str) -> list[str]:
    return text.split()


@node
async def count(words: list[str]) -> int:
    return len(words)


@graph
def first(text: str) -> int:
    return count(read(text))


async def main() -> None:
    words = await run(first, "a node runs when something needs it")
    print(words)


if __name__ == "__main__":
    anyio.run(main)
