"""The agent loop: ask a model, run the tools it calls, until it has given a valid answer.

It is built on ``ctx.step`` alone: each request to a model and each tool call is a recorded step, so
a crash, a pause for a person or an edit elsewhere never repeats one.  It must stay deterministic:
what it sends next depends only on what earlier steps gave, in the order the model asked for it,
never on which tool was quicker.  So what a model is told of a failed tool is the text of the
recorded failure, the same live and from the record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from treadle.errors import (
    AgentStopped,
    InternalError,
)
from treadle.interfaces import Context, Model
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    ToolSpec,
    system,
    user,
)
from treadle.nodes.agent_tools import Taken, TakesOver, ToolLedger, tool_results
from treadle.nodes.compact import Compact, compacted, counted
from treadle.nodes.tool_schema import AnswerForm, answer_form, complaints, tool_spec
from treadle.plan.parts import DEFAULT, Callee, Definition, Parameter, Policies
from treadle.values import Codec, codec

MAX_TURNS: Final = 10
MAX_OUTPUT: Final = 4096
MIN_OUTPUT: Final = 256
MAX_REPEATS: Final = 4
"""How often a model may make one call in vain where nobody says another number."""
MAX_REPAIRS: Final = 1


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
    if isinstance(model, str):
        return model
    return getattr(model, "declared", "") or f"{model.provider}:{model.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How an agent's conversation is led, where more is declared than its limits.

    Attributes:
        max_repeats: How often it may make the same call while nothing new comes of any.
        max_repairs: How often it is asked again where its answer has not the asked form.
        compact: When and how its conversation is made shorter, or ``None`` for never.
    """

    max_repeats: int = MAX_REPEATS
    max_repairs: int = MAX_REPAIRS
    compact: Compact | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the default, as JSON data."""
        numbers = {"max_repeats": self.max_repeats, "max_repairs": self.max_repairs}
        usual = {"max_repeats": MAX_REPEATS, "max_repairs": MAX_REPAIRS}
        found: dict[str, Any] = {name: value for name, value in numbers.items() if value != usual[name]}
        return found if self.compact is None else {**found, "compact": self.compact.settings}


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
        conduct: How the conversation is led.
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
    conduct: Conduct = Conduct()

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
    def summarize(self) -> Callable[[ModelRequest], ModelResponse] | None:
        """The step that asks for a summary of a long conversation, where that is declared."""
        compact = self.conduct.compact
        if compact is None or compact.summary is None:
            return None
        most = compact.max_summary
        policies = Policies(retry=self.policies.retry)
        call = ModelCall(
            compact.summary, max_output=most, min_output=min(most, MIN_OUTPUT), policies=policies
        )
        return cast("Callable[[ModelRequest], ModelResponse]", call)

    @functools.cached_property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the model sees them."""
        return tuple(tool_spec(tool) for tool in self.tools)

    @functools.cached_property
    def tools_by_name(self) -> Mapping[str, Callee]:
        """The tools by the names that the model calls them by."""
        return {shown.name: tool for shown, tool in zip(self.tool_specs, self.tools, strict=True)}

    def may_pass_on(self, message: Message) -> bool:
        """Whether a message calls something that the conversation is passed on to."""
        tools = self.tools_by_name
        return any(isinstance(tools.get(call.name), TakesOver) for call in message.tool_calls)

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
        AgentStopped: Out of turns, refused, cut off, calling in vain, or too often not in the asked form.
        BudgetExceeded, ProviderError: A request to the model could not be made.
        InDoubt, HistoryMismatch, StoreError: From a tool's step; the model is never told of these.
        RunError: Whoever the conversation was passed on to has failed.
    """
    request = spec.request(messages)
    step = cast("Callable[[ModelRequest], ModelResponse]", spec.call)
    wrong: list[str] = []
    ledger = ToolLedger(spec.name, spec.conduct.max_repeats)
    compact, head = spec.conduct.compact, len(request.messages)
    for turn in range(1, spec.max_turns + 1):
        response = await ctx.step(step, request)
        _check_stop(spec, response)
        if not response.message.tool_calls:
            answer, complaint = _read(spec, response.message.text, len(wrong))
            if not complaint:
                return answer
            wrong.append(complaint)
            said = user(_reask(complaint))
        elif turn == spec.max_turns and not spec.may_pass_on(response.message):
            break  # nobody would read the results, so the tools are not run
        else:
            said, passing = await tool_results(ctx, spec.tools_by_name, response.message.tool_calls, ledger)
            if passing is not None:
                return await _pass_on(ctx, passing, (*request.messages, response.message, said))
        is_long = compact is not None and counted(request, response, said) > compact.above
        request = replace(request, messages=(*request.messages, response.message, said))
        if compact is not None and is_long:
            request = await compacted(ctx, compact, spec.summarize, request, head=head)
    raise AgentStopped(_out_of_turns(spec, wrong[-1] if wrong else ""), node=spec.name)


async def _pass_on(ctx: Context, taken: Taken, messages: tuple[Message, ...]) -> Any:
    """Let another node finish the conversation; its answer, or its failure, is the agent's own."""
    step, given = cast("TakesOver", taken.tool).taking(messages)
    return await ctx.step(cast("Callable[..., Any]", step), **taken.arguments, **given)


def _read(spec: AgentSpec, text: str, repairs: int) -> tuple[Any, str]:
    """Give the answer and no complaint, or a complaint where there were not too many before."""
    try:
        if not text.strip():
            raise ValueError(EMPTY)
        return spec.form.read(text), ""
    except ValueError as error:
        complaint = complaints(error) or "it is not valid"
        if repairs < spec.conduct.max_repairs:
            return None, complaint
        often = "" if repairs == 1 else f" {repairs} times"
        raise AgentStopped(
            f"agent {spec.name!r} gave no valid answer, even when asked again{often}: {complaint}; "
            "loosen the result type, say its form in the prompt, or use a stronger model",
            node=spec.name,
        ) from error


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
