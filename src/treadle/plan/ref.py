"""Stand-ins: what a graph function sees instead of values while it is wired.

A stand-in records what can be recorded (attributes, items, comparisons, ``&``, ``|``) and refuses
everything else at once, because Python would otherwise go on with something that is not the value:
``if`` on a stand-in would always take the same branch.  Type checkers see a stand-in as the value's
own type, so the refusals here are for what types allow and wiring does not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, NoReturn, Protocol, TypeVar

from treadle import given
from treadle.errors import WiringError
from treadle.plan.parts import Read, Wire
from treadle.plan.where import is_asked_by, is_watched, refused_at, where
from treadle.values import short

F = TypeVar("F", bound=Callable[..., Any])

FAULTS: ContextVar[list[str] | None] = ContextVar("treadle_faults", default=None)
"""Those of the graph that is being wired: a refusal that its function catches is told with them."""


class Recorder(Protocol):
    """What a stand-in tells of what is done with it."""

    @property
    def is_active(self) -> bool:
        """Whether the graph is being wired at this moment."""
        ...

    def read_field(self, ref: Ref, name: str) -> object: ...

    def read_item(self, ref: Ref, key: object) -> object: ...

    def compare(self, operation: str, left: object, right: object) -> object: ...

    def both(self, left: object, right: object) -> object: ...

    def either(self, left: object, right: object) -> object: ...


class Ref:
    """What a stand-in stands for: a node's result, or something read from it.

    Attributes:
        frame: Where it may be used.
        wire: To the node.
        path: What was read, outermost first.
        declared: The type of the value.
        written: Of an expression: how it is written, with ``{}`` for each operand, and the operands.
    """

    __slots__ = ("declared", "frame", "path", "wire", "written")

    def __init__(
        self,
        frame: Recorder,
        wire: Wire,
        path: tuple[Read, ...],
        declared: Any,
        written: tuple[object, ...] = (),
    ) -> None:
        self.frame = frame
        self.wire = wire
        self.path = path
        self.declared = declared
        self.written = written

    @property
    def name(self) -> str:
        """The id of the node that gives it: ``triage.question``, ``equal``."""
        return self.wire.node + spell(self.path)

    @property
    def text(self) -> str:
        """How a person would write it: ``triage.question``, ``triage.question == 'why'``."""
        if not self.written:
            return self.name
        form, *operands = self.written
        texts = [_operand(one, is_joined=len(operands) > 1) for one in operands]
        return str(form).format(*texts) + spell(self.path)


def _operand(value: object, *, is_joined: bool) -> str:
    if type(value) is StandIn:
        ref = ref_of(value)
        return f"({ref.text})" if is_joined and len(ref.written) > 2 and not ref.path else ref.text
    if type(value) in _SHOWN:
        return short(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    return f"a {type(value).__name__}"  # its own text may hold a stand-in, which has none


_SHOWN: Final = {bool, bytes, float, int, str, type(None)}


def spell(path: tuple[Read, ...]) -> str:
    """Write a path of reads the way Python does: ``.docs[0].text``."""
    return "".join(f".{read.key}" if read.field else f"[{read.key!r}]" for read in path)


def refuse(what: str, mend: str) -> NoReturn:
    """Raise ``WiringError`` for the line of the user's code that is running."""
    raise _kept(f"{refused_at()}: {what}; {mend}")


def _kept(text: str) -> WiringError:
    """Make the error, and note it: a graph function that catches it gets no plan by that."""
    faults = FAULTS.get()
    if faults is not None and not is_watched():
        faults.append(text)
    return WiringError(text)


def told(owner: str) -> Callable[[F], F]:
    """Decorate what is called while a graph is declared or wired; see ``treadle.given.told``."""
    return given.told(owner, lambda text: _kept(f"{where()}: {text}"))


class StandIn:
    """Stands for a value that exists only when the graph runs."""

    __slots__ = ("_treadle",)
    _treadle: Ref

    def __init__(self, ref: Ref) -> None:
        object.__setattr__(self, "_treadle", ref)

    def __getattr__(self, name: str) -> object:
        ref = self._treadle
        return ref.frame.read_field(ref, name)

    def __getitem__(self, key: object) -> object:
        ref = self._treadle
        return ref.frame.read_item(ref, key)

    def __eq__(self, other: object) -> Any:
        return self._treadle.frame.compare("==", self, other)

    def __ne__(self, other: object) -> Any:
        return self._treadle.frame.compare("!=", self, other)

    def __lt__(self, other: object) -> Any:
        return self._treadle.frame.compare("<", self, other)

    def __le__(self, other: object) -> Any:
        return self._treadle.frame.compare("<=", self, other)

    def __gt__(self, other: object) -> Any:
        return self._treadle.frame.compare(">", self, other)

    def __ge__(self, other: object) -> Any:
        return self._treadle.frame.compare(">=", self, other)

    def __and__(self, other: object) -> object:
        return self._treadle.frame.both(self, other)

    def __rand__(self, other: object) -> object:
        return self._treadle.frame.both(other, self)

    def __or__(self, other: object) -> object:
        return self._treadle.frame.either(self, other)

    def __ror__(self, other: object) -> object:
        return self._treadle.frame.either(other, self)

    def __repr__(self) -> str:
        ref = self._treadle
        if ref.frame.is_active:  # f"{x!r}", or a list of stand-ins in an f-string
            _refuse_text(ref)
        return f"<stand-in for {ref.text}>"

    @property
    def __class__(self) -> Any:
        ref = self._treadle
        if ref.frame.is_active and not is_asked_by(
            "pydantic"
        ):  # isinstance() and ``case Class():`` look here
            refuse(
                f"the class of {ref.text!r} is not known while the graph is wired",
                "write match(x, {Class: ...}) to choose by class and narrow(x, Class) to go on with one",
            )
        return StandIn

    @__class__.setter
    def __class__(self, value: object) -> None:
        _refuse_change(self._treadle)


