"""Under an edited graph things are taken over in the order in which they happened: races keep winners."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from tests.engine.conftest import Place

from treadle import Ask, Context, each, fallback, graph, human, loop, node, race, tool
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio


class Text(BaseModel):
    line: str

    @property
    def words(self) -> list[str]:
        return self.line.split()


class Yard:
    """Graphs called ``yard`` whose end is a person; an edit puts another node behind.

    Attributes:
        ran: What was really done, and how often.
    """

    def __init__(self) -> None:
        self.ran = Counter[str]()
        self.quick_is_done = anyio.Event()

        @node
        async def quick(x: str) -> str:
            self.ran["quick"] += 1
            return f"quick {x}"

        @node
        async def slow(x: str) -> str:
            self.ran["slow"] += 1
            await self.quick_is_done.wait()
            return f"slow {x}"

        @node
        async def use(x: str) -> str:
            self.ran[f"use {x}"] += 1
            self.quick_is_done.set()
            return x

        @tool(effect="once")
        async def pay(ctx: Context, to: str) -> str:
            """Pay whoever has won."""
            self.ran[f"pay {to}"] += 1
            self.quick_is_done.set()
            return to

        @node
        async def take(x: str) -> str:
            self.ran[f"take {x}"] += 1
            return x

        @node
        async def read(x: str) -> Text:
            return Text(line=x)

        self.quick, self.slow, self.use, self.pay, self.take, self.read = quick, slow, use, pay, take, read

    def graph(self, wire: Any, *, edited: bool = False) -> Graph[[], list[str]]:
        @human(to="boss")
        async def sign(values: list[str]) -> Ask[list[str]]:
            return Ask("Sign?", show=values)

        @node
        async def after(values: list[str]) -> list[str]:
            return values

        @graph(name="yard")
        def yard() -> list[str]:
            signed = sign(wire())
            return after(signed) if edited else signed

        return yard

    async def edit(self, place: Place, wire: Any) -> Counter[str]:
        """Run until the person is asked, edit elsewhere, go on; give what ran for it."""
        before = self.graph(wire)
        async with place.engine(before) as engine:
            assert await (await engine.start(before, run_id="r")).settled() == "waiting"
            [asked] = await engine.questions()
        ran = self.ran.copy()
        async with place.engine(self.graph(wire, edited=True)) as engine:
            assert await (await engine.resume("r")).settled() == "waiting"
            assert [question.id for question in await engine.questions()] == [asked.id]
        return self.ran - ran


@pytest.fixture
def yard() -> Yard:
    return Yard()


@pytest.mark.parametrize("consumer", ["use", "pay"])
async def test_a_race_keeps_its_winner_though_a_shared_loser_ended_after_it(
    consumer: str, yard: Yard, memory: Place
) -> None:
    def wire() -> list[Any]:
        slow = yard.slow("x")
        return [getattr(yard, consumer)(race(slow, yard.quick("x"))), yard.take(slow)]

    assert not await yard.edit(memory, wire)
    assert yard.ran[f"{consumer} quick x"] == 1


async def test_a_race_keeps_its_winner_through_edit_after_edit(yard: Yard, memory: Place) -> None:
    def wire() -> list[Any]:
        slow = yard.slow("x")
        return [yard.use(race(slow, yard.quick("x"))), yard.take(slow)]

    await yard.edit(memory, wire)
    ran = yard.ran.copy()
    async with memory.engine(yard.graph(wire)) as engine:
        assert await (await engine.resume("r")).settled() == "waiting"
    assert yard.ran == ran


async def test_a_race_inside_items_keeps_its_winners(yard: Yard, memory: Place) -> None:
    @graph
    def item(x: str) -> str:
        slow = yard.slow(x)
        won = yard.use(race(slow, yard.quick(x)))
        return race(yard.take(won), yard.take(slow))

    assert not await yard.edit(memory, lambda: each(item, ["a", "b"]))


async def test_an_item_that_ends_in_the_moment_in_which_a_loser_is_ready_is_taken_over(
    yard: Yard, memory: Place
) -> None:
    @graph
    def item(x: str, y: str) -> str:
        a = yard.take(x)
        return race(a, yard.take(fallback(a, y)))

    assert not await yard.edit(memory, lambda: each(item, ["a", "b"], "y"))


async def test_a_round_that_ends_in_the_moment_in_which_a_loser_is_ready_is_taken_over(
    yard: Yard, memory: Place
) -> None:
    @graph
    def one(x: str) -> str:
        a = yard.quick(x)
        return race(a, yard.take(fallback(a, x)))

    wire = lambda: [loop(one, "x", until=lambda text: text == "quick quick x", at_most=3)]  # noqa: E731
    assert not await yard.edit(memory, wire)


async def test_items_of_a_property_are_known_under_an_edited_graph(yard: Yard, memory: Place) -> None:
    assert not await yard.edit(memory, lambda: each(yard.pay, yard.read("a b a").words))
    assert yard.ran["pay a"] == 2


async def test_items_of_a_table_with_numbers_for_keys_are_known_under_an_edited_graph(
    yard: Yard, memory: Place
) -> None:
    @node
    async def table(x: str) -> dict[int, list[str]]:
        return {1: [x, x]}

    assert not await yard.edit(memory, lambda: each(yard.pay, table("a")[1]))
