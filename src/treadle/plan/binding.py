"""From what is written as an argument to a ``Binding``: wires, constants, and groups of both."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol, cast

import typing_extensions
from pydantic import BaseModel, PydanticUserError, ValidationError

from treadle.errors import ResultRefused
from treadle.plan import shapes
from treadle.plan.arguments import Report
from treadle.plan.classes import why_not
from treadle.plan.fits import fits
from treadle.plan.parts import Argument, Binding, Constant, Group, Parameter, Read, Wire
from treadle.plan.ref import Recorder, Ref, StandIn, ref_of, refuse
from treadle.values import Codec, Payload, codec

_PLAIN: Final[dict[type, Codec[Any]]] = {kind: codec(kind) for kind in (bool, int, str)} | {
    type(None): codec(None)
}
_LITERAL: Final[Any] = Literal  # these four with arguments that are known at run time alone
_LIST: Final[Any] = list
_TUPLE: Final[Any] = tuple
_DICT: Final[Any] = dict
_CONTAINERS: Final = {list, tuple, dict}


class Wirer(Recorder, Protocol):
    """A frame, as far as bindings need it."""

    def wire(self, ref: Ref) -> Wire: ...


def bind(frame: Wirer, value: object, wanted: Codec[Any], report: Report) -> Binding:
    """Give the binding of an argument, and tell where it does not fit its parameter."""
    kind = type(value)
    if kind is StandIn:
        ref = ref_of(cast("StandIn", value))
        wire = frame.wire(ref)
        if ref.declared is not wanted.type and not fits(ref.declared, wanted.type):
            report(_misfit(ref, wanted.type))
        return wire
    if kind in _CONTAINERS and _holds_stand_in(value):
        return _group(frame, value, wanted.type, report)
    return _constant(value, wanted, report)


def check(frame: Wirer, value: object, wanted: Codec[Any], report: Report) -> None:
    """Tell where a value does not fit, without needing it."""
    if type(value) is StandIn:
        ref = ref_of(value)
        frame_of(frame, ref)
        if not fits(ref.declared, wanted.type):
            report(_misfit(ref, wanted.type))
    elif type(value) in _CONTAINERS and _holds_stand_in(value):
        _group(frame, value, wanted.type, report)
    else:
        _constant(value, wanted, report)


def infer(frame: Wirer, value: object, report: Report) -> tuple[Binding, Any]:
    """Give the binding of a value where nothing says what is wanted, and its type."""
    if type(value) is StandIn:
        ref = ref_of(value)
        return frame.wire(ref), ref.declared
    declared = type_of(value)
    wanted = codec(declared)
    if type(value) in _CONTAINERS and _holds_stand_in(value):
        return _group(frame, value, declared, report), declared
    return _constant(value, wanted, report), literal_of(value, declared)


def type_of(value: object) -> Any:
    """Give the type of something written in a graph: stand-ins by what they stand for."""
    kind = type(value)
    if kind is StandIn:
        return ref_of(cast("StandIn", value)).declared
    if kind is list:
        items = cast("list[object]", value)
        return _LIST[shapes.union(map(type_of, items))] if items else list[Any]
    if kind is tuple:
        return _TUPLE[tuple(map(type_of, cast("tuple[object, ...]", value)))]
    if kind is dict:
        mapping = cast("dict[object, object]", value)
        return _DICT[str, shapes.union(map(type_of, mapping.values()))] if mapping else dict[str, Any]
    return kind


def literal_of(value: object, declared: Any) -> Any:
    """Give the literal type of a constant that has one, so that a ``match`` on it can be complete."""
    if type(value) in {str, int, bool} or isinstance(value, enum.Enum):
        return _LITERAL[value]
    return declared


def pack_plain(value: bool) -> Payload:
    """Make the payload of a truth value."""
    return _PLAIN[bool].pack(value)


def is_bool(declared: Any) -> bool:
    """Whether a value of the type can be a condition."""
    return fits(declared, bool)


def can_compare(operation: str, left: Any, right: Any) -> bool:
    """Whether comparing two types can have the outcome that was hoped for."""
    if operation in {"==", "!="}:
        return any(
            fits(one, right) or fits(other, left)
            for one in _split(left)
            for other in _split(right)
        )  # fmt: skip
    return not any(shapes.NOTHING in shapes.alternatives(side) for side in (left, right))


def _split(declared: Any) -> tuple[Any, ...]:
    return tuple(
        _LITERAL[label] if typing.get_origin(member) is Literal else member
        for member in shapes.alternatives(declared)
        for label in (typing.get_args(member) if typing.get_origin(member) is Literal else (None,))
    )


def defaults(parameters: Iterable[Parameter]) -> Iterator[Argument]:
    """Give what a body is called with where nothing is said, but for marks that cannot be written down."""
    for parameter in parameters:
        if parameter.required:
            continue
        try:
            yield Argument(parameter.name, Constant(_pack(parameter.default, parameter.codec)))
        except (ResultRefused, PydanticUserError):
            continue


def key(bound: Binding) -> object:
    """Give something equal for equal bindings, cheaply; a large constant is equal to itself alone."""
    if isinstance(bound, Wire):
        return bound.node
    if isinstance(bound, Constant):
        value = bound.payload.value
        return (type(value), value) if type(value) in _PLAIN else id(bound)
    return id(bound)


def move(value: object, source: Any, target: Any, *, declared: Any = None) -> Any:
    """Hand stand-ins over from one frame to another, inside containers too."""
    kind = type(value)
    if kind is StandIn:
        ref = ref_of(cast("StandIn", value))
        frame_of(source, ref)
        target.wiring.consumed.add(ref.wire.node)
        return StandIn(
            Ref(target, ref.wire, ref.path, ref.declared if declared is None else declared, ref.written)
        )
    if kind not in _CONTAINERS or not _holds_stand_in(value):
        return value
    if kind is dict:
        mapping = cast("dict[object, object]", value)
        return {name: move(item, source, target) for name, item in mapping.items()}
    items = [move(item, source, target) for item in cast("list[object]", value)]
    return items if kind is list else tuple(items)


def frame_of(frame: Any, ref: Ref) -> None:
    """Make sure that a stand-in belongs to a frame."""
    if ref.frame is not frame:
        refuse(
            f"{ref.text!r} belongs to another graph, or to one that has been wired already",
            "give it to this graph as a parameter",
        )


def _misfit(ref: Ref, wanted: Any) -> str:
    text = f"{ref.text!r} is {shapes.title(ref.declared)}, and {shapes.title(wanted)} is wanted"
    return text + _taken_for(ref, wanted)


def _taken_for(ref: Ref, wanted: Any) -> str:
    """How to go on with a part of a union, where that would fit."""
    members = shapes.alternatives(ref.declared)
    fitting = [one for one in members if fits(one, wanted)]
    if not fitting:
        return ""
    if all(one is shapes.NOTHING or one in fitting for one in members):
        return "; where it is surely not None, write some(x)"
    if len(fitting) > 1 or why_not(fitting[0]) is not None:
        return ""
    return f"; in the branch of a match by class, write narrow(x, {shapes.title(fitting[0])})"


def _mismatch(value: object, wanted: Any) -> str:
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{shown} is {shapes.title(type_of(value))}, and {shapes.title(wanted)} is wanted"


def _holds_stand_in(value: object) -> bool:
    kind = type(value)
    if kind is StandIn:
        return True
    if kind is dict:
        return any(map(_holds_stand_in, cast("dict[object, object]", value).values()))
    return kind in _CONTAINERS and any(map(_holds_stand_in, cast("list[object]", value)))


def _constant(value: object, wanted: Codec[Any], report: Report) -> Constant:
    plain = _PLAIN.get(type(value))
    if plain is not None and wanted.type is plain.type:
        return Constant(Payload(value, wanted))
    if plain is None:
        _refuse_hidden(value)
    try:
        return Constant(_pack(value, wanted))
    except ResultRefused as error:
        declared = literal_of(value, type_of(value))
        report(str(error) if fits(declared, wanted.type) else _mismatch(value, wanted.type))
        return Constant(Payload(None, _PLAIN[type(None)]))


def _pack(value: object, wanted: Codec[Any]) -> Payload:
    try:
        return wanted.pack(value)
    except ResultRefused:
        try:
            # An int where a float is declared is fine for type checkers; pydantic makes it a float.
            same_kind = wanted.adapter.validate_python(value, strict=True)
        except ValidationError:
            same_kind = value
        if (
            type(same_kind) is type(value)
            and same_kind == value
            and not isinstance(value, list | dict | tuple)
        ):
            raise
        return wanted.pack(same_kind)


def _refuse_hidden(value: object) -> None:
    found = _hidden(value)
    if found is not None:
        refuse(
            f"a {type(value).__name__} was built from the stand-in {ref_of(found).text!r}",
            "build it in a node, from the value: async def build(x: ...) -> ...",
        )


def _hidden(value: object, depth: int = 0) -> StandIn | None:
    """Find a stand-in in the fields of an object, where no wire can be drawn to it."""
    kind = type(value)
    if kind is StandIn:
        return cast("StandIn", value)
    if depth > 8 or kind in _PLAIN:
        return None
    if isinstance(value, BaseModel):
        inner: Any = list(value.__dict__.values())
    elif dataclasses.is_dataclass(value):
        inner = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        inner = list(cast("Mapping[object, object]", value).values())
    elif isinstance(value, list | tuple | set | frozenset):
        inner = cast("list[object]", value)
    else:
        return None
    return next((found for item in inner if (found := _hidden(item, depth + 1)) is not None), None)


def _group(frame: Wirer, value: object, wanted: Any, report: Report) -> Binding:
    if isinstance(value, dict):
        return _mapping(frame, cast("dict[object, object]", value), wanted, report)
    items = cast("list[object] | tuple[object, ...]", value)
    is_list = type(value) is list
    declared = _container(wanted, shapes.LISTS if is_list else {tuple, *shapes.LISTS} - {list})
    if declared is None:
        report(f"a {type(value).__name__} is given, and {shapes.title(wanted)} is wanted")
        declared = Any
    return Group(
        "list" if is_list else "tuple",
        tuple(
            _item(frame, item, shapes.item(declared, index), report, Read(index, field=False))
            for index, item in enumerate(items)
        ),
    )


def _item(frame: Wirer, item: object, declared: Any, report: Report, read: Read) -> Binding:
    if isinstance(declared, shapes.Missing):
        report(declared.why)
        declared = Any
    if shapes.is_unknown(shapes.strip(declared)):
        return infer(frame, item, report)[0]
    return bind(frame, item, codec(declared), lambda text: report(f"[{read.key!r}]: {text}"))


def _mapping(frame: Wirer, value: dict[object, object], wanted: Any, report: Report) -> Binding:
    declared = _container(wanted, shapes.MAPPINGS)
    if declared is None:
        report(f"a dict is given, and {shapes.title(wanted)} is wanted; build it in a node")
        declared = Any
    for missing in sorted(shapes.required_keys(declared) - value.keys()):
        report(f"key {missing!r} is missing")
    keys: list[str] = []
    items: list[Binding] = []
    for name, item in value.items():
        if isinstance(name, str):
            keys.append(name)
            items.append(_item(frame, item, shapes.item(declared, name), report, Read(name, field=False)))
        else:
            report(f"key {name!r} of a dict with wires in it is no text")
    return Group("dict", tuple(items), tuple(keys))


def _container(wanted: Any, classes: Any) -> Any:
    """Pick the member of a wanted type that such a container can be given for."""
    for member in shapes.alternatives(wanted):
        cls = shapes.class_of(member)
        if shapes.is_unknown(member) or cls in classes:
            return member
        if dict in classes and cls is not None and typing_extensions.is_typeddict(cls):
            return member
    return None
