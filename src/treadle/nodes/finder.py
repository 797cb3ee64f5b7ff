"""The function that finds out whether a call in doubt happened, as something that can be called as a step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from anyio import to_thread

from treadle.interfaces import Context
from treadle.nodes.node import Node
from treadle.nodes.signature import Signature
from treadle.plan.parts import DEFAULT, Definition, Parameter, Policies
from treadle.plan.ref import refuse
from treadle.plan.shapes import title
from treadle.values import Codec


class Finder:
    """Finds out what became of a call: given what it was given, it gives what it would have given.

    Args:
        function: An ``async def``; a ``def``, which runs in a thread; or a node, with policies of its own.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        node = _as_node(function)
        if node is not None and (node.kind not in {"node", "tool"} or node.policies.effect == "once"):
            refuse(
                f"in_doubt={node.name}: {node.name!r} cannot find out what happened to a call",
                "write a function that only looks, or a @node",
            )
        self._function = function if node is None else node.function
        self._signature = Signature(self._function)
        self._definition: Definition | None = None
        self._policies = DEFAULT if node is None else node.policies
        self.name = function.__name__

    @property
    def definition(self) -> Definition:
        """What it is."""
        if self._definition is None:
            parameters, result = self._signature.digests
            self._definition = Definition(kind="finder", name=self.name, parameters=parameters, result=result)
        return self._definition

    @property
    def policies(self) -> Policies:
        """Those of the node it was given as."""
        return self._policies

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the call, by the same names."""
        return self._signature.parameters

    @property
    def result(self) -> Codec[Any]:
        """The type of what the call gives."""
        return self._signature.result

    @property
    def plain(self) -> None:
        """It is never a node of its own."""
        return None

    def faults(self, call: Signature) -> tuple[str, ...]:
        """What is wrong with it as the finder of a call of this signature."""
        found = [f"{self.name!r}, which finds out about it: {fault}" for fault in self._signature.faults]
        if found or call.faults:
            return tuple(found)
        if _shapes(self._signature) != _shapes(call):
            found.append(
                f"{self.name!r}, which finds out about it, takes {_listed(self._signature)}; it is "
                f"given what the tool was given: {_listed(call)}"
            )
        if self.result.schema() != call.result.schema():
            found.append(
                f"{self.name!r}, which finds out about it, gives {title(self.result.type)}, not "
                f"{title(call.result.type)} as the tool; it raises DidNotHappen where nothing happened"
            )
        return tuple(found)

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Call the function; ``ctx.idempotency_key`` is that of the call in doubt."""
        first = (ctx,) if self._signature.takes_context else ()
        if inspect.iscoroutinefunction(self._function):
            return await self._function(*first, **arguments)
        return await to_thread.run_sync(functools.partial(self._function, *first, **arguments))


def _as_node(function: object) -> Node[..., Any] | None:
    return cast("Node[..., Any]", function) if isinstance(function, Node) else None


def _shapes(signature: Signature) -> dict[str, Any]:
    return {one.name: one.codec.schema() for one in signature.parameters}


def _listed(signature: Signature) -> str:
    return ", ".join(f"{one.name}: {title(one.codec.type)}" for one in signature.parameters) or "nothing"
