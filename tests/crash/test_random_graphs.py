"""Random graphs are crashed at every append: whatever the shape, a crash makes no difference."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle import (
    Ask,
    Context,
    Prompt,
    agent,
    do,
    each,
    fallback,
    graph,
    human,
    loop,
    node,
    race,
    tool,
    when,
)
from treadle.errors import LoopLimit
from treadle.interfaces import Question
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel, crash_everywhere

AT_MOST = None if os.environ.get("TREADLE_ATTACK") else 4

pytestmark = [pytest.mark.attack, pytest.mark.timeout(3600)]


@node
async def plus(a: int, b: int) -> int:
    return a + b


@node
async def broken(a: int) -> int:
    raise RuntimeError(f"broken by {a}")


@node
async def in_turn(ctx: Context, a: int, b: int) -> int:
    first = await ctx.step(plus, a, b)
    return await ctx.step(plus, first, await ctx.step(plus, a, b))


@node
async def side_by_side(ctx: Context, a: int, b: int) -> int:
    results: list[int] = []

    async def one(number: int) -> None:
        results.append(await ctx.step(in_turn, a, number))

    async with anyio.create_task_group() as tasks:
        for number in (b, 1, b):
            tasks.start_soon(one, number)
    return sum(results)


@tool(effect="once", in_doubt="ask")
async def act(ctx: Context, a: int, b: int) -> int:
    """Write a row."""
    ctx.resource(set).add(ctx.idempotency_key)
    return a - b


@node
async def acting(ctx: Context, a: int, b: int) -> int:
    return await ctx.step(act, await ctx.step(act, a, b), b)


@agent(model=ScriptedModel(lambda request: {"answer": len(_text(request))}), tools=[act])
async def measured(a: int, b: int) -> Prompt[int]:
    return Prompt(f"{a} {b}")


def _text(request: ModelRequest) -> str:
    return request.messages[0].text


@human(to="anybody")
async def person(a: int, b: int) -> Ask[int]:
    return Ask(f"What of {a} and {b}?")


def saved(a: int, b: int) -> int:
    return fallback(broken(a), plus(a, b))


def chosen(a: int, b: int) -> int:
    return when(a > b, plus(a, 1), in_turn(b, 1))


def both(a: int, b: int) -> int:
    return do(plus(a, b), b)


@node
async def listed(a: int, b: int) -> list[int]:
    return [a, b, a]


@node
async def summed(values: list[int]) -> int:
    return sum(values)


@graph
def part(a: int, b: int) -> int:
    return when(a > b, person(a, b), act(a, b))


@graph
def grown(a: int) -> int:
    return when(a > 3, acting(a, 2), plus(a, 1))


def for_each(a: int, b: int) -> int:
    return summed(each(at_once=2)(part, listed(a, b), b))


def again(a: int, b: int) -> int:
    return fallback(loop(grown, a, until=lambda value: value > 2, at_most=2), plus(a, b), on=LoopLimit)


def first_of(a: int, b: int) -> int:
    return race(broken(a), in_turn(a, b))


@graph
def whole(a: int, b: int) -> list[int]:
    """Everything a graph has, for a body to step into."""
    return [for_each(a, b), again(b, a), saved(a, b), chosen(a, first_of(b, a)), part(b, a), part(b, a)]


@node
async def stepping(ctx: Context, a: int, b: int) -> int:
    return sum(await ctx.step(whole, a, b)) + await ctx.step(part, a, b)


KINDS = (
    plus, in_turn, side_by_side, act, acting, measured, person, saved, chosen, both,
    for_each, again, first_of, stepping,
)  # fmt: skip


class Piece(NamedTuple):
    """One use of a kind; where its inputs come from is counted back from it."""

    kind: Any
    first: int
    second: int


PIECES = st.builds(Piece, st.sampled_from(KINDS), st.integers(1, 4), st.integers(1, 4))


def wired(pieces: Sequence[Piece], start: int) -> list[int]:
    """Wire pieces one after the other; all that they give is the result."""
    values = [start]
    for piece in pieces:
        first, second = (values[-min(back, len(values))] for back in (piece.first, piece.second))
        values.append(piece.kind(first, second))
    return values[1:]


def answer(question: Question) -> object:
    return len(question.prompt)


@settings(max_examples=300 if AT_MOST is None else 12)
@given(
    backend=st.sampled_from(["asyncio", "trio"]),
    pieces=st.lists(PIECES, min_size=1, max_size=5),
    in_step=st.booleans(),
)
@example(
    backend="asyncio", pieces=[Piece(person, 1, 1), Piece(acting, 2, 2), Piece(saved, 1, 2)], in_step=False
)
@example(
    backend="asyncio",
    pieces=[Piece(for_each, 1, 1), Piece(again, 1, 1), Piece(first_of, 1, 2)],
    in_step=False,
)
@example(backend="asyncio", pieces=[Piece(stepping, 1, 1), Piece(person, 1, 1)], in_step=True)
@example(
    backend="trio", pieces=[Piece(measured, 1, 1), Piece(first_of, 2, 2), Piece(act, 1, 1)], in_step=True
)
@example(
    backend="trio", pieces=[Piece(side_by_side, 1, 1), Piece(act, 1, 1), Piece(person, 2, 1)], in_step=False
)
def test_a_crash_makes_no_difference(backend: str, pieces: list[Piece], *, in_step: bool) -> None:
    @graph
    def random_graph(start: int) -> list[int]:
        return wired(pieces, start)

    @node
    async def body(ctx: Context, start: int) -> list[int]:
        return await ctx.step(random_graph, start)

    @graph
    def around(start: int) -> list[int]:
        return body(start)

    rows: set[str] = set()

    def effects() -> object:
        made = sorted(rows)
        rows.clear()
        return made

    async def main() -> None:
        await crash_everywhere(
            around if in_step else random_graph,
            3,
            answer=answer,
            effects=effects,
            resources=[rows],
            at_most=AT_MOST,
        )

    anyio.run(main, backend=backend)
