"""A newsroom: subgraphs within a subgraph, two people side by side, and an author who comes last."""

from __future__ import annotations

from typing import Literal

from graphs.case import Case, Till
from treadle import Ask, Budget, Context, Prompt, agent, fallback, graph, human, match, node, tool
from treadle.messages import ModelRequest


@agent(model="auto")
async def draft(topic: str, style: str) -> Prompt[str]:
    return Prompt(f"Draft {topic} in a {style} style.")


@agent(model="auto")
async def rate(text: str) -> Prompt[Literal["good", "poor", "wrong"]]:
    return Prompt(f"Rate this: {text}")


@node
async def polished(text: str) -> str:
    return text.upper()


@node
async def rewritten(text: str) -> str:
    raise RuntimeError(f"nobody can rewrite {text!r}")


@human(to="editors")
async def edit(text: str) -> Ask[str]:
    return Ask(f"Edit: {text}", show=text)


@human(to="lawyers")
async def approve(text: str) -> Ask[bool]:
    return Ask(f"Approve: {text}", show=text)


@tool(effect="once", in_doubt="ask")
async def publish(ctx: Context, texts: list[str], approved: bool) -> str:
    """Print the paper."""
    what = f"published {len(texts)} texts" if approved else "held back"
    return ctx.resource(Till).act(ctx.idempotency_key, what, what)


@graph(budget=Budget(usd="0.40"))
def article(topic: str, style: str) -> str:
    text = draft(topic, style)
    return match(
        rate(text),
        {"good": polished(text), "poor": edit(text), "wrong": fallback(rewritten(text), edit(text))},
    )


@graph
def pages(topic: str) -> list[str]:
    return [article(topic, "plain"), article(topic, "ornate"), article("the weather", "plain")]


@graph(budget=Budget(usd="1"))
def paper(topic: str) -> str:
    texts = pages(topic)
    return publish(texts, approve(texts[0]))


def says(request: ModelRequest) -> object:
    text = request.messages[0].text
    if text.startswith("Draft"):
        return text.removeprefix("Draft ").partition(" in a ")[0] + text[-13:]
    return {"answer": "good" if "weather" in text else "poor" if "plain" in text else "wrong"}


CASE = Case(wired=paper, args=["tides"], says=says, answers={"Edit:": "as edited", "Approve:": True})
