"""Choosing by class: what ``narrow`` and a case of ``match`` may be given, and what can be told at run time.

At run time a value is asked for its class alone, never for its items.  So a class with arguments is
taken only where the declared type leaves no other arguments open: a ``list[int] | None`` can be
narrowed to ``list[int]``, a ``list[int] | list[str]`` cannot.
"""

from __future__ import annotations

import typing
from typing import Any

from treadle.plan import shapes
from treadle.plan.fits import fits


def askable(wanted: Any) -> type | None:
    """Give the class that ``isinstance`` is asked about, or ``None`` where there is none to ask."""
    cls = shapes.class_of(shapes.strip(wanted))
    try:
        isinstance(None, typing.cast("type", cls))
    except TypeError:  # no class, a typed dict, a protocol that cannot be asked
        return None
    return cls


def why_not(wanted: Any) -> str | None:
    """Say why nothing can be narrowed to what was given, and what to write; ``None`` where it can."""
    if len(shapes.alternatives(wanted)) > 1:
        return (
            f"narrow takes one class, not {shapes.title(wanted)}; to leave out None write some(x), else "
            "narrow in the branches of a match(x, {Class: ...})"
        )
    if askable(wanted) is not None:
        return None
    return (
        f"narrow takes a class that isinstance() can be asked about, not {wanted!r}; give the class "
        'itself, as in narrow(x, Circle), or compare the value: match(x, {"a": ...}, otherwise=...)'
    )


def confused(wanted: Any, declared: Any) -> Any:
    """Give what a value of the declared type may also be that its class does not tell apart, or ``None``."""
    if not typing.get_args(wanted):
        return None
    return next((one for one in shapes.alternatives(declared) if _looks_like(one, wanted)), None)


def _looks_like(member: Any, wanted: Any) -> bool:
    """Whether some values of one type pass for the wanted one without being of it."""
    if shapes.is_unknown(member):
        return True
    have, want = askable(member), askable(wanted)
    if have is None or want is None or fits(member, wanted):
        return False
    return fits(have, want) or fits(want, have)


def no_case(label: object) -> str | None:
    """Say why something stands for no class and no value in a ``match``, and what to write instead."""
    members = shapes.alternatives(label)
    if len(members) > 1:
        return f"a case is one class or one value, not {shapes.title(label)}; write a case for each of them"
    if typing.get_origin(label) is typing.Literal:
        return f"a case is a class or a value, not {shapes.title(label)}; write the value itself"
    if typing.get_args(label):
        title = shapes.title(label)
        return (
            f"a case is a class or a value, not {title}: at run time only the class of a value is looked at; "
            f"write {shapes.title(askable(label))}, and go on with narrow(x, {title})"
        )
    if isinstance(label, typing.NewType):
        plain = shapes.title(label)
        return (
            f"a case is a class or a value, and a value of {label.__name__} has the class {plain}; "
            f"write {plain}"
        )
    if isinstance(label, type) and askable(label) is None:
        title = shapes.title(label)
        return f"a case is a class that isinstance() can be asked about, not {title}; give otherwise="
    return None
