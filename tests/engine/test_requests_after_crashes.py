"""Requests to a model that fails are as many after a crash as without one, and no sooner."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place, around

from treadle import Context, NodeFailed, Prompt, Retry, agent
from treadle.errors import ProviderError, RateLimited
from treadle.events import Event, MoneyHeld, MoneySettled, StepTried
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

    def graph(self, **policies: Any) -> Graph[[str], Any]:
        @agent(model=ScriptedModel(self.refuse), **policies)
        async def ask(text: str) -> Prompt[str]:
            return Prompt(text)

        async def body(ctx: Context, text: str) -> str:
            return await ctx.step(ask, text)

        return around(body)


def settled(number: int) -> Any:
    """Whether an event settles the request of this number."""

    def see(event: Event) -> bool:
        return isinstance(event, MoneySettled) and event.request == number

    return see


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


async def test_a_call_whose_last_try_was_settled_is_not_made_once_more(
    place: Place, clock: JumpingClock
) -> None:
    busy = Busy(clock)
    only = busy.graph()
    await place.crash(only, "a", after=settled(3), clock=clock)
    with pytest.raises((ProviderError, NodeFailed), match="busy"):
        await place.resume(only, clock=clock)
    assert len(busy.asked) == 3


async def test_the_wait_that_a_provider_asked_for_goes_on_after_a_crash(
    place: Place, clock: JumpingClock
) -> None:
    busy = Busy(clock, retry_after=40)
    only = busy.graph()
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
        only = busy.graph(retry=Retry(attempts=2, wait=0.01))
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
