"""Wrong use of ``each``, ``loop`` and ``race`` is told while wiring: where, what, and what to write."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from treadle import PlanError, Prompt, WiringError, agent, do, each, graph, loop, node, race, tool, when
from treadle.nodes.graph import Graph
from treadle.testing import ScriptedModel


@node
async def words(text: str) -> list[str]:
    return text.split()


@node
async def shout(text: str) -> str:
    return text.upper()


@node
async def number(n: int) -> int:
    return n


@node
async def size(text: str) -> int:
    return len(text)


@node
async def both(text: str, more: str) -> str:
    return text + more


@node
async def nothing() -> str:
    return ""


@node
async def by_name(text: str) -> dict[str, str]:
    return {}


@node
async def joined(texts: list[str]) -> str:
    return "".join(texts)


@node
async def unordered(text: str) -> set[str]:
    return set()


@tool(effect="once")
async def pay(text: str) -> str:
    """Pay somebody."""
    return text


Wrong = tuple[Callable[[str], Any], str]
CASES: dict[str, Wrong] = {}


def tells(message: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Note a graph whose last line is wrong, and what is said of it."""

    def note(function: Callable[[str], Any]) -> Callable[[str], Any]:
        CASES[function.__name__.replace("_", " ")] = (function, message)
        return function

    return note


@tells("each hands 'number' one str after the other, and 'n' takes int")
def items_of_another_type(text: str) -> list[int]:
    return each(number, words(text))  # type: ignore[arg-type]


@tells("each goes through a list, and str is none: make a list of it in a node")
def text_in_place_of_a_list(text: str) -> list[str]:
    return each(shout, shout(text))


@tells("each goes through a list, and dict[str, str] is none: make a list of it in a node")
def mapping_in_place_of_a_list(text: str) -> list[str]:
    return each(shout, by_name(text))  # type: ignore[arg-type]


@tells("each goes through a list, and set[str] is none: make a list of it in a node")
def set_in_place_of_a_list(text: str) -> list[str]:
    return each(shout, unordered(text))  # type: ignore[arg-type]


@tells("each goes through a list, and int is none")
def number_in_place_of_a_list(text: str) -> list[str]:
    return each(shout, size(text))  # type: ignore[arg-type]


@tells("'more' is missing")
def argument_that_is_missing(text: str) -> list[str]:
    return each(both, words(text))  # type: ignore[call-arg]


@tells("'more': 'size' is int, and str is wanted")
def argument_of_another_type(text: str) -> list[str]:
    return each(both, words(text), size(text))  # type: ignore[arg-type]


@tells("there is no parameter 'moer'")
def argument_nobody_takes(text: str) -> list[str]:
    return each(shout, words(text), moer=text)  # type: ignore[call-arg]


@tells("each hands 'nothing' one value after the other, and it takes none")
def body_that_takes_nothing(text: str) -> list[str]:
    return each(nothing, words(text))  # type: ignore[arg-type]


@tells("as its body; give it a node or a graph: declare one with @node, and write each(it, ...)")
def body_that_is_no_node(text: str) -> list[str]:
    return each(lambda word: shout(word), words(text))  # noqa: PLW0108 - that is what is wrong


@tells("each(at_once=0) lets nothing run; give a whole number of 1 or more")
def nothing_at_once(text: str) -> list[str]:
    return each(at_once=0)(shout, words(text))


@tells("each(on_error='ignore') says nothing known; write 'stop', 'collect' or 'drop'")
def unknown_reaction(text: str) -> list[str]:
    return each(on_error="ignore")(shout, words(text))  # type: ignore[call-overload]


@tells("each has no setting 'on_eror'; did you mean 'on_error'?")
def unknown_setting(text: str) -> list[str]:
    return each(on_eror="drop")(shout, words(text))  # type: ignore[call-overload]


@tells("at_once is said before the body: write each(at_once=3)(shout, ...)")
def setting_beside_the_list(text: str) -> list[str]:
    return each(shout, words(text), at_once=3)  # type: ignore[call-overload]


@tells("'texts': 'each' is list[str | Failure], and list[str] is wanted")
def collected_failures_taken_for_results(text: str) -> str:
    return joined(each(on_error="collect")(shout, words(text)))  # type: ignore[arg-type]


@tells("'each' has no items while the graph is wired, so it cannot be iterated or unpacked")
def result_that_is_iterated(text: str) -> list[str]:
    return [shout(word) for word in each(shout, words(text))]


@tells("loop hands what 'size' gives (int) to its next round, which takes str as 'text'")
def round_that_gives_another_type(text: str) -> int:
    return loop(size, text, until=lambda n: n > 3, at_most=3)  # type: ignore[type-var]


@tells("loop starts with str, and 'number' takes int as 'n'")
def start_of_another_type(text: str) -> int:
    return loop(number, text, until=lambda n: n > 3, at_most=3)  # type: ignore[type-var]


@tells("until asks whether the loop is done, and gives int; return a comparison")
def until_a_node_that_gives_no_bool(text: str) -> str:
    return loop(shout, text, until=size, at_most=3)  # type: ignore[arg-type]


@tells("until asks whether the loop is done, and gives str; return a comparison")
def until_a_value_that_is_no_bool(text: str) -> str:
    return loop(shout, text, until=lambda x: x, at_most=3)  # type: ignore[arg-type, return-value]


