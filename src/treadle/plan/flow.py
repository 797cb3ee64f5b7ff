"""The control words of a graph: which node is needed when.

They are called inside a ``@graph`` function, on stand-ins and ordinary values alike, and give
stand-ins.  A branch is a plain argument: it runs only where it is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Never, TypeVarTuple, cast

from typing_extensions import TypeVar

from treadle.errors import ConfigurationError, WiringError, nearest
from treadle.plan import binding, shapes
from treadle.plan.classes import askable, confused, no_case, why_not
from treadle.plan.fits import fits, labels
from treadle.plan.parts import Argument, Binding, Case, Wire
from treadle.plan.ref import StandIn, ref_of, refuse, told
from treadle.plan.where import where
from treadle.plan.wiring import Frame, current
from treadle.retry import error_names
from treadle.values import parse

A = TypeVar("A")
B = TypeVar("B")
N = TypeVar("N", default=Never)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Otherwise:
    """Holds the mark of a ``match`` without ``otherwise``.

    It is a ``Never`` for type checkers, so that it adds nothing to the result; overloads would do the
    same, and make mypy refuse classes as cases.
    """

    missing: Never = cast("Any", object())


def _frame(word: str, instead: str) -> Frame:
    frame = current()
    if frame is None:
        refuse(f"{word} stands outside of a graph", f"it belongs into a function under @graph; {instead}")
    return frame


@told("when")
def when(condition: bool, then: A, otherwise: B) -> A | B:
    """Choose between two branches by a condition; only the chosen one is needed.

    Example::

        return when(order.amount > 100, approve(order), order)

    Raises:
        WiringError: Called outside of a graph.
    """
    frame = _frame("when", "elsewhere write `if`")
    subject, declared = binding.infer(frame, condition, frame.fault)
    if not binding.is_bool(declared):
        frame.fault(
            f"when needs a condition, and got {shapes.title(declared)}; compare it (x == y), or ask "
            "is_none(x) or not_(x)"
        )
    yes, yes_type = binding.infer(frame, then, frame.fault)
    no, no_type = binding.infer(frame, otherwise, frame.fault)
    cases = (
        Case(binding=yes, test="equal", label=True, live=True),
        Case(binding=no, test="equal", label=False, live=False),
    )
    chosen = frame.control("when", subject=subject, cases=cases, declared=shapes.union((yes_type, no_type)))
    return cast("A | B", chosen)


@told("match")
def match(subject: object, cases: Mapping[Any, A], otherwise: N = _Otherwise.missing) -> A | N:
    """Choose one of several branches by a value, or by its class; only the chosen one is needed.

    The cases must cover the subject's type (a literal, an enum, ``bool`` or a union of classes), or
    ``otherwise`` says what to do with the rest.  The first case that fits is taken.

    Example::

        return match(t.difficulty, {"easy": quick(ticket), "hard": expert(ticket)})

    Raises:
        WiringError: Called outside of a graph.
    """
    frame = _frame("match", "elsewhere write Python's own match statement")
    if not isinstance(cast("object", cases), Mapping):
        refuse(
            f"match takes its cases as a dict, not {cases!r}", 'write match(x, {"a": one(x), "b": two(x)})'
        )
    looked_at, declared = binding.infer(frame, subject, frame.fault)
    recorded: list[Case] = []
    types: list[Any] = []
    for label, branch in cases.items():
        bound, branch_type = binding.infer(frame, branch, frame.fault)
        recorded.append(_case(frame, label, bound))
        types.append(branch_type)
    rest: object = otherwise
    if rest is not cast("object", _Otherwise.missing):
        bound, branch_type = binding.infer(frame, rest, frame.fault)
        recorded.append(Case(binding=bound))
        types.append(branch_type)
    if type(subject) is StandIn:
        for text in uncovered(declared, recorded):
            frame.fault(f"match on {ref_of(subject).text!r}: {text}")
    chosen = frame.control("match", subject=looked_at, cases=tuple(recorded), declared=shapes.union(types))
    return cast("A | N", chosen)


def _case(frame: Frame, label: object, bound: Binding) -> Case:
    reason = no_case(label)
    if reason is not None:
        raise WiringError(f"{where()}: match: {reason}")
    if isinstance(label, type):
        return Case(binding=bound, test="instance", label=label.__name__, live=label)
    written, _ = binding.infer(frame, label, frame.fault)
    payload = getattr(written, "payload", None)
    return Case(
        binding=bound, test="equal", label=None if payload is None else parse(payload.data), live=label
    )


def uncovered(declared: Any, cases: Sequence[Case]) -> list[str]:
    """Say which values of a type no case takes, and which cases can never be taken."""
    faults: list[str] = []
    left = [one for member in shapes.alternatives(declared) for one in _values(member)]
    known = [one.live for one in left if isinstance(one, _Label)]
    for case in cases:
        taken = [one for one in left if _takes(case, one)]
        if not taken and not _may_take(case, left):
            faults.append(f"case {_spell(case)} is never taken{_nearest(case, known)}")
        left = [one for one in left if one not in taken]
    if left and not any(case.test == "otherwise" for case in cases):
        rest = ", ".join(repr(one.live) if isinstance(one, _Label) else shapes.title(one) for one in left)
        faults.append(f"no case takes {rest}; add it, or give otherwise=")
    return faults


class _Label:
    """One value of a type that has few."""

    __slots__ = ("live",)

    def __init__(self, live: object) -> None:
        self.live = live


def _values(member: Any) -> list[Any]:
    if shapes.is_unknown(member):
        return [Any]
    found = labels(member)
    return [member] if found is None else [_Label(one) for one in found]


def _takes(case: Case, one: Any) -> bool:
    """Whether a case takes everything of one member: a value, or a class."""
    if case.test == "otherwise":
        return True
    if isinstance(one, _Label):
        if case.test == "instance":
            return isinstance(one.live, cast("type", case.live))
        return type(one.live) is type(case.live) and one.live == case.live
    cls = shapes.class_of(one)
    return case.test == "instance" and cls is not None and issubclass(cls, cast("type", case.live))


def _may_take(case: Case, left: list[Any]) -> bool:
    """Whether a case takes some of what is left, but not all of any member."""
    wanted = case.live if case.test == "instance" else type(case.live)
    return any(
        shapes.is_unknown(one) or fits(wanted, one)
        for one in left
        if not isinstance(one, _Label)
    )  # fmt: skip


def _spell(case: Case) -> str:
    if case.test == "otherwise":
        return "otherwise"
    return str(case.label) if case.test == "instance" else repr(case.live)


def _nearest(case: Case, known: list[Any]) -> str:
    texts = [one for one in known if isinstance(one, str)]
    return nearest(case.live, texts) if isinstance(case.live, str) else ""


@told("fallback")
def fallback(first: A, *others: B, on: type[BaseException] | Sequence[type[BaseException]] = ()) -> A | B:
    """Take the first that succeeds; the next is needed only where the one before has failed.

    Args:
        on: Error classes that lead to the next; without it every failure of nodes, providers and
            budgets does.  Cancellation, an effect in doubt and a history mismatch never do.

    Example::

        return fallback(expert(ticket), desk(ticket))

    Raises:
        WiringError: Called outside of a graph.
    """
    frame = _frame("fallback", "elsewhere write try and except")
    if not others:
        frame.fault("fallback has nothing to fall back to; give it a second argument, or leave it out")
    found = [binding.infer(frame, one, frame.fault) for one in (first, *others)]
    chosen = frame.control(
        "fallback",
        cases=tuple(Case(binding=bound) for bound, _ in found),
        on=_taken(on),
        declared=shapes.union(declared for _, declared in found),
    )
    return cast("A | B", chosen)


def _taken(on: object) -> tuple[str, ...]:
    """The names of the errors that lead to the next."""
    try:
        return error_names("fallback(on=...)", on)
    except ConfigurationError as error:
        raise WiringError(f"{where()}: {error}") from None


@told("race")
def race(first: A, *others: B) -> A | B:
    """Start all and take the first that succeeds; the others are cancelled, and charged for what they took.

    It fails when all have failed.  What acts once (``effect="once"``, as a node or as a tool of an
    agent), and only a race is sure to need, is refused: the race goes on without a loser that may have acted.

    Example::

        return race(quick(ticket), careful(ticket))

    Raises:
        WiringError: Called outside of a graph.
    """
    frame = _frame("race", "elsewhere start tasks and cancel the losers")
    if not others:
        frame.fault("race has one runner; give it a second argument, or leave it out")
    found = [binding.infer(frame, one, frame.fault) for one in (first, *others)]
    chosen = frame.control(
        "race",
        cases=tuple(Case(binding=_runner(frame, bound)) for bound, _ in found),
        declared=shapes.union(declared for _, declared in found),
    )
    return cast("A | B", chosen)


def _runner(frame: Frame, bound: Binding) -> Wire:
    """One runner of a race is one node: a group of several has arrived when all of it has."""
    if isinstance(bound, Wire):
        return bound
    return ref_of(frame.control("do", cases=(Case(binding=bound),), declared=Any)).wire


def do(*refs: *tuple[*Ts, T]) -> T:
    """Need all of its arguments, and be the last one.

    Example::

        return do(notify(reply), reply)

    Raises:
        WiringError: Called outside of a graph.
    """
    frame = _frame("do", "elsewhere call one after the other")
    found = [binding.infer(frame, one, frame.fault) for one in cast("tuple[object, ...]", refs)]
    if not found:
        refuse("do() has no arguments", "write do(first, ..., result)")
    last = frame.control("do", cases=tuple(Case(binding=bound) for bound, _ in found), declared=found[-1][1])
    return cast("T", last)


@told("not_")
def not_(x: object) -> bool:
    """Turn a condition round; on an ordinary value it is Python's ``not``.

    Example::

        return when(not_(order.is_paid), remind(order), order)
    """
    if type(x) is not StandIn:
        return not x
    frame = _frame("not_", "elsewhere write `not x`")
    bound, declared = binding.infer(frame, x, frame.fault)
    if not binding.is_bool(declared):
        frame.fault(
            f"not_ needs a condition, and got {shapes.title(declared)}; compare it, or ask is_none(x)"
        )
    return cast("bool", frame.expression("not", (Argument("value", bound),), bool, written=("not_({})", x)))


@told("is_none")
def is_none(x: object) -> bool:
    """Ask whether a value is ``None``.

    Example::

        return when(is_none(order.note), plain(order), noted(order))
    """
    if type(x) is not StandIn:
        return x is None
    frame = _frame("is_none", "elsewhere write `x is None`")
    bound, declared = binding.infer(frame, x, frame.fault)
    if not fits(type(None), declared):
        frame.fault(f"{ref_of(x).text!r} is {shapes.title(declared)}, which is never None; leave is_none out")
    asked = frame.expression("is_none", (Argument("value", bound),), bool, written=("is_none({})", x))
    return cast("bool", asked)


@told("some")
def some(x: T | None) -> T:
    """Take a value that may be ``None`` for one that is not; where it is ``None`` the read fails.

    Example::

        return write(some(order.note))
    """
    if type(x) is not StandIn:
        if x is None:
            refuse("some(None) can never succeed", "give it a value that may be there")
        return x
    frame = _frame("some", "elsewhere write `assert x is not None`")
    bound, declared = binding.infer(frame, x, frame.fault)
    rest = shapes.union(one for one in shapes.alternatives(declared) if one is not shapes.NOTHING)
    return cast("T", frame.expression("some", (Argument("value", bound),), rest, written=("some({})", x)))


@told("narrow")
def narrow(x: object, cls: type[T]) -> T:
    """Take a value of a wider type for one of a class; where it is another the read fails.

    At run time its class is looked at, not its items: ``list[int]`` is taken where the declared type
    leaves no other list open.

    Example::

        return match(shape, {Circle: area(narrow(shape, Circle)), Square: side(narrow(shape, Square))})

    Raises:
        WiringError: Called outside of a graph, or what is given is no class: a text, a union, a literal,
            or a typed dict, which no value has as its class.
    """
    reason = why_not(cls)
    if reason is not None:
        raise WiringError(f"{where()}: {reason}")
    wanted: Any = shapes.strip(cls)
    title = shapes.title(wanted)
    if type(x) is not StandIn:
        if not isinstance(x, askable(wanted) or object):
            refuse(f"{x!r} is no {title}", "narrow to a class it has")
        return cast("T", x)
    frame = _frame("narrow", "elsewhere write `assert isinstance(x, ...)`")
    bound, declared = binding.infer(frame, x, frame.fault)
    for text in _narrowed(declared, wanted):
        frame.fault(f"{ref_of(x).text!r} is {shapes.title(declared)}, {text}")
    written = (f"narrow({{}}, {shapes.title(wanted)})", x)
    took = frame.expression("narrow", (Argument("value", bound),), wanted, live=wanted, written=written)
    return cast("T", took)


def _narrowed(declared: Any, wanted: Any) -> Iterator[str]:
    """Say why a value of a type never is of the wanted class, or cannot be known to be."""
    title = shapes.title(wanted)
    if not any(fits(wanted, one) or fits(one, wanted) for one in shapes.alternatives(declared)):
        yield f"which is never a {title}"
    other = confused(wanted, declared)
    if other is not None:
        yield (
            f"and at run time only the class is looked at, which does not tell {title} from "
            f"{shapes.title(other)}; narrow to {shapes.title(askable(wanted))}, or look at it in a node"
        )
