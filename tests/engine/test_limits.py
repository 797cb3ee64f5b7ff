"""What all runs of an engine may ask of a model together, seen from the runs and from the server."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import anyio
import pytest
from tests.engine.timed import Timed, WatchingServer, always

from treadle import Engine, Prompt, Retry, agent, fallback, graph
from treadle.errors import CircuitOpen, ProviderUnavailable, RateLimited, RunCancelled, TreadleError
from treadle.events import CircuitActed, MoneyHeld, MoneySettled, StepStarted
from treadle.models import Breaker, Limit, Model, OpenAIModel
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock, ModelServer, Reply, ScriptedModel

pytestmark = pytest.mark.anyio

DOWN = ProviderUnavailable("down", provider="fake", status=500, retryable=True)


def asking(
    model: Any, *, retry: Retry | None = None, timeout: float | None = None, name: str = "desk"
) -> Graph[[str], str]:
    """A graph of one agent that asks once."""

    @agent(model=model, retry=retry, timeout=timeout)
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph(name=name)
    def desk(question: str) -> str:
        return clerk(question)

    return desk


async def outcomes(engine: Engine, desk: Graph[[str], str], count: int) -> list[object]:
    """What so many runs at once come to."""
    handles = [await engine.start(desk, f"{number}") for number in range(count)]
    found: list[object] = []
    for handle in handles:
        try:
            found.append(await handle.result())
        except TreadleError as error:
            found.append(error)
    return found


async def events_of(engine: Engine, desk: Graph[[str], str], kind: type) -> list[Any]:
    """The events of one kind of a run that fails or not."""
    handle = await engine.start(desk, "x")
    with contextlib.suppress(TreadleError):
        await handle.result()
    return [one.event for one in await handle.history() if isinstance(one.event, kind)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_fifty_runs_never_have_a_fourth_request_under_way(seed: int) -> None:
    chance = random.Random(seed)
    with WatchingServer(hold=[7, 19, 30, 31, 32]) as server:
        model = OpenAIModel("m", base_url=server.url)
        quick = asking(model, timeout=0.5, retry=Retry(attempts=1))
        async with Engine("memory:", graphs=[quick], limits={"openai:m": Limit(concurrency=3)}) as engine:
            handles = [await engine.start(quick, f"{number}") for number in range(50)]
            for handle in chance.sample(handles, 12):
                await anyio.lowlevel.checkpoint()
                await handle.cancel()
            for handle in handles:
                try:
                    assert await handle.result() == "done"
                except (RunCancelled, TimeoutError):
                    continue
            gate = engine.services.gates.of(model)
            assert (gate.under_way, gate.waiting) == (0, 0)
        assert server.most <= 3
        assert server.count >= 30
        assert server.still_there == 0


async def test_nobody_waits_for_a_permit_while_holding_money_and_the_step_is_recorded_before() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(10.0))
    desk = asking(model)
    async with Engine("memory:", clock=clock, limits={"fake:*": Limit(concurrency=1)}) as engine:
        handles = [await engine.start(desk, word) for word in "ab"]
        for handle in handles:
            await handle.result()
        waits = [waited([one.event for one in await handle.history()]) for handle in handles]
    assert (sorted(waits), model.most) == ([0, 10], 1)


def waited(events: list[Any]) -> float:
    """Seconds from a step's being recorded to the money held for it."""
    started = next(event.at for event in events if isinstance(event, StepStarted))
    held = next(event.at for event in events if isinstance(event, MoneyHeld))
    return float(held - started)


async def test_a_wait_for_a_permit_is_no_time_of_the_attempt() -> None:
    clock = JumpingClock()
    desk = asking(Timed(clock, always(10.0)), timeout=15.0)
    async with Engine("memory:", clock=clock, limits={"*": Limit(concurrency=1)}) as engine:
        assert await outcomes(engine, desk, 4) == ["done"] * 4


async def test_a_storm_of_429_is_ridden_out_together() -> None:
    clock = JumpingClock()
    refusals: list[float] = []

    def day(number: int, under_way: int) -> float | Exception:
        if under_way <= 4:
            return 1.0
        refusals.append(clock.now() + 1)
        return RateLimited("busy", provider="fake", status=429, retryable=True, retry_after=5)

    model = Timed(clock, day)
    desk = asking(model, retry=Retry(attempts=6))
    async with Engine("memory:", clock=clock) as engine:
        assert await outcomes(engine, desk, 40) == ["done"] * 40
        gate = engine.services.gates.of(model)
        assert (gate.under_way, gate.waiting) == (0, 0)
    assert [at for at in model.sent if any(refused < at < refused + 5 for refused in refusals)] == []
    assert len(refusals) <= 36 + 16 + 6 + 6  # 40 at once, then halves of it, then a little more than four


async def test_a_server_that_bears_four_at_once_is_asked_so_after_a_few_refusals() -> None:
    with WatchingServer(takes=0.01, at_most=4) as server:
        model = OpenAIModel("m", base_url=server.url)
        desk = asking(model, retry=Retry(attempts=8, wait=0.01))
        async with Engine("memory:") as engine:
            assert await outcomes(engine, desk, 60) == ["done"] * 60
            gate = engine.services.gates.of(model)
            assert gate.congestion.limit < 40  # halved at once, and then grown by a little
            assert (gate.under_way, gate.waiting) == (0, 0)
        assert server.count == 60 + server.refused


