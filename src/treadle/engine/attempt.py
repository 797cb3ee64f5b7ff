"""One attempt at a node: its timeout, its running seconds, and how it ends.

A user's code is called here and in ``calls.py``, its errors are asked what they say in ``failures.py``, and
servers of tools, which are anybody's code, are opened in ``sessions.py``; choices on a user's values are
computed here and in ``inner.py``: ``except Exception`` stands nowhere else in this room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from treadle.engine import doubts, unneeded
from treadle.engine.activity import Activity, running
from treadle.engine.calls import Calls
from treadle.engine.desk import traced
from treadle.engine.failures import failure_of, foreign, tell_refusal, tells_to_stop, where
from treadle.engine.live import Live
from treadle.engine.money import Account, out_of_time, seconds_left, timed
from treadle.engine.records import NODE
from treadle.engine.slot import Slot
from treadle.engine.stopwatch import CLOCKS_DIFFER, Limits
from treadle.engine.workspace import Workspace
from treadle.errors import NodeTimeout, ResultRefused, RunError
from treadle.events import AttemptCancelled, AttemptParked, NodeCompleted
from treadle.ids import NodeId
from treadle.interfaces import Span
from treadle.plan.parts import Callee, PlanNode
from treadle.scheduler.commands import StartAttempt
from treadle.values import Payload

_LATE: Final = frozenset({"timeout", "idle"})

Reason = Literal["", "cancelled", "timeout", "idle", "parked"]


def plain_runner(
    index: int,
    function: Callable[..., Awaitable[Any]],
    gather: Callable[[Workspace], Sequence[Any]],
    callee: Callee,
) -> Callable[[Live, Workspace, StartAttempt, Slot], Awaitable[None]]:
    """Make the runner of a node that needs nothing but its arguments: the engine's fast path."""

    pack = callee.result.pack

    async def plain(live: Live, workspace: Workspace, command: StartAttempt, _slot: Slot) -> None:
        now, node = live.now, command.node
        started_at = now()
        try:
            value = await function(*gather(workspace))
            result = pack(value)
        except Exception as error:
            if type(error) is ResultRefused and not where(error):
                tell_refusal(error, callee, node=node, attempt=command.attempt)
            live.attempt_failed(node, command.attempt, started_at, error)
            return
        except BaseException as error:
            failed = foreign(error)
            if failed is None:
                raise
            live.attempt_failed(node, command.attempt, started_at, failed)
            return
        workspace.values[index] = value
        live.take(
            NodeCompleted(at=now(), node=node, attempt=command.attempt, started_at=started_at, result=result)
        )

    return plain


def choose(workspace: Workspace, index: int) -> tuple[int, Exception | None]:
    """Compute a choice on values: the case, or -1 and what a comparison or a read raised."""
    try:
        return workspace.choose(index), None
    except Exception as error:  # a user's ``__eq__`` or property may raise anything
        return -1, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is the same for all attempts at a node.

    Attributes:
        arguments: Gives what its body is called with, by parameter, defaults included.
        is_limited: Whether its time is: by its own policies, or by seconds of an account above it.
    """

    index: int
    node: PlanNode
    callee: Callee
    arguments: Callable[[Workspace], dict[str, Any]]
    is_limited: bool


async def run_attempt(
    task: Task, live: Live, workspace: Workspace, command: StartAttempt, slot: Slot
) -> None:
    """Run a node's body with all that its declaration asks for, and feed how it ended."""
    attempt = Attempt(task, live, workspace, command, slot)
    slot.command = None  # where it is stopped, the attempt says so
    live.running[attempt.node] = attempt
    if command.only_settles:
        attempt.let_go()
    is_left = False
    try:
        await attempt.run()
        if slot.stopped is None:
            await attempt.end()
        else:
            is_left = True  # to the worker, which concludes it outside of its scope
    finally:
        if not is_left:
            attempt.close()


