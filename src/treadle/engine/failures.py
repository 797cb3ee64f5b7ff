"""Errors to their durable form and back."""

from __future__ import annotations

import functools
import math
import os
import sysconfig
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, Literal, cast

import anyio
from pydantic import ValidationError

from treadle import errors
from treadle.events import CancelRequested, Failure, RunEnded
from treadle.failure import read, written
from treadle.ids import NodeId, StepId
from treadle.nodes.tool_schema import complaints
from treadle.plan.parts import Callee, PlanNode
from treadle.plan.where import defined_at
from treadle.retry import qualified_name
from treadle.values import Codec

_NEVER_RETRIED: Final = (
    *errors.NEVER_TAKEN,
    errors.StoreError,
    errors.BudgetExceeded,
    errors.ResultRefused,
    errors.ReadFailed,
    errors.WiringError,
    errors.ConfigurationError,
    errors.AgentStopped,
)
_KEPT: Final = (
    "deaths",
    "provider", "status", "retryable", "account", "measure", "limit", "held", "spent", "needed", "step",
    "idempotency_key", "server", "tool", "rounds", "last",
)  # fmt: skip
_PROVIDER: Final = qualified_name(errors.ProviderError)
_OURS: Final = __name__.partition(".")[0]


def failure_of(error: BaseException, *, node: str, attempt: int) -> Failure:
    """Put an error into the form that is recorded: classes, words, the line of the user's code.

    A group with one error inside is that error; of several, one that nobody may take goes before.
    """
    error = leading(error)
    recorded = getattr(error, "failure", None)
    if isinstance(error, errors.NodeFailed) and isinstance(recorded, Failure):
        return recorded
    retry_after = getattr(error, "retry_after", None)
    return Failure(
        types=tuple(qualified_name(c) for c in type(error).__mro__ if c not in (object, BaseException)),
        message=said(error) or type(error).__name__,
        node=NodeId(node),
        attempt=attempt,
        where=where(error),
        retryable=_is_retryable(error),
        takeable=not isinstance(error, errors.NEVER_TAKEN),
        retry_after=retry_after if isinstance(retry_after, int | float) else None,
        details=dict(_details(error)) if isinstance(error, errors.TreadleError) else {},
    )


def is_tried_below(kind: str, failure: Failure, ended_by: Sequence[StepId]) -> bool:
    """Whether what failed are requests that a node's own ``Retry`` has tried again already.

    An agent's retry is that of its requests, so that there is one retry layer.
    """
    return kind == "agent" and bool(ended_by) and _PROVIDER in failure.types


def failure_of_attempt(
    error: BaseException, planned: PlanNode | None, *, node: str, attempt: int, ended_by: Sequence[StepId]
) -> Failure:
    """What ``failure_of`` gives; final where the attempt's own requests have been tried again already."""
    failure = failure_of(error, node=node, attempt=attempt)
    is_final = planned is not None and is_tried_below(planned.kind, failure, ended_by)
    return replace(failure, is_final=True) if is_final else failure


def stopped_by(error: BaseException, run_id: str) -> BaseException:
    """What those who wait for a run are told of an error that stopped it: a bug of ours by that name."""
    if isinstance(error, errors.TreadleError) or not isinstance(error, Exception):
        return error
    return errors.InternalError(
        f"run {run_id!r} was stopped by a fault of Treadle's own, {type(error).__name__}: {said(error)}; "
        "what is recorded is intact; please report this"
    )


@contextmanager
def faults_told(run_id: str) -> Generator[None]:
    """Around work on one run within a task of others: what stops it is an error of ours, at worst a bug's."""
    try:
        yield
    except errors.TreadleError:
        raise
    except Exception as error:
        raise stopped_by(error, run_id) from error


