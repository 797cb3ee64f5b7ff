"""The tool calls of an agent's conversation: which are made, side by side, and what the model is told.

What is decided here depends only on what the model wrote and on what earlier calls gave, in the model's
order, so it comes out the same at every resume.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast, runtime_checkable

import anyio
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from treadle.errors import (
    AgentStopped,
    AllFailed,
    BudgetExceeded,
    InternalError,
    LoopLimit,
    NodeFailed,
    NodeTimeout,
    ProviderError,
    ReadFailed,
    ResultRefused,
    ToolError,
    TreadleError,
    nearest,
)
from treadle.events import Failure
from treadle.interfaces import Context
from treadle.messages import Message, ToolCall, ToolResult
from treadle.nodes.tool_schema import complaints
from treadle.plan.parts import Callee
from treadle.values import Codec, canonical, same

MAX_RESULT: Final = 100_000
"""Characters of a tool's result that a model is shown where nobody says another number."""

TOLD: Final = (
    NodeFailed,
    ReadFailed,
    LoopLimit,
    AllFailed,
    ResultRefused,
    NodeTimeout,
    AgentStopped,
    BudgetExceeded,
    ProviderError,
    ToolError,
)
"""Failures of a tool that the model is told about, so that it can try another way.

``BudgetExceeded`` is among them because a tool may have a budget of its own; where the agent's or
the run's is what is short, its next request raises the same error anyway.  ``InDoubt``,
``HistoryMismatch``, store and configuration errors are not for a model to deal with.
"""


@runtime_checkable
class TakesOver(Protocol):
    """A tool that is not called and answered: the conversation is passed on to it."""

    def mismatch(self, wanted: Codec[Any]) -> str:
        """Say why its answer cannot stand for one of this type, or nothing."""
        ...

    def taking(self, messages: tuple[Message, ...]) -> tuple[Callee, dict[str, Any]]:
        """Give the step that takes over, and what it is given besides the model's arguments."""
        ...


Key = tuple[str, bytes]
"""A tool's name, and the arguments it is called with."""


