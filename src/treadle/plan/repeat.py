"""``each`` and ``loop``: the control words that go through a plan of their own again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, TypeVar, get_origin, overload

from treadle.errors import nearest
from treadle.events import Failure
from treadle.plan import binding, shapes
from treadle.plan.bodies import arguments_of, blueprint, check_round, first_parameter, wire_body
from treadle.plan.declared import Blueprint
from treadle.plan.fits import fits
from treadle.plan.parts import Argument, Parameter
from treadle.plan.ref import refuse, told
from treadle.plan.wiring import Frame, current

I = TypeVar("I")  # noqa: E741 - an item
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

OnError = Literal["stop", "collect", "drop"]

AT_ONCE: Final = 64
"""Items of an ``each`` that are under way at the same time, where nothing else is said."""

_LIST: Final[Any] = list
_SETTINGS: Final = frozenset({"at_once", "on_error"})
_NO_LISTS: Final = frozenset({str, bytes, set, frozenset}) | shapes.MAPPINGS


class EachItem(Protocol):
    """``each`` with its settings: still to be given its body and its list."""

    def __call__(
        self, node: Callable[Concatenate[I, P], R], items: Sequence[I], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[R]: ...


class CollectEachItem(Protocol):
    """``each`` that keeps failures in the places of their items."""

    def __call__(
        self, node: Callable[Concatenate[I, P], R], items: Sequence[I], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[R | Failure]: ...


@overload
def each(
    node: Callable[Concatenate[I, P], R], items: Sequence[I], /, *args: P.args, **kwargs: P.kwargs
) -> list[R]: ...
@overload
def each(*, on_error: Literal["collect"], at_once: int = AT_ONCE) -> CollectEachItem: ...
@overload
def each(*, on_error: Literal["stop", "drop"] = "stop", at_once: int = AT_ONCE) -> EachItem: ...


def each(*args: Any, **kwargs: Any) -> Any:
    """Do the same for every item of a list; the results stand in the order of the items.

    The body is a node or a graph whose first parameter takes the item; further arguments are the same
    for all.  An item starts as soon as there is room for it, and waits for no other.  Each finished node
    of each item is recorded, so that after a crash only unfinished ones run.

    Args:
        args: The body, the list (or what gives it), and what else the body takes by position; or
            nothing, to say how first: ``each(at_once=8, on_error="collect")(node, items)``.
        kwargs: What else the body takes by name; or ``at_once``: so many items are under way at the same
            time (64 where nothing is said); ``on_error``: ``"stop"`` (the first failure is that of the
            whole, the other items are cancelled), ``"collect"`` (a ``Failure`` stands in the item's
            place) or ``"drop"`` (the item is left out).

    Example::

        reviews = each(review, documents, question)

    Raises:
        WiringError: Called outside of a graph, or with a body that is neither node nor graph.
    """
    if args:
        return _Each(AT_ONCE, "stop")(*args, **kwargs)
    return _settings(**kwargs)


def _settings(at_once: int = AT_ONCE, on_error: OnError = "stop", **unknown: object) -> _Each:
    if unknown:
        name = next(iter(unknown))
        refuse(f"each has no setting {name!r}{nearest(name, _SETTINGS)}", "it takes at_once and on_error")
    if type(at_once) is not int or at_once < 1:
        refuse(f"each(at_once={at_once!r}) lets nothing run", "give a whole number of 1 or more")
    if on_error not in ("stop", "collect", "drop"):
        refuse(f"each(on_error={on_error!r}) says nothing known", "write 'stop', 'collect' or 'drop'")
    return _Each(at_once, on_error)


@dataclass(frozen=True, slots=True)
class _Each:
    at_once: int
    on_error: OnError

    @told("each")
    def __call__(self, node: Any, items: object, /, *args: Any, **kwargs: Any) -> Any:
        frame = _frame("each", "elsewhere write a `for`")
        body = blueprint("each", node)
        for name in sorted(_SETTINGS & kwargs.keys() - {one.name for one in body.parameters}):
            value = kwargs.pop(name)
            frame.fault(f"{name} is said before the body: write each({name}={value!r})({body.name}, ...)")
        bound, declared = binding.infer(frame, items, frame.fault)
        first = first_parameter(frame, "each", body)
        if first is not None:
            _check_items(frame, body, first, declared)
        result = shapes.union((body.result.type, Failure)) if self.on_error == "collect" else body.result.type
        return _record(
            frame,
            "each",
            body,
            Argument(first.name if first is not None else "item", bound),
            args,
            kwargs,
            settings={"at_once": self.at_once, "on_error": self.on_error},
            declared=_LIST[result],
        )


def _check_items(frame: Frame, body: Blueprint, first: Parameter, declared: Any) -> None:
    inner = _item_type(declared)
    if isinstance(inner, shapes.Missing):
        frame.fault(f"each goes through a list, and {shapes.title(declared)} is none: {inner.why}")
    elif not fits(inner, first.codec.type):
        frame.fault(
            f"each hands {body.name!r} one {shapes.title(inner)} after the other, and {first.name!r} takes "
            f"{shapes.title(first.codec.type)}"
        )


def _item_type(declared: Any) -> Any:
    stripped = shapes.strip(declared)
    if shapes.class_of(stripped) in _NO_LISTS or get_origin(stripped) is Literal:
        return shapes.Missing("make a list of it in a node")
    members = shapes.tuple_items(stripped)
    return shapes.item(stripped, 0) if members is None else shapes.union(members)


class _Looping(Protocol[T]):
    """``loop`` with its settings: still to be given its body and its start."""

    def __call__(
        self, node: Callable[Concatenate[T, P], T], start: T, /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


@overload
def loop(node: Callable[[T], T], start: T, /, *, until: Callable[[T], bool], at_most: int) -> T: ...
@overload
def loop(*, until: Callable[[T], bool], at_most: int) -> _Looping[T]: ...


@told("loop")
def loop(*args: Any, until: Callable[[Any], bool], at_most: int) -> Any:
    """Do something with its own result again and again, until that is good enough.

    The body is a node or a graph that takes the value of the round before and gives the next one; there
    is at least one round.  Each round is recorded, and after a crash only the unfinished one goes on.

    Args:
        args: The body and the value it starts with; or nothing, to say how first, where the body takes
            more: ``loop(until=..., at_most=3)(revise, draft, topic)``.
        until: A node, or a function wired once, that takes a round's value and says whether it is the last.
        at_most: So many rounds; when ``until`` is still not reached, it fails with ``LoopLimit``.

    Example::

        draft = loop(revise, first_draft, until=lambda d: d.score >= 8, at_most=4)

    Raises:
        WiringError: Called outside of a graph, or with a body that is neither node nor graph.
    """
    if type(at_most) is not int or at_most < 1:
        refuse(f"loop(at_most={at_most!r}) lets nothing run", "give a whole number of 1 or more")
    if not callable(until):
        refuse(f"loop(until={until!r}) asks nothing", "give a node or a function: until=lambda x: x.done")
    made = _Loop(until, at_most)
    return made(*args) if args else made


@dataclass(frozen=True, slots=True)
class _Loop:
    until: Callable[[Any], bool]
    at_most: int

    @told("loop")
    def __call__(self, node: Any, start: object, /, *args: Any, **kwargs: Any) -> Any:
        frame = _frame("loop", "elsewhere write a `while`")
        body = blueprint("loop", node)
        first = first_parameter(frame, "loop", body)
        bound, declared = binding.infer(frame, start, frame.fault)
        if first is not None:
            check_round(frame, body, first)
            if not fits(declared, first.codec.type):
                frame.fault(
                    f"loop starts with {shapes.title(declared)}, and {body.name!r} takes "
                    f"{shapes.title(first.codec.type)} as {first.name!r}"
                )
        return _record(
            frame,
            "loop",
            body,
            Argument(first.name if first is not None else "value", bound),
            args,
            kwargs,
            settings={"at_most": self.at_most},
            declared=body.result.type,
            until=self.until,
        )


def _record(
    frame: Frame,
    word: Literal["each", "loop"],
    body: Blueprint,
    first: Argument,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    declared: Any,
    until: Callable[[Any], bool] | None = None,
) -> object:
    arguments = arguments_of(frame, body, first, args, kwargs)
    given = {argument.name for argument in arguments}
    missing = {one.name for one in body.parameters if one.required}  # told above: enough is told once
    plan = wire_body(frame, body, given | missing, until)
    return frame.control(word, arguments=arguments, settings=settings, body=plan, declared=declared)


def _frame(word: str, instead: str) -> Frame:
    frame = current()
    if frame is None:
        refuse(f"{word} stands outside of a graph", f"it belongs into a function under @graph; {instead}")
    return frame
