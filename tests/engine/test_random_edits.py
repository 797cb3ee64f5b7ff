"""Random graphs of every control word that wait or fail at their end are edited there: nothing runs again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.engine.conftest import Place

from treadle import Ask, Engine, Retry, each, fallback, graph, human, loop, node, race, tool, when
from treadle import do as both
from treadle.editing import check_against
from treadle.errors import PlanError
from treadle.events import NodeCompleted
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore

pytestmark = pytest.mark.timeout(1800)

SEEDS, MANY = 60, 3000


class Refused(Exception):
    """Nothing was done."""


class World:
    """Random graphs of one seed, whose end is a person; an edit puts another node behind.

    Args:
        fails: Whether a node before the end fails, until that is mended.

    Attributes:
        ran: What was really done.
    """

    def __init__(self, seed: int, *, fails: bool) -> None:
        self.seed = seed
        self.fails = fails
        self.ran: list[tuple[object, ...]] = []

        @node
        async def work(k: int, x: int) -> int:
            await self.do("work", k, x)
            return (x * 7 + k) % 11

        @node
        async def bad(k: int, x: int) -> int:
            await self.do("bad", k, x)
            raise ValueError(k)

        @tool(effect="once", retry=Retry(attempts=1, on=Refused))
        async def pay(k: int, x: int) -> int:
            """Pay, where the bank is willing."""
            await self.do("pay", k, x)
            if (k + x) % 2:
                raise Refused
            return (x + k) % 11

        @node
        async def even(x: int) -> bool:
            await self.do("even", 0, x)
            return x % 2 == 0

        @node
        async def some(k: int, x: int) -> list[int]:
            await self.do("some", k, x)
            return [(x + i * k) % 5 for i in range(k % 5)]

        @node
        async def total(values: list[int]) -> int:
            await self.do("total", 0, tuple(values))
            return sum(values) % 13

        @node
        async def big(x: int) -> bool:
            await self.do("big", 0, x)
            return x > 6

        self.work, self.bad, self.pay = work, bad, pay
        self.even, self.some, self.total, self.big = even, some, total, big

    async def do(self, name: str, k: int, x: object) -> None:
        self.ran.append((name, k, x))
        for _ in range(k % 4 * 3):
            await checkpoint()

    def graph(self, *, edited: bool = False) -> Graph[[int], int]:
        @human(to="boss")
        async def sign(x: int) -> Ask[int]:
            return Ask(f"Is it {x}?")

        @node
        async def check(x: int) -> int:
            if self.fails:
                raise ValueError(x)
            return x

        @node
        async def after(x: int) -> int:
            return x

        @graph(name="random")
        def wired(x: int) -> int:
            signed = sign(check(self.wire(random.Random(self.seed), 5, [x])))
            return after(signed) if edited else signed

        return wired

    def wire(self, rng: random.Random, depth: int, made: list[Any]) -> Any:
        """One more node, or one that is there."""
        pick = rng.random()
        if depth <= 0 or pick < 0.12:
            return rng.choice(made)
        word = rng.choice(WORDS)
        result = word(self, rng, lambda: self.wire(rng, depth - 1, made), depth - 2)
        made.append(result)
        return result

    def body(self, rng: random.Random, depth: int, *, ends_in_work: bool = False) -> Any:
        """A graph to be gone through."""
        seed, k = rng.randrange(10**9), rng.randrange(40)

        @graph
        def body(i: int) -> int:
            inside = self.wire(random.Random(seed), depth, [i])
            return self.work(k, inside) if ends_in_work else inside

        return body.named(f"body{seed}")


More = Callable[[], Any]


def _work(world: World, rng: random.Random, more: More, _: int) -> Any:
    return world.work(rng.randrange(40), more())


def _when(world: World, _r: random.Random, more: More, _: int) -> Any:
    return when(world.even(more()), more(), more())


def _fallback(world: World, rng: random.Random, more: More, _: int) -> Any:
    first = rng.choice((world.bad, world.pay, world.work))(rng.randrange(40), more())
    return fallback(first, more())


def _race(world: World, rng: random.Random, more: More, _: int) -> Any:
    return race(more(), world.work(rng.randrange(40), more()))


def _each(world: World, rng: random.Random, more: More, depth: int) -> Any:
    many: Any = each(at_once=rng.choice([1, 2, 64]), on_error="drop")
    body = rng.choice((world.body(rng, depth), world.even))
    return world.total(many(body, world.some(rng.randrange(40), more())))


def _loop(world: World, rng: random.Random, more: More, depth: int) -> Any:
    rounds = loop(world.body(rng, depth, ends_in_work=True), more(), until=world.big, at_most=3)
    return fallback(rounds, more())


def _do(_w: World, _r: random.Random, more: More, _: int) -> Any:
    return both(more(), more())


WORDS = (_work, _work, _when, _fallback, _fallback, _race, _each, _loop, _do)


async def live(place: Place, wired: Graph[[int], int], *, starts: bool = False) -> list[str]:
    """One life of an engine, until nothing is under way; give the questions that are open then."""
    async with place.engine(wired) as engine:
        handle = await (engine.start(wired, 3, run_id="r") if starts else engine.resume("r"))
        with anyio.fail_after(20):
            assert await handle.settled() in ("waiting", "failed")
        await _rests(engine)
        return [question.id async for question in engine.questions()]


async def _rests(engine: Engine) -> None:
    """Return when losers that were under way have ended, too."""
    while "r" in engine.loops:
        await checkpoint()


async def example(seed: int) -> bool:
    """Try one; tell whether it can be wired."""
    world, store = World(seed, fails=bool(seed % 3)), MemoryStore()
    place = Place(lambda: store)
    before, edited = world.graph(), world.graph(edited=True)
    try:
        _ = before.plan
    except PlanError:  # a payment in a race
        return False
    asked, ran = await live(place, before, starts=True), list(world.ran)
    world.fails = False
    if seed % 3 == 1:
        asked = await live(place, before)
        assert world.ran == ran, f"seed {seed}, not edited"
    outlook = await check_against(edited, "r", store)
    assert not outlook.refused
    assert (await live(place, edited) == asked) or not asked, f"seed {seed}"
    assert world.ran == ran, f"seed {seed}"
    kept = {look.node for look in outlook.looks if look.outcome == "kept" and not look.why}
    taken = {event.node for event in await place.events(edited, NodeCompleted) if event.claimed}
    assert kept == {name for name in taken if name in edited.plan.by_id or name in kept}, f"seed {seed}"
    return True


def test_nothing_is_done_again_under_a_graph_that_was_edited_elsewhere(long_form: bool) -> None:
    seeds = range(MANY if long_form else SEEDS)
    assert sum(anyio.run(example, seed) for seed in seeds) > len(seeds) / 2
