"""A model is asked until it answers: tries, their waits, and two requests at once where that is declared.

The one retry layer for models: clients of providers never retry.  How often a step has tried stands in
the history, and so does what the whole run has sent again, against its retry budget.
"""

from __future__ import annotations

from functools import partial

import anyio

from treadle.engine.body import Call as Step
from treadle.engine.gate import Gate
from treadle.engine.hedging import first_answer, unhedged
from treadle.engine.live import Live
from treadle.engine.money import soft_model
from treadle.engine.paid import PROVIDER_RETRY, Call, Counted, Desk, Request
from treadle.engine.purse import NOT_ASKED, Made
from treadle.errors import CircuitOpen, ProviderError
from treadle.ids import NodeId, StepId
from treadle.messages import ModelRequest, ModelResponse
from treadle.nodes.agent_loop import ModelCall
from treadle.retry import Retry, qualified_names


async def call_model(desk: Desk, call: Call, request: ModelRequest) -> ModelResponse:
    """Send a request to a model, paid, recorded, and again after errors that may pass.

    Cancelling it while it waits costs nothing; while it is on its way, it is charged as held.

    Raises:
        BudgetExceeded: The worst case does not fit; nothing was sent.
        CircuitOpen: The model is left alone for now, and was at the last try; that one was not sent.
        ProviderError: The last of the attempts failed, or one in a way that will not pass.
        StoreError: The hold could not be recorded; nothing was sent.
    """
    number, is_counted = call.made.requests + 1, False
    attempt = _Try(desk, call, call.made.tries + 1, not_before=call.made.not_before)
    while True:
        await attempt.wait()
        first = Request(desk, call, number, is_counted=is_counted, again_at=attempt.again_at)
        hedge = None if call.hedge_after is None else _Hedge(first, call.hedge_after)
        try:
            return await (first if hedge is None else hedge).send(request)
        except ProviderError as error:
            not_before = attempt.again_at(error)
            if attempt.is_refused:
                raise call.retries.spent(error) from error
            if not_before is None:
                raise
            was_sent = not isinstance(error, CircuitOpen)
            is_counted = is_counted or was_sent  # what was counted and then refused is counted still
        number = (first if hedge is None else hedge.last).number + 1
        gate = None if was_sent else call.gate
        attempt = _Try(desk, call, attempt.number + 1, not_before=not_before, gate=gate)


class _Try:
    """One try of a call.

    Args:
        number: Which one it is, from 1.
        not_before: When it begins, or ``None`` for now.
        gate: Where the try before was refused, because its circuit was open: it begins when that closes.

    Attributes:
        is_refused: Whether another one would follow, and the run may send no more again.
    """

    __slots__ = ("_again_at", "_call", "_desk", "_error", "_gate", "_not_before", "is_refused", "number")

    def __init__(
        self, desk: Desk, call: Call, number: int, *, not_before: float | None, gate: Gate | None = None
    ) -> None:
        self.number = number
        self._desk = desk
        self._call = call
        self._not_before = not_before
        self._gate = gate
        self._error: ProviderError | None = None
        self._again_at: float | None = None
        self.is_refused = False

    async def wait(self) -> None:
        """Return when it may begin."""
        if self._not_before is None:
            return
        with self._desk.waiting():
            if self._gate is None:
                await self._desk.clock.sleep_until(self._not_before)
            else:
                await self._gate.wait_for_closing(self._not_before)

    def again_at(self, error: ProviderError) -> float | None:
        """When another try follows, or ``None`` for never; decided once for each error."""
        if self._error is not error:
            self._error, self._again_at = error, None
            if _may_be_tried_again(self._call.retry, error, self.number):
                self._allow(error)
        return self._again_at

    def _allow(self, error: ProviderError) -> None:
        call = self._call
        self.is_refused = not _is_allowed(call, error)
        if not self.is_refused:
            seed = f"{call.seed}:{call.node}:{call.step}"
            pause = call.retry.delay(self.number, seed=seed, retry_after=error.retry_after)
            self._again_at = self._desk.clock.now() + pause


def _may_be_tried_again(retry: Retry, error: ProviderError, tries: int) -> bool:
    names = qualified_names(type(error))
    return error.retryable and tries < retry.attempts and retry.matches(names, retryable=True)


def _is_allowed(call: Call, error: ProviderError) -> bool:
    """Whether the run may send one more again, which is counted then; what was not sent is not sent again."""
    return isinstance(error, CircuitOpen) or call.retries.take()


async def asked_of(
    live: Live, call: Step, callee: ModelCall, key: tuple[NodeId, int, StepId], counted: Counted
) -> Call:
    """What a model step asks: which model, by which policies, and what it has done so far.

    Args:
        call: The step, as its body makes it.
        callee: The model that is declared.
        key: Node, attempt and path of the step.
        counted: The conversations of the attempt.

    Raises:
        ConfigurationError: The declared name leads nowhere.
    """
    accounts = call.inner.accounts if call.inner is not None else ()
    softer = soft_model(accounts, live.now())
    declared, hedge_after = unhedged(softer or callee.policies.model or callee.model)
    model = await live.services.model(declared, live.graph)
    node, attempt, step = key
    made = live.requests_made.get((node, attempt), {}).get(step, NOT_ASKED)
    if call.record is None:  # it has just begun, for the first time or anew
        made = Made(made.requests, 0)
    return Call(
        node=node,
        attempt=attempt,
        step=step,
        model=model,
        accounts=accounts,
        retry=callee.policies.retry or PROVIDER_RETRY,
        seed=live.seed,
        min_output=callee.min_output,
        known=counted.known(model, call.arguments["request"]),
        made=made,
        gate=live.services.gates.of(model),
        retries=live.retries,
        hedge_after=hedge_after,
        span=call.body.span,
        listening=partial(live.services.pieces.teller, live.run_id, node, attempt, step),
    )


class _Hedge:
    """A request, and a second one that is sent where the first takes long.

    Where both fail, the error of the first counts, and the settlement of the last says what follows.

    Args:
        first: The first.
        after: Seconds from its being sent.
    """

    def __init__(self, first: Request, after: float) -> None:
        self._first = first
        self._after = after
        self._sent = anyio.Event()
        again_at = first.again_at
        self._second = Request(
            first.desk,
            first.call,
            first.number + 1,
            is_hedge=True,
            again_at=lambda error: again_at(first.failed_with or error),
        )
        self._second.rival, first.rival = first, self._second
        first.on_sent = self._sent.set

    @property
    def last(self) -> Request:
        """The last that was sent."""
        return self._second if self._second.is_admitted else self._first

    async def send(self, request: ModelRequest) -> ModelResponse:
        """Give the first answer of the two.

        Raises:
            CircuitOpen, BudgetExceeded, ProviderError, StoreError: The first one's.
        """

        async def first() -> ModelResponse:
            response = await self._first.send(request)
            self._second.beaten_by = self._first.number
            return response

        async def second() -> ModelResponse | None:
            await self._sent.wait()
            await self._first.desk.clock.sleep_until(self._first.sent_at + self._after)
            if not self._first.is_under_way:  # it has failed at this very moment
                return None
            response = await self._second.send_if_free(request)
            if response is not None:
                self._first.beaten_by = self._second.number
            return response

        try:
            return await first_answer(first, second, is_sent=lambda: self._second.is_admitted)
        finally:
            self._first.close()
            self._second.close()
