"""``@agent``: a node whose result a model gives, in a loop with tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, Protocol, Self, cast, overload

from typing_extensions import TypeVar

from treadle import given
from treadle.budget import Budget
from treadle.interfaces import Context, Model
from treadle.messages import Attachment, Message, system, user
from treadle.nodes.agent_loop import (
    MAX_OUTPUT,
    MAX_REPAIRS,
    MAX_REPEATS,
    MAX_TURNS,
    MIN_OUTPUT,
    AgentSpec,
    Conduct,
    converse,
)
from treadle.nodes.agent_tools import TakesOver
from treadle.nodes.compact import Compact
from treadle.nodes.graph import Graph
from treadle.nodes.graph_step import GraphStep
from treadle.nodes.node import Node, P, R, model_faults, model_name, name_of, policies_of
from treadle.nodes.options import check_values, object_faults
from treadle.nodes.signature import Signature, check_async
from treadle.nodes.tool import Toolbox, check_tools, tool_faults
from treadle.nodes.tool_schema import identifier
from treadle.plan.parts import Policies, WorkKind
from treadle.plan.ref import refuse, told
from treadle.retry import Retry

T = TypeVar("T", default=Any)


@dataclass(frozen=True, slots=True)
class Prompt(Generic[T]):
    """What a model is asked; its answer is a validated ``T``.

    Attributes:
        text: The question in words.
        system: Instructions before the conversation, besides the agent's own.
        history: Messages of an earlier conversation, oldest first.
        attach: Pictures and documents beside the question (``treadle.models.image``, ``document``).

    Example::

        @agent(model="auto:small")
        async def triage(ticket: Ticket) -> Prompt[Triage]:
            return Prompt(f"Classify this ticket: {ticket.body}")

    Raises:
        ConfigurationError: The question or the instructions are no text.
    """

    text: str
    system: str = ""
    history: tuple[Message, ...] = ()
    attach: tuple[Attachment, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no model could be sent."""
        for name, value in (("text", self.text), ("system", self.system)):
            if not isinstance(cast("object", value), str):
                raise given.wrong("Prompt", name, value, "text", "f'...'")

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as it is sent."""
        first = (system(self.system),) if self.system else ()
        return (*first, *self.history, user(self.text, *self.attach))


class Agent(Node[P, R]):
    """A node that asks a model for its result and lets it call tools.

    Attributes:
        model: The model as declared: a name or an object.
        instructions: Said to the model before every prompt.
        conduct: How the conversation is led.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        policies: Policies,
        name: str,
        *,
        model: str | Model,
        tools: tuple[Node[..., Any] | Graph[..., Any] | Toolbox, ...],
        instructions: str,
        conduct: Conduct,
    ) -> None:
        super().__init__(function, Signature(function, Prompt), policies, name)
        self.model = model
        self._tools = tools
        self.instructions = instructions
        self.conduct = conduct
        self._spec: tuple[Policies, AgentSpec] | None = None

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, Prompt[R]]]:
        """The plain function, for unit tests."""
        return self._function

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "agent"

    @property
    def tools(self) -> tuple[Node[..., Any] | GraphStep, ...]:
        """The nodes and graphs that the model may call.

        Raises:
            ConfigurationError: Another program was to list them, and cannot.
        """
        return tuple(tool for one in self._tools for tool in _each_of(one))

    @property
    def _declared_model(self) -> str:
        return model_name(self.model)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The declared model, the tools by name and definition, the instructions, and how it is led."""
        offered = [_offered(tool) for tool in self.tools]
        return {
            "model": model_name(self.model),
            **({"tools": offered} if offered else {}),
            **({"instructions": self.instructions} if self.instructions else {}),
            **self.conduct.settings,
        }

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of the signature, of its tools, and an unknown model."""
        found = list(super().faults)
        if isinstance(self.model, str):
            found.extend(model_faults(self.model, is_asked=self.policies.model is None))
        elif self.policies.model is None:
            found.extend(object_faults(self.model))
        if self.policies.model is not None:
            found.extend(_faults_of_model(self._live_model or self.policies.model))
        if self.conduct.compact is not None and self.conduct.compact.summary is not None:
            found.extend(_faults_of_model(self.conduct.compact.summary))
        found.extend(_ambiguous([tool.name for tool in self.tools]))
        found.extend(f"tool {tool.name!r}: {fault}" for tool in self.tools for fault in self._faults_of(tool))
        return tuple(found)

    def _faults_of(self, tool: Node[..., Any] | GraphStep) -> tuple[str, ...]:
        if not isinstance(tool, TakesOver):
            return tool_faults(tool)
        mismatch = tool.mismatch(self.result)
        return (*tool.faults, mismatch) if mismatch else tool.faults

    def _put_under(self, model: str | Model) -> Self:
        if self.policies.model is not None:
            return super()._put_under(model)
        live = None if isinstance(model, str) else model
        policies = replace(self.policies, model=model_name(model))
        return self._changed(policies=policies, _live_model=live, around=model)

    @property
    def description(self) -> str:
        """The docstring, as a model reads it that has this agent for a tool."""
        return inspect.getdoc(self.function) or ""

    @property
    def spec(self) -> AgentSpec:
        """What the loop needs to know, with the policies resolved so far."""
        if self._spec is None or self._spec[0] is not self.policies:
            self._spec = (self.policies, self._make_spec())
        return self._spec[1]

    @property
    def asked(self) -> str | Model:
        """The model that its requests go to: a name, or a live object."""
        return self._live_model or self.policies.model or self.model

    @property
    def least_output(self) -> int:
        """Output tokens that a tight budget may lower its requests to."""
        most = self.policies.max_output or MAX_OUTPUT
        return min(self.policies.min_output or MIN_OUTPUT, most)

    def _make_spec(self) -> AgentSpec:
        policies = self.policies
        return AgentSpec(
            name=self.name,
            model=self.asked,
            tools=self.tools,
            result=self.result,
            policies=replace(policies, model=None),  # resolved here
            max_turns=policies.max_turns or MAX_TURNS,
            max_output=policies.max_output or MAX_OUTPUT,
            min_output=self.least_output,
            instructions=self.instructions,
            conduct=self.conduct,
        )

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Evaluate the body to a prompt, and lead the conversation to an answer.

        Raises:
            ResultRefused: The body gave something else.
        """
        prompt: Prompt[Any] = await self.evaluate_to(Prompt, ctx, arguments)
        return await converse(ctx, self.spec, prompt.messages)


def _faults_of_model(model: str | Model) -> list[str]:
    return model_faults(model) if isinstance(model, str) else object_faults(model)


def _check_own(*, model: object, instructions: object) -> None:
    """Make sure that an agent is given a model, and text for its instructions.

    Raises:
        WiringError: One of them is something else.
    """
    check_values({"model": model, "instructions": instructions})
    if model is None:
        refuse("model=None is no model", "leave it out, which is model='auto', or name one")
    if instructions is None:
        refuse("instructions=None is no text", "leave it out")


def _ambiguous(names: Sequence[str]) -> Iterator[str]:
    """Say which tools a model could not tell apart: providers take letters, digits, ``_`` and ``-`` alone."""
    shown = [identifier(name) for name in names]
    for one in sorted({one for one in shown if shown.count(one) > 1}):
        meant = dict.fromkeys(name for name, as_shown in zip(names, shown, strict=True) if as_shown == one)
        if len(meant) == 1:
            yield f"two of its tools are called {next(iter(meant))!r}"
        else:
            yield f"its tools {' and '.join(map(repr, meant))} are both shown to the model as {one!r}"


def _each_of(one: Node[..., Any] | Graph[..., Any] | Toolbox) -> Sequence[Node[..., Any] | GraphStep]:
    if isinstance(one, Graph):
        return (GraphStep(one),)
    return (one,) if isinstance(one, Node) else one.offered()


def _offered(tool: Node[..., Any] | GraphStep) -> dict[str, Any]:
    """A tool of an agent as the plan has it: name, definition, and the limits that were declared."""
    policies = tool.policies
    limits = {"max_calls": policies.max_calls, "max_result": policies.max_result}
    return {
        "name": tool.name,
        "definition": tool.definition.digest,
        **({"plan": tool.plan_digest} if isinstance(tool, GraphStep) else {}),
        **{name: limit for name, limit in limits.items() if limit is not None},
    }


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, Prompt[R]]], /
    ) -> Agent[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Prompt[R]]], /) -> Agent[P, R]: ...


@overload
def agent(function: Callable[Concatenate[Context, P], Coroutine[Any, Any, Prompt[R]]], /) -> Agent[P, R]: ...
@overload
def agent(function: Callable[P, Coroutine[Any, Any, Prompt[R]]], /) -> Agent[P, R]: ...
@overload
def agent(
    *,
    model: str | Model = "auto",
    tools: Sequence[Node[..., Any] | Graph[..., Any] | Toolbox] = (),
    instructions: str = "",
    name: str | None = None,
    budget: Budget | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    max_turns: int | None = None,
    max_output: int | None = None,
    min_output: int | None = None,
    max_repeats: int = MAX_REPEATS,
    max_repairs: int = MAX_REPAIRS,
    compact: Compact | None = None,
) -> _Decorator: ...


@told("@agent")
def agent(
    function: Callable[..., Any] | None = None,
    /,
    *,
    model: str | Model = "auto",
    tools: Sequence[Node[..., Any] | Graph[..., Any] | Toolbox] = (),
    instructions: str = "",
    name: str | None = None,
    budget: Budget | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    max_turns: int | None = None,
    max_output: int | None = None,
    min_output: int | None = None,
    max_repeats: int = MAX_REPEATS,
    max_repairs: int = MAX_REPAIRS,
    compact: Compact | None = None,
) -> Any:
    """Declare a node whose result a model gives: the body makes the prompt, the type the form.

    Every request and every tool call is recorded: after a crash none of them is paid again.

    Args:
        function: The body; it gives a ``Prompt[T]``.
        model: ``"auto"``, ``"auto:small"``, ``"openai:NAME"`` and so on, or an object.
        tools: What the model may call: tools, other nodes, other agents, graphs, tools of MCP servers.
        instructions: Said to the model before every prompt.
        name: Another name than the function's; part of the identity of its results.
        budget: What one run of the agent may consume.
        retry: For its requests and for the node.
        timeout: Of one attempt at the whole conversation, in seconds or as ``"2m"``.
        idle: How long it may go without a request or a tool call that begins or ends.
        max_turns: Requests it may make before it must have answered.
        max_output: Output tokens asked for in each request.
        min_output: The least that a tight budget may lower them to.
        max_repeats: How often it may call a tool with the same arguments while nothing new comes of any
            call; it is told then, and stopped where it does it again.
        max_repairs: How often it is asked again, with the complaint, where its answer does not fit ``T``.
        compact: When and how a long conversation is made shorter (``treadle.models.Compact``).

    Example::

        @agent(model="auto", tools=[find_order], budget=Budget(usd="0.05"), max_turns=8)
        async def expert(ticket: Ticket) -> Prompt[Reply]:
            return Prompt(f"Solve this. Use the tools. {ticket.body}")

    Raises:
        WiringError: The body is no ``async def``, one of the tools is no node and no graph, or an option
            is of another type.
    """

    check_tools(tools)
    policies = policies_of(
        retry=retry,
        timeout=timeout,
        idle=idle,
        budget=budget,
        max_turns=max_turns,
        max_output=max_output,
        min_output=min_output,
    )
    _check_own(model=model, instructions=instructions)
    check_values({"max_repeats": max_repeats, "max_repairs": max_repairs, "compact": compact})
    conduct = Conduct(max_repeats=max_repeats, max_repairs=max_repairs, compact=compact)

    def declare(body: Callable[..., Any]) -> Agent[..., Any]:
        check_async(body, "agent")
        label = name_of(body, name)
        return Agent(
            body, policies, label,
            model=model, tools=tuple(tools), instructions=instructions, conduct=conduct,
        )  # fmt: skip

    return declare if function is None else declare(function)
