"""One model call as a recorded, paid step: hold, record, send, settle, and again where that may help.

The order is the wall: the worst case is held in every account, ``MoneyHeld`` is flushed, only then
is the request sent.  A crash in between leaves a hold without a settlement, which is charged in full
when the run is taken over (``treadle.engine.purse.lost``).  So a request that was sent is always in
the history, and what it may have cost is always counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from treadle.budget import NOTHING, Amounts, Bound, Usage
from treadle.engine.failures import said
from treadle.engine.money import Account, Hold, hold, settle
from treadle.errors import MalformedResponse, ProviderError, StoreError
from treadle.events import Event, MoneyHeld, MoneySettled
from treadle.ids import NodeId, StepId
from treadle.interfaces import Clock, Model, ModelSpan, Span, StreamingModel
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.retry import Retry, qualified_name, qualified_names

PROVIDER_RETRY: Final = Retry(attempts=3)
"""For a model call whose node declares nothing else: 0.5 s and 1 s, with jitter, or Retry-After."""

MIN_OUTPUT: Final = 256
"""The output tokens a tight budget leaves a request at least."""

Outcome = Literal["completed", "failed", "cancelled"]


def _nobody(request: int) -> None:
    """Nobody listens to a request."""
    del request


class Desk(Protocol):
    """What a model call needs of the engine."""

    @property
    def clock(self) -> Clock: ...

    def record(self, *events: Event) -> None:
        """Append events to the run's history, together; they need not be safe yet."""
        ...

    async def flush(self) -> None:
        """Return when all that was recorded is safe."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait for money or between two requests: it counts neither as running seconds
        nor for the attempt's timeout.  ``treadle.engine.activity.Activity.waiting`` is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One model step: whose it is, which model it goes to, and what it may take.

    Attributes:
        node, attempt, step: Where the step stands; what it is recorded under.
        model: The resolved model.
        accounts: The accounts above the step, outermost first.
        retry: Which provider errors are tried again, and how often; only those that say that they
            may pass, whatever ``on`` says.
        seed: What the jitter of the waits is drawn from.
        min_output: The least a tight budget may lower the output limit to, in tokens.
        known: What the provider has counted of the conversation already.
        requests: How many requests the history shows for this step: they count as attempts.
        span: The span around the step, or ``None`` where nobody traces.
        within: The hold that an ancestor keeps meanwhile, or ``None``.
        listening: Given the number of a request, what its pieces are told to, or ``None`` where nobody
            listens: then it is not streamed.
    """

    node: NodeId
    attempt: int
    step: StepId
    model: Model
    accounts: tuple[Account, ...] = ()
    retry: Retry = PROVIDER_RETRY
    seed: str = ""
    min_output: int = MIN_OUTPUT
    known: Known | None = None
    requests: int = 0
    span: Span | None = None
    within: Hold | None = None
    listening: Callable[[int], Callable[[Delta], None] | None] = _nobody


@dataclass(frozen=True, slots=True)
class Known:
    """The beginning of a conversation whose tokens the provider has counted.

    Attributes:
        messages: How many messages it has.
        tokens: The input tokens of the request that sent them.
    """

    messages: int
    tokens: int


@dataclass(slots=True)
class Counted:
    """The conversations of one node's attempt, so that each next request is bounded tightly.

    A provider's own count is far below a bound by bytes; it holds for a request that begins like an
    earlier one to the same model, with the same tools and form of output.  The reply between counts
    as new: a provider may write it into the next prompt in other tokens than it made it of.
    """

    _seen: list[tuple[str, ModelRequest, int]] = field(default_factory=list[tuple[str, ModelRequest, int]])

    def add(self, model: Model, request: ModelRequest, response: ModelResponse) -> None:
        """Remember a request that was answered, just now or in an earlier process."""
        if response.usage.input_tokens:
            self._seen.append((f"{model.provider}:{model.name}", request, response.usage.input_tokens))

    def known(self, model: Model, request: ModelRequest) -> Known | None:
        """What is known of a request's conversation, or ``None``."""
        name = f"{model.provider}:{model.name}"
        for other, earlier, tokens in reversed(self._seen):
            if other == name and _goes_on(request, earlier):
                return Known(len(earlier.messages), tokens)
        return None


def _goes_on(request: ModelRequest, earlier: ModelRequest) -> bool:
    length = len(earlier.messages)
    return (
        request.messages[:length] == earlier.messages
        and request.tools == earlier.tools
        and request.output == earlier.output
    )


def bound(model: Model, request: ModelRequest, known: Known | None) -> Bound:
    """The most a request can take: the provider's count of what is known, bytes for what is new."""
    messages: Sequence[Message] = request.messages if known is None else request.messages[known.messages :]
    new = model.input_bound(messages, request)
    tokens = None if new is None else new + (0 if known is None else known.tokens)
    return Bound(input_tokens=tokens, price=model.price, model=model.name)


async def call_model(desk: Desk, call: Call, request: ModelRequest) -> ModelResponse:
    """Send a request to a model, paid, recorded, and again after errors that may pass.

    Cancelling it while it waits costs nothing; while it is on its way, it is charged as held.

    Raises:
        BudgetExceeded: The worst case does not fit; nothing was sent.
        ProviderError: The last of the attempts failed, or one in a way that will not pass.
        StoreError: The hold could not be recorded; nothing was sent.
    """
    number = call.requests + 1
    while True:
        try:
            return await _Request(desk, call, number).send(request)
        except ProviderError as error:
            if not _is_tried_again(call.retry, error, number):
                raise
            pause = call.retry.delay(
                number, seed=f"{call.seed}:{call.node}:{call.step}", retry_after=error.retry_after
            )
        with desk.waiting():
            await desk.clock.sleep_until(desk.clock.now() + pause)
        number += 1