class Attempt:
    """One try at a node.

    Args:
        slot: The worker it runs in, which is stopped with it.

    Attributes:
        reason: Why it was stopped by us, if it was.
        calls: The calls inside it.
    """

    def __init__(
        self, task: Task, live: Live, workspace: Workspace, command: StartAttempt, slot: Slot
    ) -> None:
        self.live = live
        self.task = task
        self.workspace = workspace
        self.node: NodeId = command.node
        self.number = command.attempt
        self.started_at: float = live.now()
        self.reason: Reason = ""
        self.span: Span | None = None
        self.calls = Calls(live, self.node, task.node, self.number, self.started_at, park=self._park)
        self._limits: Limits | None = None
        self._slot: Slot | None = slot
        self._settling: anyio.CancelScope | None = None
        self._result: Payload | None = None
        self._error: Exception | None = None
        self._is_cut_off = False

    async def run(self) -> None:
        """Run to an outcome, for ``end``; never raises what the body raised."""
        live = self.live
        self.span = live.open_span(self.node, self.task.node, self.number, self.started_at)
        try:
            accounts = live.accounts.path(self.node)
            if self.task.is_limited:
                self._result = await self._within_limits(accounts)
            else:
                self._result = await self._perform(Activity(), accounts)
        except Exception as raised:
            self._error = raised
        except BaseException as raised:
            if self.reason and not tells_to_stop(raised):
                self._is_cut_off = True  # what else it raises then is of no account
                return
            self._error = foreign(raised)
            if self._error is None:
                raise

    async def end(self) -> None:
        """Feed the outcome: outside of the worker's scope, where it was stopped."""
        self._slot = None
        if self._is_cut_off:
            await checkpoint_if_cancelled()  # the whole run may be stopped too: then nothing more is fed
        result, error = self._result, self._error
        if not self.reason and self._limits is not None:
            self.reason = self._limits.broken
        if result is not None and (not self.reason or self._counts_late()):
            await self._end(result, None)
        elif self.reason == "parked":
            self._parked()
        elif self.reason == "cancelled":
            self._cancelled()
        else:
            await self._end(None, self._timed_out(error) if self.reason in _LATE else error)

    def cancel(self, reason: Reason = "cancelled") -> None:
        """Stop it; it then feeds how it ended."""
        if self.reason:
            return
        self.reason = reason
        if self._slot is not None:
            self._slot.stop(self)
        elif self._settling is not None:
            self._settling.cancel()

    def close(self) -> None:
        """Let go of it, now that it is over."""
        if self.live.running.get(self.node) is self:
            del self.live.running[self.node]
        self.calls.close()
        self._error = None

    def let_go(self) -> None:
        """Stop it, because nobody needs it any more, once nothing acts in it that must not be cut off."""
        unneeded.let_go(self.calls, NODE, self._stop)

    def _stop(self) -> None:
        if self.calls.result is None:  # else its completion follows at once
            self.cancel()

    def _counts_late(self) -> bool:
        """Whether a body that returned counts: a timed-out one does not, unless it acted for good."""
        return self.reason not in _LATE or self.task.callee.policies.effect == "once"

    async def _within_limits(self, accounts: tuple[Account, ...]) -> Payload | None:
        """Count running seconds, and stop the attempt when its own or an account's are used up."""
        meters, policies = timed(accounts), self.task.callee.policies
        timeout, idle = policies.timeout, policies.idle
        if policies.effect == "once":  # they are the call's own
            timeout = idle = None
        watch = self._limits = Limits(
            self.live.services.time,
            timeout=timeout,
            idle=idle,
            left=lambda: seconds_left(meters, self.live.now()),
        )
        result = None
        with watch.running(), running(meters, self.live.services.clock, watch.pause, watch.stir) as activity:
            spent = out_of_time(meters, self.started_at)
            if spent is not None:
                raise spent
            result = await self._perform(activity, accounts)
        return result  # noqa: RET504 - there is none where a limit has cut the body off

    async def _perform(self, activity: Activity, accounts: tuple[Account, ...]) -> Payload:
        callee, span = self.task.callee, self.span
        arguments = self.task.arguments(self.workspace)
        body = self.calls.open(activity, accounts, span=span)
        result = None
        if callee.policies.effect == "once":
            once = self.calls.perform_once
            value = await (
                once(body, callee, arguments) if span is None else traced(span, once, body, callee, arguments)
            )
            result = self.calls.result  # what the call was recorded with
        else:
            perform = callee.perform
            value = await (
                perform(body, arguments) if span is None else traced(span, perform, body, arguments)
            )
            body.check_all_claimed()
        if result is None:
            result = self._packed(value)
        self.workspace.values[self.task.index] = value
        return result

    def _packed(self, value: Any) -> Payload:
        callee = self.task.callee
        try:
            return callee.result.pack(value)
        except ResultRefused as error:
            tell_refusal(error, callee, node=self.node, attempt=self.number)
            raise

    def _park(self) -> None:
        self.cancel("parked")

    def _completed(self, result: Payload) -> None:
        live = self.live
        if self.span is not None:
            live.end_span(self.span)
        live.feed(
            NodeCompleted(
                at=live.now(),
                node=self.node,
                attempt=self.number,
                started_at=self.started_at,
                result=result,
            )
        )
        live.histories.forget(self.node, self.number)

    def _cancelled(self) -> None:
        self._end_span(status="cancelled")
        live = self.live
        live.claims.add_attempt(live.histories.of(self.node, self.number))
        live.feed(
            AttemptCancelled(at=live.now(), node=self.node, attempt=self.number, started_at=self.started_at)
        )

    def _parked(self) -> None:
        self._end_span(status="waiting")
        self.live.feed(
            AttemptParked(
                at=self.live.now(),
                node=self.node,
                attempt=self.number,
                questions=tuple(sorted(self.calls.questions)),
                in_doubt=unneeded.is_acting(self.calls.records.steps),
            )
        )

    def _timed_out(self, error: Exception | None) -> Exception:
        within = CLOCKS_DIFFER if self._limits is not None and self._limits.is_cut else 0.0
        spent = out_of_time(self.live.accounts.path(self.node), self.live.now(), within=within)
        if spent is not None:
            return spent
        seconds = self.live.now() - self.started_at
        mend = "raise its timeout, or give it less to do"
        if self.reason == "idle":
            idle = self.task.callee.policies.idle
            mend = f"it gave no sign of life for {idle:g} s; call ctx.progress(...), or raise its idle"
        late = NodeTimeout(
            f"node {self.node!r} (attempt {self.number}) was stopped after {seconds:.2f} s; {mend}",
            run_id=self.live.run_id,
            node=self.node,
            attempt=self.number,
        )
        late.__cause__ = error
        return late

    async def _end(self, result: Payload | None, error: Exception | None) -> None:
        """Complete or fail; but first settle what effects are left in doubt, or ask about them: nobody takes
        a failure, nor a result, behind which something may have happened."""
        if self.calls.has_open:
            settled = await self._settled(result, error)
            if settled is None:
                return
            result, error = settled
        if result is None:
            self._failed(error)
        else:
            self._completed(result)

    async def _settled(
        self, result: Payload | None, error: Exception | None
    ) -> tuple[Payload | None, Exception | None] | None:
        """What the attempt comes to; ``None`` where it was cancelled meanwhile, or waits for people."""
        if self.calls.in_doubt() and (error is None or self._takeable(error)):
            if await self._is_cancelled_while_settling():
                self._cancelled()
                return None
            left = self.calls.in_doubt()
            if left and await self.calls.ask_about_doubts():
                self._parked()
                return None
            if left:
                doubt = doubts.doubt(self.calls, left[0])
                doubt.__cause__, error, result = error, doubt, None
            elif result is None and (result := self.calls.result) is not None:
                self.workspace.values[self.task.index] = self.task.callee.result.unpack(result)
        forgotten = self.calls.forgotten()
        if forgotten is not None and (error is None or self._takeable(error)):
            forgotten.__cause__, error, result = error, forgotten, None
        return result, error

    def _takeable(self, error: Exception) -> bool:
        return failure_of(error, node=self.node, attempt=self.number).takeable

    async def _is_cancelled_while_settling(self) -> bool:
        """Settle what needs nobody, out of the time of the attempt, which is over."""
        self.reason, self._settling = "", anyio.CancelScope()
        with self._settling:
            await self.calls.settle_doubts()
        return self._settling.cancelled_caught

    def _failed(self, error: Exception | None) -> None:
        if error is None:
            error = RunError(f"node {self.node!r} ended without a result")
        self._end_span(error=error)
        self.live.attempt_failed(
            self.node, self.number, self.started_at, error, ended_by=self.calls.ended_by(error)
        )

    def _end_span(self, *, error: BaseException | None = None, status: str = "") -> None:
        if self.span is not None:
            self.live.end_span(self.span, error=error, status=status)
