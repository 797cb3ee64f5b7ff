"""The line before a model: first come first served, nothing lost, nobody stuck, by the engine's clock."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest

from treadle.engine.gate import Gate, Gates, Permit
from treadle.errors import CircuitOpen, ProviderUnavailable, RateLimited, RequestRejected
from treadle.limits import MINUTE, Breaker, Limit
from treadle.models import OpenAIModel
from treadle.testing import JumpingClock, ScriptedModel

pytestmark = pytest.mark.anyio

BUSY = RateLimited("busy", provider="p", status=429, retryable=True)
DOWN = ProviderUnavailable("down", provider="p", status=500, retryable=True)


def gate(**limit: object) -> Gate:
    return Gate("p:m", Limit(**limit), JumpingClock())  # type: ignore[arg-type]  # whatever a test needs


async def test_the_first_who_comes_is_the_first_who_goes() -> None:
    narrow, order = gate(concurrency=1), list[int]()
    first = await narrow.enter(1)

    async def go(number: int) -> None:
        permit = await narrow.enter(1)
        order.append(number)
        await anyio.lowlevel.checkpoint()
        permit.leave()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(go, number)
            await anyio.wait_all_tasks_blocked()
        assert narrow.waiting == 5
        first.leave()
    assert order == [0, 1, 2, 3, 4]
    assert (narrow.under_way, narrow.waiting) == (0, 0)


async def test_who_is_cancelled_leaves_the_line_and_takes_nothing_along() -> None:
    narrow = gate(concurrency=1, requests_per_minute=2)
    first = await narrow.enter(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(narrow.enter, 1)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    first.leave()
    for _ in range(2):  # neither of the two above was sent, so both may go at once
        (await narrow.enter(1)).leave()
    assert narrow.clock.now() == JumpingClock().now()


async def test_a_minute_of_requests_is_waited_for_by_the_clock() -> None:
    narrow = gate(requests_per_minute=2)
    start = narrow.clock.now()
    for _ in range(5):
        permit = await narrow.enter(1)
        permit.sent()
        permit.answered(0)
    assert narrow.clock.now() - start == 2 * MINUTE


async def test_tokens_count_as_the_worst_case_and_then_as_what_they_were() -> None:
    narrow = gate(tokens_per_minute=100)
    one = await narrow.enter(90)
    one.sent()
    assert narrow.enter_if_free(20) is None
    one.answered(70)
    two = narrow.enter_if_free(20)
    assert two is not None
    two.leave()


async def test_retry_after_pauses_everybody() -> None:
    wide = gate()
    permit, start = await wide.enter(1), wide.clock.now()
    permit.sent()
    permit.failed(RateLimited("busy", provider="p", status=429, retryable=True, retry_after=7))
    (await wide.enter(1)).leave()
    assert wide.clock.now() - start == 7


async def test_a_quota_that_is_used_up_pauses_and_halves_nothing() -> None:
    wide = gate(concurrency=8)
    permit = await wide.enter(1)
    permit.sent()
    permit.failed(RateLimited("no credit", provider="p", status=429, retry_after=7))
    assert wide.enter_if_free(1) is not None
    assert wide.congestion.limit == 8


async def test_an_absurd_retry_after_pauses_a_minute() -> None:
    wide = gate()
    permit, start = await wide.enter(1), wide.clock.now()
    permit.sent()
    permit.failed(RateLimited("busy", provider="p", status=429, retryable=True, retry_after=1e15))
    (await wide.enter(1)).leave()
    assert wide.clock.now() - start == MINUTE


async def test_everybody_in_line_is_refused_when_the_circuit_opens() -> None:
    narrow, refused = gate(concurrency=1, breaker=Breaker(failures=1, pause=30)), list[CircuitOpen]()
    permit = await narrow.enter(1)
    permit.sent()

    async def go() -> None:
        try:
            await narrow.enter(1)
        except CircuitOpen as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(go)
        await anyio.wait_all_tasks_blocked()
        permit.failed(DOWN)
    assert [error.retry_after for error in refused] == [30, 30, 30]
    assert "p:m is not asked: 1 requests in a row failed" in str(refused[0])
    assert (refused[0].retryable, refused[0].sent) == (True, False)


@pytest.mark.parametrize("error", [BUSY, RequestRejected("no", provider="p", status=400)])
async def test_a_refusal_by_the_provider_shows_that_it_serves(error: RateLimited) -> None:
    wide = gate(breaker=Breaker(failures=2))
    for end in (DOWN, error, DOWN):
        permit = await wide.enter(1)
        permit.sent()
        permit.failed(end)
    assert wide.circuit.state == "closed"


async def test_models_are_known_by_provider_name_and_address_else_by_object() -> None:
    gates = Gates({}, JumpingClock())
    one, same = (OpenAIModel("m", base_url="http://127.0.0.1:1/v1") for _ in range(2))
    other = OpenAIModel("m", base_url="http://127.0.0.1:2/v1")
    assert gates.of(one) is gates.of(same)
    assert gates.of(one) is not gates.of(other)
    a, b = ScriptedModel(["x"]), ScriptedModel(["x"])
    assert gates.of(a) is gates.of(a)
    assert gates.of(a) is not gates.of(b)


ENDS: dict[str, Callable[[Permit], object]] = {
    "answered": lambda permit: permit.answered(1),
    "busy": lambda permit: permit.failed(BUSY),
    "down": lambda permit: permit.failed(DOWN),
    "left": lambda permit: permit.leave(),
}


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_all_permits_come_back(seed: int, long_form: bool) -> None:
    if seed > 1 and not long_form:
        return
    chance = random.Random(seed)
    limit = Limit(concurrency=3, requests_per_minute=20, tokens_per_minute=200, breaker=Breaker(failures=4))
    shared, most = Gate("p:m", limit, JumpingClock()), list[int]()

    async def work(patience: float, end: str, seconds: float, tokens: int) -> None:
        with anyio.CancelScope() as scope, anyio.CancelScope():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_up, patience, scope)
                try:
                    permit = await shared.enter(tokens)
                except CircuitOpen:
                    scope.cancel()
                    return
                try:
                    most.append(shared.under_way)
                    await anyio.lowlevel.checkpoint()
                    permit.sent()
                    await shared.clock.sleep_until(shared.clock.now() + seconds)
                    ENDS[end](permit)
                finally:
                    permit.leave()
                scope.cancel()

    async def give_up(patience: float, scope: anyio.CancelScope) -> None:
        await shared.clock.sleep_until(shared.clock.now() + patience)
        scope.cancel()

    async with anyio.create_task_group() as everybody:
        for _ in range(60 if long_form else 30):
            end, patience = chance.choice(list(ENDS)), chance.choice([0.5, 20, 500, 500])
            everybody.start_soon(work, patience, end, chance.random() * 9, chance.randint(1, 90))
    assert max(most) <= 3
    assert (shared.under_way, shared.waiting) == (0, 0)