def _is_tried_again(retry: Retry, error: ProviderError, number: int) -> bool:
    names = qualified_names(type(error))
    return error.retryable and number < retry.attempts and retry.matches(names, retryable=True)


class _Request:
    """One request of a call, from its hold to its settlement."""

    __slots__ = ("call", "desk", "number", "sent_at", "span")

    def __init__(self, desk: Desk, call: Call, number: int) -> None:
        self.desk = desk
        self.call = call
        self.number = number
        self.sent_at = 0.0
        self.span: ModelSpan | None = None

    async def send(self, request: ModelRequest) -> ModelResponse:
        call = self.call
        with self.desk.waiting():
            held = await hold(
                call.accounts,
                bound(call.model, request, call.known),
                max_output=request.max_output_tokens,
                min_output=call.min_output,
                within=call.within,
            )
        request = replace(request, max_output_tokens=held.max_output)
        await self._record_hold(held)
        self._open_span(request)
        return await self._complete(held, request)

    async def _record_hold(self, held: Hold) -> None:
        """Make the hold durable; it is given back whole where that does not come about."""
        call = self.call
        self.sent_at = self.desk.clock.now()
        try:
            self.desk.record(
                MoneyHeld(
                    at=self.sent_at,
                    node=call.node,
                    attempt=call.attempt,
                    step=call.step,
                    request=self.number,
                    accounts=tuple(account.id for account in call.accounts),
                    held=held.amounts,
                    max_output_tokens=held.max_output,
                    model=call.model.name,
                    provider=call.model.provider,
                )
            )
            await self.desk.flush()
        except StoreError:
            settle(held, NOTHING)
            raise
        except BaseException as error:
            self._settle(held, NOTHING, outcome="cancelled", error=error)
            raise

    async def _complete(self, held: Hold, request: ModelRequest) -> ModelResponse:
        try:
            response = await self._ask(request)
        except BaseException as error:
            charged = _charge(held, error) if isinstance(error, ProviderError) else held.amounts
            outcome: Outcome = "failed" if isinstance(error, Exception) else "cancelled"
            self._settle(held, charged, outcome=outcome, error=error)
            raise
        self._answered(held, response)
        return response

    async def _ask(self, request: ModelRequest) -> ModelResponse:
        model, each = self.call.model, self.call.listening(self.number)
        if each is None or not isinstance(model, StreamingModel):
            return await model.complete(request)
        return await model.stream(request, each)

    def _answered(self, held: Hold, response: ModelResponse) -> None:
        """Settle to the true usage; an answer that tells none is charged as held."""
        usage, price = response.usage, self.call.model.price
        charged = held.amounts
        if usage.total_tokens:
            usd = NOTHING.usd if price is None else price.cost(usage)
            charged = Amounts(usd=usd, tokens=usage.total_tokens, calls=1)
        self._settle(held, charged, response=response)

    def _settle(
        self,
        held: Hold,
        charged: Amounts,
        *,
        response: ModelResponse | None = None,
        outcome: Outcome = "completed",
        error: BaseException | None = None,
    ) -> None:
        """Settle in the accounts, in the history and in the trace, without a single await: so it
        happens even while the task is being cancelled."""
        over = settle(held, charged)
        call, price, at = self.call, self.call.model.price, self.desk.clock.now()
        name = "" if error is None else qualified_name(type(error))
        if self.span is not None:
            self.span.settled(charged=charged, price=price, response=response)
            failed = outcome == "failed"
            self.span.end(at=at, error=name if failed else "", status="" if failed else outcome)
        self.desk.record(
            MoneySettled(
                at=at,
                node=call.node,
                attempt=call.attempt,
                step=call.step,
                request=self.number,
                accounts=tuple(account.id for account in call.accounts),
                charged=charged,
                started_at=self.sent_at,
                usage=Usage() if response is None else response.usage,
                outcome=outcome,
                model=call.model.name,
                provider=call.model.provider,
                basis="" if price is None else price.basis,
                price_version="" if price is None else price.version,
                error=f"{name.rpartition('.')[2]}: {said(error)}" if error is not None else "",
                over=over,
            )
        )

    def _open_span(self, request: ModelRequest) -> None:
        if self.call.span is not None:
            self.span = self.call.span.model(
                model=self.call.model, request=request, number=self.number, at=self.sent_at
            )


def _charge(held: Hold, error: ProviderError) -> Amounts:
    """What a failed request is charged.

    - It never left (``sent`` is false), so it cost nothing.
    - The provider refused it with a status of its own (4xx, 429, 5xx) and sent no completion: it
      bills for none, so the request alone is counted.
    - Anything else (a connection that broke, a timeout, a completion that cannot be read) may have
      been served and billed: what was held is charged, because no bound is lower.
    """
    if not error.sent:
        return NOTHING
    refused = error.status is not None and error.status >= 400
    if refused and not isinstance(error, MalformedResponse):
        return Amounts(calls=1)
    return held.amounts
