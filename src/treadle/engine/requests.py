"""How the calls of a body are written down: arguments, conversations, step ids."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic_core import to_json

from treadle.errors import ResultRefused, WiringError, nearest
from treadle.messages import Message, ModelRequest, OutputSpec, ToolSpec
from treadle.nodes.graph import Graph
from treadle.nodes.graph_step import GraphStep
from treadle.plan.parts import Callee
from treadle.values import Payload, canonical, codec, digest

_MESSAGES: Final = codec(tuple[Message, ...])
_TOOLS: Final = codec(tuple[ToolSpec, ...])
_OUTPUT: Final = codec(OutputSpec | None)


def bind(callee: Callee, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a call by parameter, defaults included.

    Raises:
        WiringError: One is missing, unknown or given twice.
    """
    parameters = callee.parameters
    if len(args) > len(parameters):
        raise WiringError(f"{callee.name!r} takes {len(parameters)} arguments, not {len(args)}")
    bound = {parameter.name: value for parameter, value in zip(parameters, args, strict=False)}
    names = [parameter.name for parameter in parameters]
    for name, value in kwargs.items():
        if name in bound or name not in names:
            fault = "was given twice" if name in bound else f"is unknown{nearest(name, names)}"
            raise WiringError(f"argument {name!r} of {callee.name!r} {fault}")
        bound[name] = value
    for parameter in parameters:
        if parameter.name not in bound:
            if parameter.required:
                raise WiringError(f"argument {parameter.name!r} of {callee.name!r} is missing")
            bound[parameter.name] = parameter.default
    return bound


def pack_arguments(callee: Callee, arguments: Mapping[str, Any]) -> Payload:
    """Write the arguments of a call down, each as its parameter's type.

    Raises:
        ResultRefused: One does not come back equal from its JSON.
    """
    return Payload(data=b"{%s}" % b",".join(_pieces(callee, arguments)))


def input_digest(arguments: Payload) -> str:
    """The digest of what a call is given: the same whether it is a node of a plan or a step of a body.

    It is that of the arguments as plain JSON data, with the defaults, in one fixed order of keys.
    """
    return digest(canonical(arguments.json()))


def pack_and_digest(callee: Callee, arguments: Mapping[str, Any]) -> tuple[Payload, str]:
    """Do what ``pack_arguments`` and ``input_digest`` do, without reading back what was just written
    wherever nothing in it can need sorting but the arguments themselves.

    Raises:
        ResultRefused: As ``pack_arguments``.
    """
    pieces = _pieces(callee, arguments)
    data = b"{%s}" % b",".join(pieces)
    if data.find(b"{", 1) > 0:
        payload = Payload(data=data)
        return payload, input_digest(payload)
    if len(pieces) > 1:
        names = [parameter.name for parameter in callee.parameters]
        ordered = [piece for _, piece in sorted(zip(names, pieces, strict=True))]
        if ordered != pieces:
            return Payload(data=data), digest(b"{%s}" % b",".join(ordered))
    inputs = digest(data)
    return Payload(data=data, digest=inputs), inputs


def _pieces(callee: Callee, arguments: Mapping[str, Any]) -> list[bytes]:
    name = ""
    pieces: list[bytes] = []
    try:
        for parameter in callee.parameters:
            name = parameter.name
            pieces.append(_key(name) + parameter.codec.data_of(arguments[name]))
    except ResultRefused as error:
        raise ResultRefused(f"argument {name!r} of {callee.name!r} is refused: {error}") from error
    return pieces


@functools.lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    return to_json(name) + b":"


class Conversations:
    """The model requests of one attempt, each written as what it adds to an earlier one.

    A request is stored as its parent's digest and the new messages, so a conversation of many turns
    takes space once.  Which request is the parent depends on content alone, so a resumed body
    writes the same.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: list[tuple[str, ModelRequest, str]] = []

    def pack(self, definition: str, request: ModelRequest) -> Payload:
        """Write a request of a model down."""
        messages = request.messages
        parent = self._parent(definition, request)
        if parent is None:
            body = b'{"messages":%s,"tools":%s,"output":%s,"max_output_tokens":%d,"temperature":%s}' % (
                _MESSAGES.encode(messages),
                _TOOLS.encode(request.tools),
                _OUTPUT.encode(request.output),
                request.max_output_tokens,
                to_json(request.temperature),
            )
        else:
            earlier, its_digest = parent
            new = _MESSAGES.encode(messages[len(earlier.messages) :])
            body = b'{"parent":"%s","messages":%s}' % (its_digest.encode(), new)
        payload = Payload(data=body, digest=digest(body))
        self._seen.append((definition, request, payload.digest))
        return payload

    def _parent(self, definition: str, request: ModelRequest) -> tuple[ModelRequest, str] | None:
        best: tuple[ModelRequest, str] | None = None
        for owner, earlier, its_digest in reversed(self._seen):
            length = len(earlier.messages)
            if owner != definition or length >= len(request.messages):
                continue
            if best is not None and length <= len(best[0].messages):
                continue
            if _same_settings(earlier, request) and request.messages[:length] == earlier.messages:
                best = (earlier, its_digest)
        return best


def _same_settings(left: ModelRequest, right: ModelRequest) -> bool:
    return (
        left.tools == right.tools
        and left.output == right.output
        and left.max_output_tokens == right.max_output_tokens
        and left.temperature == right.temperature
    )


def as_callee(node: object) -> Callee:
    """Give the node object behind what ``ctx.step`` was called with.

    Raises:
        WiringError: It is a plain function, which has no record.
    """
    if isinstance(node, Graph):
        return GraphStep(cast("Graph[..., Any]", node))
    if callable(node) and hasattr(node, "definition") and hasattr(node, "perform"):
        return cast("Callee", node)
    if hasattr(node, "definition") and hasattr(node, "result"):
        return cast("Callee", node)
    name = getattr(node, "__name__", repr(node))
    raise WiringError(f"ctx.step({name}, ...): {name} is not a node; declare it with @node or @tool")
