"""A graph with a tool, an index and a model of an installed package.

pip install ./examples/plugin
python examples/plugin/desk.py "What is 100 EUR in JPY, and what is a yen?"
"""

import sys
from decimal import Decimal

import anyio
from treadle_currency import Clerk, Glossary, Rates, convert

from treadle import Engine, Passage, Prompt, Retriever, agent, graph

terms = Retriever(
    "terms",
    index=Glossary({"yen": "the currency of Japan", "krona": "the currency of Sweden; it means crown"}),
)


@agent(model=Clerk(), tools=[convert])
async def clerk(question: str, found: list[Passage]) -> Prompt[str]:
    return Prompt("\n".join([question, *(f"- {passage.text}" for passage in found)]))


@graph
def desk(question: str) -> str:
    return clerk(question, terms(question, k=1))


async def main(question: str) -> None:
    rates = Rates({"EUR": Decimal(1), "JPY": Decimal("162.5"), "SEK": Decimal("11.2")})
    async with Engine("memory:", resources=[rates]) as engine:
        handle = await engine.start(desk, question)
        print(await handle.result())


if __name__ == "__main__":
    anyio.run(main, " ".join(sys.argv[1:]) or "What is 100 EUR in JPY, and what is a yen?")
