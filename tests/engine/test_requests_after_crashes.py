"""Requests to a model that fails are as many after a crash as without one, and no sooner."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place, around

from treadle import Context, Engine, NodeFailed, Prompt, Retry, agent, graph, node
from treadle.errors import ProviderError, RateLimited
from treadle.events import Event, MoneyHeld, MoneySettled, StepTried
from treadle.models import hedge
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock, ScriptedModel, crash_everywhere

pytestmark = pytest.mark.anyio


class Busy:
    """A model that refuses each request; it notes when."""

    def __init__(self, clock: JumpingClock, *, retry_after: float | None = None) -> None:
        self.clock = clock
        self.retry_after = retry_after
        self.asked: list[float] = []

    def refuse(self, _request: object) -> str:
        self.asked.append(self.clock.now())
        raise RateLimited("busy", provider="p", status=429, retryable=True, retry_after=self.retry_after)

    def graph(
        self, *, retry: Retry | None = None, around_it: Retry | None = None, hedged: bool = False
    ) -> Graph[[str], Any]:
        """Ask in a step of a step; with a retry of the agent, and one of the step around."""
        model = ScriptedModel(self.refuse)

        @agent(model=hedge(model, after="5s") if hedged else model, retry=retry)
        async def ask(text: str) -> Prompt[str]:
            return Prompt(text)

        @node(retry=around_it)
        async def middle(ctx: Context, text: str) -> str:
            return await ctx.step(ask, text)

        async def body(ctx: Context, text: str) -> str:
            return await ctx.step(middle, text)

        return around(body)


def settled(number: int) -> Any:
    """Whether an event settles the request of this number."""

    def see(event: Event) -> bool:
        return isinstance(event, MoneySettled) and event.request == number

    return see


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.mark.parametrize("hedged", [False, True])
async def test_a_call_whose_last_try_was_settled_is_not_made_once_more(
    place: Place, clock: JumpingClock, hedged: bool
) -> None:
    busy = Busy(clock)
    only = busy.graph(hedged=hedged)
    await place.crash(only, "a", after=settled(3), clock=clock)
    with pytest.raises((ProviderError, NodeFailed), match="busy"):
        await place.resume(only, clock=clock)
    assert len(busy.asked) == 3


@pytest.mark.parametrize("hedged", [False, True])
async def test_the_wait_that_a_provider_asked_for_goes_on_after_a_crash(
    place: Place, clock: JumpingClock, hedged: bool
) -> None:
    busy = Busy(clock, retry_after=40)
    only = busy.graph(hedged=hedged)
    await place.crash(only, "a", after=settled(1), clock=clock)
    clock.advance(10)
    with pytest.raises((ProviderError, NodeFailed), match="busy"):
        await place.resume(only, clock=clock)
    first, second, _third = busy.asked
    assert second - first == pytest.approx(40, abs=1)


async def test_tries_at_a_step_send_as_many_requests_after_a_crash_each_with_a_number_of_its_own(
    place: Place, memory: Place, clock: JumpingClock
) -> None:
    numbers: list[list[int]] = []
    for kept, dies in ((memory, False), (place, True)):
        busy = Busy(clock)
        twice = Retry(attempts=2, wait=0.01)
        only = busy.graph(retry=twice, around_it=twice)
        if dies:
            await kept.crash(only, "a", after=lambda event: isinstance(event, StepTried), clock=clock)
        else:
            async with kept.engine(only, clock=clock) as engine:
                await (await engine.start(only, "a", run_id="r")).settled()
        if dies:
            with pytest.raises((ProviderError, NodeFailed), match="busy"):
                await kept.resume(only, clock=clock)
        numbers.append([event.request for event in await kept.events(only, MoneyHeld)])
    assert numbers == [[1, 2, 3, 4], [1, 2, 3, 4]]


async def test_a_crash_anywhere_changes_nothing_about_how_a_call_fails(clock: JumpingClock) -> None:
    with anyio.fail_after(60):
        report = await crash_everywhere(Busy(clock).graph(), "a", clock=clock, fails=True)
    assert report.crashes


@pytest.mark.parametrize("on", [(), ProviderError])
@pytest.mark.parametrize("as_step", [False, True])
async def test_the_retry_of_an_agent_is_that_of_its_requests_and_not_of_itself_too(
    clock: JumpingClock, on: Any, as_step: bool
) -> None:
    busy, retry = Busy(clock), Retry(attempts=3, on=on)

    @agent(model=ScriptedModel(busy.refuse), retry=retry)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def direct(text: str) -> str:
        return ask(text)

    async with Engine("memory:", clock=clock) as engine:
        await (await engine.start(busy.graph(retry=retry) if as_step else direct, "a")).settled()
    assert len(busy.asked) == 3


async def test_an_agent_that_fails_otherwise_is_tried_again_as_its_retry_says(clock: JumpingClock) -> None:
    prompts: list[str] = []

    @agent(model=ScriptedModel(lambda _: "yes"), retry=Retry(attempts=2))
    async def ask(text: str) -> Prompt[str]:
        prompts.append(text)
        if len(prompts) == 1:
            raise ConnectionError("the database is away")
        return Prompt(text)

    @graph
    def direct(text: str) -> str:
        return ask(text)

    async with Engine("memory:", clock=clock) as engine:
        assert await (await engine.start(direct, "a")).result() == "yes"
    assert len(prompts) == 2
