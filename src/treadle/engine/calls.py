"""The calls inside one attempt: made for real, recorded, retried, settled where they are in doubt."""

from __future__ import annotations

import functools
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from treadle.engine import doubts, people, unneeded
from treadle.engine.activity import Activity
from treadle.engine.asking import asked_of, call_model
from treadle.engine.body import Because, Body, Call
from treadle.engine.call_limits import CallLimits, limited
from treadle.engine.desk import Desk, activity_of, end_span, traced
from treadle.engine.failures import error_of, failure_of, is_tried_below, members
from treadle.engine.live import Live
from treadle.engine.money import Account
from treadle.engine.paid import Counted
from treadle.engine.records import NODE, Identity, StepRecord, by_body, is_inside
from treadle.engine.requests import Conversations, pack_and_digest, pack_arguments
from treadle.errors import DidNotHappen, InDoubt, InternalError, ResultRefused, TreadleError
from treadle.events import Event, Failure, StepCompleted, StepFailed
from treadle.ids import NodeId, QuestionId, StepId
from treadle.interfaces import Span
from treadle.messages import ModelRequest, ModelResponse
from treadle.nodes.agent_loop import ModelCall
from treadle.plan.parts import Callee, PlanNode
from treadle.retry import Retry
from treadle.values import Payload

_is_open: Final = operator.attrgetter("is_open")


