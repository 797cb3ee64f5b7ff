"""Whether values of a declared type come back equal from their JSON, as far as the type shows it.

A union is tried out: sample values of its members are written and read as the union.  So
``int | str`` passes and ``str | datetime`` does not, because the text of a date is a text too.  What
only values show (a NaN, a subclass) is refused when a node has returned it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import typing
import uuid
from collections.abc import Iterator
from typing import Any, Final

import typing_extensions
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, ValidationError

from treadle.errors import ResultRefused
from treadle.plan import shapes
from treadle.plan.fits import labels
from treadle.values import Codec, codec, same

_UTC: Final = datetime.timezone.utc  # noqa: UP017 - the very object that pydantic gives back is not needed
_SAMPLES: Final[dict[type, tuple[Any, ...]]] = {
    type(None): (None,),
    bool: (True, False),
    int: (0, 1, -7),
    float: (0.5, 1.0),
    str: (
        "a", "", "1", "0.5", "true", "null", "2026-01-31", "2026-01-31T12:00:00Z", "12:00:00", "P1D", "YWJj",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "/tmp",  # noqa: S108 - a text, no file
    ),
    bytes: (b"abc",),
    decimal.Decimal: (decimal.Decimal(1), decimal.Decimal("0.50")),
    datetime.datetime: (datetime.datetime(2026, 1, 31, 12, tzinfo=_UTC), datetime.datetime(2026, 1, 31)),  # noqa: DTZ001 - both kinds
    datetime.date: (datetime.date(2026, 1, 31),),
    datetime.time: (datetime.time(12),),
    datetime.timedelta: (datetime.timedelta(days=1),),
    uuid.UUID: (uuid.UUID("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),),
    pathlib.Path: (pathlib.Path("a"),),
    complex: (1j,),
}  # fmt: skip


def complaint(declared: Any) -> str:
    """Say why values of a type cannot be stored, or give ``""``."""
    try:
        return _complaint(declared)
    except TypeError:  # an annotation that cannot be hashed
        return _complaint.__wrapped__(declared)


@functools.lru_cache(maxsize=1024)
def _complaint(declared: Any) -> str:
    reason = unwritable(declared)
    if reason:
        return reason
    return next(filter(None, (_ambiguity(one) for one in _unions(declared, set()))), "")


def unwritable(declared: Any) -> str:
    """Say why no JSON can be made of a type at all, or give ``""``."""
    try:
        codec(declared).schema()
    except (TypeError, PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        return f"{reason}; use a pydantic model, a dataclass or plain data"
    return ""


def _unions(declared: Any, seen: set[Any]) -> Iterator[Any]:
    """Give every union inside a type, in its fields and items too."""
    for member in shapes.alternatives(declared):
        cls = shapes.class_of(member)
        for inner in typing.get_args(member) if typing.get_origin(member) is not typing.Literal else ():
            yield from _unions(inner, seen)
        if cls is not None and cls not in seen and _has_fields(cls):
            seen.add(cls)
            for inner in shapes.fields(cls).values():
                yield from _unions(inner, seen)
    if len(shapes.alternatives(declared)) > 1:
        yield declared


def _has_fields(cls: Any) -> bool:
    return bool(
        issubclass(cls, BaseModel)
        or dataclasses.is_dataclass(cls)
        or shapes.is_named_tuple(cls)
        or typing_extensions.is_typeddict(cls)
    )


def _ambiguity(declared: Any) -> str:
    made: Codec[Any] = codec(declared)
    for member in shapes.alternatives(declared):
        for sample in _samples(member):
            back = _round_trip(made, sample)
            if not same(sample, back):
                return (
                    f"of {shapes.title(declared)} the {type(sample).__name__} {sample!r} would be read back "
                    f"as the {type(back).__name__} {back!r}; declare one of them, or a model with a field "
                    "that tells them apart"
                )
    return ""


def _round_trip(made: Codec[Any], sample: object) -> object:
    try:
        return made.decode(made.encode(sample))
    except (ResultRefused, ValidationError):
        return sample  # the type itself refuses this sample, by a constraint


def _samples(member: Any) -> tuple[Any, ...]:
    found = labels(member)
    if found is not None:
        return found
    cls = shapes.class_of(member)
    inner = typing.get_args(member)
    if cls in _SAMPLES:
        return _SAMPLES[cls]
    if cls in {list, set, frozenset} and inner:
        return tuple(typing.cast("Any", cls)([one]) for one in _samples(inner[0]))
    if cls is dict and len(inner) == 2 and inner[0] is str:
        return tuple({"key": one} for one in _samples(inner[1]))
    if cls is tuple and inner and ... not in inner:
        columns = [_samples(one)[:1] for one in inner]
        return (tuple(column[0] for column in columns),) if all(columns) else ()
    if cls is not None and issubclass(cls, enum.Enum):
        return tuple(cls)
    return ()
