"""``handoff``: an agent's model passes the conversation on, and whoever takes it gives the answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Self, cast

from typing_extensions import Unpack

from treadle.interfaces import Context, Model
from treadle.messages import Message, ToolSpec, user
from treadle.nodes.agent import Agent, Prompt
from treadle.nodes.agent_loop import converse
from treadle.nodes.compact import transcript
from treadle.nodes.node import Changes, Node, P, R
from treadle.nodes.tool_schema import tool_spec
from treadle.plan.fits import fits
from treadle.plan.parts import Callee, Definition, Parameter, Policies, WorkKind
from treadle.plan.ref import refuse
from treadle.plan.shapes import title
from treadle.values import Codec, codec

CONVERSATION: Final = "conversation so far"
"""The argument that holds what was passed on; with its spaces it is never a parameter's name."""


class Handoff(Node[P, R]):
    """A node that an agent may pass its conversation on to; ``handoff`` makes one.

    Attributes:
        target: Who takes over.
    """

    def __init__(self, target: Node[P, R]) -> None:
        super().__init__(target.function, target._signature, target.policies, f"hand_off_to_{target.name}")  # noqa: SLF001 - the same node behind another door
        self.target = target

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The target's plain function."""
        return self.target.function

    def using(self, **changes: Unpack[Changes]) -> Self:
        """Give it with other policies of its target."""
        target = self.target.using(**changes)
        return self._changed(target=target, policies=target.policies)

    @property
    def kind(self) -> WorkKind:
        """That of its target."""
        return self.target.kind

    @property
    def definition(self) -> Definition:
        """That of its target."""
        return self.target.definition

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of its target."""
        return self.target.faults

    @property
    def shown(self) -> ToolSpec:
        """How the model is shown it: as a tool that ends its own part."""
        spec = tool_spec(self.target)
        text = f"Hand the conversation over to {self.target.name}, who gives the final answer."
        described = f"{text} {spec.description}" if spec.description else text
        return ToolSpec(name=self.name, description=described, parameters=spec.parameters)

    def mismatch(self, wanted: Codec[Any]) -> str:
        """Say why an agent with this result cannot pass its conversation on to the target, or nothing."""
        given = self.target.result.type
        if fits(given, wanted.type, exact=True):
            return ""
        return (
            f"{self.target.name!r} would give {title(given)} where the agent has to give "
            f"{title(wanted.type)}; declare both with one type"
        )

    def taking(self, messages: tuple[Message, ...]) -> tuple[Callee, dict[str, Any]]:
        """Give the step that takes over, and what it is given besides the model's arguments."""
        if isinstance(self.target, Agent):
            return _TakingOver(self.target), {CONVERSATION: passed_on(messages)}
        return self.target, {}


class _TakingOver:
    """An agent that goes on with the conversation of another one, as a step."""

    __slots__ = ("_agent",)

    def __init__(self, agent: Agent[..., Any]) -> None:
        self._agent = agent

    @property
    def around(self) -> str | Model | None:
        return self._agent.around

    def under(self, model: str | Model) -> _TakingOver:
        return _TakingOver(self._agent.under(model))

    @property
    def name(self) -> str:
        return self._agent.name

    @property
    def definition(self) -> Definition:
        return self._agent.definition

    @property
    def policies(self) -> Policies:
        return self._agent.policies

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter(CONVERSATION, codec(tuple[Message, ...])), *self._agent.parameters)

    @property
    def result(self) -> Codec[Any]:
        return self._agent.result

    @property
    def plain(self) -> None:
        return None

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        own = {name: value for name, value in arguments.items() if name != CONVERSATION}
        prompt: Prompt[Any] = await self._agent.evaluate_to(Prompt, ctx, own)
        *before, question = prompt.messages
        return await converse(ctx, self._agent.spec, (*before, *arguments[CONVERSATION], question))


def passed_on(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """A conversation as another agent reads it: what users said as it was, the rest in words.

    Tool calls go as words because the other agent has other tools, and its model perhaps another
    provider's; instructions are left out, because it has its own.
    """
    found: list[Message] = []
    told: list[Message] = []
    for message in (*messages, None):
        if message is not None and message.role != "user":
            told.append(message)
            continue
        if words := transcript(told):
            found.append(user(f"What happened so far:\n{words}"))
        told.clear()
        if message is not None:
            found.append(message)
    return tuple(found)


def handoff(target: Node[P, R]) -> Handoff[P, R]:
    """Let an agent's model pass the conversation on: ``tools=[find_order, handoff(billing)]``.

    The model is shown a tool ``hand_off_to_billing`` with the parameters of ``billing``.  When it calls it,
    its own part ends: ``billing`` runs as a recorded step with the model, tools, instructions, turns and
    budget it declares, is given what was said and done so far before its own prompt, and its answer is
    the answer of the agent that passed on.  Where it fails, that agent has failed.  Of several
    handoffs in one turn the first is taken; other tools called in that turn run before it.

    Args:
        target: An agent; or any other node, such as a person, which is given the arguments alone.

    Example::

        @agent(tools=[handoff(billing), handoff(desk)])
        async def reception(ticket: Ticket) -> Prompt[Reply]:
            return Prompt(f"Answer, or pass on to who can. {ticket.body}")

    Raises:
        WiringError: The target is no node.
    """
    if not isinstance(cast("object", target), Node):
        name = str(getattr(target, "__name__", None) or repr(target))
        refuse(
            f"{name} is nobody to hand off to", "pass an agent, a person or another node: handoff(billing)"
        )
    return Handoff(target)
