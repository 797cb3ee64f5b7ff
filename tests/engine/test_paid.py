"""One model call: held before it is sent, settled after, tried again only where that may help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from treadle.budget import NOTHING, Amounts, Budget, Price, Usage
from treadle.engine.asking import call_model
from treadle.engine.money import Account
from treadle.engine.paid import Call, Counted, Known, bound
from treadle.engine.purse import Made
from treadle.errors import (
    BudgetExceeded,
    MalformedResponse,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    StoreUnavailable,
)
from treadle.events import Event, MoneyHeld, MoneySettled
from treadle.ids import NodeId, StepId
from treadle.interfaces import Model
from treadle.messages import Message, ModelRequest, ModelResponse, Text, user
from treadle.providers.openai import OpenAIModel
from treadle.retry import Retry, Wait
from treadle.testing import ModelServer, Reply, ScriptedModel

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2), basis="given", version="7")
REQUEST = ModelRequest(messages=(user("hello"),), max_output_tokens=100)


@dataclass
class Clock:
    """Jumps to wherever somebody sleeps."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep_until(self, moment: float) -> None:
        self.slept.append(moment - self.at)
        await anyio.lowlevel.checkpoint()
        self.at = max(self.at, moment)


@dataclass
class Desk:
    """Keeps what is recorded, in memory; the engine's own has a store behind it."""

    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    waits: int = 0
    fault: Callable[[], None] = lambda: None

    def record(self, *events: Event, is_last: bool = False) -> None:
        self.events += events

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.fault()
        self.flushed.append(len(self.events))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self.waits += 1
        yield

    @property
    def settled(self) -> list[MoneySettled]:
        return [event for event in self.events if isinstance(event, MoneySettled)]


class Answers:
    """A model that gives or raises one thing after the other; the fake of a provider."""

    name, provider, price = "m", "fake", PRICE

    def __init__(self, *answers: ModelResponse | BaseException) -> None:
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int:
        return 10 * len(messages)


class Silent(Answers):
    """Never answers."""

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.requests.append(request)
        await anyio.sleep_forever()
        raise AssertionError("nobody wakes it")


def answer(**usage: int) -> ModelResponse:
    return ModelResponse(message=Message(role="assistant", parts=(Text(text="ok"),)), usage=Usage(**usage))


def call(model: Model, *accounts: Account, **more: object) -> Call:
    step = Call(node=NodeId("ask"), attempt=1, step=StepId("m:0"), model=model, accounts=accounts)
    for name, value in more.items():
        object.__setattr__(step, name, value)
    return step


def busy(**more: object) -> ProviderError:
    return RateLimited("busy", provider="fake", status=429, retryable=True, **more)  # type: ignore[arg-type]


async def test_a_request_is_recorded_and_flushed_before_it_is_sent() -> None:
    desk, run = Desk(), Account("run", Budget(usd="1"))

    class Watching(Answers):
        async def complete(self, request: ModelRequest) -> ModelResponse:
            assert desk.flushed == [1]
            assert isinstance(desk.events[0], MoneyHeld)
            return await super().complete(request)

    await call_model(desk, call(Watching(answer(input_tokens=4, output_tokens=2)), run), REQUEST)
    held, settled = desk.events
    assert isinstance(held, MoneyHeld)
    assert (held.held.tokens, held.max_output_tokens, held.accounts) == (110, 100, ("run",))
    assert isinstance(settled, MoneySettled)
    assert settled.charged == Amounts(usd=Decimal("0.000008"), tokens=6, calls=1)
    assert (settled.basis, settled.price_version, settled.outcome) == ("given", "7", "completed")
    assert (run.spent, run.held) == (settled.charged, NOTHING)


async def test_without_any_account_the_ledger_is_written_all_the_same() -> None:
    desk = Desk()
    await call_model(desk, call(Answers(answer(input_tokens=4))), REQUEST)
    assert [event.kind for event in desk.events] == ["money_held", "money_settled"]


