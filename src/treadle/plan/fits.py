"""Whether a value of one declared type can be given where another is wanted.

The rules are those of type checkers, a little wider where values cannot change (``list[Sub]`` fits
``list[Base]``): enough to catch wrong wiring, never so strict as to refuse what both checkers accept.
``exact`` is stricter: there a value is written as the wanted type and must come back equal, so a
subclass does not fit.
"""

from __future__ import annotations

import enum
import functools
import typing
from typing import Any

import typing_extensions

from treadle.plan.shapes import (
    LISTS,
    MAPPINGS,
    NOTHING,
    alternatives,
    class_of,
    is_unknown,
    required_keys,
    tuple_items,
)


def fits(produced: Any, wanted: Any, *, exact: bool = False) -> bool:
    """Tell whether every value of one type can stand where another is wanted."""
    if produced is wanted:
        return True
    try:
        return _cached(produced, wanted, exact)
    except TypeError:  # an annotation that cannot be hashed
        return _fits(produced, wanted, exact)


@functools.lru_cache(maxsize=4096)
def _cached(produced: Any, wanted: Any, exact: bool) -> bool:
    return _fits(produced, wanted, exact)


def _fits(produced: Any, wanted: Any, exact: bool) -> bool:
    choices = alternatives(wanted)
    if any(is_unknown(choice) for choice in choices):
        return True
    return all(_one_fits(member, choices, exact) for member in alternatives(produced))


def _one_fits(produced: Any, choices: tuple[Any, ...], exact: bool) -> bool:
    if is_unknown(produced):
        return True
    if any(_pair_fits(produced, choice, exact) for choice in choices):
        return True
    values = labels(produced)
    return values is not None and all(
        any(value_fits_label(value, choice, exact) for choice in choices) for value in values
    )


def labels(declared: Any) -> tuple[Any, ...] | None:
    """Give every value of a (stripped) type that has few: a literal, an enum, ``bool``, ``None``."""
    if typing.get_origin(declared) is typing.Literal:
        return typing.get_args(declared)
    if declared is bool:
        return (True, False)
    if declared is NOTHING:
        return (None,)
    if isinstance(declared, type) and issubclass(declared, enum.Enum):
        return tuple(declared)
    return None


def value_fits_label(value: object, choice: Any, exact: bool) -> bool:
    """Whether one value of a literal fits one member of the wanted type."""
    if typing.get_origin(choice) is typing.Literal:
        return any(value == label and type(value) is type(label) for label in typing.get_args(choice))
    return _pair_fits(type(value), choice, exact)


def _pair_fits(produced: Any, wanted: Any, exact: bool) -> bool:
    if produced is wanted or produced == wanted:
        return True
    if typing.get_origin(wanted) is typing.Literal or typing.get_origin(produced) is typing.Literal:
        return False
    have, want = class_of(produced), class_of(wanted)
    if have is None or want is None:
        return True  # a form that pydantic knows and this module does not
    if typing_extensions.is_typeddict(have) or typing_extensions.is_typeddict(want):
        return _typed_dicts_fit(have, want, exact)
    return _classes_fit(have, want, exact) and _arguments_fit(produced, wanted, exact)


def _classes_fit(have: type, want: type, exact: bool) -> bool:
    if exact:
        return have is want or (have is list and want in LISTS) or (have is dict and want in MAPPINGS)
    if have is int and want is float:
        return True
    try:
        return issubclass(have, want)
    except TypeError:  # a protocol that cannot be asked
        return True


def _arguments_fit(produced: Any, wanted: Any, exact: bool) -> bool:
    if class_of(produced) is tuple:
        return _tuple_fits(produced, wanted, exact)
    have, want = typing.get_args(produced), typing.get_args(wanted)
    if not have or not want or len(have) != len(want):
        return True
    return all(fits(one, other, exact=exact) for one, other in zip(have, want, strict=True))


def _tuple_fits(produced: Any, wanted: Any, exact: bool) -> bool:
    have = tuple_items(produced)
    want = typing.get_args(wanted)
    if have is None or not want:
        return True
    endless = len(have) == 2 and have[1] is ...
    if class_of(wanted) is tuple and not (len(want) == 2 and want[1] is ...):
        return (
            not endless
            and len(have) == len(want)
            and all(fits(one, other, exact=exact) for one, other in zip(have, want, strict=True))
        )
    return all(fits(one, want[0], exact=exact) for one in (have[:1] if endless else have))


def _typed_dicts_fit(have: type, want: type, exact: bool) -> bool:
    if have is want:
        return True
    if not typing_extensions.is_typeddict(want):
        return want in MAPPINGS and not exact
    if not typing_extensions.is_typeddict(have) or exact:
        return False
    given, asked = typing.get_type_hints(have), typing.get_type_hints(want)
    return required_keys(want) <= given.keys() and all(
        fits(given[key], asked[key]) for key in given.keys() & asked.keys()
    )
