"""What a graph function asks by ``is`` is looked for in its source, and told where that is certain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from treadle import PlanError, graph, node


class Doc(BaseModel):
    text: str = ""
    note: str | None = None


@node
async def load(name: str) -> Doc:
    return Doc(text=name)


@node
async def maybe(name: str) -> Doc | None:
    return Doc(text=name)


@node
async def take(doc: Any) -> str:
    return str(doc)


NOTE: str | None = None
here = sys.modules[__name__]


def faults_of(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        _ = graph(function).plan
    except PlanError as error:
        return error.faults
    return ()


def by_parameter(doc: Doc | None) -> str:
    if doc is None:
        return "nothing"
    return take(doc)


def by_field_of_a_result(name: str) -> str:
    doc = load(name)
    return take(doc) if doc.note is not None else take(name)


def by_module(name: str) -> str:
    doc = here.maybe(name)
    if doc is not None:
        return take(doc)
    return "nothing"


def by_class(name: str) -> str:
    doc = load(name)
    return take(doc) if type(doc) is Doc else "other"


def by_value(is_new: bool) -> str:
    return take("new") if is_new is True else take(is_new)


@pytest.mark.parametrize(
    ("function", "line", "text", "mend"),
    [
        (by_parameter, 1, "`doc is None`", "when(is_none(x)"),
        (by_field_of_a_result, 2, "`doc.note is not None`", "or some(x)"),
        (by_module, 2, "`doc is not None`", "or some(x)"),
        (by_class, 2, "`type(doc) is Doc`", "match(x, {Class: ...})"),
        (by_value, 1, "`is_new is True`", "when(x == ..."),
    ],
)
def test_what_is_asked_of_a_stand_in_by_is_is_a_fault_with_its_line(
    function: Callable[..., Any], line: int, text: str, mend: str
) -> None:
    fault = faults_of(function)[0]
    place = f"{__file__}:{function.__code__.co_firstlineno + line}"
    assert fault.startswith(f"graph {function.__name__!r} ({place}): {text} is always the same while")
    assert mend in fault


def test_the_same_holds_in_closures_in_inner_graphs_and_in_bodies() -> None:
    near = maybe

    @graph
    def inner(name: str) -> str:
        doc = near(name)
        return take(doc) if doc is not None else "nothing"

    @graph
    def outer(name: str) -> str:
        return inner(name)

    with pytest.raises(PlanError, match="graph 'inner' .*`doc is not None` is always the same"):
        _ = outer.plan


def test_what_is_known_while_wiring_may_be_asked_by_is() -> None:
    option: str | None = None

    @graph
    def inner(doc: Doc, note: str | None = None) -> str:
        return take(doc) if note is None else take(note)

    @graph
    def outer(name: str, doc: Doc) -> str:
        first = load(name) if NOTE is None and option is None else doc
        found = None
        for one in ("a", "b"):
            found = load(one) if found is None else take(found)
        doc = first
        if doc is None:
            return "never"
        marks = [take(mark) for mark in (None, "b") if mark is not None]
        return inner(doc) + "" if len(marks) > 5 else take([inner(doc), found, *marks])

    _ = outer.plan


def by_caught_error(doc: Doc | None) -> str:
    result = take(doc)
    try:
        int("none")
    except ValueError as doc:  # type: ignore[assignment]  # noqa: PLR1704 - on purpose
        return result if doc is not None else "never"
    return result


def test_a_name_that_stands_for_something_else_in_between_is_left_alone() -> None:
    assert faults_of(by_caught_error) == ()


def test_a_function_without_a_source_goes_without_a_word() -> None:
    made: dict[str, Any] = {"take": take}
    exec("def made(doc: str) -> str:\n    return take(doc) if doc is not None else 'nothing'", made)
    assert faults_of(made["made"]) == ()