async def test_cached_and_reasoning_tokens_are_charged_at_their_prices() -> None:
    price = Price(
        input_mtok=Decimal(10),
        output_mtok=Decimal(20),
        cache_read_mtok=Decimal(1),
        cache_write_mtok=Decimal(12),
    )
    model = Answers(
        answer(
            input_tokens=100,
            cache_read_tokens=50,
            cache_write_tokens=30,
            output_tokens=10,
            reasoning_tokens=8,
        )
    )
    model.price = price
    desk = Desk()
    await call_model(desk, call(model), REQUEST)
    assert desk.settled[0].charged.usd == Decimal("0.00081")  # 20 at 10, 50 at 1, 30 at 12, 10 at 20


async def test_an_answer_that_tells_no_usage_is_charged_as_held() -> None:
    desk = Desk()
    await call_model(desk, call(Answers(answer())), REQUEST)
    assert desk.settled[0].charged.tokens == 110


async def test_usage_above_the_hold_is_marked_and_closes_the_account() -> None:
    desk, run = Desk(), Account("run", Budget(tokens=1000))
    await call_model(desk, call(Answers(answer(input_tokens=400)), run), REQUEST)
    assert desk.settled[0].over
    with pytest.raises(BudgetExceeded, match="closed"):
        await call_model(desk, call(Answers(), run), REQUEST)
    assert len(desk.events) == 2


async def test_a_tight_budget_lowers_the_output_limit_that_is_sent() -> None:
    model, run = Answers(answer(input_tokens=1)), Account("run", Budget(tokens=60))
    await call_model(Desk(), call(model, run, min_output=20), REQUEST)
    assert model.requests[0].max_output_tokens == 50


@pytest.mark.parametrize(
    ("error", "tokens", "calls"),
    [
        (busy(), 0, 1),
        (RequestRejected("no", provider="fake", status=400), 0, 1),
        (ProviderUnavailable("down", provider="fake", status=503, retryable=True), 0, 1),
        (ProviderUnavailable("broke off", provider="fake", retryable=True), 110, 1),
        (ProviderUnavailable("in the stream", provider="fake", status=200, retryable=True), 110, 1),
        (MalformedResponse("what?", provider="fake", status=502, retryable=True), 110, 1),
        (ProviderUnavailable("refused", provider="fake", retryable=True, sent=False), 0, 0),
        (ZeroDivisionError("a model's own bug"), 110, 1),
    ],
    ids=str,
)
async def test_failed_requests_are_charged_what_they_may_have_cost(
    error: Exception, tokens: int, calls: int
) -> None:
    desk, run = Desk(), Account("run", Budget(tokens=1000))
    with pytest.raises(type(error)):
        await call_model(desk, call(Answers(error), run, retry=Retry(attempts=1)), REQUEST)
    assert (desk.settled[0].charged.tokens, desk.settled[0].charged.calls) == (tokens, calls)
    assert desk.settled[0].outcome == "failed"
    assert run.spent == desk.settled[0].charged


class Tracing:
    """A span of a tracer that fails."""

    def model(self, **_what: object) -> object:
        raise OSError("the collector is gone")


@pytest.mark.parametrize(
    ("answered", "span", "error"),
    [
        (replace(answer(), usage=None), None, MalformedResponse),  # type: ignore[arg-type]  # a model's bug
        (answer(input_tokens=-900), None, MalformedResponse),
        (answer(input_tokens=1), Tracing(), OSError),
    ],
    ids=["no usage", "usage below zero", "a tracer that fails"],
)
async def test_whatever_goes_wrong_after_a_grant_is_charged_as_held(
    answered: ModelResponse, span: object, error: type[Exception]
) -> None:
    desk, run = Desk(), Account("run", Budget(tokens=1000))
    with pytest.raises(error):
        await call_model(desk, call(Answers(answered), run, span=span), REQUEST)
    assert (run.held, run.spent.tokens) == (NOTHING, 110)
    assert [(event.outcome, event.charged.tokens) for event in desk.settled] == [("failed", 110)]


async def test_what_may_pass_is_tried_again_and_every_request_is_held_and_settled() -> None:
    desk, model = Desk(), Answers(busy(), busy(), answer(input_tokens=1))
    assert (await call_model(desk, call(model), REQUEST)).usage.input_tokens == 1
    assert [(event.request, event.outcome) for event in desk.settled] == [
        (1, "failed"),
        (2, "failed"),
        (3, "completed"),
    ]
    assert [0.5 <= desk.clock.slept[0] < 1, 1 <= desk.clock.slept[1] < 1.5] == [True, True]


