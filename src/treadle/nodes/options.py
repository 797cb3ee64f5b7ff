"""What ``using`` and the decorators are given: misspelt and unsuitable options are refused at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, cast

from treadle import durations
from treadle.budget import Budget
from treadle.errors import ConfigurationError, nearest
from treadle.messages import model_complaint
from treadle.nodes.compact import Compact
from treadle.plan.parts import WorkKind
from treadle.plan.ref import refuse
from treadle.retry import Retry

FOR_ALL: Final = (
    "model", "retry", "timeout", "idle", "budget", "max_turns", "max_output", "min_output", "max_calls",
    "max_result",
)  # fmt: skip
"""What ``using`` can set."""

_OF_AGENTS: Final = ("model", "max_turns", "max_output", "min_output")

_EXAMPLES: Final = {
    "max_turns": 8, "max_output": 4096, "min_output": 256, "max_calls": 3, "max_result": 10_000,
    "max_repeats": 4, "max_repairs": 1,
}  # fmt: skip


_OF_AN_ITEM: Final = re.compile(r"\(\d+\)$")


def check_name(what: str, name: object) -> None:
    """Make sure that a name can stand in the path of a node.

    Raises:
        WiringError: It is no text, is empty, has a ``/``, or ends as items and rounds do: ``each(3)``.
    """
    if not isinstance(name, str) or not name or "/" in name or _OF_AN_ITEM.search(name):
        refuse(
            f"{name!r} is no name for a {what}", "write some text without `/` and without `(3)` at its end"
        )


def check_names(what: str, given: Iterable[str], kind: WorkKind | None = None) -> None:
    """Make sure that ``using`` sets what there is, and what this kind of node has.

    Args:
        what: Whom it is called on, for the message.
        given: The names of the options.
        kind: The kind of node; ``None`` for a graph, which hands them all to its nodes.

    Raises:
        WiringError: An option is unknown, or only agents have it.
    """
    for name in given:
        if name not in FOR_ALL:
            refuse(f"{what} has no option {name!r}{nearest(name, FOR_ALL)}", f"write {_listed(FOR_ALL)}")
        if name in _OF_AGENTS and kind not in {None, "agent"}:
            refuse(
                f"{what} asks no model, so {name!r} would change nothing",
                f"leave it out, or write it on an @agent or a @graph; a {kind} takes retry, timeout, idle "
                "and budget",
            )


def check_values(options: Mapping[str, object]) -> None:
    """Make sure that a budget is a ``Budget``, a length of time one, a limit a whole number above 0...

    Raises:
        WiringError: One of them is something else.
    """
    for name, value in options.items():
        if value is None:
            continue
        complaint = _COMPLAINTS[name](name, value) if name in _COMPLAINTS else None
        if complaint is not None:
            refuse(*complaint)


Complaint = tuple[str, str] | None
"""What is wrong with a value, and what to write; ``None`` where nothing is."""


def _budget(_name: str, value: object) -> Complaint:
    if isinstance(value, Budget):
        return None
    return f"budget={value!r} is no Budget", f"write {budget_for(value)}"


def _retry(_name: str, value: object) -> Complaint:
    if isinstance(value, Retry):
        return None
    attempts = value if type(value) is int and value > 0 else 3
    return f"retry={value!r} is no Retry", f"write retry=Retry(attempts={attempts})"


def _compact(_name: str, value: object) -> Complaint:
    if isinstance(value, Compact):
        return None
    return f"compact={value!r} is no Compact", "write compact=Compact(limit=128_000)"


def _limit(name: str, value: object) -> Complaint:
    if type(value) is int and value > 0:
        return None
    return f"{name}={value!r} is no whole number above 0", f"write for example {name}={_EXAMPLES[name]}"


def _time(name: str, value: object) -> Complaint:
    try:
        durations.seconds(cast("float | str", value))
    except ConfigurationError as error:
        what, _, mend = f"{name}={error}".partition("; ")
        return what, mend or f"write for example {name}='30s'"
    return None


def _model(_name: str, value: object) -> Complaint:
    """The form of a name is looked at with the plan."""
    what, _, mend = ("" if isinstance(value, str) else model_complaint(value)).partition("; ")
    return (f"model={what}", mend) if what else None


def _text(name: str, value: object) -> Complaint:
    return None if isinstance(value, str) else (f"{name}={value!r} is no text", f'write {name}="..."')


_COMPLAINTS: Final[Mapping[str, Callable[[str, object], Complaint]]] = {
    "budget": _budget,
    "retry": _retry,
    "compact": _compact,
    "timeout": _time,
    "idle": _time,
    "within": _time,
    "model": _model,
    "instructions": _text,
    **dict.fromkeys(_EXAMPLES, _limit),
}


def object_faults(model: object) -> list[str]:
    """Say what keeps a model object from being asked on this machine, as far as it knows that itself."""
    complaint = getattr(model, "complaint", "")
    return [complaint] if isinstance(complaint, str) and complaint else []


def budget_for(value: object) -> str:
    """Spell the budget that somebody meant who wrote an amount of money."""
    is_amount = type(value) in {int, float, Decimal}
    return f'budget=Budget(usd="{value if is_amount else "0.05"}")'


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"