async def test_a_breaker_keeps_requests_from_a_server_that_is_down_until_one_finds_it_well() -> None:
    clock, is_down = JumpingClock(), [True]
    broken = Reply(status=500, body={"error": {"message": "no"}})
    server = ModelServer(ScriptedModel(lambda _: "well"), faults=lambda _: broken if is_down[0] else None)
    with server:
        model = OpenAIModel("m", base_url=server.url)
        desk = asking(model, retry=Retry(attempts=1))
        limits = {"openai:m": Limit(breaker=Breaker(failures=3, pause="30s"))}
        async with Engine("memory:", clock=clock, limits=limits) as engine:
            acted = [await events_of(engine, desk, CircuitActed) for _ in range(5)]
            assert server.count == 3
            assert [[event.did for event in run] for run in acted] == [
                [], [], ["opened"], ["refused"], ["refused"],
            ]  # fmt: skip
            assert acted[3][0].until == acted[2][0].at + 30
            clock.advance(30)
            probed = await events_of(engine, desk, CircuitActed)
            assert [event.did for event in probed] == ["probed", "opened"]
            assert server.count == 4
            is_down[0] = False
            clock.advance(30)
            closed = await events_of(engine, desk, CircuitActed)
            assert [event.did for event in closed] == ["probed", "closed"]
            assert await outcomes(engine, desk, 3) == ["well"] * 3
        assert server.count == 8


async def test_a_call_that_is_refused_waits_for_the_circuit_and_is_made_then() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: DOWN if number <= 2 else 1.0)
    limits = {"*": Limit(breaker=Breaker(failures=2, pause=40))}
    async with Engine("memory:", clock=clock, limits=limits) as engine:
        await outcomes(engine, asking(model, retry=Retry(attempts=1)), 2)
        start = clock.now()
        assert await outcomes(engine, asking(model, retry=Retry(attempts=2), name="patient"), 1) == ["done"]
        assert 39 <= clock.now() - start <= 42


async def test_who_was_refused_goes_as_soon_as_one_has_found_the_model_well() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: DOWN if number <= 2 else 3.0)
    limits = {"*": Limit(breaker=Breaker(failures=2, pause=40))}
    async with Engine("memory:", clock=clock, limits=limits) as engine:
        await outcomes(engine, asking(model, retry=Retry(attempts=1)), 2)
        start = clock.now()
        patient = asking(model, retry=Retry(attempts=3), name="patient")
        assert await outcomes(engine, patient, 5) == ["done"] * 5
        assert clock.now() - start <= 40 + 3 + 3 + 1


async def test_fallback_takes_a_refusal_by_the_circuit() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(DOWN))

    @agent(model=model, retry=Retry(attempts=1))
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @agent(model=ScriptedModel(lambda _: "by the other"))
    async def other(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(question: str) -> str:
        return fallback(clerk(question), other(question))

    limits = {"fake:timed": Limit(breaker=Breaker(failures=1))}
    async with Engine("memory:", clock=clock, limits=limits) as engine:
        assert await outcomes(engine, desk, 3) == ["by the other"] * 3
    assert len(model.sent) <= 3


async def test_a_failing_model_leaves_those_at_another_address_alone() -> None:
    clock = JumpingClock()
    broken, well = Timed(clock, always(DOWN)), Timed(clock)
    limits = {"fake:timed": Limit(breaker=Breaker(failures=1, pause="1h"))}
    async with Engine("memory:", clock=clock, limits=limits) as engine:
        [first] = await outcomes(engine, asking(broken), 1)
        assert isinstance(first, CircuitOpen)
        assert await outcomes(engine, asking(well, name="well"), 1) == ["done"]


async def test_engines_share_nothing() -> None:
    clock = JumpingClock()
    model: Model = Timed(clock, lambda number, _: DOWN if number == 1 else 1.0)
    limits = {"*": Limit(breaker=Breaker(failures=1))}
    for expected in (DOWN, None):
        async with Engine("memory:", clock=clock, limits=limits) as engine:
            [outcome] = await outcomes(engine, asking(model, retry=Retry(attempts=1)), 1)
            assert outcome == ("done" if expected is None else expected)


async def test_a_cancelled_request_is_charged_and_its_permit_is_free_at_once() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: 1000.0 if number == 1 else 1.0)
    desk = asking(model)
    async with Engine("memory:", clock=clock, limits={"*": Limit(concurrency=1)}) as engine:
        first, second = [await engine.start(desk, word) for word in "ab"]
        async for item in first.events():
            if isinstance(item.event, MoneyHeld):
                await first.cancel()
        start = clock.now()
        assert await second.result() == "done"
        assert clock.now() - start < 1000
        settled = [one.event for one in await first.history() if isinstance(one.event, MoneySettled)]
    assert [event.outcome for event in settled] == ["cancelled"]