def ref_of(stand_in: StandIn) -> Ref:
    """Give what a stand-in stands for, without recording a read."""
    return stand_in._treadle  # pyright: ignore[reportPrivateUsage] - its own module


def _refuse_text(ref: Ref) -> NoReturn:
    refuse(
        f"{ref.text!r} has no text while the graph is wired",
        "pass it to a node and make the text there: async def describe(x: ...) -> str",
    )


def _refuse_change(ref: Ref) -> NoReturn:
    refuse(f"{ref.text!r} cannot be changed while the graph is wired", "make the new value in a node")


_CHOICE: Final = (
    "is not known while the graph is wired, so it cannot decide `if`, `while`, `and`, `or`, `not`, `assert` "
    "or a chained comparison",
    "write when(x, then, otherwise) for `if`, x & y for `and`, x | y for `or`, not_(x) for `not`, "
    "(a < b) & (b < c) for a < b < c",
)
_LOOP: Final = (
    "has no items while the graph is wired, so it cannot be iterated or unpacked",
    "write each(node, x) to run a node for every item, read items by number, as in x[0], or take the whole "
    "list in a node",
)
_TEXT: Final = (
    "has no text while the graph is wired",
    "pass it to a node and make the text there: async def describe(x: ...) -> str",
)
_NUMBER: Final = (
    "is not known while the graph is wired, so nothing can be computed with it",
    "compute in a node: async def total(x: ...) -> int",
)
_REFUSED: Final[tuple[tuple[str, tuple[str, str]], ...]] = (
    ("__bool__", _CHOICE),
    ("__iter__ __reversed__ __next__", _LOOP),
    ("__len__ __length_hint__", ("has no length while the graph is wired", "count in a node")),
    (
        "__contains__",
        (
            "has no items while the graph is wired, so `in` cannot be asked",
            "look in a node, or compare: x == y",
        ),
    ),
    ("__str__ __format__ __bytes__ __fspath__", _TEXT),
    (
        "__invert__",
        ("cannot be negated by `~`", "write not_(x)"),
    ),
    (
        "__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ "
        "__floordiv__ __rfloordiv__ __mod__ __rmod__ __divmod__ __rdivmod__ __pow__ __rpow__ "
        "__matmul__ __rmatmul__ __lshift__ __rlshift__ __rshift__ __rrshift__ __xor__ __rxor__ "
        "__neg__ __pos__ __abs__ __int__ __float__ __complex__ __index__ "
        "__round__ __trunc__ __floor__ __ceil__",
        _NUMBER,
    ),
    (
        "__hash__",
        (
            "cannot be a key of a dict or an item of a set while the graph is wired",
            "choose with match(x, {...}), or look it up in a node",
        ),
    ),
    (
        "__call__",
        ("cannot be called while the graph is wired", "call methods in a node, on the value"),
    ),
    (
        "__await__ __aiter__ __anext__ __aenter__ __aexit__",
        (
            "is no awaitable: a graph is a plain `def` and nothing runs while it is wired",
            "drop `await`; results are passed on as they are",
        ),
    ),
    (
        "__enter__ __exit__",
        ("is no context manager while the graph is wired", "use it in a node"),
    ),
    (
        "__setattr__ __delattr__ __setitem__ __delitem__",
        ("cannot be changed while the graph is wired", "make the new value in a node"),
    ),
    (
        "__copy__ __deepcopy__ __reduce_ex__",
        ("cannot be copied while the graph is wired", "pass it on as it is"),
    ),
)


def _refusal(what: str, mend: str) -> Callable[..., NoReturn]:
    def refused(self: StandIn, *_: object, **__: object) -> NoReturn:
        refuse(f"{ref_of(self).text!r} {what}", mend)

    return refused


for _names, (_what, _mend) in _REFUSED:
    for _name in _names.split():
        setattr(StandIn, _name, _refusal(_what, _mend))
