"""Effects in doubt: calls that began, and whose body nobody saw return; what settles them.

A call in doubt is settled by its policy alone: a person says what happened, a function finds out, it is
made again under its idempotency key, or it stays in doubt and fails with ``InDoubt``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, Protocol

from treadle.engine import people
from treadle.engine.body import Because, Body, Call
from treadle.engine.desk import activity_of
from treadle.engine.failures import error_of, failure_of
from treadle.engine.records import Identity, StepRecord, was_cut_off
from treadle.engine.requests import pack_and_digest
from treadle.errors import (
    DidNotHappen,
    InDoubt,
    InternalError,
    NodeTimeout,
    ProviderError,
    ResultRefused,
    RunError,
    TreadleError,
)
from treadle.events import Failure, StepCompleted, StepTried
from treadle.ids import NodeId, StepId
from treadle.nodes.tool import Tool
from treadle.plan.parts import Callee
from treadle.retry import Retry, qualified_name
from treadle.values import Payload, canonical

Steps = tuple[StepId, ...]

_NOT_DONE: Final = qualified_name(DidNotHappen)


class Maker(people.Asker, Protocol):
    """The attempt a call in doubt belongs to."""

    async def make(self, call: Call) -> Any:
        """Run a call that has no recorded outcome, and record how it ends."""
        ...

    async def run(self, call: Call) -> Any:
        """Run a call for real, and record its outcome."""
        ...

    async def begin_again(self, call: Call, because: Because) -> None:
        """Record that a call is about to be made again, and let it claim what it had finished inside."""
        ...

    def returns(self, call: Call, started_at: float, value: Any) -> Any:
        """Record what a call gave."""
        ...

    def record_failure(self, call: Call, started_at: float, error: Exception) -> TreadleError:
        """Record that a call failed and did nothing; give the error to raise."""
        ...

    def ended_by(self, error: BaseException) -> Steps:
        """The calls whose failures an error is, came from, or is a group of; none: the body raised."""
        ...


def did_nothing(maker: Maker, call: Call, error: Exception) -> bool:
    """Whether an error is declared to mean that a ``once`` call did nothing, or says so itself.

    What is declared is said of the errors that its body raises: not of our own cutting it off, nor of a
    step that failed inside it, before which it may have acted.
    """
    if isinstance(error, DidNotHappen):
        return True
    retry = call.callee.policies.retry
    if retry is None or not retry.on or isinstance(error, NodeTimeout) or maker.ended_by(error):
        return False
    return retry.matches(failure_of(error, node=maker.node, attempt=maker.number).types, retryable=False)


async def settle(maker: Maker, call: Call) -> Any:
    """Go on with a call that may have acted, as its policy says.

    Raises:
        InDoubt: It stays in doubt.
        TreadleError: It is known now that it did not happen, and why it failed.
    """
    record = maker.records.steps.get(call.step)
    if record is None:
        raise InternalError(f"call {call.step!r} is in doubt, but was never begun; please report this")
    policy, finder = call.callee.policies.in_doubt, finder_of(call.callee)
    if finder is not None:
        return await _find_out(maker, call, record, finder)
    if policy == "retry":
        return await _repeat(maker, call, record)
    if policy == "fail":
        raise doubt(maker, call) from call.error
    return await _ask(maker, call)


def settle_forgotten(maker: Maker, record: StepRecord) -> bool:
    """Settle a call by what a person has said, though the body, run again, did not come to make it.

    So it is where the body was cut short before: by a step that failed beside it.
    """
    live, said = maker.live, maker.live.questions.said_of(record.node, record.step)
    if said is None or said.opening <= record.again:
        return False
    answer = people.read_doubt(said.value)
    if answer.outcome == "run_again":
        return False
    started_at = record.started_at
    if answer.outcome == "happened":
        result = Payload(data=canonical(answer.result))
        done = StepCompleted(
            at=live.now(),
            node=record.node,
            attempt=record.attempt,
            step=record.step,
            started_at=started_at,
            result=result,
        )
        live.record(done)
    else:
        error = DidNotHappen(f"{record.callee!r} did not happen: a person said so")
        live.record(tried(record, error, tries=0, at=live.now()))
    return True


def tried(
    record: StepRecord, error: Exception, *, tries: int, at: float, wait: float = 0.0, ended_by: Steps = ()
) -> StepTried:
    """The event of a try at a call that failed and did nothing."""
    return StepTried(
        at=at,
        node=record.node,
        attempt=record.attempt,
        step=record.step,
        tries=tries,
        failure=failure_of(error, node=record.node, attempt=record.attempt),
        not_before=at + wait,
        ended_by=ended_by,
    )


def forgotten(maker: Maker, record: StepRecord) -> InDoubt:
    """The error of a body that ended without making a call again that is in doubt."""
    return InDoubt(
        f"{record.callee!r} began in node {record.node!r}, nobody recorded how it ended, and the body did "
        f"not make it again; find out under its idempotency key {record.idempotency_key}, and undo the edit",
        step=record.step,
        idempotency_key=record.idempotency_key,
        run_id=maker.live.run_id,
        node=record.node,
    )


def finder_of(callee: Callee) -> Callee | None:
    """The function that finds out what happened, where the callee has one."""
    return callee.finder if isinstance(callee, Tool) else None


def doubt(maker: Maker, call: Call) -> InDoubt:
    """The error that says so."""
    record = maker.records.steps.get(call.step)
    ended = None if record is None else record.failure
    how = "nobody recorded how it ended"
    if ended is not None:
        how = f"ended with {ended.type}: {ended.message}, which does not tell whether it happened"
    return InDoubt(
        f"{call.callee.name!r}, called in node {maker.node!r}, began and {how}; "
        f"find out under its idempotency key {call.key}, or declare @tool(in_doubt='ask')",
        step=call.step,
        idempotency_key=call.key,
        run_id=maker.live.run_id,
        node=maker.node,
    )


def refused(maker: Maker, call: Call, error: Exception) -> ResultRefused:
    """The error of a call that returned, and is done, but with what cannot be taken."""
    name, why = call.callee.name, f"{type(error).__name__}: {error}"
    if isinstance(error, ResultRefused):
        why = str(error)
    told = f"what {name!r}"
    if call.callee.policies.effect == "once":
        told = f"{name!r} has acted, so do not call it again; what it"
    return ResultRefused(
        f"{told} returned in node {maker.node!r} (attempt {maker.number}) is refused: {why}",
        run_id=maker.live.run_id,
        node=maker.node,
        attempt=maker.number,
    )


def cut_off(node: NodeId, number: int) -> Failure:
    """How a call is recorded that was stopped from outside while it acted."""
    return Failure(
        types=(qualified_name(InDoubt),),
        message="the call was cut off before it returned",
        node=node,
        attempt=number,
        retryable=False,
        takeable=False,
    )


# -- a person says so ------------------------------------------------------------------------------------


async def _ask(maker: Maker, call: Call) -> Any:
    if call.late == "attempt":
        answer = people.said_about_doubt(maker, call)
    else:
        answer = await people.ask_about_doubt(maker, call)
    if answer is None:
        raise doubt(maker, call) from call.error
    if answer.outcome == "run_again":
        return await _make_again(maker, call, "answer")
    started_at = maker.live.now()
    if answer.outcome == "did_not_happen":
        error = DidNotHappen(f"{call.callee.name!r} did not happen: a person said so")
        raise maker.record_failure(call, started_at, error)
    return maker.returns(call, started_at, call.callee.result.adapter.validate_python(answer.result))


# -- it is made again ------------------------------------------------------------------------------------


async def _repeat(maker: Maker, call: Call, record: StepRecord) -> Any:
    """Make a call again under its key, as often as its ``Retry`` says (3 without), a crash not counted."""
    error = error_in(maker, record)
    if error is not None and not await _wait_for_try(
        maker, call, record, call.callee.policies.retry or Retry()
    ):
        raise doubt(maker, call) from (call.error or error)
    return await _make_again(maker, call, "policy")


async def _wait_for_try(maker: Maker, call: Call, record: StepRecord, retry: Retry) -> bool:
    """Wait for the time of the next try, counted from the end of the last; ``False`` where there is none."""
    if record.tries >= retry.attempts:
        return False
    wait = retry.delay(record.tries, seed=f"{maker.live.seed}:{maker.node}:{call.step}")
    with activity_of(call).waiting():
        await maker.live.services.clock.sleep_until(record.ended_at + wait)
    return True


async def _make_again(maker: Maker, call: Call, because: Because) -> Any:
    await maker.begin_again(call, because)
    return await maker.run(call)


def error_in(maker: Maker, record: StepRecord) -> TreadleError | None:
    """What a call in doubt raised; ``None`` where it died with its process or was cut off."""
    if record.failure is None or was_cut_off(record.failure):
        return None
    return error_of(record.failure, run_id=maker.live.run_id)


# -- a function finds out --------------------------------------------------------------------------------


async def _find_out(maker: Maker, call: Call, record: StepRecord, finder: Callee) -> Any:
    """Let a function say what happened; where it cannot, a person is asked.

    What is known not to have happened goes on as if that had been known at once: cut off by a crash it
    is made, after an error it is tried again as often as its ``Retry`` says, and else fails with it.
    """
    if record.finding is None:
        await _look(maker, call, record, finder)
    found = record.finding
    if isinstance(found, StepCompleted):
        return maker.returns(call, found.started_at, call.callee.result.unpack(found.result))
    if found is None or found.ended_by or found.failure.types[:1] != (_NOT_DONE,):
        return await _ask(maker, call)
    error = error_in(maker, record)
    retry = call.callee.policies.retry or Retry(attempts=1)
    if not call.late and (error is None or await _wait_for_try(maker, call, record, retry)):
        return await _make_again(maker, call, "found")
    raise maker.record_failure(call, record.started_at, call.error or error or not_made(call))


async def _look(maker: Maker, call: Call, record: StepRecord, finder: Callee) -> None:
    """Call the function as a step of its own; what it says is recorded, and noted on the call's record."""
    if call.inner is None:
        raise InternalError(f"call {call.step!r} is looked into before it has a body; please report this")
    prefix = f"{call.step}/" if call.step else ""
    step = StepId(f"{prefix}doubt:{record.findings + 1}")
    payload, inputs = pack_and_digest(finder, call.arguments)
    identity = Identity(finder.definition.digest, inputs)
    looking = Call(call.inner, finder, call.arguments, step, identity)
    looking.is_finder, looking.kept_key = True, call.key
    looking.record = maker.records.steps.get(step)
    if looking.record is None:
        call.inner.record_start(looking, payload)
    try:
        await maker.make(looking)
    except TreadleError:
        if record.finding is None:  # a mistake in the program, or a fault of the store
            raise


def not_made(call: Call) -> DidNotHappen:
    """The error of a call that was cut off and is known to have done nothing."""
    return DidNotHappen(f"{call.callee.name!r} was cut off, and did not happen")


# -- when nobody waits for the call any more -------------------------------------------------------------


async def settle_left(
    maker: Maker, calls: Iterable[Call], body: Body, *, late: Literal["body", "attempt"]
) -> None:
    """Settle calls that a body left in doubt: it was cut off, or went on without them.

    What happened is claimed by whoever makes the call next; what did not is as if it had never been made.
    Where the attempt is over too nobody can wait for a person: what needs one stays in doubt.

    Args:
        maker: The attempt.
        calls: In the order in which they were made.
        body: The body around them that is still there.
        late: What is over.

    Raises:
        InDoubt: One stays in doubt, and the attempt goes on.
    """
    for call in calls:
        call.record, call.late, call.body = maker.records.steps[call.step], late, body
        try:
            await maker.make(call)
        except (RunError, ProviderError) as error:
            if late == "body" and maker.records.steps[call.step].is_open:
                raise error
