"""Random bodies that die again and again: the same result, and no finished call is made twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from tests.engine.conftest import MortalStore

from treadle import Context, Engine, NodeFailed, Retry, graph, node, tool
from treadle.errors import TreadleError
from treadle.events import Event, StepCompleted, StepStarted
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.stores import SqliteStore

pytestmark = pytest.mark.anyio

QUICK = Retry(attempts=30, wait=0.001)


class World:
    """What bodies do to the outside: how often each call was really made.

    Args:
        failures: How often each flaky call fails before it goes well.
    """

    def __init__(self, chance: random.Random, failures: int) -> None:
        self.made: Counter[str] = Counter()
        made = self.made

        @node
        async def work(name: str) -> str:
            made[name] += 1
            for _ in range(chance.randint(0, 3)):
                await anyio.lowlevel.checkpoint()
            return name.upper()

        @tool(effect="once", in_doubt="retry")
        async def pay(name: str) -> str:
            """Pay."""
            made[name] += 1
            return f"paid {name}"

        @node
        async def bad(name: str) -> str:
            raise ValueError(name)

        @node
        async def flaky(ctx: Context, name: str) -> str:
            first = await ctx.step(work, f"{name}.1")
            made[name] += 1
            if made[name] <= failures:
                raise KeyError(name)
            return first + await ctx.step(pay, f"{name}.2")

        self.work, self.pay, self.bad, self.flaky = work, pay, bad, flaky

    async def part(self, ctx: Context, name: str, shape: str) -> str:
        if shape == "work":
            return await ctx.step(self.work, name)
        if shape == "pay":
            return await ctx.step(self.pay, name)
        if shape == "flaky":
            return await ctx.step(self.flaky, name)
        if shape == "retried":
            return await ctx.step(self.flaky.using(retry=QUICK), name)
        if shape == "caught":
            try:
                return await ctx.step(self.bad, name)
            except NodeFailed:
                return await ctx.step(self.work, f"instead {name}")
        return await self._side_by_side(ctx, name)

    async def _side_by_side(self, ctx: Context, name: str) -> str:
        found: dict[int, str] = {}

        async def one(number: int) -> None:
            found[number] = await ctx.step(self.work, f"{name}.{number}")
            found[number] += await ctx.step(self.pay, f"{name}.{number}b")

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(one, number)
        return "".join(found[number] for number in sorted(found))


SHAPES = ("work", "pay", "flaky", "retried", "caught", "side by side")


def random_graph(world: World, shapes: Sequence[str]) -> Graph[[str], str]:
    @node(retry=QUICK)
    async def body(ctx: Context, name: str) -> str:
        parts = [await world.part(ctx, f"{name}{i}", shape) for i, shape in enumerate(shapes)]
        return "".join(parts)

    @node
    async def join(first: str, second: str) -> str:
        return first + second

    @graph
    def crashing(name: str) -> str:
        return join(body(name), body.named("other")("z"))

    return crashing


def finished(events: Sequence[Event]) -> set[str]:
    """The names of the calls that the history says have returned."""
    names = {
        (event.node, event.attempt, event.step): event.arguments.json()["name"]
        for event in events
        if isinstance(event, StepStarted) and event.arguments is not None
    }
    ends = [(e.node, e.attempt, e.step) for e in events if isinstance(e, StepCompleted)]
    return {names[end] for end in ends if end in names}


async def one_life(store: MortalStore, crashing: Graph[[str], str]) -> tuple[str | None, set[str]]:
    """Go on with the run until its store dies; give its result, if any, and what was done before."""
    async with Engine(store, graphs=[crashing]) as engine:
        before = {summary.id for summary in await engine.store.runs()}
        recorded = await engine.store.read(RunId("r")) if before else []
        handle = await engine.start(crashing, "a", run_id="r")
        found: list[str] = []
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_leave_when_dead, store, tasks.cancel_scope)
                try:
                    found.append(await handle.result())
                except TreadleError:
                    assert store.is_dead
                tasks.cancel_scope.cancel()
        store.die()
    return (found[0] if found else None), finished([one.event for one in recorded])


async def _leave_when_dead(store: MortalStore, scope: anyio.CancelScope) -> None:
    await store.dead.wait()
    scope.cancel()


def dying(chance: random.Random, path: Path) -> MortalStore:
    """A store that dies before or after its n-th event of this life."""
    left = [chance.randint(1, 15)]

    def dies(_event: Event) -> bool:
        left[0] -= 1
        return left[0] == 0

    when = {"before": dies} if chance.random() < 0.5 else {"after": dies}
    return MortalStore(SqliteStore(str(path)), **when)


@pytest.mark.attack
@pytest.mark.timeout(900)
async def test_dying_at_random_changes_no_result_and_repeats_nothing_that_was_finished(
    tmp_path: Path, long_form: bool
) -> None:
    for seed in range(200 if long_form else 6):
        chance = random.Random(seed)
        shapes = [chance.choice(SHAPES) for _ in range(chance.randint(1, 4))]
        world = World(chance, chance.randint(0, 2))
        crashing = random_graph(world, shapes)
        result: str | None = None
        while result is None:
            before = Counter(world.made)
            result, done = await one_life(dying(chance, tmp_path / f"{seed}.db"), crashing)
            again = {name for name in done if world.made[name] != before[name]}
            assert not again, f"seed {seed}, shapes {shapes}: made again: {again}"
        whole = MortalStore(SqliteStore(str(tmp_path / f"{seed}-whole.db")))
        expected, _ = await one_life(whole, crashing)
        assert result == expected, f"seed {seed}, shapes {shapes}"
