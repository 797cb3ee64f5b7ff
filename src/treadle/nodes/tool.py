"""``@tool``: a node that a model may call too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Concatenate, Final, Literal, Protocol, cast, get_args, overload, runtime_checkable

from treadle import given
from treadle.budget import Budget
from treadle.errors import ConfigurationError
from treadle.interfaces import Context
from treadle.nodes.finder import Finder
from treadle.nodes.graph import Graph
from treadle.nodes.graph_step import GraphStep
from treadle.nodes.node import Node, P, R, name_of, policies_of
from treadle.nodes.signature import Signature, check_async
from treadle.plan.parts import WorkKind
from treadle.plan.ref import refuse, told
from treadle.retry import Retry

Effect = Literal["repeatable", "once"]
Settlement = Literal["ask", "retry", "fail"]
InDoubt = Settlement | Callable[..., Any]
"""What settles a call in doubt; a function takes what the tool takes, and gives what the tool gives."""


class Tool(Node[P, R]):
    """A node whose body is code and whose signature and docstring are shown to models.

    Attributes:
        finder: Finds out whether a call in doubt happened; ``None`` where a policy or a person settles it.
    """

    finder: Finder | None = None

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, R]]:
        """The plain function, for unit tests."""
        return self._function

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "tool"

    @property
    def description(self) -> str:
        """The docstring, as models read it."""
        return inspect.getdoc(self.function) or ""

    @property
    def plain(self) -> Callable[..., Any] | None:
        """The function, unless it takes a context or must not be repeated."""
        return None if self.takes_context or self.policies.effect == "once" else self.function

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of the signature, a missing docstring, and a finder of another signature."""
        looks = () if self.finder is None else self.finder.faults(self._signature)
        words = () if self.description else (_UNDESCRIBED,)
        return (*super().faults, *looks, *words)


@runtime_checkable
class Toolbox(Protocol):
    """Something that gives tools when a plan is made: they may be listed by another program."""

    def offered(self) -> Sequence[Node[..., Any]]:
        """Give them, the same each time."""
        ...


_UNDESCRIBED: Final = "a tool needs a docstring: it is what a model reads to choose it"


def check_tools(tools: object) -> None:
    """Make sure that an agent's tools are a list of nodes, of graphs, or of what gives nodes.

    Raises:
        WiringError: They are not; a function without a decorator is none.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        refuse(f"tools={tools!r} is no list", f"write tools=[{_called(tools)}]")
    for tool in cast("Sequence[object]", tools):
        if not isinstance(tool, Node | Graph | Toolbox):
            name = _called(tool)
            refuse(f"{name} is no tool", f"declare `async def {name}(...)` and put @tool over it")


def _called(thing: object) -> str:
    return str(getattr(thing, "__name__", None) or repr(thing))


def tool_faults(node: Node[..., Any] | GraphStep) -> tuple[str, ...]:
    """What is wrong with a node of any kind, or a graph, that an agent offers to its model."""
    found = node.faults
    if inspect.getdoc(node.function) or _UNDESCRIBED in found:
        return found
    return (*found, _UNDESCRIBED)


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...


@overload
def tool(function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
@overload
def tool(function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: Effect = "repeatable",
    in_doubt: InDoubt = "ask",
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    budget: Budget | None = None,
    max_calls: int | None = None,
    max_result: int | None = None,
) -> _Decorator: ...


@told("@tool")
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "repeatable",
    in_doubt: InDoubt = "ask",
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    budget: Budget | None = None,
    max_calls: int | None = None,
    max_result: int | None = None,
) -> Any:
    """Declare a typed async function as a tool: graphs wire it, agents may call it.

    Args:
        function: The body; its docstring is what a model reads.
        effect: ``"once"`` for what must never be silently repeated: the intent is recorded before
            the body runs, and where it began and did not return the effect is in doubt.
        in_doubt: What settles that: ``"ask"`` a person, ``"retry"`` it, ``"fail"``, or a function that
            finds out.  It is given what the tool was given, after ``ctx: Context`` if it takes one, whose
            ``idempotency_key`` is that of the call in doubt; it gives what the tool would have given,
            or raises ``DidNotHappen``; where it fails, a person is asked.  It may be an ``async def``, a
            ``def`` (run in a thread), or a node with a retry and a timeout of its own.
        name: Another name than the function's; part of the identity of its results.
        retry: What is tried again; under ``"once"`` the errors that mean "it did not happen".
        timeout: Of one attempt, in seconds or as ``"30s"``.
        idle: How long an attempt may go without ``ctx.progress`` or a call that begins or ends.
        budget: What one run of the tool may consume.
        max_calls: How often an agent may call it in one conversation; it is told of the limit then.
        max_result: Characters of the result that a model is shown (100,000 where nothing is said);
            the record, and whoever wires the tool, have all of it.

    Example::

        @tool(effect="once", in_doubt="ask")
        async def refund(ctx: Context, order_id: str, amount: Decimal) -> Receipt:
            \"\"\"Refund an amount on an order.\"\"\"
            return await shop.refund(order_id, amount, idempotency_key=ctx.idempotency_key)

    Raises:
        WiringError: The body is no ``async def``.
        ConfigurationError: An unknown effect or settlement.
    """
    _one_of("effect", effect, Effect)
    finder = Finder(in_doubt) if callable(in_doubt) else None
    settlement = _settlement(in_doubt, finder)
    policies = policies_of(
        retry=retry, timeout=timeout, idle=idle, budget=budget, max_calls=max_calls, max_result=max_result
    )
    if effect == "once":
        policies = replace(policies, effect=effect, in_doubt=settlement)

    def declare(body: Callable[..., Any]) -> Tool[..., Any]:
        check_async(body, "tool")
        made: Tool[..., Any] = Tool(body, Signature(body), policies, name_of(body, name))
        made.finder = finder if effect == "once" else None
        return made

    return declare if function is None else declare(function)


def _settlement(in_doubt: InDoubt, finder: Finder | None) -> str:
    """What the plan says: the policy, or the name of the function that finds out."""
    if finder is None:
        _one_of("in_doubt", cast("str", in_doubt), Settlement)
        return cast("str", in_doubt)
    if finder.name in get_args(Settlement):
        raise ConfigurationError(
            f"@tool(in_doubt={finder.name}): call the function something else than a policy"
        )
    return finder.name


def _one_of(option: str, value: str, known: Any) -> None:
    given.one_of("@tool", option, value, get_args(known))