class Calls:
    """The calls of one attempt.

    Args:
        park: Unwinds the attempt, whose calls all wait for people.

    Attributes:
        records: All calls of the attempt; ``past`` those that had ended when it began here, by body.
        questions: What its calls wait for.
        unneeded: As in ``unneeded.py``.
        is_unwound: Whether it was unwound, to run again on an answer.
        made: How many calls it has made or claimed so far.
    """

    def __init__(
        self,
        live: Live,
        node: NodeId,
        planned: PlanNode,
        number: int,
        started_at: float,
        *,
        park: Callable[[], None],
    ) -> None:
        self.live = live
        self.planned = planned
        self.node = node
        self.number = number
        self.started_at = started_at
        histories = live.histories
        for _, before in histories.replaced(node, number) if number > 1 else ():
            live.claims.add_attempt(before)
        self.records = histories.of(node, number)
        steps = self.records.steps
        self.past: Mapping[str, list[StepRecord]] = by_body(steps.values()) if steps else {}
        self.questions: set[QuestionId] = set()
        self.is_unwound = False
        self.made = 0
        self._park = park
        self._changed: anyio.Event | None = None
        self._raised: list[tuple[BaseException, tuple[StepId, ...]]] = []
        self._root: Body | None = None
        self._begun: dict[StepId, Call] = {}
        self.unneeded: dict[StepId, Callable[[], None]] | None = None
        self._conversations: Conversations | None = None

    @property
    def conversations(self) -> Conversations:
        """How the requests to models are written down."""
        if self._conversations is None:
            self._conversations = Conversations()
        return self._conversations

    @functools.cached_property
    def counted(self) -> Counted:
        """The conversations whose tokens a provider has counted."""
        return Counted()

    def open(self, activity: Activity, accounts: tuple[Account, ...], *, span: Span | None) -> Body:
        """The body of the node itself."""
        self._root = Body(self, "", activity=activity, accounts=accounts, span=span)
        return self._root

    def perform_once(self, body: Body, callee: Callee, arguments: Mapping[str, Any]) -> Awaitable[Any]:
        """Run a node whose body is itself a call that is never silently repeated."""
        payload, inputs = pack_and_digest(callee, arguments)
        identity = Identity(callee.definition.digest, inputs)
        return body.begin(Call(body, callee, arguments, NODE, identity), payload)

    def ended_by(self, error: BaseException) -> tuple[StepId, ...]:
        """The calls whose failures an error is, came from, or is a group of; none: the body raised."""
        found: dict[StepId, None] = {}
        steps = {id(raised): inside for raised, inside in self._raised}
        seen, stack = set[int](), [error]
        while stack:
            current = stack.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            if id(current) in steps:
                found.update(dict.fromkeys(steps[id(current)]))
            else:
                above = current.__cause__ or current.__context__
                stack += [*members(current), *([above] if above is not None else [])]
        return tuple(found)

    def failed(self, record: StepRecord) -> TreadleError:
        """The error of a call whose failure is recorded."""
        if record.failure is None:
            raise InternalError(f"call {record.step!r} has no outcome; please report this")
        error = error_of(record.failure, run_id=self.live.run_id)
        self._raised.append((error, record.ended_by or (record.step,)))
        return error

    # -- making a call -------------------------------------------------------------------------------

    async def make(self, call: Call) -> Any:
        """Run a call that has no recorded outcome, and record how it ends."""
        body = call.body
        body.calls.add(call)
        try:
            with body.activity.call() as activity:
                call.inner = self._inner(call, activity)
                if call.callee.policies.effect == "once":
                    self._begun[call.step] = call
                if call.record is not None and call.record.is_open:
                    return await doubts.settle(self, call)
                return await self.run(call)
        finally:
            body.calls.discard(call)
            if self._changed is not None:
                self.wake()
            if self.unneeded:
                unneeded.stop_all(self)

    def _inner(self, call: Call, activity: Activity) -> Body:
        body, budget = call.body, call.callee.policies.budget
        accounts = call.accounts
        if budget is not None and call.step != NODE:
            accounts = self.live.accounts.nested(accounts, self.node, call.step, budget)
        return Body(
            self,
            call.step,
            activity=activity,
            accounts=accounts,
            span=None if body.span is None else self._open_span(call, body.span),
            call=call,
        )

    async def run(self, call: Call) -> Any:
        """Run a call for real, and record its outcome."""
        started_at = self.live.now()
        await self._begin_safely(call)
        value, failed = None, None
        settled: list[Event] = []
        try:
            value = await self._value(call, settled)
        except Exception as error:
            failed = error
        except BaseException:
            if settled:
                self.live.record(*settled)
            if call.callee.policies.effect == "once" and self._is_acting(call):
                self._record_doubt(call, started_at, doubts.cut_off(self.node, self.number))
            end_span(call, self.live, status="cancelled")
            raise
        if failed is not None:
            return await self._fails(call, started_at, failed, settled)
        return self.returns(call, started_at, value, settled)

    async def _begin_safely(self, call: Call) -> None:
        """Let nothing act whose intent is not safely recorded; cut off meanwhile, it has done nothing."""
        if call.callee.policies.effect != "once":
            return
        try:
            await self.live.log.flush()
        except anyio.get_cancelled_exc_class():
            if not call.may_have_acted:
                tries = self.records.steps[call.step].tries
                self._record_try(call, doubts.not_made(call), tries=tries)
            raise

    def _is_acting(self, call: Call) -> bool:
        record = self.records.steps.get(call.step)
        return record is None or record.is_open

    def _value(self, call: Call, settled: list[Event]) -> Awaitable[Any]:
        """Give what a call comes to; ``settled`` is what is to be recorded with that."""
        if isinstance(call.callee, ModelCall):
            return self._ask_model(call, call.callee, Desk(self.live, call, settled))
        return self._with_retries(call)

    def returns(self, call: Call, started_at: float, value: Any, settled: Sequence[Event] = ()) -> Any:
        """Record what a body returned; where the value is refused the call has failed, but is done."""
        try:
            result = call.callee.result.pack(value)
        except Exception as error:  # a user's validator may raise anything
            raise self.record_failure(call, started_at, doubts.refused(self, call, error), settled) from error
        end_span(call, self.live)
        if not settled and self._is_told_by_node(call):
            record = self.records.steps[NODE]  # as ``Histories`` notes the node's completion
            record.result, record.failure, record.in_doubt, record.not_before = result, None, False, None
        else:
            self._record_result(call, started_at, result, settled)
        return value

    def _is_told_by_node(self, call: Call) -> bool:
        """Whether the node's completion, which follows at once, says that the call returned."""
        if call.step != NODE or call.late:
            return False
        steps = self.records.steps
        return len(steps) == 1 or not any(record.is_open and step for step, record in steps.items())

    async def _fails(self, call: Call, started_at: float, error: Exception, settled: Sequence[Event]) -> Any:
        """Record that a body raised; a call that may have acted all the same is in doubt."""
        if isinstance(error, InDoubt):
            end_span(call, self.live, error=error)
            raise error
        if call.callee.policies.effect != "once" or doubts.did_nothing(self, call, error):
            raise self.record_failure(call, started_at, error, settled) from error
        failure = failure_of(error, node=self.node, attempt=self.number)
        self._record_doubt(call, started_at, failure, self.ended_by(error))
        end_span(call, self.live, error=error)
        if not failure.takeable:
            raise error
        call.error = error
        return await doubts.settle(self, call)

    async def _with_retries(self, call: Call) -> Any:
        """Make a call until it gives something, or has been tried often enough.

        How often it was tried and when it is next stands in the history, as it does for a node.
        """
        retry = call.callee.policies.retry if call.step != NODE else None
        while True:
            record = self.records.steps.get(call.step)
            if record is not None and record.not_before is not None:
                await self._back_off(call, record.not_before)
            try:
                return await self._within_timeout(call)
            except Exception as error:
                failed = error  # what is done about it must not become its context
            await self._settle_inside(call)
            if not self._is_tried_again(call, retry, failed):
                raise failed

    async def _settle_inside(self, call: Call) -> None:
        """Settle what the body of a call left in doubt before its failure counts."""
        left = [one for one in self.in_doubt() if is_inside(one.step, call.step)]
        if left and call.inner is not None:
            await doubts.settle_left(self, left, call.inner, late="body")

    async def _back_off(self, call: Call, not_before: float) -> None:
        with activity_of(call).waiting():
            await self.live.services.clock.sleep_until(not_before)
        await self.begin_again(call, "tried")

    async def begin_again(self, call: Call, because: Because) -> None:
        """Begin a call anew: it claims what its last try had finished inside, and makes again what failed."""
        self.offer_inside(call)
        call.body.record_start(call, pack_arguments(call.callee, call.arguments), because=because)
        if call.inner is not None:
            end_span(call, self.live, status="waiting")  # where it only waited for this
            call.inner = self._inner(call, call.inner.activity)
        await self._begin_safely(call)

    def offer_inside(self, call: Call) -> None:
        """Offer what a call had finished inside to the next go at it."""
        inside = self.live.histories.left_inside(self.node, self.number, call.step)
        if inside is not None:
            self.live.claims.add_attempt(inside)
        self.past = {
            path: records
            for path, records in self.past.items()
            if path != call.step and not is_inside(StepId(path), call.step)
        }

    def _is_tried_again(self, call: Call, retry: Retry | None, error: Exception) -> bool:
        """Record that a try failed where another one follows."""
        record = self.records.steps.get(call.step)
        if retry is None or record is None:
            return False
        wait = self._wait_before_again(call, retry, record.tries + 1, error)
        if wait is not None:
            self._record_try(call, error, tries=record.tries + 1, wait=wait)
            end_span(call, self.live, error=error)
        return wait is not None

    def _record_try(self, call: Call, error: Exception, *, tries: int = 0, wait: float = 0.0) -> None:
        record, inside = self.records.steps[call.step], self.ended_by(error)
        event = doubts.tried(record, error, tries=tries, at=self.live.now(), wait=wait, ended_by=inside)
        self.live.record(event)

    def _wait_before_again(self, call: Call, retry: Retry, tries: int, error: Exception) -> float | None:
        """Seconds to wait before a call is tried again; ``None`` where it is not."""
        if tries >= retry.attempts:
            return None
        failure = failure_of(error, node=self.node, attempt=self.number)
        if not failure.takeable or not retry.matches(failure.types, retryable=failure.retryable):
            return None
        if is_tried_below(call.callee.definition.kind, failure, self.ended_by(error)):
            return None
        if call.callee.policies.effect == "once" and not doubts.did_nothing(self, call, error):
            return None
        return retry.delay(tries, seed=f"{self.live.seed}:{self.node}:{call.step}")

    async def _within_timeout(self, call: Call) -> Any:
        callee, inner = call.callee, call.inner
        if inner is None:
            raise InternalError(f"call {call.step!r} was run before it had a body; please report this")
        if not limited(call, inner):
            value = await self._perform(callee, inner, call.arguments)
            inner.check_all_claimed()
            return value
        value, limits = None, CallLimits(self.live, call, inner)
        with limits.running():
            value = await self._perform(callee, inner, call.arguments)
        if (passed := limits.passed(self.node, self.number)) is not None:
            raise passed
        inner.check_all_claimed()
        return value

    def _perform(self, callee: Callee, inner: Body, arguments: Mapping[str, Any]) -> Awaitable[Any]:
        if inner.span is None:
            return callee.perform(inner, arguments)
        return traced(inner.span, callee.perform, inner, arguments)

    async def _ask_model(self, call: Call, callee: ModelCall, desk: Desk) -> ModelResponse:
        request: ModelRequest = call.arguments["request"]
        asked = await asked_of(self.live, call, callee, (self.node, self.number, call.step), self.counted)
        response = await call_model(desk, asked, request)
        self.counted.add(asked.model, request, response)
        return response

    # -- what is recorded ----------------------------------------------------------------------------

    def _record_result(
        self, call: Call, started_at: float, result: Payload, settled: Sequence[Event]
    ) -> None:
        self.live.record(
            *settled,
            StepCompleted(
                at=self.live.now(),
                node=self.node,
                attempt=self.number,
                step=call.step,
                started_at=started_at,
                result=result,
            ),
        )

    def record_failure(
        self, call: Call, started_at: float, error: Exception, settled: Sequence[Event] = ()
    ) -> TreadleError:
        """Record that a call failed, and did nothing; give the error to raise."""
        failure = failure_of(error, node=self.node, attempt=self.number)
        is_found = call.is_finder and isinstance(error, DidNotHappen)  # by itself, not by a step inside
        inside = () if is_found else self.ended_by(error)
        end_span(call, self.live, error=error)
        if call.late and not isinstance(error, ResultRefused):
            self._record_try(call, error)  # nobody learned of it: as if it had never been made
        else:
            self._record_failed(call, started_at, failure, inside, settled)
        shown = error_of(failure, run_id=self.live.run_id, cause=error)
        self._raised.append((shown, inside or (call.step,)))
        return shown

    def _record_doubt(
        self, call: Call, started_at: float, failure: Failure, inside: tuple[StepId, ...] = ()
    ) -> None:
        self._record_failed(call, started_at, failure, inside, in_doubt=True)

    def _record_failed(
        self,
        call: Call,
        started_at: float,
        failure: Failure,
        inside: tuple[StepId, ...],
        settled: Sequence[Event] = (),
        *,
        in_doubt: bool = False,
    ) -> None:
        self.live.record(
            *settled,
            StepFailed(
                at=self.live.now(),
                node=self.node,
                attempt=self.number,
                step=call.step,
                started_at=started_at,
                failure=failure,
                in_doubt=in_doubt,
                ended_by=inside,
            ),
        )

    # -- in doubt ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of what goes round in circles, now that the attempt is over: then it is freed at once, and
        does not wait for the collector, which looks at everything that lives."""
        self._root, self._park = None, _nothing
        self._begun.clear()
        self._raised.clear()

    @property
    def has_open(self) -> bool:
        """Whether of any effect in it nobody knows how it ended: else there is nothing to settle."""
        return any(map(_is_open, self.records.steps.values()))

    def in_doubt(self) -> list[Call]:
        """The calls of this attempt whose effect is in doubt, as things stand."""
        steps = self.records.steps
        return [call for step, call in self._begun.items() if step in steps and steps[step].is_open]

    @property
    def result(self) -> Payload | None:
        """What a node gave whose body is itself the call, where that is recorded."""
        record = self.records.steps.get(NODE)
        return record.result if record is not None and record.has_ended else None

    async def settle_doubts(self) -> None:
        """Settle the calls in doubt for which nobody has to be waited for, now that the attempt is over."""
        if self._root is not None:
            self._root.activity = Activity()  # nobody counts its seconds any more
            await doubts.settle_left(self, self.in_doubt(), self._root, late="attempt")

    def forgotten(self) -> InDoubt | None:
        """What to say of a call in doubt that the body, run again, did not come to make."""
        open_ = [one for step, one in self.records.steps.items() if one.is_open and step not in self._begun]
        left = [record for record in open_ if not doubts.settle_forgotten(self, record)]
        return doubts.forgotten(self, left[0]) if left else None

    async def ask_about_doubts(self) -> bool:
        """Ask about the calls in doubt; tell whether a person is being asked about each of them."""
        for call in self.in_doubt():
            is_askable = call.callee.policies.in_doubt == "ask" or doubts.finder_of(call.callee) is not None
            if not is_askable or not await people.open_doubt(self, call):
                return False
        return True

    # -- people --------------------------------------------------------------------------------------

    async def ask(self, body: Body, question: Any) -> Any:
        """Ask a person from a body."""
        return await people.ask(self, body, question)

    def wake(self) -> None:
        """Let those who wait for people look again: an answer came, or another call ended."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait_for_people(self) -> None:
        """Return when something changed; unwinds the attempt once all its calls wait for people.

        Two passes through the event loop come first, so that a body whose other branch has just been
        given a result can make its next call.
        """
        changed = self._changed = self._changed or anyio.Event()
        await checkpoint()
        await checkpoint()
        if self._root is not None and self._root.only_asks() and not changed.is_set():
            self.is_unwound = True
            self._park()
        await changed.wait()

    # -- spans ---------------------------------------------------------------------------------------

    def _open_span(self, call: Call, around: Span) -> Span:
        if call.step == NODE or isinstance(call.callee, ModelCall):
            return around
        return around.step(
            kind=call.callee.definition.kind, name=call.callee.name, step=call.step, at=self.live.now()
        )


def _nothing() -> None:
    """Nothing is left to be unwound."""