class ToolLedger:
    """The tool calls of one conversation: how often each tool was called, and whether that led anywhere.

    A call is repeated in vain where the same tool was called with the same arguments while no call of the
    conversation gave anything that had not been there before.

    Args:
        agent: Whose conversation it is, for messages.
        max_repeats: How often one call may be made in vain.

    Attributes:
        made: How often each tool was called.
    """

    __slots__ = ("_agent", "_in_vain", "_known", "_max_repeats", "_told", "made")

    def __init__(self, agent: str, max_repeats: int) -> None:
        self._agent = agent
        self._max_repeats = max_repeats
        self._known: set[tuple[Key, str]] = set()
        self._in_vain: Counter[Key] = Counter()
        self._told: set[Key] = set()
        self.made: Counter[str] = Counter()

    def check(self, calls: Sequence[ToolCall]) -> None:
        """Look at what a model wants to call, before any of it is.

        Raises:
            AgentStopped: It calls again what it was told to leave.
        """
        for call in calls:
            if self._told and _key(call) in self._told:
                raise AgentStopped(
                    f"agent {self._agent!r} called {call.name!r} {self._max_repeats} times with the same "
                    "arguments, learned nothing new, was told so, and called it again; give it a clearer end "
                    "or another tool, or raise max_repeats",
                    node=self._agent,
                )

    def is_in_vain(self, call: ToolCall) -> bool:
        """Whether a call was made so often in vain that it is not made again."""
        return self._in_vain[_key(call)] >= self._max_repeats

    def add(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> None:
        """Note what calls gave, in the model's order; those that were not made are what it is told once."""
        left = {_key(call) for call in calls if self.is_in_vain(call)}
        for call, result in zip(calls, results, strict=True):
            key = _key(call)
            if key in left:
                continue
            if (key, result.content) not in self._known:
                self._known.add((key, result.content))
                self._in_vain.clear()
                self._told.clear()
                left.clear()
            self._in_vain[key] += 1
        self._told |= left


def _key(call: ToolCall) -> Key:
    try:
        return call.name, canonical(from_json(call.arguments.strip() or "{}"))
    except ValueError:
        return call.name, call.arguments.encode()


@dataclass(frozen=True, slots=True)
class Taken:
    """A tool call that is allowed and whose arguments fit."""

    call: ToolCall
    tool: Callee
    arguments: dict[str, Any]

    @property
    def passes_on(self) -> bool:
        """Whether it passes the conversation on."""
        return hasattr(self.tool, "taking")


_PASSED_ON: Final = "the conversation was handed over"


async def tool_results(
    ctx: Context, tools: Mapping[str, Callee], calls: Sequence[ToolCall], ledger: ToolLedger
) -> tuple[Message, Taken | None]:
    """Run the tools a model called, side by side, and give their results in the model's order.

    Beside them stands the call that passes the conversation on, where there is one: the first of those.

    Which calls are run is decided in the model's order, before the first of them starts: so it is the
    same at every resume, whichever tool was quicker.  A failure that the model is not told of is raised
    when the others have ended: their work is paid for, and recorded.

    Raises:
        AgentStopped: The model calls again what it was told to leave.
        InDoubt, HistoryMismatch, StoreError: From a tool's step; the model is never told of these.
    """
    ledger.check(calls)
    looked_at = [_take(tools, call, ledger) for call in calls]
    never = InternalError("a tool call was never made")
    outcomes: list[ToolResult | TreadleError] = [
        one if not isinstance(one, Taken) else _result(one.call, _PASSED_ON) if one.passes_on else never
        for one in looked_at
    ]

    async def run(index: int, taken: Taken) -> None:
        outcomes[index] = await _outcome(ctx, taken)

    taken = [
        (index, one) for index, one in enumerate(looked_at) if isinstance(one, Taken) and not one.passes_on
    ]
    if len(taken) == 1:
        await run(*taken[0])
    elif taken:
        await _side_by_side(run, taken)
    for outcome in outcomes:
        if isinstance(outcome, TreadleError):
            raise outcome
    results = tuple(part for part in outcomes if isinstance(part, ToolResult))
    ledger.add(calls, results)
    passing = (one for one in looked_at if isinstance(one, Taken) and one.passes_on)
    return Message(role="tool", parts=results), next(passing, None)


async def _side_by_side(run: Callable[[int, Taken], Any], calls: Sequence[tuple[int, Taken]]) -> None:
    try:
        async with anyio.create_task_group() as group:
            for index, taken in calls:
                group.start_soon(run, index, taken)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(error: BaseException) -> BaseException:
    """The one error inside nested groups that is told; signals of the engine come out as they are."""
    inner = cast("Sequence[BaseException]", getattr(error, "exceptions", ()))
    return _first(inner[0]) if inner and isinstance(error, BaseExceptionGroup) else error


def _take(tools: Mapping[str, Callee], call: ToolCall, ledger: ToolLedger) -> Taken | ToolResult:
    """Let a call through, or tell the model why not: only declared tools, so often, with such arguments."""
    if ledger.is_in_vain(call):
        return _result(call, _LEAVE.format(name=call.name), is_error=True)
    tool = tools.get(call.name)
    if tool is None:
        return _unknown(call, tools)
    try:
        arguments = read_arguments(tool, call.arguments)
    except ValueError as error:
        return _result(call, f"invalid arguments for {call.name}: {complaints(error)}", is_error=True)
    limit = tool.policies.max_calls
    if limit is not None and ledger.made[call.name] >= limit:
        return _result(call, _used_up(call.name, limit), is_error=True)
    ledger.made[call.name] += 1
    return Taken(call, tool, arguments)


_LEAVE: Final = (
    "{name} was called like this before, and nothing new came of it; this call was not made: "
    "go on with what you have, or call it with other arguments; the next call like it ends the conversation"
)


def _used_up(name: str, limit: int) -> str:
    often = "once" if limit == 1 else f"{limit} times"
    return f"{name} may be called {often} here, and was; this call was not made; go on with what you have"


async def _outcome(ctx: Context, taken: Taken) -> ToolResult | TreadleError:
    call, tool = taken.call, taken.tool
    limit = tool.policies.max_result or MAX_RESULT
    try:
        value = await ctx.step(cast("Callable[..., Any]", tool), **taken.arguments)
    except TOLD as error:
        return _result(call, _capped(f"{call.name} failed: {_told(error)}", limit), is_error=True)
    except TreadleError as error:
        return error
    text = value if isinstance(value, str) else tool.result.encode(value).decode()
    return _result(call, _capped(text, limit))


def _capped(text: str, limit: int) -> str:
    """The beginning of a text that is too long for a model, and a note that says so."""
    if len(text) <= limit:
        return text
    note = f"[cut: these are the first {limit:,} of {len(text):,} characters; ask for less, or for a part]"
    return f"{text[:limit]}\n{note}"


def _told(error: TreadleError) -> str:
    """What a model is told of a failure: a user's error in its own words, without our files and lines."""
    failure = getattr(error, "failure", None)
    return f"{failure.type}: {failure.message}" if isinstance(failure, Failure) else str(error)


def read_arguments(tool: Callee, text: str) -> dict[str, Any]:
    """Read the JSON a model wrote as a tool's arguments, each in its declared type.

    Raises:
        ValueError: No JSON object, or unknown, missing or ill-typed arguments; the text says which.
    """
    given = from_json(text.strip() or "{}")
    if not isinstance(given, dict):
        raise ValueError("the arguments must be one JSON object")
    arguments = cast("dict[str, Any]", given)
    known = {parameter.name: parameter for parameter in tool.parameters}
    faults = [f"no argument {name!r}{nearest(name, known)}" for name in arguments if name not in known]
    faults += [f"{p.name!r} is missing" for p in tool.parameters if p.required and p.name not in arguments]
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        try:
            if name in known:
                values[name] = _typed(known[name].codec, value)
        except ValidationError as error:
            faults.append(f"{name!r}: {complaints(error)}")
    complaint: Callable[[Mapping[str, Any]], str] | None = getattr(tool, "complaint", None)
    if complaint is not None and not faults:
        faults = [found] if (found := complaint(values)) else []
    if faults:
        raise ValueError("; ".join(faults))
    return values


def _typed(codec: Codec[Any], value: object) -> Any:
    """Read one argument as its schema says it: ``"7"`` is no integer, ``1`` is not true.

    JSON has one kind of number, so ``5.0`` is the integer 5.
    """
    try:
        return codec.adapter.validate_json(to_json(value), strict=True)
    except ValidationError:
        whole = _whole(value)
        if same(whole, value):
            raise
        return codec.adapter.validate_json(to_json(whole), strict=True)


def _whole(value: object) -> object:
    """The same JSON data, where numbers without a fraction are integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(one) for one in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in cast("dict[str, object]", value).items()}
    return value


def _result(call: ToolCall, content: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=content, is_error=is_error)


def _unknown(call: ToolCall, tools: Mapping[str, Callee]) -> ToolResult:
    known = f"the tools are: {', '.join(tools)}" if tools else "there are no tools"
    return _result(call, f"no tool {call.name!r}{nearest(call.name, tools)}; {known}", is_error=True)
