"""Two requests for one answer: never three, both charged, and the loser is gone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.engine.conftest import Place
from tests.engine.timed import Timed, WatchingServer, always

from treadle import Budget, Engine, Prompt, Retry, agent, graph
from treadle.budget import NOTHING, Price
from treadle.errors import ConfigurationError, ProviderUnavailable, RateLimited, TreadleError
from treadle.events import Event, MoneyHeld, MoneySettled, RunEnded
from treadle.models import Limit, OpenAIModel, hedge
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock, ScriptedModel, crash_everywhere

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
BUSY = RateLimited("busy", provider="fake", status=429, retryable=True)
DOWN = ProviderUnavailable("down", provider="fake", status=500, retryable=True)


def asking(model: Any, *, budget: Budget | None = None, retry: Retry | None = None) -> Graph[[str], str]:
    @agent(model=model, retry=retry, max_output=100)
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph(budget=budget)
    def desk(question: str) -> str:
        return clerk(question)

    return desk


async def live(
    clock: JumpingClock, desk: Graph[[str], str], **options: Any
) -> tuple[object, list[MoneyHeld], list[MoneySettled]]:
    """What a run comes to, and its requests."""
    async with Engine("memory:", clock=clock, **options) as engine:
        handle = await engine.start(desk, "x")
        outcome: object
        try:
            outcome = await handle.result()
        except TreadleError as error:
            outcome = error
        events = [one.event for one in await handle.history()]
    [ended] = [event for event in events if isinstance(event, RunEnded)]
    settled = sorted(
        (event for event in events if isinstance(event, MoneySettled)), key=lambda event: event.request
    )
    assert ended.spent == sum((event.charged for event in settled), NOTHING)
    return outcome, [event for event in events if isinstance(event, MoneyHeld)], settled


def slow_first(number: int, under_way: int) -> float:
    """Every request that comes alone takes long."""
    del number
    return 100.0 if under_way == 1 else 1.0


async def test_the_second_is_sent_after_the_delay_and_the_first_is_cut_off_and_charged() -> None:
    clock = JumpingClock()
    model = Timed(clock, slow_first)
    model.price = PRICE
    outcome, held, settled = await live(clock, asking(hedge(model, after="2s"), budget=Budget(usd="1")))
    assert outcome == "done"
    assert model.sent == [JumpingClock().now(), JumpingClock().now() + 2]
    assert (model.cut, model.under_way) == (1, 0)
    assert [(event.request, event.hedge) for event in held] == [(1, False), (2, True)]
    lost, won = settled
    assert (lost.request, lost.outcome, lost.charged) == (1, "cancelled", held[0].held)
    assert lost.error == "request 2 answered first"
    assert (won.request, won.outcome) == (2, "completed")
    assert won.charged.usd == PRICE.cost(won.usage)


async def test_a_first_that_answers_in_time_is_the_only_one() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(1.0))
    outcome, held, _ = await live(clock, asking(hedge(model, after="2s")))
    assert (outcome, len(held)) == ("done", 1)


async def test_a_first_that_answers_after_all_wins_and_the_second_is_charged() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: 5.0 if number == 1 else 100.0)
    outcome, held, settled = await live(clock, asking(hedge(model, after="2s")))
    assert outcome == "done"
    assert [(event.request, event.outcome) for event in settled] == [(1, "completed"), (2, "cancelled")]
    assert settled[1].charged == held[1].held


async def test_the_second_is_not_sent_where_it_does_not_fit_the_budget_beside_the_first() -> None:
    clock = JumpingClock()
    model = Timed(clock, slow_first)
    desk = asking(hedge(model, after="2s"), budget=Budget(tokens=399))  # 200 each
    outcome, held, settled = await live(clock, desk)
    assert (outcome, len(held), len(settled)) == ("done", 1, 1)


@pytest.mark.parametrize("limit", [Limit(concurrency=1), Limit(requests_per_minute=1)], ids=str)
async def test_the_second_is_not_sent_where_no_permit_lies_free(limit: Limit) -> None:
    clock = JumpingClock()
    model = Timed(clock, slow_first)
    outcome, held, _ = await live(clock, asking(hedge(model, after="2s")), limits={"*": limit})
    assert (outcome, len(held)) == ("done", 1)


async def test_a_first_that_fails_before_the_delay_is_tried_again_as_ever() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: BUSY if number == 1 else 1.0)
    outcome, held, _ = await live(clock, asking(hedge(model, after="50s")))
    assert outcome == "done"
    assert [(event.request, event.hedge) for event in held] == [(1, False), (2, False)]


async def test_where_one_fails_the_other_is_waited_for() -> None:
    for failing in (1, 2):
        clock = JumpingClock()
        model = Timed(clock, lambda number, _: DOWN if number == failing else 9.0)  # noqa: B023 - used at once
        outcome, held, settled = await live(clock, asking(hedge(model, after=0.5)))
        assert (outcome, len(held)) == ("done", 2)
        assert sorted(event.outcome for event in settled) == ["completed", "failed"]


async def test_where_both_fail_that_is_one_try_of_the_policy() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(DOWN))
    outcome, held, settled = await live(
        clock, asking(hedge(model, after=0.5), retry=Retry(attempts=2, on=ProviderUnavailable))
    )
    assert isinstance(outcome, ProviderUnavailable)
    first_attempt = [event for event in held if event.attempt == 1]
    assert [(event.request, event.hedge) for event in first_attempt] == [
        (1, False), (2, True), (3, False), (4, True),
    ]  # fmt: skip
    assert {event.outcome for event in settled} == {"failed"}


async def test_the_settlement_of_the_last_of_two_that_fail_says_when_the_next_try_is() -> None:
    clock = JumpingClock()
    model = Timed(clock, lambda number, _: DOWN if number < 3 else 1.0)
    outcome, held, settled = await live(clock, asking(hedge(model, after=0.5)))
    first, second, *_ = (event.not_before for event in settled)
    assert outcome == "done"
    assert (first, second is not None and model.sent[0] + 1.5 < second <= held[2].at) == (None, True)


async def test_a_cancelled_run_leaves_neither() -> None:
    clock = JumpingClock()
    model = Timed(clock, always(1000.0))
    async with Engine("memory:", clock=clock) as engine:
        handle = await engine.start(asking(hedge(model, after="2s")), "x")
        async for item in handle.events():
            if isinstance(item.event, MoneyHeld) and item.event.hedge:
                await handle.cancel()
        settled = [one.event for one in await handle.history() if isinstance(one.event, MoneySettled)]
        gate = engine.services.gates.of(model)
        assert (gate.under_way, model.under_way, model.cut) == (0, 0, 2)
    assert [event.outcome for event in settled] == ["cancelled", "cancelled"]


async def test_the_socket_of_the_loser_is_gone_when_the_answer_is_there() -> None:
    with WatchingServer(hold=[1]) as server:
        model = OpenAIModel("m", base_url=server.url, price=PRICE)
        outcome, held, settled = await live(JumpingClock(), asking(hedge(model, after="2s")))
        assert (outcome, server.count, server.still_there) == ("done", 2, 0)
    lost, won = sorted(settled, key=lambda event: event.outcome)  # which came first is up to the server
    assert (lost.outcome, won.outcome) == ("cancelled", "completed")
    assert lost.charged == held[lost.request - 1].held


async def test_a_crash_anywhere_across_a_hedge_loses_no_charge(long_form: bool) -> None:
    clock = JumpingClock()
    model = Timed(clock, slow_first)
    model.price = PRICE
    desk = asking(hedge(model, after="2s"), budget=Budget(usd="1"))
    report = await crash_everywhere(desk, "x", clock=clock, at_most=None if long_form else 3)
    assert report.value == "done"
    assert any(crash.lost > 0 for crash in report.crashes)


@pytest.mark.parametrize("ends", ["done", "fails"])
async def test_money_comes_back_only_with_the_record_of_what_was_taken(ends: str) -> None:
    clock = JumpingClock()
    hedged, other = Timed(clock, always(DOWN if ends == "fails" else 1.0)), Timed(clock, always(1.0))
    one, two = (asking(model, retry=Retry(attempts=1)) for model in (hedge(hedged, after="9s"), other))

    @graph(budget=Budget(tokens=250))  # a request holds 200
    def both(question: str) -> list[str]:
        return [one(question), two(question)]

    async with Engine("memory:", clock=clock) as engine:
        handle = await engine.start(both, "x")
        await handle.settled()
        events = [one.event for one in await handle.history()]
    money = [type(event) for event in events if isinstance(event, MoneyHeld | MoneySettled)]
    assert money == [MoneyHeld, MoneySettled] * 2  # wherever it crashes, no more is found held than there is


async def test_after_a_crash_between_the_two_one_is_sent_and_a_second_where_that_takes_long(
    memory: Place,
) -> None:
    clock = JumpingClock()
    model = Timed(clock, slow_first)
    model.price = PRICE
    desk = asking(hedge(model, after="2s"), budget=Budget(usd="1"))

    def is_second(event: Event) -> bool:
        return isinstance(event, MoneyHeld) and event.hedge

    await memory.crash(desk, "x", before=is_second, clock=clock)
    assert await memory.resume(desk, clock=clock) == "done"
    held = await memory.events(desk, MoneyHeld)
    settled = await memory.events(desk, MoneySettled)
    assert [(event.request, event.hedge) for event in held] == [(1, False), (2, False), (3, True)]
    assert [(event.request, event.outcome) for event in settled] == [
        (1, "lost"), (2, "cancelled"), (3, "completed"),
    ]  # fmt: skip
    assert [event.charged for event in settled[:2]] == [event.held for event in held[:2]]
    assert held[2].at - held[1].at == 2  # the delay of a request that is lost is of no use to the next


@pytest.mark.parametrize("name", ["openai:gpt-6-luna", "auto", "auto:small"])
def test_a_hedged_name_is_that_name_in_plans(name: str) -> None:
    plain, hedged = (asking(model).plan.digest for model in (name, hedge(name, after="2s")))
    assert plain == hedged


async def test_a_model_is_hedged_once_and_by_a_name_that_is_one() -> None:
    with pytest.raises(ConfigurationError, match="hedge a model once"):
        hedge(hedge("auto", after=1), after=2)
    with pytest.raises(ConfigurationError, match="no model 'opnai:x'"):
        hedge("opnai:x", after=1)
    with pytest.raises(ConfigurationError, match="hedge an object"):
        hedge("auto", after=1).input_bound((), None)  # type: ignore[arg-type]  # it does not come so far


async def test_asked_by_itself_a_hedged_model_is_the_one_inside(anyio_backend: Callable[..., Any]) -> None:
    del anyio_backend
    inner = ScriptedModel(map(str, itertools.count()), price=PRICE)
    hedged = hedge(inner, after=1)
    assert (hedged.name, hedged.provider, hedged.price) == (inner.name, inner.provider, PRICE)
