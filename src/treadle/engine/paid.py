"""One request to a model as part of a recorded, paid step: permit, hold, record, send, settle.

The order is the wall: a permit is waited for, the worst case is held in every account, ``MoneyHeld``
is flushed, only then is the request sent.  A crash in between leaves a hold without a settlement, which
is charged in full when the run is taken over (``treadle.engine.purse.lost``).  So a request that was
sent is always in the history, and what it may have cost is always counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol

from treadle.budget import NOTHING, Amounts, Bound, Usage
from treadle.engine.charging import charged_for
from treadle.engine.circuit import Turn
from treadle.engine.failures import said
from treadle.engine.gate import Gate, Permit
from treadle.engine.money import Account, Hold, hold, hold_if_free, settle
from treadle.engine.purse import NOT_ASKED, Made
from treadle.engine.retries import Retries
from treadle.errors import CircuitOpen, MalformedResponse, ProviderError, StoreError
from treadle.events import CircuitActed, Event, MoneyHeld, MoneySettled
from treadle.ids import NodeId, StepId
from treadle.interfaces import Clock, Model, ModelSpan, Span, StreamingModel
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.retry import Retry, RetryBudget, qualified_name

PROVIDER_RETRY: Final = Retry(attempts=3)
"""For a model call whose node declares nothing else: 0.5 s and 1 s, with jitter, or Retry-After."""

MIN_OUTPUT: Final = 256
"""The output tokens a tight budget leaves a request at least."""

Outcome = Literal["completed", "failed", "cancelled"]
Acted = Literal["refused", "probed", "opened", "closed"]


def _nobody(request: int) -> None:
    """Nobody listens to a request."""
    del request


def _never(error: ProviderError) -> float | None:
    """No request follows."""
    del error
    return None


class Desk(Protocol):
    """What a model call needs of the engine."""

    @property
    def clock(self) -> Clock: ...

    def record(self, *events: Event, is_last: bool = False) -> None:
        """Append events to the run's history, together; they need not be safe yet.

        Args:
            is_last: Whether no other request of the step follows, so that its end can be appended with it.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was recorded is safe."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait for a permit, for money or between two requests: it counts neither as running seconds
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
        made: What the history shows of this step's requests and tries: they count as attempts.
        gate: Where its requests wait their turn, or ``None`` where nothing limits them.
        retries: What the run has sent again, and may.
        hedge_after: After so many seconds without an answer a second request is sent; ``None`` for never.
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
    made: Made = NOT_ASKED
    gate: Gate | None = None
    retries: Retries = field(default_factory=lambda: Retries(RetryBudget()))
    hedge_after: float | None = None
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


class _End(NamedTuple):
    """How a request ended, and what is charged for it."""

    held: Hold
    charged: Amounts
    response: ModelResponse | None
    outcome: Outcome
    error: str
    why: str
    not_before: float | None
    is_last: bool