async def test_requests_never_exceed_the_policy() -> None:
    desk, model = Desk(), Answers(*[busy() for _ in range(9)])
    with pytest.raises(RateLimited):
        await call_model(desk, call(model, retry=Retry(attempts=4)), REQUEST)
    assert len(model.requests) == 4


async def test_requests_of_an_earlier_process_count_as_attempts() -> None:
    desk, model = Desk(), Answers(*[busy() for _ in range(9)])
    with pytest.raises(RateLimited):
        await call_model(desk, call(model, retry=Retry(attempts=4), made=Made(2, 2)), REQUEST)
    assert [event.request for event in desk.settled] == [3, 4]


@pytest.mark.parametrize("asked", [17.0, 900.0])
async def test_retry_after_is_obeyed_and_capped(asked: float) -> None:
    desk, model = Desk(), Answers(busy(retry_after=asked), answer(input_tokens=1))
    await call_model(desk, call(model), REQUEST)
    assert desk.clock.slept == [min(asked, 60.0)]


async def test_what_will_not_pass_is_not_tried_again_even_if_the_policy_names_it() -> None:
    quota = RateLimited("quota used up", provider="fake", status=429, retryable=False)
    model = Answers(quota, answer())
    with pytest.raises(RateLimited):
        await call_model(Desk(), call(model, retry=Retry(attempts=5, on=ProviderError)), REQUEST)
    assert len(model.requests) == 1


async def test_a_policy_may_try_fewer_errors_again() -> None:
    model = Answers(busy(), answer())
    with pytest.raises(RateLimited):
        await call_model(Desk(), call(model, retry=Retry(on=ProviderUnavailable)), REQUEST)
    assert len(model.requests) == 1


async def test_the_same_seed_waits_the_same() -> None:
    waits: list[list[float]] = []
    for seed in ("s", "s", "t"):
        desk = Desk()
        await call_model(desk, call(Answers(busy(), answer(input_tokens=1)), seed=seed), REQUEST)
        waits.append(desk.clock.slept)
    assert waits[0] == waits[1] != waits[2]


async def test_waits_are_told_so_that_no_clock_runs_meanwhile() -> None:
    desk = Desk()
    await call_model(desk, call(Answers(busy(), answer(input_tokens=1))), REQUEST)
    assert desk.waits == 3  # for money, between the requests, for money


async def test_cancelling_on_the_way_charges_the_hold() -> None:
    desk, model, run = Desk(), Silent(), Account("run", Budget(tokens=1000))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_model, desk, call(model, run), REQUEST)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert len(model.requests) == 1
    assert (desk.settled[0].outcome, desk.settled[0].charged.tokens) == ("cancelled", 110)
    assert (run.held, run.spent.tokens) == (NOTHING, 110)


async def test_cancelling_in_line_costs_nothing_and_records_nothing() -> None:
    desk, run = Desk(), Account("run", Budget(tokens=150))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_model, desk, call(Silent(), run), REQUEST)
            await wait_all_tasks_blocked()
            tasks.start_soon(call_model, desk, call(Silent(), run), REQUEST)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert len(desk.events) == 2
    assert run.spent.calls == 1


async def test_cancelling_a_backoff_sends_nothing_more() -> None:
    class Stuck(Clock):
        async def sleep_until(self, moment: float) -> None:
            await anyio.sleep_forever()

    desk, model = Desk(clock=Stuck()), Answers(busy(), answer())
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_model, desk, call(model), REQUEST)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert len(model.requests) == len(desk.settled) == 1


async def test_a_store_that_fails_stops_the_request_and_gives_the_money_back() -> None:
    def fail() -> None:
        raise StoreUnavailable("the disk is full")

    desk, model, run = Desk(fault=fail), Answers(), Account("run", Budget(tokens=1000))
    with pytest.raises(StoreUnavailable):
        await call_model(desk, call(model, run), REQUEST)
    assert (model.requests, run.held, run.spent) == ([], NOTHING, NOTHING)


