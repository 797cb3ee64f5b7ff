"""Reading declared types: what they are made of, which fields and items they have."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import typing_extensions
from pydantic import BaseModel

from treadle.errors import nearest
from treadle.plan.parts import Read

NOTHING: Final = type(None)

LISTS: Final = frozenset(
    {
        list,
        collections.abc.Sequence,
        collections.abc.MutableSequence,
        collections.abc.Iterable,
        collections.abc.Collection,
    }
)
"""Declared types for which a list can be given."""

MAPPINGS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})

_MARKS: Final = frozenset(
    {
        typing.Required,
        typing.NotRequired,
        typing_extensions.Required,
        typing_extensions.NotRequired,
        typing_extensions.ReadOnly,
    }
)
_ALIASES: Final[tuple[type, ...]] = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)


def strip(declared: Any) -> Any:
    """Take off what does not matter to wiring: ``Annotated``, new types, aliases, ``Required``."""
    while True:
        origin = typing.get_origin(declared)
        if declared is None:
            return NOTHING
        if origin is typing.Annotated or origin in _MARKS:
            declared = typing.get_args(declared)[0]
        elif isinstance(declared, typing.NewType):
            declared = declared.__supertype__
        elif isinstance(declared, typing.TypeVar):
            declared = declared.__bound__ or Any
        elif isinstance(declared, _ALIASES) or isinstance(origin, _ALIASES):
            declared = (origin or declared).__value__
        else:
            return declared


def alternatives(declared: Any) -> tuple[Any, ...]:
    """Give the members of a union, stripped and flattened; of another type itself alone."""
    declared = strip(declared)
    if typing.get_origin(declared) in {typing.Union, types.UnionType}:
        return tuple(inner for member in typing.get_args(declared) for inner in alternatives(member))
    return (declared,)


def union(members: collections.abc.Iterable[Any]) -> Any:
    """Give the union of some types, ``Any`` where one of them is."""
    found = tuple(dict.fromkeys(members))
    return Any if Any in found or not found else typing.Union[found]  # noqa: UP007 - made of a tuple


def is_unknown(declared: Any) -> bool:
    """Whether nothing is known of a (stripped) type."""
    return declared is Any or declared is object


def class_of(declared: Any) -> type | None:
    """The class behind a (stripped) type: ``list`` of ``list[int]``; ``None`` where there is none."""
    origin = typing.get_origin(declared) or declared
    return origin if isinstance(origin, type) else None


def title(declared: Any) -> str:
    """Write a type the way its author did, more or less."""
    declared = strip(declared)
    if declared is NOTHING:
        return "None"
    if isinstance(declared, type) and not typing.get_args(declared):
        return declared.__name__
    if typing.get_origin(declared) in {typing.Union, types.UnionType}:
        return " | ".join(title(member) for member in typing.get_args(declared))
    arguments = typing.get_args(declared)
    origin = typing.get_origin(declared)
    if arguments and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(_argument_title, arguments))}]"
    return str(declared).replace("typing.", "")


def _argument_title(argument: Any) -> str:
    return "..." if argument is ... else title(argument)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something cannot be read: a sentence that ends in how to mend it."""

    why: str


def field(declared: Any, name: str) -> Any:
    """Give the type of an attribute, or ``Missing``."""
    found: list[Any] = []
    members = alternatives(declared)
    if NOTHING in members:
        return Missing("it may be None; read it from some(x)")
    for member in members:
        inner = _field_of_one(member, name)
        if isinstance(inner, Missing):
            return inner
        found.append(inner)
    return union(found)


def _field_of_one(declared: Any, name: str) -> Any:
    if is_unknown(declared):
        return Any
    known = fields(declared)
    if name in known:
        return known[name]
    is_literal = typing.get_origin(declared) is typing.Literal
    cls = cast("Any", type(typing.get_args(declared)[0]) if is_literal else class_of(declared))
    if cls is not None and callable(getattr(cls, name, None)):
        return Missing(f"{name!r} is a method of {title(declared)}; call it in a node, on the value")
    if not known:
        return Missing(f"{title(declared)} has no fields; compute in a node what you need of it")
    return Missing(f"{title(declared)} has no field {name!r}{nearest(name, known)}")


def fields(declared: Any) -> Mapping[str, Any]:
    """Give the attributes of a type that can be read, with their types."""
    cls = class_of(declared)
    if cls is None:
        return {}
    known = _fields_of_class(cls)
    arguments = typing.get_args(declared)
    if not arguments:
        return known
    bound = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    return {name: bound.get(inner, inner) if _hashable(inner) else inner for name, inner in known.items()}


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _fields_of_class(cls: type) -> dict[str, Any]:
    if issubclass(cls, enum.Enum):
        members = list(cls)
        return {"name": str, "value": union(type(cast("object", member.value)) for member in members)}
    if issubclass(cls, BaseModel):
        known = {name: _annotation(info.annotation) for name, info in cls.model_fields.items()}
    elif dataclasses.is_dataclass(cast("Any", cls)) or is_named_tuple(cls):
        known = _hints(cls)
    else:
        return {}
    for ancestor in reversed(cls.__mro__):
        for name, member in vars(ancestor).items():
            if isinstance(member, property | functools.cached_property) and not name.startswith("_"):
                known[name] = _property_type(cast("Any", member))
    return known


