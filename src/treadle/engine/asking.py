"""A model is asked until it answers: tries, their waits, and two requests at once where that is declared.

The one retry layer for models: clients of providers never retry.  How often a step has tried stands in
the history, and so does what the whole run has sent again, against its retry budget.
"""

from __future__ import annotations

from functools import partial

import anyio

from treadle.engine.body import Call as Step
from treadle.engine.hedging import first_answer, unhedged
from treadle.engine.live import Live
from treadle.engine.money import soft_model
from treadle.engine.paid import NOT_ASKED, PROVIDER_RETRY, Call, Counted, Desk, Request
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
    number, tries, is_counted = call.made.requests + 1, call.made.tries + 1, False
    while True:
        first = Request(desk, call, number, is_counted=is_counted)
        hedge = None if call.hedge_after is None else _Hedge(first, call.hedge_after)
        try:
            return await (first if hedge is None else hedge).send(request)
        except ProviderError as error:
            if not _may_be_tried_again(call.retry, error, tries):
                raise
            if not _is_allowed(call, error):
                raise call.retries.spent(error) from error
            is_counted = not isinstance(error, CircuitOpen)
            pause = call.retry.delay(
                tries, seed=f"{call.seed}:{call.node}:{call.step}", retry_after=error.retry_after
            )
        with desk.waiting():
            await desk.clock.sleep_until(desk.clock.now() + pause)
        number, tries = (first if hedge is None else hedge.last).number + 1, tries + 1


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
        made=live.requests_made.get(key, NOT_ASKED),
        gate=live.services.gates.of(model),
        retries=live.retries,
        hedge_after=hedge_after,
        span=call.body.span,
        listening=partial(live.services.pieces.teller, live.run_id, node, attempt, step),
    )


class _Hedge:
    """A request, and a second one that is sent where the first takes long.

    Args:
        first: The first.
        after: Seconds from its being sent.
    """

    def __init__(self, first: Request, after: float) -> None:
        self._first = first
        self._after = after
        self._sent = anyio.Event()
        self._second = Request(first.desk, first.call, first.number + 1, is_hedge=True)
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
            response = await self._second.send_if_free(request)
            if response is not None:
                self._first.beaten_by = self._second.number
            return response

        return await first_answer(first, second, is_sent=lambda: self._second.is_admitted)