@tells("cannot read 'shout.done': str has no fields")
def until_a_field_that_is_not_there(text: str) -> str:
    return loop(shout, text, until=lambda x: x.done, at_most=3)  # type: ignore[attr-defined]


@tells("loop(until='done') asks nothing; give a node or a function: until=lambda x: x.done")
def until_a_text(text: str) -> str:
    return loop(shout, text, until="done", at_most=3)  # type: ignore[arg-type]


@tells("loop(at_most=0) lets nothing run; give a whole number of 1 or more")
def no_rounds(text: str) -> str:
    return loop(shout, text, until=lambda x: x == "a", at_most=0)


@tells("'shout' belongs to another graph, or to one that has been wired already; give it to this graph as a")
def until_that_captures_what_is_outside(text: str) -> str:
    other = shout(text)
    return do(other, loop(shout, text, until=lambda x: x == other, at_most=2))


@tells(
    "it is declared effect='once' and only a race is sure to need it: the race goes on without it where it"
)
def race_for_an_effect(text: str) -> str:
    paid = text
    return race(pay(paid), shout(text))


@tells("it is declared effect='once' and only a race is sure to need it")
def race_for_the_effects_of_items(text: str) -> list[str]:
    return race(each(pay, words(text)), words(text))


@graph(on_failure="cancel")
def impatient(text: str) -> str:
    return shout(text)


@tells("it is declared on_failure='cancel', which holds for the graph of a run and not for a part of one")
def a_part_that_would_cancel(text: str) -> str:
    return impatient(text)


@tells("it is declared on_failure='cancel', which holds for the graph of a run and not for a part of one")
def items_that_would_cancel(text: str) -> list[str]:
    return each(impatient, words(text))


@agent(model=ScriptedModel(["x"]), tools=[pay])
async def cashier(text: str) -> Prompt[str]:
    """Pay for something."""
    return Prompt(text)


@agent(model=ScriptedModel(["x"]), tools=[cashier])
async def chief(text: str) -> Prompt[str]:
    return Prompt(text)


@tells("its tool 'pay' is declared effect='once' and only a race is sure to need it")
def race_for_an_agent_that_may_act(text: str) -> str:
    return race(cashier(text), shout(text))


@tells("its tool 'pay' is declared effect='once' and only a race is sure to need it")
def race_for_the_agent_of_an_agent(text: str) -> str:
    return race(chief(text), shout(text))


@tells("it is declared effect='once' and only a race is sure to need it")
def race_for_an_effect_that_a_case_may_need(text: str) -> str:
    return when(race(paid := pay(text), shout(text)) == "a", paid, text)


@tells("race has one runner; give it a second argument, or leave it out")
def race_of_one(text: str) -> str:
    return race(shout(text))


def told_of(made: Graph[..., Any]) -> str:
    with pytest.raises((PlanError, WiringError)) as told:
        _ = made.plan
    return str(told.value)


@pytest.mark.parametrize("name", CASES)
def test_wrong_use_is_told_at_its_line_with_what_to_write(name: str) -> None:
    function, message = CASES[name]
    lines, first = inspect.getsourcelines(function)
    text = told_of(graph(function))
    assert message in text
    assert f"({__file__}:{first + len(lines) - 1})" in text or text.startswith(
        f"{__file__}:{first + len(lines) - 1}: "
    )
    assert text.count(message) == 1, "it is told twice"


def test_a_body_that_captures_what_is_outside_is_told_at_the_line_that_does() -> None:
    @graph
    def outer(text: str) -> list[str]:
        other = shout(text)

        @graph
        def inner(word: str) -> str:
            return both(word, other)

        return each(inner, words(text))

    text = told_of(outer)
    line = outer.function.__code__.co_firstlineno + 6
    assert text.startswith(f"{__file__}:{line}: 'shout' belongs to another graph")
    assert "give it to this graph as a parameter" in text


def test_a_race_in_an_item_is_checked_like_any_other() -> None:
    @graph
    def inner(word: str) -> str:
        return race(pay(word), shout(word))

    @graph
    def outer(text: str) -> list[str]:
        return each(inner, words(text))

    line = inner.function.__code__.co_firstlineno + 2
    assert f"node 'pay' ({__file__}:{line}): it is declared effect='once'" in told_of(outer)


def test_a_graph_that_goes_through_itself_is_refused() -> None:
    @graph
    def itself(text: str) -> list[str]:
        return [each(again, words(text))[0][0]]  # type: ignore[index]

    again: Any = itself
    assert "graph 'itself' contains itself; a plan has no cycles: write loop(...) to repeat" in told_of(
        itself
    )


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda: each(shout, ["a"]), "elsewhere write a `for`"),
        (lambda: loop(shout, "a", until=lambda x: x == "A", at_most=1), "elsewhere write a `while`"),
        (lambda: race("a", "b"), "elsewhere start tasks and cancel the losers"),
    ],
    ids=["each", "loop", "race"],
)
def test_outside_of_a_graph_one_is_told_what_to_write(call: Callable[[], object], instead: str) -> None:
    with pytest.raises(
        WiringError, match="stands outside of a graph; it belongs into a function under @graph"
    ) as told:
        call()
    assert instead in str(told.value)


def test_a_graph_may_go_through_what_is_written_in_it() -> None:
    @graph
    def fine(text: str) -> list[str]:
        return each(shout, ["a", text, shout(text)])

    assert [one.kind for one in fine.plan.nodes] == ["input", "node", "each"]