def is_named_tuple(cls: Any) -> bool:
    """Whether a class is a tuple with named fields."""
    return issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields")


def _annotation(declared: Any) -> Any:
    return Any if isinstance(declared, str | typing.ForwardRef) else declared


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # a name that only type checkers know
        return dict.fromkeys(getattr(cls, "__annotations__", ()), Any)


def _property_type(member: property | functools.cached_property[Any]) -> Any:
    function = member.fget if isinstance(member, property) else member.func
    try:
        return typing.get_type_hints(function, include_extras=True).get("return", Any)
    except NameError:
        return Any


def item(declared: Any, key: str | int) -> Any:
    """Give the type of an item, or ``Missing``."""
    found: list[Any] = []
    members = alternatives(declared)
    if NOTHING in members:
        return Missing("it may be None; read it from some(x)")
    for member in members:
        inner = _item_of_one(member, key)
        if isinstance(inner, Missing):
            return inner
        found.append(inner)
    return union(found)


def _item_of_one(declared: Any, key: str | int) -> Any:
    if is_unknown(declared):
        return Any
    cls = class_of(declared)
    arguments = typing.get_args(declared)
    if cls is not None and typing_extensions.is_typeddict(cls):
        known = _hints(cls)
        return (
            known[key]
            if key in known
            else Missing(f"{title(cls)} has no key {key!r}{nearest(str(key), known)}")
        )
    if cls in MAPPINGS:
        return _mapping_item(declared, arguments, key)
    if cls in LISTS:
        return (arguments[0] if arguments else Any) if isinstance(key, int) else _no_number(declared, key)
    if cls is not None and issubclass(cls, tuple):
        return _tuple_item(declared, key)
    return Missing(
        f"{title(declared)} has no items that can be read while the graph is wired; read in a node"
    )


def required_keys(cls: Any) -> frozenset[str]:
    """The keys a typed dict must have; of another class none."""
    found: frozenset[str] = getattr(cls, "__required_keys__", frozenset[str]())
    # Under `from __future__ import annotations` NotRequired is a text that typing has not read.
    optional = (
        {name for name, declared in _hints(cls).items() if _is_optional_key(declared)}
        if found
        else set[str]()
    )
    return found - optional


def _is_optional_key(declared: Any) -> bool:
    return typing.get_origin(declared) in {typing.NotRequired, typing_extensions.NotRequired}


def _no_number(declared: Any, key: object) -> Missing:
    return Missing(f"items of {title(declared)} are read by number, not by {key!r}")


def _mapping_item(declared: Any, arguments: tuple[Any, ...], key: str | int) -> Any:
    if not arguments:
        return Any
    wanted = alternatives(arguments[0])
    if any(is_unknown(member) or member is type(key) for member in wanted) or _is_label(key, wanted):
        return arguments[1]
    return Missing(f"the keys of {title(declared)} are {title(arguments[0])}, not {key!r}")


def _is_label(key: object, wanted: tuple[Any, ...]) -> bool:
    return any(
        key in typing.get_args(member) for member in wanted if typing.get_origin(member) is typing.Literal
    )


def _tuple_item(declared: Any, key: str | int) -> Any:
    if not isinstance(key, int):
        return _no_number(declared, key)
    items = tuple_items(declared)
    if items is None:
        return Any
    if len(items) == 2 and items[1] is ...:
        return items[0]
    if -len(items) <= key < len(items):
        return items[key]
    return Missing(f"{title(declared)} has {len(items)} items, none at {key}")


def tuple_items(declared: Any) -> tuple[Any, ...] | None:
    """The item types of a tuple type, as written (perhaps ending in ``...``), or ``None`` if unknown."""
    cls = class_of(declared)
    names = cast("tuple[str, ...] | None", getattr(cls, "_fields", None))
    if cls is not None and names is not None:
        known = _fields_of_class(cls)
        return tuple(known.get(name, Any) for name in names)
    return typing.get_args(declared) or None


def follow(declared: Any, path: tuple[Read, ...]) -> Any:
    """Give the type at the end of a path of reads, or the first ``Missing``."""
    for read in path:
        declared = field(declared, str(read.key)) if read.field else item(declared, read.key)
        if isinstance(declared, Missing):
            break
    return declared
