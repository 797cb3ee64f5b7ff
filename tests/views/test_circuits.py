"""What a circuit breaker and a hedge did is seen in the timeline, beside the requests it was done to."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.timed import Timed

from treadle import Engine, Prompt, Retry, agent, graph
from treadle.errors import ProviderUnavailable, TreadleError
from treadle.models import Breaker, Limit, hedge
from treadle.testing import JumpingClock
from treadle.views.timeline import Span, timeline

pytestmark = pytest.mark.anyio

DOWN = ProviderUnavailable("down", provider="fake", status=500, retryable=True)


async def requests(model: Any, clock: JumpingClock, **options: Any) -> list[Span]:
    """The requests of a run that asks once, as the timeline shows them."""

    @agent(model=model, retry=Retry(attempts=3, on=ProviderUnavailable, wait="20s"))
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(question: str) -> str:
        return clerk(question)

    async with Engine("memory:", clock=clock, **options) as engine:
        handle = await engine.start(desk, "x")
        try:
            await handle.result()
        except TreadleError:
            pytest.fail("it ends well")
        root = timeline(await handle.history())
    return [span for span in root.walk() if span.kind == "request"]


async def test_a_refused_request_says_why_and_until_when_and_the_others_what_they_did() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: DOWN if number == 1 else 1.0)
    limits = {"*": Limit(breaker=Breaker(failures=1, pause="30s"))}
    opened, refused, probed = await requests(model, clock, limits=limits)
    assert opened.note.startswith("timed; the model is left alone from here on: ProviderUnavailable: down")
    assert refused.note == "timed: not sent, 1 in a row had failed; not asked before 08:00:31 UTC"
    assert (refused.status, refused.spent.calls) == ("failed", 0)
    assert probed.note == "timed; let through to find out; the model is asked again"


async def test_a_hedge_is_shown_as_a_second_request_and_the_loser_as_beaten() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: 100.0 if number == 1 else 1.0)
    first, second = await requests(hedge(model, after="2s"), clock)
    assert (first.status, first.note) == ("cancelled", "timed: request 2 answered first")
    assert (second.status, second.note) == ("completed", "timed, a second request")
