"""Control words, and call by need."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Literal, NewType, TypedDict

import pytest
from pydantic import BaseModel

from treadle import (
    Plan,
    PlanError,
    WiringError,
    do,
    fallback,
    graph,
    is_none,
    match,
    narrow,
    node,
    not_,
    some,
    when,
)


class Shape(BaseModel):
    name: str


class Circle(Shape):
    radius: float


class Square(Shape):
    side: float


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Ticket(BaseModel):
    kind: Literal["easy", "hard"]
    shape: Circle | Square
    colour: Colour = Colour.RED
    urgent: bool = False
    note: str | None = None
    count: int = 0


@node
async def ticket() -> Ticket:
    raise NotImplementedError


@node
async def say(text: str) -> str:
    return text


@node
async def area(circle: Circle) -> str:
    return str(circle.radius)


def plan_of(body: Callable[[Any], Any]) -> Plan:
    @graph
    def flowing() -> str | int | None:
        return body(ticket())  # type: ignore[no-any-return]

    return flowing.plan


def faults_of(body: Callable[[Any], Any]) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        plan_of(body)
    return caught.value.faults


def test_when_has_the_case_of_true_first() -> None:
    word = plan_of(lambda t: when(t.urgent, say("now"), say("later"))).nodes[-1]
    assert [(case.label, case.test) for case in word.cases] == [(True, "equal"), (False, "equal")]
    assert word.needs == ("ticket.urgent", "say", "say.2")


def test_when_takes_conditions_only() -> None:
    assert "when needs a condition, and got int" in faults_of(lambda t: when(t.count, 1, 2))[0]


def test_a_condition_known_while_wiring_keeps_both_branches() -> None:
    word = plan_of(lambda t: when(True, say("a"), t.count)).nodes[-1]
    assert word.subject is not None
    assert word.needs == ("say", "ticket.count")


def test_match_keeps_the_order_and_the_values_of_its_cases() -> None:
    word = plan_of(lambda t: match(t.kind, {"hard": say("h"), "easy": say("e")})).nodes[-1]
    assert [(case.label, case.live) for case in word.cases] == [("hard", "hard"), ("easy", "easy")]


def test_match_on_an_enum_writes_the_values_and_keeps_the_members() -> None:
    word = plan_of(lambda t: match(t.colour, {Colour.RED: 1, Colour.BLUE: 2})).nodes[-1]
    assert [(case.label, case.live) for case in word.cases] == [("red", Colour.RED), ("blue", Colour.BLUE)]


def test_match_on_classes_takes_instances() -> None:
    plan = plan_of(lambda t: match(t.shape, {Circle: area(narrow(t.shape, Circle)), Square: say("square")}))
    word = plan.nodes[-1]
    assert [(case.test, case.label, case.live) for case in word.cases] == [
        ("instance", "Circle", Circle),
        ("instance", "Square", Square),
    ]


def test_otherwise_is_the_last_case() -> None:
    word = plan_of(lambda t: match(t.kind, {"easy": say("e")}, otherwise=say("o"))).nodes[-1]
    assert [case.test for case in word.cases] == ["equal", "otherwise"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (lambda t: match(t.kind, {"easy": 1}), "no case takes 'hard'"),
        (lambda t: match(t.colour, {Colour.RED: 1}), "no case takes <Colour.BLUE: 'blue'>"),
        (lambda t: match(t.urgent, {True: 1}), "no case takes False"),
        (lambda t: match(t.shape, {Circle: 1}), "no case takes Square"),
        (lambda t: match(t.note, {"a": 1, None: 2}), "no case takes str"),
        (lambda t: match(t.count, {1: 1}), "no case takes int"),
        (lambda t: match(t.kind, {"easy": 1, "hrad": 2}, otherwise=3), "did you mean 'hard'?"),
        (lambda t: match(t.kind, {"easy": 1, "hard": 2}, otherwise=3), "case otherwise is never taken"),
        (lambda t: match(t.shape, {Shape: 1, Circle: 2}), "case Circle is never taken"),
        (lambda t: match(t.shape, {Shape: 1, str: 2}), "case str is never taken"),
    ],
)
def test_a_match_that_leaves_a_value_or_has_a_case_too_many_is_a_fault(
    body: Callable[[Any], Any], fault: str
) -> None:
    faults = faults_of(body)
    assert len(faults) == 1
    assert fault in faults[0]
    assert __file__ in faults[0]


@pytest.mark.parametrize(
    "body",
    [
        lambda t: match(t.urgent, {True: 1, False: 2}),
        lambda t: match(t.shape, {Shape: 1}),
        lambda t: match(t.note, {None: 1, str: 2}),
        lambda t: match(t.count, {1: 1}, otherwise=2),
        lambda t: match(t.note, {"a": 1, None: 2}, otherwise=3),
        lambda t: match(when(t.urgent, "a", "b"), {"a": 1, "b": 2}),
    ],
)
def test_a_match_that_takes_everything_passes(body: Callable[[Any], Any]) -> None:
    assert plan_of(body).nodes[-1].kind == "match"


def test_fallback_keeps_its_order_and_the_errors_it_takes() -> None:
    word = plan_of(lambda t: fallback(say("a"), t.count, None, on=(ValueError, OSError))).nodes[-1]
    assert word.on == ("builtins.ValueError", "builtins.OSError")
    assert len(word.cases) == 3


def test_fallback_to_nothing_is_a_fault() -> None:
    assert "nothing to fall back to" in faults_of(lambda _: fallback(say("a")))[0]


def test_do_needs_all_and_is_its_last() -> None:
    plan = plan_of(lambda t: do(say("told"), t.count))
    assert plan.nodes[-1].needs == ("say", "ticket.count")


def test_do_of_nothing_is_refused() -> None:
    with pytest.raises(WiringError, match=r"do\(first, ..., result\)"):
        plan_of(lambda _: do())


def test_a_node_nobody_needs_is_a_fault_that_names_do() -> None:
    def body(t: Any) -> Any:
        say("lost")
        return t.count

    (fault,) = faults_of(body)
    assert "node 'say'" in fault
    assert "do(say(...), result)" in fault


def test_only_the_last_of_a_chain_nobody_needs_is_a_fault() -> None:
    def body(t: Any) -> Any:
        say(say(say("lost")))
        return t.count

    (fault,) = faults_of(body)
    assert "node 'say.3'" in fault


def test_a_node_that_only_a_lost_comparison_looks_at_is_a_fault() -> None:
    def body(t: Any) -> Any:
        say("lost") == "x"  # noqa: B015 - the point of the test
        return t.count

    assert "node 'say'" in faults_of(body)[0]


def test_reads_and_comparisons_nobody_needs_leave_no_trace() -> None:
    def body(t: Any) -> Any:
        t.kind == "easy"  # noqa: B015 - the point of the test
        return t.count

    assert [one.id for one in plan_of(body).nodes] == ["ticket", "ticket.count"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (lambda t: is_none(t.count), "never None"),
        (lambda t: not_(t.count), "not_ needs a condition"),
        (lambda t: narrow(t.note, Circle), "never a Circle"),
    ],
)
def test_asking_what_can_have_one_answer_alone_is_a_fault(body: Callable[[Any], Any], fault: str) -> None:
    assert fault in faults_of(body)[0]


def test_ordinary_values_are_computed_at_once() -> None:
    assert (not_(False), is_none(None), some(3), narrow("a", str)) == (True, True, 3, "a")


@pytest.mark.parametrize(
    "call",
    [
        lambda: when(True, 1, 2),
        lambda: match(1, {1: 2}),
        lambda: fallback(1, 2),
        lambda: do(1),
    ],
)
def test_control_words_outside_of_a_graph_say_what_to_write(call: Callable[[], Any]) -> None:
    with pytest.raises(WiringError, match=r"outside of a graph.*(write|call)"):
        call()


class Pages(BaseModel):
    texts: list[int] | None = None
    either: list[int] | list[str] = []
    anything: Any = None


Name = NewType("Name", str)


class Row(TypedDict):
    count: int


@node
async def pages() -> Pages:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("Circle", "'Circle'; give the class itself"),
        (Circle | Square, r"one class, not Circle \| Square; to leave out None write some\(x\)"),
        (Literal["a"], r"Literal\['a'\]; give the class itself"),
        (Row, "Row'>; give the class itself"),
    ],
)
def test_narrow_to_what_no_value_can_be_asked_about_is_refused_at_its_line(wanted: Any, told: str) -> None:
    with pytest.raises(WiringError, match=rf"test_flow\.py:\d+: narrow takes .*{told}"):
        plan_of(lambda t: narrow(t.shape, wanted))
    with pytest.raises(WiringError, match=told):
        narrow(3, wanted)


def test_narrow_to_a_list_of_something_is_taken_where_no_other_list_is_open() -> None:
    @graph
    def texts() -> list[int]:
        return narrow(pages().texts, list[int])

    assert texts.plan.nodes[-1].settings == {"class": "list[int]"}


@pytest.mark.parametrize("field", ["either", "anything"])
def test_narrow_to_a_list_of_something_is_a_fault_where_its_class_does_not_tell_it(field: str) -> None:
    @graph
    def texts() -> list[int]:
        return narrow(getattr(pages(), field), list[int])

    with pytest.raises(
        PlanError, match=r"does not tell list\[int\] from (list\[str\]|.*Any); narrow to list,"
    ):
        _ = texts.plan


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (list[int], r"not list\[int\]: .*; write list, and go on with narrow\(x, list\[int\]\)"),
        (Circle | Square, r"not Circle \| Square; write a case for each of them"),
        (Literal["a"], r"not Literal\['a'\]; write the value itself"),
        (Row, "not Row; give otherwise="),
        (Name, "a value of Name has the class str; write str"),
    ],
)
def test_a_case_that_is_no_class_and_no_value_is_refused_at_its_line(label: Any, told: str) -> None:
    with pytest.raises(WiringError, match=rf"test_flow\.py:\d+: match: a case is .*{told}"):
        plan_of(lambda t: match(t.shape, {label: 1}, otherwise=2))


@pytest.mark.parametrize(
    ("body", "mend"),
    [
        (lambda t: match(t.shape, {Circle: area(t.shape), Square: 1.0}), r"write narrow\(x, Circle\)"),
        (lambda t: say(t.note), r"surely not None, write some\(x\)"),
    ],
)
def test_a_part_of_a_union_given_for_the_whole_is_told_how_to_go_on(
    body: Callable[[Any], Any], mend: str
) -> None:
    with pytest.raises(PlanError, match=rf"is wanted; .*{mend}"):
        plan_of(body)