def foreign(error: BaseException) -> Exception | None:
    """The failure of a body that raised what is no ``Exception``, or awaited what others cancelled.

    ``None`` where the error goes on its way: the body is cancelled itself, or the process is told to stop.
    """
    if tells_to_stop(error):
        return None
    inside, cancelled = tuple(_leaves(error)), anyio.get_cancelled_exc_class()
    if not any(isinstance(one, cancelled) for one in inside):
        failed = RuntimeError(f"the body raised {type(error).__name__}, which is no Exception: {said(error)}")
    elif inside == (error,) and anyio.current_effective_deadline() != -math.inf:
        failed = RuntimeError("what the body awaited was cancelled by others; catch that where it may happen")
    else:
        return None
    failed.__cause__ = error
    return failed


def tells_to_stop(error: BaseException) -> bool:
    """Whether an error, alone or among others, tells the process to stop, or closes a coroutine."""
    return any(isinstance(one, KeyboardInterrupt | SystemExit | GeneratorExit) for one in _leaves(error))


def said(error: BaseException) -> str:
    """What an error says, as text that can be stored: a user's class may fail at saying anything."""
    try:
        text = str(error)
    except Exception as failed:
        return f"{type(error).__name__} (its text cannot be read: {type(failed).__name__})"
    return storable(text)