async def test_cancelling_before_the_request_left_charges_nothing_and_says_so() -> None:
    desk, model, run = Desk(), Answers(), Account("run", Budget(tokens=1000))
    with anyio.CancelScope() as scope:
        desk.fault = scope.cancel
        original = desk.flush

        async def flush() -> None:
            await original()
            await anyio.lowlevel.checkpoint()

        desk.flush = flush  # type: ignore[method-assign]  # the flush is where it is cancelled
        await call_model(desk, call(model, run), REQUEST)
    assert model.requests == []
    assert (desk.settled[0].outcome, desk.settled[0].charged) == ("cancelled", NOTHING)
    assert (run.held, run.spent) == (NOTHING, NOTHING)


def test_a_conversation_that_goes_on_is_bounded_by_the_providers_own_count() -> None:
    model, counted = Answers(), Counted()
    first = ModelRequest(messages=(user("a"), user("b")))
    counted.add(model, first, answer(input_tokens=7, output_tokens=3))
    following = ModelRequest(messages=(*first.messages, answer().message, user("c")))
    known = counted.known(model, following)
    assert known == Known(2, 7)
    assert bound(model, following, known).input_tokens == 27
    assert bound(model, following, None).input_tokens == 40


def test_another_beginning_other_tools_or_no_count_are_not_known() -> None:
    model, counted = Answers(), Counted()
    counted.add(model, ModelRequest(messages=(user("a"),)), answer(input_tokens=7))
    counted.add(model, ModelRequest(messages=(user("b"),)), answer())
    assert counted.known(model, ModelRequest(messages=(user("x"), user("c")))) is None
    assert counted.known(model, ModelRequest(messages=(user("b"), user("c")))) is None
    other = Answers()
    other.name = "another"
    assert counted.known(other, ModelRequest(messages=(user("a"), user("c")))) is None


async def fifty_calls(server: ModelServer, run: Account, *, least: int) -> tuple[Desk, list[str]]:
    """Ask fifty times at once; give the record, and the names of the errors."""
    model = OpenAIModel("m", base_url=server.url, api_key="k", price=PRICE)
    desk, errors = Desk(), list[str]()

    async def ask() -> None:
        try:
            await call_model(desk, call(model, run, retry=Retry(attempts=1), min_output=least), REQUEST)
        except (BudgetExceeded, ProviderError) as error:
            errors.append(type(error).__name__)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    await model.aclose()
    return desk, errors


async def test_fifty_parallel_calls_with_money_for_seven_answers_send_at_most_seven() -> None:
    full = answer(input_tokens=10, output_tokens=100)
    with ModelServer(lambda _: full) as server:
        run = Account("run", Budget(usd=PRICE.cost(full.usage) * 7))
        desk, errors = await fifty_calls(server, run, least=1)
        assert 1 <= server.count <= 7
        assert errors == ["BudgetExceeded"] * (50 - server.count)
        assert len(desk.settled) == server.count


async def test_where_each_call_costs_all_it_holds_exactly_seven_reach_the_server() -> None:
    with ModelServer(lambda _: "never sent", faults=lambda _: Reply(drop=True)) as server:
        model = OpenAIModel("m", base_url=server.url, api_key="k", price=PRICE)
        run = Account("run", Budget(usd=bound(model, REQUEST, None).worst(100).usd * 7))
        desk, errors = await fifty_calls(server, run, least=100)
        assert (server.count, errors.count("BudgetExceeded")) == (7, 43)
        assert run.spent.usd == run.limits[0][1] == sum(event.charged.usd for event in desk.settled)


async def test_a_server_that_is_busy_is_asked_as_often_as_the_policy_says() -> None:
    faults = {1: Reply(status=429, headers={"retry-after": "3"}), 2: Reply(status=503)}
    with ModelServer(ScriptedModel(["fine"]), faults=faults) as server:
        model = OpenAIModel("m", base_url=server.url, api_key="k")
        desk = Desk()
        policy = Retry(attempts=3, wait=Wait(kind="fixed", initial=1, jitter=0))
        response = await call_model(desk, call(model, retry=policy), REQUEST)
        await model.aclose()
    assert response.message.text == "fine"
    assert (server.count, desk.clock.slept) == (3, [3.0, 1.0])
