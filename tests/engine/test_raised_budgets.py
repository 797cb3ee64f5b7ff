"""A run that its budget has stopped goes on once the budget is raised where the error says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from treadle import Budget, BudgetExceeded, Context, Engine, Prompt, agent, graph, node
from treadle.events import RunStarted
from treadle.ids import RunId
from treadle.interfaces import RunLog
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import ScriptedModel

pytestmark = pytest.mark.anyio


class EarlierRelease(MemoryStore):
    """Records the graph's own budget as that of the run, as engines did before."""

    async def create(self, started: RunStarted) -> RunLog:
        return await super().create(dataclasses.replace(started, budget=Budget(calls=1)))


def twice(budget: Budget) -> Graph[[str], str]:
    @agent(model=ScriptedModel(lambda _: "yes"))
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @node
    async def both(ctx: Context, text: str) -> str:
        return await ctx.step(ask, await ctx.step(ask, text))

    @graph(budget=budget)
    def only(text: str) -> str:
        return both(text)

    return only


async def stop(store: MemoryStore, **options: Any) -> None:
    limited = twice(Budget(calls=1))
    async with Engine(store, graphs=[limited]) as engine:
        with pytest.raises(BudgetExceeded, match="'run'"):
            await (await engine.start(limited, "a", run_id="r", **options)).result()


@pytest.mark.parametrize("kept", [MemoryStore, EarlierRelease])
async def test_a_graphs_budget_that_is_raised_holds_for_the_run_it_stopped(kept: type[MemoryStore]) -> None:
    store = kept()
    await stop(store)
    async with Engine(store, graphs=[twice(Budget(calls=2))]) as engine:
        assert await (await engine.resume("r")).result() == "yes"


async def test_a_budget_given_to_the_run_stands_whatever_the_graph_says() -> None:
    store = MemoryStore()
    await stop(store, budget=Budget(calls=1, tokens=9_999_999))
    async with Engine(store, graphs=[twice(Budget(calls=2))]) as engine:
        with pytest.raises(BudgetExceeded):
            await (await engine.resume("r")).result()
        assert (await engine.store.run(RunId("r"))).spent.calls == 1
