"""What a body's signature says: parameters, result, whether it takes a context.

Read at the first use of a plan, not when the module is loaded: types may be defined further down,
and schemas cost time that an import should not.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

from pydantic import PydanticUserError
from pydantic_core import PydanticSerializationError

from treadle.errors import ResultRefused, WiringError
from treadle.interfaces import Context
from treadle.plan import storable
from treadle.plan.parts import Parameter
from treadle.plan.shapes import title
from treadle.plan.where import where
from treadle.values import JSON, Codec, canonical, codec, digest

_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class Signature:
    """The signature of one body, read when it is first asked for.

    Args:
        function: The body.
        wrapper: ``Prompt`` or ``Ask`` where the body must return one; the node's result is its ``T``.
    """

    def __init__(self, function: Callable[..., Any], wrapper: type | None = None) -> None:
        self.function = function
        self.wrapper = wrapper
        self._namespace = _locals_around()

    @functools.cached_property
    def _read(self) -> tuple[tuple[Parameter, ...], Codec[Any], bool, tuple[str, ...]]:
        faults: list[str] = []
        try:
            hints = typing.get_type_hints(self.function, localns=self._namespace, include_extras=True)
        except (NameError, TypeError) as error:
            faults.append(
                f"its annotations cannot be read: {error}; import the type where the body is defined"
            )
            return (), JSON, False, tuple(faults)
        declared = list(inspect.signature(self.function).parameters.values())
        takes_context = bool(declared) and hints.get(declared[0].name) is Context
        parameters = tuple(
            _parameter(one, hints, faults) for one in (declared[1:] if takes_context else declared)
        )
        return parameters, self._result(hints, faults), takes_context, tuple(faults)

    def _result(self, hints: dict[str, Any], faults: list[str]) -> Codec[Any]:
        declared = hints.get("return", inspect.Parameter.empty)
        if declared is inspect.Parameter.empty:
            faults.append("its result has no type; write `-> T` behind the parameters")
            return JSON
        if self.wrapper is not None:
            if typing.get_origin(declared) is not self.wrapper:
                faults.append(
                    f"its body must be declared `-> {self.wrapper.__name__}[T]`, not {title(declared)}"
                )
                return JSON
            declared = typing.get_args(declared)[0]
        complaint = storable.complaint(declared)
        if complaint:
            faults.append(f"its result cannot be stored: {complaint}")
            return JSON
        return codec(declared)

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that wires can be drawn to, in order."""
        return self._read[0]

    @functools.cached_property
    def result(self) -> Codec[Any]:
        """Writes and reads the result."""
        return self._read[1]

    @functools.cached_property
    def takes_context(self) -> bool:
        """Whether the body's first parameter is ``ctx: Context``."""
        return self._read[2]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, one sentence each."""
        return self._read[3]

    @functools.cached_property
    def digests(self) -> tuple[str, str]:
        """Digests of the JSON Schemas of the parameters (defaults included) and of the result."""
        described = {one.name: [one.codec.schema(), _default(one)] for one in self.parameters}
        return digest(canonical(described)), digest(canonical(self.result.schema()))


def _parameter(one: inspect.Parameter, hints: dict[str, Any], faults: list[str]) -> Parameter:
    if one.kind in _VARIADIC:
        faults.append(f"it takes *{one.name}; wires need parameters with names, or one list")
    elif one.kind is inspect.Parameter.POSITIONAL_ONLY:
        faults.append(f"{one.name!r} can be given by position only; leave out the `/`")
    made: Codec[Any] = JSON
    if one.name not in hints:
        faults.append(f"parameter {one.name!r} has no type; write {one.name}: T")
    elif hints[one.name] is Context:
        faults.append(f"parameter {one.name!r} is a Context; the context comes first")
    else:
        made = _codec(one.name, hints[one.name], faults)
    required = one.default is inspect.Parameter.empty
    return Parameter(
        one.name,
        made,
        required=required,
        default=None if required else one.default,
        keyword_only=one.kind is inspect.Parameter.KEYWORD_ONLY,
    )


def _codec(name: str, declared: Any, faults: list[str]) -> Codec[Any]:
    complaint = storable.unwritable(declared)
    if complaint:
        faults.append(f"parameter {name!r} cannot be recorded: {complaint}")
        return JSON
    return codec(declared)


def _default(parameter: Parameter) -> Any:
    if parameter.required:
        return None
    try:
        return [parameter.codec.adapter.dump_python(parameter.default, mode="json", warnings="error")]
    except (PydanticSerializationError, PydanticUserError, ResultRefused):
        return [repr(type(parameter.default))]  # a mark such as a sentinel: its type is all that is known


_BETWEEN: Final = ("treadle.nodes", "treadle.given")


def _locals_around() -> dict[str, Any] | None:
    """Give the names of the function that a body is defined in, for annotations that use them."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        frame = frame.f_back
    if frame is None or frame.f_locals is frame.f_globals:
        return None
    return dict(frame.f_locals)


def check_async(function: Callable[..., Any], decorator: str) -> None:
    """Make sure that a body is an ``async def``.

    Raises:
        WiringError: It is not.
    """
    if not inspect.iscoroutinefunction(function):
        name = getattr(function, "__name__", repr(function))
        raise WiringError(
            f"{where()}: @{decorator} stands over {name!r}, which is no `async def`; "
            f"write `async def {name}(...)`: `async def` works, a plain `def` under @graph wires"
        )
