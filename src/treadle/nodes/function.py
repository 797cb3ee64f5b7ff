"""``@node``: any typed async function as a node of a graph."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Protocol, overload

from treadle.budget import Budget
from treadle.interfaces import Context
from treadle.nodes.node import Node, P, R, name_of, policies_of
from treadle.nodes.signature import Signature, check_async
from treadle.plan.parts import WorkKind
from treadle.plan.ref import told
from treadle.retry import Retry


class FunctionNode(Node[P, R]):
    """A node whose body is code."""

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, R]]:
        """The plain function, for unit tests."""
        return self._function

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "node"

    @property
    def plain(self) -> Callable[..., Any] | None:
        """The function, unless it takes a context."""
        return None if self.takes_context else self.function


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> FunctionNode[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionNode[P, R]: ...


@overload
def node(function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> FunctionNode[P, R]: ...
@overload
def node(function: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionNode[P, R]: ...
@overload
def node(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    budget: Budget | None = None,
) -> _Decorator: ...


@told("@node")
def node(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    budget: Budget | None = None,
) -> Any:
    """Declare a typed async function as a node.

    Its result is recorded once it has returned; after a crash before that it runs again.  A first
    parameter ``ctx: Context`` is not part of the wired signature.

    Args:
        function: The body.
        name: Another name than the function's; part of the identity of its results.
        retry: What is tried again, and how often.
        timeout: Of one attempt, in seconds or as ``"30s"``.
        idle: How long an attempt may go without ``ctx.progress`` or a call that begins or ends.
        budget: What one run of the node may consume.

    Example::

        @node(timeout="10s")
        async def word_count(text: str) -> int:
            return len(text.split())

    Raises:
        WiringError: The body is no ``async def``.
    """

    policies = policies_of(retry=retry, timeout=timeout, idle=idle, budget=budget)

    def declare(body: Callable[..., Any]) -> FunctionNode[..., Any]:
        check_async(body, "node")
        return FunctionNode(body, Signature(body), policies, name_of(body, name))

    return declare if function is None else declare(function)