class Request:
    """One request of a call, from its permit and its hold to its settlement.

    Args:
        number: Counts the requests of the step.
        is_counted: Whether the run's retry budget was asked for it.
        is_hedge: Whether it is the second of two at once.
        again_at: Says when a request follows on its failure, or ``None`` for none.

    Attributes:
        rival: The other of two at once, where there is one.
        failed_with: The error it ended with.
        on_sent: Told when it goes out.
        sent_at: When it went out.
        is_admitted: Whether it has had its permit and its hold.
        beaten_by: The number of the request that answered in its place, or 0.
    """

    __slots__ = (
        "_end", "_has_ended", "_is_counted", "_is_hedge", "_permit", "again_at", "beaten_by", "call", "desk",
        "failed_with", "is_admitted", "number", "on_sent", "rival", "sent_at", "span",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        call: Call,
        number: int,
        *,
        is_counted: bool = False,
        is_hedge: bool = False,
        again_at: Callable[[ProviderError], float | None] = _never,
    ) -> None:
        self.desk = desk
        self.call = call
        self.number = number
        self.sent_at = 0.0
        self.span: ModelSpan | None = None
        self.is_admitted = False
        self.beaten_by = 0
        self._is_counted = is_counted or is_hedge
        self._is_hedge = is_hedge
        self._has_ended = False
        self._end: _End | None = None
        self.again_at = again_at
        self.rival: Request | None = None
        self.failed_with: ProviderError | None = None
        self.on_sent: Callable[[], None] | None = None
        self._permit: Permit | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether it has its permit and its hold, and has not ended."""
        return self.is_admitted and not self._has_ended

    async def send(self, request: ModelRequest) -> ModelResponse:
        """Wait for a permit and for money, and send it.

        Raises:
            CircuitOpen, BudgetExceeded: Nothing was sent.
            ProviderError: No answer came.
            StoreError: The hold could not be recorded; nothing was sent.
        """
        try:
            return await self._send(await self._admit(request), request)
        finally:
            if self._permit is not None:
                self._permit.leave()

    async def send_if_free(self, request: ModelRequest) -> ModelResponse | None:
        """Send it where a permit and the money for it lie free; else ``None``, at once."""
        try:
            held = self._admit_if_free(request)
            return None if held is None else await self._send(held, request)
        finally:
            if self._permit is not None:
                self._permit.leave()

    async def _admit(self, request: ModelRequest) -> Hold:
        call = self.call
        limit = bound(call.model, request, call.known)
        with self.desk.waiting():
            if call.gate is not None:
                self._permit = await self._enter(call.gate, _most(limit, request))
            return await hold(
                call.accounts,
                limit,
                max_output=request.max_output_tokens,
                min_output=call.min_output,
                within=call.within,
            )

    async def _enter(self, gate: Gate, tokens: int) -> Permit:
        try:
            return await gate.enter(tokens)
        except CircuitOpen as error:
            self.desk.record(self._acted(gate, "refused", wait=error.retry_after))
            raise

    def _admit_if_free(self, request: ModelRequest) -> Hold | None:
        call = self.call
        limit = bound(call.model, request, call.known)
        if call.gate is not None:
            self._permit = call.gate.enter_if_free(_most(limit, request))
            if self._permit is None:
                return None
        return hold_if_free(call.accounts, limit, max_output=request.max_output_tokens, within=call.within)

    async def _send(self, held: Hold, request: ModelRequest) -> ModelResponse:
        self.is_admitted = True
        request = replace(request, max_output_tokens=held.max_output)
        await self._record_hold(held)
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
                    hedge=self._is_hedge,
                )
            )
            if not self._is_counted:
                call.retries.sent(call.node, call.step)
            if call.gate is not None and self._permit is not None and self._permit.is_probe:
                self.desk.record(self._acted(call.gate, "probed"))
            await self.desk.flush()
        except StoreError:
            settle(held, NOTHING)
            raise
        except BaseException as error:
            self._settle(held, NOTHING, outcome="cancelled", error=error)
            raise

    async def _complete(self, held: Hold, request: ModelRequest) -> ModelResponse:
        """Send it; whatever is raised from here on, by a tracer or a bug of a model too, settles the hold."""
        try:
            self._open_span(request)
            if self._permit is not None:
                self._permit.sent()
            if self.on_sent is not None:
                self.on_sent()
            response = await self._ask(request)
            charged = self._taken(held, response)
        except BaseException as error:
            charged = charged_for(held, error) if isinstance(error, ProviderError) else held.amounts
            outcome: Outcome = "failed" if isinstance(error, Exception) else "cancelled"
            self._settle(held, charged, outcome=outcome, error=error)
            if self._permit is not None and isinstance(error, ProviderError):
                self._turned(self._permit.failed(error))
            raise
        self._settle(held, charged, response=response)
        if self._permit is not None:
            self._turned(self._permit.answered(response.usage.total_tokens))
        return response

    async def _ask(self, request: ModelRequest) -> ModelResponse:
        model, each = self.call.model, self.call.listening(self.number)
        if each is None or not isinstance(model, StreamingModel):
            return await model.complete(request)
        return await model.stream(request, each)

    def _taken(self, held: Hold, response: ModelResponse) -> Amounts:
        """The true usage of an answer; one that counts nothing took what was held.

        Raises:
            MalformedResponse: Its usage is none, so nobody knows what it took.
        """
        usage, price = getattr(response, "usage", None), self.call.model.price
        if not isinstance(usage, Usage) or min(usage.input_tokens, usage.output_tokens) < 0:
            raise MalformedResponse(
                f"model {self.call.model.name!r} answered with usage={usage!r}, so the request is charged at "
                "its worst case; let complete() give a ModelResponse with a Usage(...), empty if unknown",
                provider=self.call.model.provider,
            )
        if not usage.total_tokens:
            return held.amounts
        usd = NOTHING.usd if price is None else price.cost(usage)
        return Amounts(usd=usd, tokens=usage.total_tokens, calls=1)

    def _settle(
        self,
        held: Hold,
        charged: Amounts,
        *,
        response: ModelResponse | None = None,
        outcome: Outcome = "completed",
        error: BaseException | None = None,
    ) -> None:
        """Settle without a single await: so it happens even while the task is being cancelled.

        Where the record is kept back until the other of two at once is gone, so is the money: else somebody
        holds it for whom a crash would find none.
        """
        not_before, is_last = self._follows(outcome, error)
        name = "" if error is None else qualified_name(type(error))
        end = _End(held, charged, response, outcome, name, self._why(error, name), not_before, is_last)
        if is_last and self.rival is not None:
            self._end = end
        else:
            self._record_end(end)

    def close(self) -> None:
        """Settle what was kept back, now that the other of two at once is gone."""
        end, self._end = self._end, None
        if end is not None:
            self._record_end(end)

    def _record_end(self, end: _End) -> None:
        """Settle in the accounts, in the history and in the trace."""
        over = settle(end.held, end.charged)
        call, price, at = self.call, self.call.model.price, self.desk.clock.now()
        self.desk.record(
            MoneySettled(
                at=at,
                node=call.node,
                attempt=call.attempt,
                step=call.step,
                request=self.number,
                accounts=tuple(account.id for account in call.accounts),
                charged=end.charged,
                started_at=self.sent_at,
                usage=Usage() if end.response is None else end.response.usage,
                outcome=end.outcome,
                model=call.model.name,
                provider=call.model.provider,
                basis="" if price is None else price.basis,
                price_version="" if price is None else price.version,
                error=end.why,
                over=over,
                not_before=end.not_before,
            ),
            is_last=end.is_last,
        )
        if self.span is not None:
            self.span.settled(charged=end.charged, price=price, response=end.response)
            failed = end.outcome == "failed"
            self.span.end(at=at, error=end.error if failed else "", status="" if failed else end.outcome)

    def _follows(self, outcome: Outcome, error: BaseException | None) -> tuple[float | None, bool]:
        """When the next request follows, and whether none does; where the other of two at once may still
        answer, that is for it to say."""
        self._has_ended, not_before = True, None
        if outcome != "failed":
            return None, outcome == "completed"
        if isinstance(error, ProviderError):
            self.failed_with = error
        if self.rival is not None and self.rival.is_under_way:
            return None, False
        if isinstance(error, ProviderError):
            not_before = self.again_at(error)
        return not_before, not_before is None

    def _why(self, error: BaseException | None, name: str) -> str:
        if self.beaten_by and not isinstance(error, Exception):
            return f"request {self.beaten_by} answered first"
        return f"{name.rpartition('.')[2]}: {said(error)}" if error is not None else ""

    def _turned(self, turn: Turn) -> None:
        """Record what the end of the request did to the model's circuit, if anything."""
        gate = self.call.gate
        if turn and gate is not None:
            wait = gate.circuit.wait(self.desk.clock.now()) if turn == "opened" else None
            self.desk.record(self._acted(gate, turn, wait=wait))

    def _acted(self, gate: Gate, did: Acted, *, wait: float | None = None) -> CircuitActed:
        call, at = self.call, self.desk.clock.now()
        return CircuitActed(
            at=at,
            node=call.node,
            attempt=call.attempt,
            step=call.step,
            request=self.number,
            did=did,
            model=call.model.name,
            provider=call.model.provider,
            until=None if wait is None else at + wait,
            failures=gate.circuit.failures,
        )

    def _open_span(self, request: ModelRequest) -> None:
        if self.call.span is not None:
            self.span = self.call.span.model(
                model=self.call.model, request=request, number=self.number, at=self.sent_at
            )


def _most(limit: Bound, request: ModelRequest) -> int:
    """The tokens a request counts as where a model's tokens are limited; an unknown part as nothing."""
    return (limit.input_tokens or 0) + request.max_output_tokens
