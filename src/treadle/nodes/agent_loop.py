"""The agent loop: ask a model, run the tools it calls, until it has given a valid answer.

It is built on ``ctx.step`` alone: each request to a model and each tool call is a recorded step, so
a crash, a pause for a person or an edit elsewhere never repeats one.  It must stay deterministic:
what it sends next depends only on what earlier steps gave, in the order the model asked for it,
never on which tool was quicker.  So what a model is told of a failed tool is the text of the
recorded failure, the same live and from the record.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import anyio
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from treadle.errors import (
    AgentStopped,
    BudgetExceeded,
    InternalError,
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
from treadle.interfaces import Context, Model
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolResult,
    ToolSpec,
    system,
    user,
)
from treadle.nodes.tool_schema import AnswerForm, answer_form, complaints, tool_spec
from treadle.plan.parts import DEFAULT, Callee, Definition, Parameter, Policies
from treadle.values import Codec, codec

MAX_TURNS: Final = 10
MAX_OUTPUT: Final = 4096
MIN_OUTPUT: Final = 256
MAX_RESULT: Final = 100_000
"""Characters of a tool's result that a model is shown where nobody says another number."""

TOLD: Final = (
    NodeFailed,
    ReadFailed,
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


class ModelCall:
    """One request to a model as a step: what ``ctx.step`` is given by the loop.

    The engine sees ``definition.kind == "model"`` and does hold, send, retry and settle itself.

    Attributes:
        model: The declared model: a name such as ``"auto:small"``, or a live object.
        max_output: Output tokens asked for.
        min_output: The least that a tight budget may lower that to.
    """

    __slots__ = ("definition", "max_output", "min_output", "model", "name", "policies")

    def __init__(
        self, model: str | Model, *, max_output: int, min_output: int, policies: Policies = DEFAULT
    ) -> None:
        self.model = model
        self.name = declared_name(model)
        self.max_output = max_output
        self.min_output = min_output
        self.policies = policies
        self.definition = Definition(kind="model", name=self.name, model=self.name)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The request alone."""
        return (Parameter("request", codec(ModelRequest)),)

    @property
    def result(self) -> Codec[Any]:
        """The codec of ``ModelResponse``."""
        return codec(ModelResponse)

    @property
    def plain(self) -> None:
        """There is no function behind it."""
        return None

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Never called: the engine sends the request itself."""
        del arguments
        raise InternalError(f"a call of model {self.name!r} reached its body in run {ctx.run_id}")


def declared_name(model: str | Model) -> str:
    """What a model is declared as, as text: the name itself, or ``provider:name`` of an object."""
    return model if isinstance(model, str) else f"{model.provider}:{model.name}"


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """What an agent is, apart from its prompt.  Make it once for each agent: it keeps its schemas.

    Attributes:
        model: A name such as ``"auto"`` or ``"openai:gpt-5-mini"``, or a live object.
        tools: What the model may call, in the order it is shown them.
        result: Codec of the answer; ``str`` takes the model's plain text.
        policies: Those of the agent's node; its model calls take ``retry`` from them.
        max_turns: Requests it may make before it must have answered, the re-ask included.
        max_output, min_output: Output tokens for each request, and the least a budget may lower it to.
        instructions: A system message before the conversation, or ``""``.
    """

    name: str
    model: str | Model
    result: Codec[Any]
    tools: tuple[Callee, ...] = ()
    policies: Policies = DEFAULT
    max_turns: int = MAX_TURNS
    max_output: int = MAX_OUTPUT
    min_output: int = MIN_OUTPUT
    instructions: str = ""

    @functools.cached_property
    def call(self) -> ModelCall:
        """The step its requests are made by."""
        return ModelCall(
            self.model,
            max_output=self.max_output,
            min_output=self.min_output,
            policies=Policies(retry=self.policies.retry, model=self.policies.model),
        )

    @functools.cached_property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the model sees them."""
        return tuple(tool_spec(tool) for tool in self.tools)

    @functools.cached_property
    def form(self) -> AnswerForm:
        """How the final answer is asked for and read."""
        return answer_form(self.result)

    def request(self, messages: Sequence[Message]) -> ModelRequest:
        """The first request of a conversation; later ones only add messages, so caches hit."""
        first = (system(self.instructions),) if self.instructions else ()
        return ModelRequest(
            messages=(*first, *messages),
            tools=self.tool_specs,
            output=self.form.spec,
            max_output_tokens=self.max_output,
        )


async def converse(ctx: Context, spec: AgentSpec, messages: Sequence[Message]) -> Any:
    """Run an agent's conversation to its final answer: a value of the declared result type.

    Args:
        ctx: Where every request and tool call becomes a recorded step.
        spec: The agent.
        messages: The prompt.

    Raises:
        AgentStopped: Out of turns, refused, cut off, or twice not in the asked form.
        BudgetExceeded, ProviderError: A request to the model could not be made.
        InDoubt, HistoryMismatch, StoreError: From a tool's step; the model is never told of these.
    """
    request = spec.request(messages)
    step = cast("Callable[[ModelRequest], ModelResponse]", spec.call)
    complaint = ""
    made: Counter[str] = Counter()
    for turn in range(1, spec.max_turns + 1):
        response = await ctx.step(step, request)
        _check_stop(spec, response)
        if not response.message.tool_calls:
            answer, complaint = _read(spec, response.message.text, complaint)
            if not complaint:
                return answer
            said = user(_reask(complaint))
        elif turn == spec.max_turns:
            break  # nobody would read the results, so the tools are not run
        else:
            said = await _tool_results(ctx, spec, response.message.tool_calls, made)
        request = replace(request, messages=(*request.messages, response.message, said))
    raise AgentStopped(_out_of_turns(spec, complaint), node=spec.name)


def _read(spec: AgentSpec, text: str, earlier_complaint: str) -> tuple[Any, str]:
    """Give the answer and no complaint, or a complaint where there was none before."""
    try:
        if not text.strip():
            raise ValueError(EMPTY)
        return spec.form.read(text), ""
    except ValueError as error:
        complaint = complaints(error) or "it is not valid"
        if not earlier_complaint:
            return None, complaint
        raise AgentStopped(
            f"agent {spec.name!r} gave no valid answer, even when asked again: {complaint}; "
            "loosen the result type, say its form in the prompt, or use a stronger model",
            node=spec.name,
        ) from error


@dataclass(frozen=True, slots=True)
class _Taken:
    """A tool call that is allowed and whose arguments fit."""

    call: ToolCall
    tool: Callee
    arguments: dict[str, Any]


async def _tool_results(
    ctx: Context, spec: AgentSpec, calls: Sequence[ToolCall], made: Counter[str]
) -> Message:
    """Run the tools a model called, side by side, and give their results in the model's order.

    Which calls are run is decided in the model's order, before the first of them starts: so it is the
    same at every resume, whichever tool was quicker.  A failure that the model is not told of is raised
    when the others have ended: their work is paid for, and recorded.
    """
    tools = {shown.name: tool for shown, tool in zip(spec.tool_specs, spec.tools, strict=True)}
    looked_at = [_take(tools, call, made) for call in calls]
    never = InternalError("a tool call was never made")
    outcomes: list[ToolResult | TreadleError] = [
        never if isinstance(one, _Taken) else one for one in looked_at
    ]

    async def run(index: int, taken: _Taken) -> None:
        outcomes[index] = await _outcome(ctx, taken)

    taken = [(index, one) for index, one in enumerate(looked_at) if isinstance(one, _Taken)]
    if len(taken) == 1:
        await run(*taken[0])
    elif taken:
        await _side_by_side(run, taken)
    for outcome in outcomes:
        if isinstance(outcome, TreadleError):
            raise outcome
    return Message(role="tool", parts=tuple(part for part in outcomes if isinstance(part, ToolResult)))


async def _side_by_side(run: Callable[[int, _Taken], Any], calls: Sequence[tuple[int, _Taken]]) -> None:
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


def _take(tools: Mapping[str, Callee], call: ToolCall, made: Counter[str]) -> _Taken | ToolResult:
    """Let a call through, or tell the model why not: only declared tools, so often, with such arguments."""
    tool = tools.get(call.name)
    if tool is None:
        return _unknown(call, tools)
    try:
        arguments = read_arguments(tool, call.arguments)
    except ValueError as error:
        return _result(call, f"invalid arguments for {call.name}: {complaints(error)}", is_error=True)
    limit = tool.policies.max_calls
    if limit is not None and made[call.name] >= limit:
        return _result(call, _used_up(call.name, limit), is_error=True)
    made[call.name] += 1
    return _Taken(call, tool, arguments)


def _used_up(name: str, limit: int) -> str:
    often = "once" if limit == 1 else f"{limit} times"
    return f"{name} may be called {often} here, and was; this call was not made; go on with what you have"


async def _outcome(ctx: Context, taken: _Taken) -> ToolResult | TreadleError:
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
                values[name] = known[name].codec.decode(to_json(value))
        except ValidationError as error:
            faults.append(f"{name!r}: {complaints(error)}")
    complaint: Callable[[Mapping[str, Any]], str] | None = getattr(tool, "complaint", None)
    if complaint is not None and not faults:
        faults = [found] if (found := complaint(values)) else []
    if faults:
        raise ValueError("; ".join(faults))
    return values


def _result(call: ToolCall, content: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=content, is_error=is_error)


def _unknown(call: ToolCall, tools: Mapping[str, Callee]) -> ToolResult:
    known = f"the tools are: {', '.join(tools)}" if tools else "there are no tools"
    return _result(call, f"no tool {call.name!r}{nearest(call.name, tools)}; {known}", is_error=True)


def _check_stop(spec: AgentSpec, response: ModelResponse) -> None:
    mend = _STOPS.get(response.stop)
    if mend is not None:
        raise AgentStopped(f"agent {spec.name!r}: {mend.format(limit=spec.max_output)}", node=spec.name)


_STOPS: Final = {
    "refusal": "the model refused to answer; change the prompt, or let a person answer: "
    "fallback(agent(...), person(...))",
    "filter": "the provider's content filter stopped the answer; change the prompt, or let a person answer: "
    "fallback(agent(...), person(...))",
    "length": "the answer was cut off at its output limit (max_output is {limit} tokens, less where a budget "
    "is tight, and reasoning counts); raise max_output, or the budget, or ask for less",
}
"""What is said, by reason the model stopped, where there is nothing to go on with."""


EMPTY: Final = "it is empty"


def _reask(complaint: str) -> str:
    if complaint == EMPTY:
        return "That answer was empty. Answer again."
    return (
        f"That answer does not have the form asked for: {complaint}. "
        "Answer again, with JSON that fits the schema and nothing else."
    )


def _out_of_turns(spec: AgentSpec, complaint: str) -> str:
    last = f" (its last answer was invalid: {complaint})" if complaint else ""
    return (
        f"agent {spec.name!r} made its {spec.max_turns} requests without a final answer{last}; "
        "raise max_turns, or give it fewer tools or a clearer end"
    )
