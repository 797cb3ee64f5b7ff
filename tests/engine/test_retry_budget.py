"""What a run may send again, in all: counted from its history, so a crash does not give it anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import Place
from tests.engine.timed import Timed, always

from treadle import Engine, Prompt, Retry, agent, each, graph
from treadle.budget import NOTHING
from treadle.engine.retries import Retries
from treadle.errors import ProviderUnavailable, TreadleError
from treadle.events import CircuitActed, Event, MoneyHeld
from treadle.failure import Failure
from treadle.ids import NodeId, StepId
from treadle.models import Breaker, Limit, RetryBudget
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


def down() -> ProviderUnavailable:
    return ProviderUnavailable("down", provider="fake", status=500, retryable=True)


def one(model: Any, retry: Retry | None = None) -> Graph[[str], str]:
    """A graph that asks once."""

    @agent(model=model, retry=retry)
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(question: str) -> str:
        return clerk(question)

    return desk


def many(model: Any) -> Graph[[list[str]], list[str | Failure]]:
    """A graph that asks about each of a list, one after the other, and again without a pause."""

    @agent(model=model, retry=Retry(attempts=3, wait=0))
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(questions: list[str]) -> list[str | Failure]:
        return each(at_once=1, on_error="collect")(clerk, questions)

    return desk


async def test_a_spent_budget_fails_the_node_with_its_own_error_and_says_so() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(down()))
    budget = RetryBudget(share=0, least=1)
    async with Engine("memory:", clock=clock, retry_budget=budget) as engine:
        handle = await engine.start(one(model), "x")
        with pytest.raises(ProviderUnavailable, match="the retry budget of the run is spent") as caught:
            await handle.result()
        assert len(model.sent) == 2
        assert "1 of its 2 requests were sent again" in str(caught.value)
        assert "RetryBudget(share=0, least=1)" in str(caught.value)
        assert not caught.value.retryable


async def test_the_default_bothers_nobody() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: down() if number % 3 else 0.0, fails_after=0.0)
    async with Engine("memory:", clock=clock) as engine:
        handle = await engine.start(many(model), [str(number) for number in range(40)])
        assert await handle.result() == ["done"] * 40
    assert len(model.sent) == 120


async def test_a_large_run_on_a_bad_day_does_not_ask_three_times_as_often() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(down()), fails_after=0.0)
    budget, limits = RetryBudget(share=0.2, least=5), {"*": Limit(breaker=None)}
    async with Engine("memory:", clock=clock, retry_budget=budget, limits=limits) as engine:
        handle = await engine.start(many(model), [str(number) for number in range(100)])
        assert len(await handle.result()) == 100
    assert len(model.sent) == 100 + 5 + 20


async def test_runs_do_not_share_it() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(down()))
    async with Engine("memory:", clock=clock, retry_budget=RetryBudget(share=0, least=1)) as engine:
        desk = one(model)
        for _ in range(3):
            with pytest.raises(TreadleError):
                await (await engine.start(desk, "x")).result()
    assert len(model.sent) == 6


@pytest.mark.parametrize("sent_before", [1, 2, 3])
async def test_a_crash_does_not_give_it_anew(sent_before: int) -> None:
    store = MemoryStore()
    memory = Place(lambda: store)
    clock = JumpingClock()
    model = Timed(clock, always(down()))
    desk = one(model, Retry(attempts=9))
    seen = list[Event]()

    def is_enough(event: Event) -> bool:
        seen.extend([event] if isinstance(event, MoneyHeld) else [])
        return len(seen) == sent_before

    await memory.crash(desk, "x", after=is_enough, clock=clock)
    async with Engine(
        store, graphs=[desk], clock=clock, retry_budget=RetryBudget(share=0, least=4)
    ) as engine:
        handle = await engine.resume("r")
        with pytest.raises(ProviderUnavailable, match="the retry budget of the run is spent"):
            await handle.result()
        held = [one.event for one in await handle.history() if isinstance(one.event, MoneyHeld)]
    assert len(held) == 1 + 4


async def test_one_that_the_circuit_refused_is_counted_once() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: 1.0 if number == 3 else down())
    budget, breaker = RetryBudget(share=0, least=2), Breaker(failures=1, pause=3.0)
    async with Engine(
        "memory:", clock=clock, retry_budget=budget, limits={"*": Limit(breaker=breaker)}
    ) as engine:
        handle = await engine.start(one(model, Retry(attempts=9)), "x")
        assert await handle.result() == "done"
        acted = [one.event for one in await handle.history() if isinstance(one.event, CircuitActed)]
    assert (len(model.sent), "refused" in {event.did for event in acted}) == (3, True)


def held(step: str, attempt: int, *, hedge: bool) -> MoneyHeld:
    return MoneyHeld(
        at=0.0,
        node=NodeId("n"),
        attempt=attempt,
        step=StepId(step),
        request=1,
        accounts=(),
        held=NOTHING,
        hedge=hedge,
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.booleans())))
def test_the_count_is_that_of_the_history(made: list[tuple[str, int, bool]]) -> None:
    events = [held(step, attempt, hedge=hedge) for step, attempt, hedge in made]
    retries = Retries.of(RetryBudget(), events)
    tries = [step for step, _, hedge in made if not hedge]
    assert (retries.firsts, retries.again) == (len(set(tries)), len(tries) - len(set(tries)))


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"share": float("nan")}, {"least": -1}])
def test_a_budget_is_not_below_zero(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        RetryBudget(**wrong)
