"""Values to JSON and back, their digests, and payloads that are encoded only when somebody reads them.

Everything a run records is JSON, written and read through pydantic: never pickle, no code paths.  A
value is refused where its JSON does not come back equal, so a consumer sees the same thing whether
the producer ran just now or last week on another machine.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json, to_json

from treadle.errors import FormatMismatch, ResultRefused

T = TypeVar("T")

Json = object
"""What ``json.loads`` can give: ``None``, ``bool``, ``int``, ``float``, ``str``, lists, dicts of them."""

_PLAIN: Final = frozenset({type(None), bool, int, str})
"""Types whose values come back equal from JSON, but for what ``_is_surely_json`` looks at."""

_LARGE: Final = 1 << 63
"""From here on an integer is written and read once, to see whether JSON has room for its digits."""

_NOISE: Final = re.compile(
    r"Error serializing to JSON: |Pydantic serializer warnings:|PydanticSerializationUnexpectedValue"
)
"""What pydantic writes around its reasons, and nobody needs."""


def digest(data: bytes) -> str:
    """Give the SHA-256 of some bytes in hexadecimal: the name content is stored under."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Json) -> bytes:
    """Write plain JSON data in one fixed way (sorted keys, no spaces), to be hashed.

    Numbers are written as pydantic writes them; the form need not match any other program's.
    """
    return to_json(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return {key: _sorted(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in cast("list[Any]", value)]
    return value


def parse(data: bytes | str) -> Any:
    """Read JSON; raises ``ValueError`` where it is not."""
    return from_json(data)


class Payload:
    """One recorded value: alive, as bytes, or both; encoding and hashing wait until somebody asks.

    Two payloads are equal when their bytes are.  A payload read from a store has no value of its
    own: ``Codec.unpack`` makes it.  One whose content was erased keeps its digest alone.
    """

    __slots__ = ("_codec", "_data", "_digest", "_value")

    def __init__(
        self,
        value: object = None,
        codec: Codec[Any] | None = None,
        *,
        data: bytes | None = None,
        digest: str | None = None,
    ) -> None:
        self._value = value
        self._codec = codec
        self._data = data
        self._digest = digest

    @property
    def data(self) -> bytes:
        """The JSON text as UTF-8 bytes.

        Raises:
            FormatMismatch: The content was erased.
        """
        if self._data is None:
            if self._codec is None:
                raise FormatMismatch(f"the content {self._digest} was erased from the store")
            self._data = self._codec.encode(self._value)
        return self._data

    @property
    def digest(self) -> str:
        """SHA-256 of ``data``, hexadecimal."""
        if self._digest is None:
            self._digest = digest(self.data)
        return self._digest

    @property
    def is_erased(self) -> bool:
        """Whether only the digest is left."""
        return self._data is None and self._codec is None

    def json(self) -> Any:
        """The content as plain JSON data."""
        return from_json(self.data)

    def is_made_by(self, codec: Codec[Any]) -> bool:
        """Whether the live value came through this very codec."""
        return self._codec is codec

    @property
    def is_alive(self) -> bool:
        """Whether it holds a value made in this process, rather than bytes from a store."""
        return self._codec is not None

    @property
    def value(self) -> object:
        """The live value; meaningful only where ``is_alive``."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Payload({self._digest or 'not encoded yet'})"


class Codec(Generic[T]):
    """Writes and reads the values of one declared type.

    Example:
        >>> numbers = codec(list[int])
        >>> numbers.unpack(numbers.pack([1, 2]))
        [1, 2]
    """

    __slots__ = ("_plain", "adapter", "type")

    def __init__(self, declared: Any) -> None:
        self.type = declared
        self.adapter: TypeAdapter[T] = TypeAdapter(declared)
        plain = type(None) if declared is None else declared
        self._plain = plain if plain in _PLAIN else None

    def encode(self, value: T) -> bytes:
        """Write a value as JSON bytes.

        Raises:
            ResultRefused: pydantic cannot write it.
        """
        try:
            if type(value) is self._plain:
                return to_json(value)
            return self.adapter.dump_json(value, warnings="error")
        except ValueError as error:  # pydantic's own, and Python's for a number of too many digits
            raise ResultRefused(_unwritable(value, self.type, str(error))) from error

    def decode(self, data: bytes) -> T:
        """Read a value from JSON bytes; raises pydantic's ``ValidationError`` where it does not fit.

        So it does where a validator of the type's own raised something else, such as a ``KeyError``.
        """
        try:
            return self.adapter.validate_json(data)
        except ValidationError:
            raise
        except Exception as error:  # a user's validator may raise anything
            raise _refused(self.type, error) from error

    def pack(self, value: T) -> Payload:
        """Take a value into the record, after making sure that it would come back equal.

        Raises:
            ResultRefused: It would not: a NaN, a subclass of the declared type, another type.
        """
        if type(value) is self._plain and _is_surely_json(value):
            return Payload(value, self)
        return Payload(value, self, data=self._checked(value))

    def data_of(self, value: T) -> bytes:
        """Give the bytes of what ``pack`` gives, and nothing around them.

        Raises:
            ResultRefused: As ``pack``.
        """
        if type(value) is self._plain and _is_surely_json(value):
            return to_json(value)
        return self._checked(value)

    def _checked(self, value: T) -> bytes:
        data = self.encode(value)
        try:
            back = self.decode(data)
        except ValidationError as error:
            raise ResultRefused(_unwritable(value, self.type, _complaints(error))) from error
        if not same(value, back):
            raise ResultRefused(
                f"{short(value)} does not come back equal from its JSON: declared as {_name(self.type)}, "
                f"it would be read as {short(back)}; declare the type that is really returned"
            )
        return data

    def unpack(self, payload: Payload) -> T:
        """Give the value of a payload: the live one where there is one, else read from its bytes.

        Raises:
            ValidationError: As ``decode`` does.
            FormatMismatch: The content was erased.
        """
        if payload.is_made_by(self):
            return cast("T", payload.value)
        return self.decode(payload.data)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the type, as pydantic writes it (draft 2020-12)."""
        return self.adapter.json_schema()


@functools.lru_cache(maxsize=4096)
def _hashable_codec(declared: Any, spelling: str) -> Codec[Any]:
    """One codec for each way to write a type: ``int | str`` equals ``str | int``, but their schemas differ,
    and with them the definitions that results are found again by."""
    del spelling
    return Codec[Any](declared)


def codec(declared: Any) -> Codec[Any]:
    """Give the codec of a type, the same one each time.

    Raises:
        TypeError: pydantic cannot make JSON of that type.
    """
    try:
        try:
            return _hashable_codec(declared, str(declared))
        except TypeError:  # an annotation that cannot be hashed
            return Codec[Any](declared)
    except PydanticSchemaGenerationError as error:
        raise TypeError(f"values of type {_name(declared)} cannot be stored as JSON") from error


JSON: Final[Codec[Any]] = Codec(Any)
"""For values whose type is not declared: plain JSON data alone."""


def same(left: object, right: object) -> bool:
    """Tell whether two values are equal in type and content, all the way down (NaN is never)."""
    if type(left) is not type(right):
        return False
    compare = _COMPARE.get(type(left))
    if compare is not None:
        return compare(left, right)
    if isinstance(left, BaseModel):
        other = cast("BaseModel", right)
        return same(left.__dict__, other.__dict__) and same(left.__pydantic_extra__, other.__pydantic_extra__)
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    return bool(left == right)


def _same_sequences(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def _same_mappings(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    return left.keys() == right.keys() and all(same(item, right[key]) for key, item in left.items())


def _same_floats(left: float, right: float) -> bool:
    return left == right and math.copysign(1.0, left) == math.copysign(1.0, right)


_COMPARE: Final[dict[type, Callable[[Any, Any], bool]]] = {
    list: _same_sequences,
    tuple: _same_sequences,
    dict: _same_mappings,
    float: _same_floats,
}


def _is_surely_json(value: object) -> bool:
    """Whether a plain value needs no look: no half of a surrogate pair, no endless number."""
    if type(value) is str:
        return value.isascii()
    return type(value) is not int or -_LARGE < value < _LARGE


def short(value: object) -> str:
    """Write a value for a message: at most 120 characters."""
    try:
        text = repr(value)
    except ValueError:  # a number of too many digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 120 else f"{text[:117]}..."


def _unwritable(value: object, declared: Any, reason: str) -> str:
    """Say on one line why a value cannot be stored: what is shown of a failure may be its first line."""
    wanted = _name(declared)
    shown = "None" if value is None else f"{short(value)} ({type(value).__name__})"
    told = f"{shown} cannot be stored as {wanted}, the declared type"
    if inspect.iscoroutine(value):
        return f"{told}: it was not awaited: write `await` before the call, such as `await ctx.step(...)`"
    bare = typing.get_args(declared)[0] if typing.get_origin(declared) is typing.Annotated else declared
    origin = type(None) if bare is None else typing.get_origin(bare) or bare
    if isinstance(origin, type) and origin is not Any and not isinstance(value, origin):
        other = f"{wanted} | None" if value is None else type(value).__name__
        return f"{told}: give a value of that type, or declare {other}"
    return f"{told}: {' '.join(_NOISE.sub('', reason).split())}"


def _name(declared: Any) -> str:
    return declared.__name__ if isinstance(declared, type) else str(declared)


def _refused(declared: Any, error: Exception) -> ValidationError:
    """What a validator raised that pydantic lets through, as pydantic's own error."""
    why = type(error).__name__
    try:
        why = f"{why}: {error}"
    except Exception as failed:  # a user's class may fail at saying anything
        why = f"{why} (its text cannot be read: {type(failed).__name__})"
    told = PydanticCustomError("validator_raised", "{why}", {"why": why})
    fault = InitErrorDetails(type=told, loc=(), input=None)
    return ValidationError.from_exception_data(_name(declared), [fault], input_type="json")


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors()[:3]
    )