def storable(text: str) -> str:
    """A text for people with what is not Unicode written out, such as in the name of a file."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _is_retryable(error: BaseException) -> bool:
    if inside := members(error):
        return all(_is_retryable(one) for one in inside)
    recorded = getattr(error, "failure", None)
    if isinstance(error, errors.NodeFailed) and isinstance(recorded, Failure):
        return recorded.retryable
    retryable = getattr(error, "retryable", None)
    return not isinstance(error, _NEVER_RETRIED) if retryable is None else bool(retryable)


def leading(error: BaseException) -> BaseException:
    """The error a group of them comes down to, as a body's task group raises it."""
    inside = tuple(_leaves(error))
    if len(inside) == 1:
        return inside[0]
    return next((one for one in inside if isinstance(one, errors.NEVER_TAKEN)), error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    inside = members(error)
    if not inside:
        yield error
    for one in inside:
        yield from _leaves(one)


def _details(error: BaseException) -> Iterator[tuple[str, str | int | float | bool | None]]:
    for name in _KEPT:
        value = getattr(error, name, None)
        if isinstance(value, Decimal):
            yield name, str(value)
        elif isinstance(value, str | int | float | bool):
            yield name, value
    if isinstance(error, errors.AllFailed) and error.failures:
        yield "failures", written(error.failures)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """The errors inside a group; none for any other error."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def tell_refusal(error: errors.ResultRefused, callee: Callee, *, node: str, attempt: int) -> None:
    """Write into the refusal of what a body returned which body that was."""
    function = getattr(callee, "function", None)
    place = "" if function is None else f", {defined_at(function)}"
    error.args = (f"node {node!r} (attempt {attempt}){place}: its result is refused: {error}",)
    error.node, error.attempt = node, attempt


def innermost(error: BaseException) -> BaseException:
    """The first single error inside nested groups: what a group of our own tasks comes down to."""
    while inside := members(error):
        error = inside[0]
    return error


def where(error: BaseException) -> str:
    """``file:line`` of the innermost frame of the user's code; ``""`` where there is none.

    Code that is installed as a package counts where no other of the user's has called it, but never behind
    the error of a provider: what stands there is its library.
    """
    found: dict[_Code, str] = {}
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = _code_of(str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_frame.f_code.co_filename)
        found[code] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    installed = "" if isinstance(error, errors.ProviderError) else found.get("installed", "")
    return found.get("user's", installed)


_Code = Literal["user's", "installed", "neither"]
_LIBRARY: Final = (sysconfig.get_path("stdlib") + os.sep, str(PurePath(os.__file__).parent) + os.sep)
_BETWEEN: Final = ("anyio", "asyncio", "trio", "pydantic", "pydantic_core")


@functools.lru_cache(maxsize=4096)
def _code_of(module: str, file: str) -> _Code:
    """Whose code a frame runs."""
    package = module.partition(".")[0]
    if package == _OURS or package in _BETWEEN or file.startswith("<frozen "):
        return "neither"
    if {"site-packages", "dist-packages"} & set(PurePath(file).parts):
        return "installed"
    return "neither" if file.startswith(_LIBRARY) else "user's"


def error_of(failure: Failure, *, run_id: str, cause: BaseException | None = None) -> errors.TreadleError:
    """Give the error a caller sees: our own classes as themselves, a user's error as ``NodeFailed``.

    Args:
        failure: What was recorded.
        run_id: The run, for the error's attribute.
        cause: The original error, where this process still has it.
    """
    cause = None if cause is None else leading(cause)
    if isinstance(cause, errors.TreadleError) and not isinstance(cause, errors.NodeFailed):
        return _placed(cause, failure, run_id)
    build = _BUILDERS.get(failure.types[0] if failure.types else "")
    if build is not None:
        built: errors.TreadleError = build(failure, run_id)
        return built
    at = f" at {failure.where}" if failure.where else ""
    attempt = f" (attempt {failure.attempt})" if failure.attempt else ""
    error = errors.NodeFailed(
        f"node {failure.node!r}{attempt} failed with {failure.type}: {failure.message}{at}",
        run_id=run_id,
        node=failure.node,
        attempt=failure.attempt,
    )
    error.failure = failure
    error.__cause__ = cause.__cause__ if type(cause) is errors.NodeFailed else cause
    return error


def _placed(error: errors.TreadleError, failure: Failure, run_id: str) -> errors.TreadleError:
    """Fill in where an error of ours arose, where the place that raised it could not know."""
    if isinstance(error, errors.RunError) and error.node is None:
        error.node, error.attempt = failure.node, failure.attempt
    if isinstance(error, errors.RunError) and error.run_id is None:
        error.run_id = run_id
    return error


def ended_error(
    run_id: str, ended: RunEnded, cause: BaseException | None, cancel: CancelRequested | None
) -> BaseException | None:
    """What a caller who waits for a run is told: ``None`` where it completed."""
    if ended.status == "completed":
        return None
    if ended.status == "cancelled" or ended.failure is None:
        return _cancelled(run_id, cancel)
    error = error_of(ended.failure, run_id=run_id, cause=cause)
    if error is cause and not isinstance(error, errors.NodeFailed):
        error.add_note(f"in node {ended.failure.node!r} of run {run_id!r}")
    return error


def _cancelled(run_id: str, cancel: CancelRequested | None) -> errors.RunCancelled:
    by, reason = ("", "") if cancel is None else (cancel.by, cancel.reason)
    who, why = f" by {by}" if by else "", f": {reason}" if reason else ""
    return errors.RunCancelled(f"run {run_id!r} was cancelled{who}{why}", run_id=run_id, by=by, reason=reason)


def ended_with(
    run_id: str, ended: RunEnded, result: Codec[Any], cancel: CancelRequested | None
) -> tuple[Any, BaseException | None]:
    """The value of a run that ended, or what who waits for it is told in its place."""
    if ended.result is None:
        return None, ended_error(run_id, ended, None, cancel)
    try:
        return result.unpack(ended.result), None
    except errors.FormatMismatch as error:  # its content was erased
        return None, error
    except ValidationError as error:
        mismatch = errors.HistoryMismatch(
            f"the recorded result of run {run_id!r} does not fit the type of its graph any more: "
            f"{complaints(error)}; undo the edit, or read it with `treadle show {run_id}`",
            run_id=run_id,
        )
        mismatch.__cause__ = error
        return None, mismatch


def _run_error(cls: type[errors.RunError]) -> Callable[[Failure, str], errors.TreadleError]:
    def build(failure: Failure, run_id: str) -> errors.TreadleError:
        return cls(failure.message, run_id=run_id, node=failure.node, attempt=failure.attempt)

    return build


def _provider_error(cls: type[errors.ProviderError]) -> Callable[[Failure, str], errors.TreadleError]:
    def build(failure: Failure, _run_id: str) -> errors.TreadleError:
        status = failure.details.get("status")
        return cls(
            failure.message,
            provider=str(failure.details.get("provider", "")),
            status=status if isinstance(status, int) else None,
            retryable=failure.retryable,
            retry_after=failure.retry_after,
        )

    return build


def _tool_error(cls: type[errors.ToolError]) -> Callable[[Failure, str], errors.TreadleError]:
    def build(failure: Failure, _run_id: str) -> errors.TreadleError:
        details = failure.details
        return cls(failure.message, server=str(details.get("server", "")), tool=str(details.get("tool", "")))

    return build


def _budget_exceeded(failure: Failure, run_id: str) -> errors.TreadleError:
    details = failure.details
    needed = details.get("needed")
    return errors.BudgetExceeded(
        failure.message,
        account=str(details.get("account", "")),
        measure=str(details.get("measure", "")),
        limit=Decimal(str(details.get("limit", 0))),
        held=Decimal(str(details.get("held", 0))),
        spent=Decimal(str(details.get("spent", 0))),
        needed=None if needed is None else Decimal(str(needed)),
        run_id=run_id,
        node=failure.node,
    )


def _in_doubt(failure: Failure, run_id: str) -> errors.TreadleError:
    return errors.InDoubt(
        failure.message,
        step=str(failure.details.get("step", "")),
        idempotency_key=str(failure.details.get("idempotency_key", "")),
        run_id=run_id,
        node=failure.node,
    )


def _worker_lost(failure: Failure, run_id: str) -> errors.TreadleError:
    return errors.WorkerLost(
        failure.message,
        deaths=int(failure.details.get("deaths") or 0),
        run_id=run_id,
        node=failure.node,
        attempt=failure.attempt,
    )


def _loop_limit(failure: Failure, run_id: str) -> errors.TreadleError:
    return errors.LoopLimit(
        failure.message,
        rounds=int(failure.details.get("rounds") or 0),
        last=str(failure.details.get("last", "")),
        run_id=run_id,
        node=failure.node,
    )


def _all_failed(failure: Failure, run_id: str) -> errors.TreadleError:
    failures = read(str(failure.details.get("failures") or "[]"))
    return errors.AllFailed(failure.message, failures=failures, run_id=run_id, node=failure.node)


_RUN_ERRORS: Final = (
    errors.ReadFailed, errors.ResultRefused, errors.NodeTimeout, errors.RunCancelled, errors.HistoryMismatch,
    errors.AgentStopped, errors.AmbiguousHistory,
)  # fmt: skip
_PROVIDER_ERRORS: Final = (
    errors.ProviderError, errors.RateLimited, errors.ProviderUnavailable, errors.RequestRejected,
    errors.MalformedResponse, errors.CircuitOpen,
)  # fmt: skip
_TOOL_ERRORS: Final = (errors.ToolError, errors.ToolFailed, errors.ToolUnavailable, errors.ToolLost)
_BUILDERS: Final[dict[str, Callable[[Failure, str], Any]]] = {
    **{qualified_name(cls): _run_error(cls) for cls in _RUN_ERRORS},
    **{qualified_name(cls): _provider_error(cls) for cls in _PROVIDER_ERRORS},
    **{qualified_name(cls): _tool_error(cls) for cls in _TOOL_ERRORS},
    qualified_name(errors.BudgetExceeded): _budget_exceeded,
    qualified_name(errors.InDoubt): _in_doubt,
    qualified_name(errors.WorkerLost): _worker_lost,
    qualified_name(errors.LoopLimit): _loop_limit,
    qualified_name(errors.AllFailed): _all_failed,
}
