"""Control words called with what they do not take: told at the line, with what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from treadle import (
    InDoubt,
    PlanError,
    WiringError,
    do,
    each,
    fallback,
    graph,
    loop,
    match,
    node,
    not_,
    race,
    when,
)

untyped: dict[str, Any] = {
    word.__name__: word for word in (do, each, fallback, loop, match, not_, race, when)
}  # fmt: skip


@node
async def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (lambda w, x: w["loop"](double, x, untill=any, at_most=3), "loop has no option 'untill'; did you"),
        (lambda w, x: w["loop"](double, x, until=any), "loop: missing a required argument: 'at_most'"),
        (lambda w, _: w["loop"](double, until=any, at_most=3), "loop: missing a required argument: 'start'"),
        (lambda w, _: w["each"](double), "each: missing a required argument: 'items'"),
        (lambda w, x: w["each"](at_onc=3)(double, x), "each has no setting 'at_onc'; did you mean"),
        (lambda w, x: w["each"](at_once="3")(double, x), "each(at_once='3') lets nothing run; give a whole"),
        (lambda w, x: w["when"](x > 3, x), "when: missing a required argument: 'otherwise'; it takes"),
        (lambda w, x: w["match"](x, 3), "match takes its cases as a dict, not 3; write match(x, {"),
        (lambda w, x: w["match"](x, {1: x}, othrwise=3), "match has no option 'othrwise'; did you mean"),
        (lambda w, _: w["fallback"](), "fallback: missing a required argument: 'first'"),
        (lambda w, x: w["fallback"](double(x), x, onn=ValueError), "fallback has no option 'onn'; did you"),
        (lambda w, x: w["fallback"](double(x), x, on=3), "fallback(on=...) is an error class or a list of"),
        (lambda w, x: w["fallback"](double(x), x, on="KeyError"), "not 'KeyError'; write on=KeyError"),
        (lambda w, x: w["fallback"](double(x), x, on=InDoubt), "(on=...): InDoubt is never taken"),
        (lambda w, x: w["fallback"](double(x), x, on=[KeyboardInterrupt]), "Interrupt is never taken"),
        (lambda w, x: w["fallback"](double(x), x, on=[3]), "fallback(on=...) is an error class or a list"),
        (lambda w, x: w["race"](double(x), x, on=ValueError), "race has no option 'on'"),
        (lambda w, _: w["not_"](), "not_: missing a required argument: 'x'"),
        (lambda w, _: w["do"](), "do() has no arguments"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_at_its_line(wire: Callable[[Any, Any], Any], words: str) -> None:
    @graph
    def wired(x: int) -> int:
        return wire(untyped, x)

    with pytest.raises(WiringError, match=re.escape(words)) as told:
        _ = wired.plan
    assert str(told.value).startswith(f"{__file__}:{wire.__code__.co_firstlineno}: ")


@pytest.mark.parametrize("constant", [3, "abc", True])
def test_each_over_a_constant_that_is_no_list_is_a_fault(constant: Any) -> None:
    @graph
    def wired(x: int) -> list[int]:
        return each(double, constant)

    with pytest.raises(PlanError, match=r"each goes through a list, and Literal\[.*\] is none"):
        _ = wired.plan
