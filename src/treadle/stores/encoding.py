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
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

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
    layout = _layout(type(event))
    text = layout.prefix + to_json(layout.fields(event))
    return text, layout.payloads(event) if layout.has_payloads else NONE


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Optional:
    """A field with a default: left out of the text where it has it."""

    name: str
    default: object
    pack: Callable[[Any], Any] | None


class _Layout:
    """How one class is written and read; made once, so that writing loops over few fields in C.

    Attributes:
        prefix: The kind, as it stands before the JSON object.
    """

    __slots__ = (
        "_get_optional",
        "_get_required",
        "_known",
        "_mappings",
        "_optional",
        "_packers",
        "_payloads",
        "_required",
        "_unpackers",
        "cls",
        "has_payloads",
        "prefix",
    )

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.prefix = getattr(cls, "kind", "").encode()
        hints = get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        bare = {name: _without_none(hints[name]) for name in fields}
        self._payloads = [name for name in fields if bare[name] is Payload]
        self._mappings = [name for name in fields if _maps_payloads(bare[name])]
        self.has_payloads = bool(self._payloads or self._mappings)
        plain = [name for name in fields if name not in {*self._payloads, *self._mappings}]
        defaults = {name: _default(cls, fields[name]) for name in plain}
        self._required = [name for name in plain if defaults[name] is dataclasses.MISSING]
        self._optional = [
            _Optional(name=name, default=defaults[name], pack=_packer(bare[name]))
            for name in plain
            if name not in self._required
        ]
        self._packers = [(n, pack) for n in self._required if (pack := _packer(bare[n])) is not None]
        self._unpackers = [(n, unpack) for n in plain if (unpack := _unpacker(bare[n])) is not None]
        self._known = frozenset(plain)
        self._get_required = _getter(self._required)
        self._get_optional = _getter([optional.name for optional in self._optional])

    def fields(self, value: object) -> dict[str, Any]:
        """The fields to write, those with their default left out."""
        fields = dict(zip(self._required, self._get_required(value), strict=True))
        for name, pack in self._packers:
            fields[name] = pack(fields[name])
        for optional, item in zip(self._optional, self._get_optional(value), strict=True):
            if item != optional.default:
                fields[optional.name] = item if optional.pack is None else optional.pack(item)
        return fields

    def payloads(self, value: object) -> Payloads:
        """The payloads by name; what is ``None`` is left out."""
        found = {name: item for name in self._payloads if (item := getattr(value, name)) is not None}
        for name in self._mappings:
            found.update({f"{name}.{key}": item for key, item in getattr(value, name).items()})
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


def _getter(names: list[str]) -> Callable[[object], Iterable[Any]]:
    if not names:
        return lambda _value: ()
    get = operator.attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


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


def _packer(hint: Any) -> Callable[[Any], Any] | None:
    if hint in _NESTED:
        return _layout(hint).fields
    return dict if get_origin(hint) is Mapping else None


def _unpacker(hint: Any) -> Callable[[Any], Any] | None:
    if hint in _NESTED:
        return _layout(hint).build
    if hint is Decimal:
        return Decimal
    return tuple if get_origin(hint) is tuple else None
