"""A tenant's budget outlives the engine that was spending it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle import Budget, BudgetExceeded, Engine, Prompt, agent, graph, node
from treadle.budget import Usage
from treadle.errors import StoreUnavailable
from treadle.events import Event, MoneySettled, RunEnded
from treadle.interfaces import RunLog
from treadle.messages import Message, ModelRequest, ModelResponse, Text
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock, ScriptedModel
from treadle.testing.crashing import Crashed, CrashingLog, CrashingStore, When

pytestmark = pytest.mark.anyio


@agent(model=ScriptedModel(lambda _: "yes"))
async def ask(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def only(text: str) -> str:
    return ask(text)


async def test_what_a_tenant_spent_is_known_to_the_next_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    for text in ("a", "b"):
        async with Engine(url, budgets={"acme": Budget(calls=2)}) as engine:
            assert await (await engine.start(only, text, tenant="acme")).result() == "yes"
    async with Engine(url, budgets={"acme": Budget(calls=2)}) as engine:
        with pytest.raises(BudgetExceeded, match="tenant acme"):
            await (await engine.start(only, "c", tenant="acme")).result()
        assert await (await engine.start(only, "d", tenant="other")).result() == "yes"


async def test_the_seconds_a_tenant_used_are_known_to_the_next_engine(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path / 'runs.db'}", JumpingClock()

    @node
    async def work(text: str) -> str:
        await clock.sleep_until(clock.now() + 40)
        return text

    @graph
    def forty(text: str) -> str:
        return work(text)

    limits, used = {"acme": Budget(seconds=100)}, 0.0
    for text in ("a", "b", "c"):
        async with Engine(url, budgets=limits, clock=clock, tenant="acme") as engine:
            began, handle = clock.now(), await engine.start(forty, text)
            if text == "c":
                with pytest.raises(BudgetExceeded, match="100.* of its 100 seconds"):
                    await handle.result()
            else:
                assert await handle.result() == text
            used += clock.now() - began
    assert used == pytest.approx(100, abs=0.1)


async def test_what_a_dead_process_held_counts_before_its_run_is_taken_up() -> None:
    def strike(_append: int, when: When, _log: CrashingLog | None) -> None:
        if when == "before" and any(isinstance(event, MoneySettled) for event in dying.newest):
            raise Crashed("between the request and its settlement")

    kept, limits = MemoryStore(), {"acme": Budget(calls=1)}
    dying = CrashingStore(kept, strike)
    async with Engine(dying, graphs=[only], budgets=limits) as engine:
        with pytest.raises(Crashed):
            await (await engine.start(only, "a", tenant="acme")).result()
    async with Engine(kept, graphs=[only], budgets=limits) as engine:
        with pytest.raises(BudgetExceeded, match="tenant acme"):
            await (await engine.start(only, "b", tenant="acme")).result()


def surprising(*, tokens: int) -> Graph[[str], str]:
    """A graph whose first request takes so many tokens, whatever was held."""
    answers = iter([tokens])

    def answer(_request: ModelRequest) -> ModelResponse:
        usage = Usage(input_tokens=next(answers, 1), output_tokens=1)
        return ModelResponse(message=Message(role="assistant", parts=(Text(text="yes"),)), usage=usage)

    @agent(model=ScriptedModel(answer), max_output=10, min_output=10)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def only(text: str) -> str:
        return ask(text)

    return only


async def test_a_surprise_closes_a_tenants_account_and_what_is_over_its_budget_stays_refused() -> None:
    kept, limits, bad = MemoryStore(), {"acme": Budget(tokens=100_000)}, surprising(tokens=200_000)
    async with Engine(kept, budgets=limits, tenant="acme") as engine:
        assert await (await engine.start(bad, "a")).result() == "yes"
        with pytest.raises(BudgetExceeded, match="'tenant acme' is closed.* open the engine again"):
            await (await engine.start(bad, "b")).result()
    async with Engine(kept, budgets=limits, tenant="acme") as engine:
        with pytest.raises(BudgetExceeded, match="'tenant acme' has 0 left of 100000"):
            await (await engine.start(bad, "c")).result()


async def test_a_surprise_within_a_tenants_budget_closes_it_until_the_engine_is_opened_again() -> None:
    kept, limits, bad = MemoryStore(), {"acme": Budget(tokens=100_000)}, surprising(tokens=50_000)
    async with Engine(kept, budgets=limits, tenant="acme") as engine:
        assert await (await engine.start(bad, "a")).result() == "yes"
        with pytest.raises(BudgetExceeded, match="'tenant acme' is closed"):
            await (await engine.start(bad, "b")).result()
    async with Engine(kept, budgets=limits, tenant="acme") as engine:
        assert await (await engine.start(bad, "c")).result() == "yes"


class FullDisk:
    """A store that cannot record how its first run ends, and says so as the run is given up."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.is_full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, started: Any) -> Any:
        return FullLog(await self._store.create(started), self)


class FullLog:
    """The log of one run in it."""

    def __init__(self, log: RunLog, store: FullDisk) -> None:
        self._log = log
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *events: Event) -> None:
        if not (self._store.is_full and any(isinstance(event, RunEnded) for event in events)):
            self._log.append(*events)

    async def release(self) -> None:
        await self._log.release()
        if self._store.is_full:
            self._store.is_full = False
            raise StoreUnavailable("the disk is full")


async def test_a_run_whose_end_could_not_be_recorded_is_not_charged_twice() -> None:
    async with Engine(FullDisk(), graphs=[only], budgets={"acme": Budget(calls=2)}) as engine:
        with pytest.raises(StoreUnavailable):
            await (await engine.start(only, "a", run_id="r", tenant="acme")).result()
        assert await (await engine.resume("r")).result() == "yes"
        assert await (await engine.start(only, "b", tenant="acme")).result() == "yes"
