"""What users give for an option: refused at once with what is wanted, what was given, and what to write.

Type checkers say most of it in the editor; this is for those who have none, and for values that come
out of a file or a variable.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from treadle import durations
from treadle.errors import ConfigurationError, TreadleError, nearest

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def wrong(owner: str, name: str, value: object, wanted: str, example: str) -> ConfigurationError:
    """The error for a value that is not what is wanted.

    Args:
        owner, name: Whose option, as ``Limit(concurrency=...)``.
        wanted: What it is, after "is".
        example: A value that can be written there, as Python code.
    """
    return ConfigurationError(
        f"{owner}({name}=...) is {wanted}, not {value!r}; write for example {owner}({name}={example})"
    )


def whole(owner: str, name: str, value: object, *, least: int, example: str) -> int:
    """Give a whole number.

    Raises:
        ConfigurationError: It is none, or smaller than the least.
    """
    if type(value) is not int or value < least:
        raise wrong(owner, name, value, f"a whole number of {least} or more", example)
    return value


def number(owner: str, name: str, value: object, *, example: str) -> float:
    """Give a finite number of 0 or more.

    Raises:
        ConfigurationError: It is none.
    """
    if not _is_number(value) or not 0 <= cast("float", value) < math.inf:
        raise wrong(owner, name, value, "a number of 0 or more", example)
    return cast("float", value)


def share(owner: str, name: str, value: object, *, example: str) -> float:
    """Give a share of something: above 0, and at most 1.

    Raises:
        ConfigurationError: It is none.
    """
    if not _is_number(value) or not 0 < cast("float", value) <= 1:
        raise wrong(owner, name, value, "a share between 0 and 1", example)
    return cast("float", value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(owner: str, name: str, value: object, *, example: str) -> str:
    """Give a text that is not empty.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(value, str) or not value:
        raise wrong(owner, name, value, "text", example)
    return value


def yes_or_no(owner: str, name: str, value: object) -> bool:
    """Give ``True`` or ``False``.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(value, bool):
        raise wrong(owner, name, value, "True or False", "True")
    return value


def one_of(owner: str, name: str, value: object, known: Sequence[str]) -> str:
    """Give one of the words that an option knows.

    Raises:
        ConfigurationError: It is another one; the nearest is named.
    """
    if not isinstance(value, str) or value not in known:
        hint = nearest(value, known) if isinstance(value, str) else ""
        listed = ", ".join(map(repr, known))
        raise ConfigurationError(f"{owner}({name}=...) is one of {listed}, not {value!r}{hint}")
    return value


def seconds(owner: str, name: str, value: object) -> float:
    """Give a length of time in seconds.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return durations.seconds(cast("float | str", value))
    except ConfigurationError as error:
        raise ConfigurationError(f"{owner}({name}=...): {error}") from None


def told(owner: str, fail: Callable[[str], TreadleError] = ConfigurationError) -> Callable[[F], F]:
    """Decorate what users call: an option it does not know is told with the nearest it knows.

    Nothing is looked at before Python itself has refused the call.

    Args:
        owner: What it is called in the message.
        fail: Makes the error that is raised.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError:
                complaint = _complaint(owner, function, args, kwargs)
                if complaint:
                    raise fail(complaint) from None
                raise

        return cast("F", call)

    return decorate


def told_fields(cls: C) -> C:
    """Do the same for a dataclass that makes its own ``__init__``."""
    made = cast("Any", cls)
    made.__init__ = told(cls.__name__)(made.__init__)
    return cls


_BY_NAME: Final = inspect.Parameter.KEYWORD_ONLY
_NAMELESS: Final = (
    inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD,
)  # fmt: skip


def _complaint(
    owner: str, function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
) -> str:
    """What is wrong with a call, where the call itself is; else nothing."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = [one for one in signature.parameters.values() if one.name != "self"]
        by_position = len(args) - (len(signature.parameters) - len(takes))
        known = [one.name for one in takes if one.kind not in _NAMELESS]
        unknown = next((name for name in kwargs if name not in known), "")
        if unknown:
            return f"{owner} has no option {unknown!r}{nearest(unknown, known)}; it takes {', '.join(known)}"
        if by_position and takes and all(one.kind is _BY_NAME for one in takes):
            return f"{owner} takes its options by name; write {owner}({known[0]}=...)"
        return f"{owner}: {error}; it takes {', '.join(one.name for one in takes)}"
    return ""
