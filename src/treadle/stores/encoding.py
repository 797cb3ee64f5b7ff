"""Events to the text they are stored as, and back.

An event is written as its kind, followed by a JSON object of its fields in the order of their
declaration, without those that have their default; its payloads are kept beside that text, by name::

    node_completed{"at":1763798400.25,"node":"triage","attempt":1,"started_at":1763798399.5}
    {"result": <payload>}

The text is written once and kept as it is: hashes are over these very bytes, so nothing ever depends
on writing the same event twice in the same way.  The format is described in
``docs/reference/history.md``.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

from pydantic_core import CoreSchema, SchemaSerializer, core_schema, from_json, to_json

from treadle.budget import Amounts, Budget, Price, Usage
from treadle.errors import FormatMismatch, TreadleError
from treadle.events import Event, Failure, Unknown
from treadle.values import Payload

Payloads = Mapping[str, Payload]
"""The payloads of one event by name: ``"result"``, and ``"inputs.ticket"`` for a mapping's item."""

NONE: Final[Payloads] = {}

NOT_JSON: Final = (TreadleError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
"""What writing a value of a user's type as JSON can end in; pydantic wraps all else in a ValueError."""

_EVENTS: Final[Mapping[str, type[Any]]] = {cls.kind: cls for cls in get_args(Event) if cls is not Unknown}
_NESTED: Final = frozenset({Amounts, Budget, Failure, Price, Usage})


def encode(event: Event) -> tuple[bytes, Payloads]:
    """Write an event as text, and give its payloads.

    Raises:
        ValueError, TypeError, ...: One of ``NOT_JSON``: a value is not JSON data.
    """
    if isinstance(event, Unknown):
        return _encode_unknown(event)
    layout = _layouts.get(type(event)) or _layout(type(event))
    return layout.prefix + layout.write(event), layout.payloads(event) if layout.has_payloads else NONE


def decode(text: bytes, payloads: Payloads) -> Event:
    """Read an event; one of a kind this release does not know comes as ``Unknown``.

    Raises:
        FormatMismatch: The text is not that of an event.
    """
    kind, brace, body = text.partition(b"{")
    try:
        fields = from_json(brace + body)
        cls = _EVENTS.get(kind.decode())
        if cls is None:
            return Unknown(at=fields.get("at", 0.0), name=kind.decode(), body={**fields, **payloads})
        return cast("Event", _layout(cls).build(fields, payloads))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise FormatMismatch(f"an event of kind {kind[:60]!r} cannot be read: {error}") from error


def _encode_unknown(event: Unknown) -> tuple[bytes, Payloads]:
    if not event.name.isidentifier():
        raise ValueError(f"{event.name!r} is not the name of a kind of event: letters, digits and _ only")
    payloads = {name: item for name, item in event.body.items() if isinstance(item, Payload)}
    fields = {name: item for name, item in event.body.items() if name not in payloads}
    return event.name.encode() + to_json({"at": event.at, **fields}), payloads


class _Layout:
    """How one class is written and read; made once, so that writing is one call into pydantic's core.

    Attributes:
        write: Gives the JSON object of an event's fields, without payloads and defaults.
        prefix: The kind, as it stands before the JSON object.
    """

    __slots__ = ("_known", "_mappings", "_payloads", "_unpackers", "cls", "has_payloads", "prefix", "write")

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.prefix = getattr(cls, "kind", "").encode()
        bare = {name: _without_none(hint) for name, hint in _hints(cls).items()}
        self._payloads = [name for name in bare if bare[name] is Payload]
        self._mappings = [name for name in bare if _maps_payloads(bare[name])]
        self.has_payloads = bool(self._payloads or self._mappings)
        self._known = frozenset(bare.keys() - {*self._payloads, *self._mappings})
        self._unpackers = [(n, unpack) for n in self._known if (unpack := _unpacker(bare[n])) is not None]
        write = SchemaSerializer(_schema(cls), {"ser_json_inf_nan": "constants"}).to_json
        self.write = functools.partial(write, exclude_defaults=True)

    def payloads(self, value: object) -> Payloads:
        """The payloads by name; what is ``None`` is left out."""
        found: dict[str, Payload] = {}
        for name in self._payloads:
            item = getattr(value, name)
            if item is not None:
                found[name] = item
        for name in self._mappings:
            for key, item in getattr(value, name).items():
                found[f"{name}.{key}"] = item
        return found

    def build(self, fields: dict[str, Any], payloads: Payloads = NONE) -> object:
        """Make the value; fields of a newer release are passed over."""
        if not fields.keys() <= self._known:
            fields = {name: item for name, item in fields.items() if name in self._known}
        given = fields
        for name, unpack in self._unpackers:
            if given.get(name) is not None:
                given[name] = unpack(given[name])
        for name in self._payloads:
            if name in payloads:
                given[name] = payloads[name]
        for name in self._mappings:
            cut = len(name) + 1
            given[name] = {key[cut:]: payloads[key] for key in payloads if key.startswith(f"{name}.")}
        return self.cls(**given)


_layouts: Final[dict[type, _Layout]] = {}


def _layout(cls: type) -> _Layout:
    layout = _layouts.get(cls)
    if layout is None:
        layout = _layouts[cls] = _Layout(cls)
    return layout


def _hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields, in the order of their declaration."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _schema(cls: type) -> CoreSchema:
    """How pydantic's core writes a class of ours: each field as what it is, but for payloads."""
    hints, fields = _hints(cls), dataclasses.fields(cls)
    written = [_field(field, _without_none(hints[field.name]), _default(cls, field)) for field in fields]
    arguments = core_schema.dataclass_args_schema(cls.__name__, written)
    return core_schema.dataclass_schema(cls, arguments, list(hints))


def _field(field: dataclasses.Field[Any], hint: Any, default: object) -> core_schema.DataclassField:
    if hint is Payload or _maps_payloads(hint):
        return core_schema.dataclass_field(field.name, core_schema.any_schema(), serialization_exclude=True)
    schema: CoreSchema = core_schema.any_schema()
    if hint in _NESTED:
        schema = core_schema.nullable_schema(_schema(hint))
    elif get_origin(hint) is Mapping:  # any class of mapping will do
        as_dict = core_schema.plain_serializer_function_ser_schema(dict)
        schema = core_schema.any_schema(serialization=as_dict)
    if default is not dataclasses.MISSING:
        schema = core_schema.with_default_schema(schema, default=default)
    return core_schema.dataclass_field(field.name, schema)


def _default(cls: type, field: dataclasses.Field[Any]) -> object:
    if cls is Budget:  # it writes its own __init__, where everything may be left out
        return None
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    members = [member for member in get_args(hint) if member is not type(None)]
    return members[0] if len(members) == 1 else hint


def _maps_payloads(hint: Any) -> bool:
    return get_origin(hint) is not None and Payload in get_args(hint)


def _unpacker(hint: Any) -> Callable[[Any], Any] | None:
    if hint in _NESTED:
        return _layout(hint).build
    if hint is Decimal:
        return Decimal
    return tuple if get_origin(hint) is tuple else None
