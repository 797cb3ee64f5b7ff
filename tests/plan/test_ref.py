"""Stand-ins: what they record, and what they refuse."""

from __future__ import annotations

import bdb
import contextlib
import copy
import dataclasses
import enum
import inspect
import json
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, computed_field
from typing_extensions import TypedDict

from treadle import Plan, PlanError, WiringError, each, graph, is_none, narrow, node, not_, some, when


class Doc(BaseModel):
    text: str
    pages: int = 1
    note: str | None = None

    @computed_field
    @property
    def title(self) -> str:
        return self.text[:10]

    def shout(self) -> str:
        return self.text.upper()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Pair:
    left: Doc
    right: Doc


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict):
    depth: int


class Everything(BaseModel):
    docs: list[Doc]
    table: dict[str, Doc]
    pair: Pair
    point: Point
    options: Options
    colour: Colour
    either: Doc | Pair
    kind: Literal["a", "b"] = "a"
    count: int = 0
    is_new: bool = True


@node
async def take(value: Any) -> str:
    return str(value)


@node
async def make() -> Everything:
    raise NotImplementedError


def plan_of(read: Callable[[Any], Any]) -> Plan:
    @graph
    def reading() -> str:
        return take(read(make()))

    return reading.plan


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda e: e.docs[0].text, "make.docs[0].text"),
        (lambda e: e.docs[-1].title, "make.docs[-1].title"),
        (lambda e: e.table["a"].pages, "make.table['a'].pages"),
        (lambda e: e.pair.left.text, "make.pair.left.text"),
        (lambda e: e.point.x, "make.point.x"),
        (lambda e: e.point[1], "make.point[1]"),
        (lambda e: e.options["depth"], "make.options['depth']"),
        (lambda e: e.colour.value, "make.colour.value"),
    ],
)
def test_a_chain_of_reads_is_one_node(read: Callable[[Any], Any], name: str) -> None:
    expression = plan_of(read).nodes[1]
    assert (expression.id, expression.operation) == (name, "read")


def test_the_same_read_is_recorded_once() -> None:
    @node
    async def both(a: str, b: str) -> str:
        return a + b

    @graph
    def twice() -> str:
        e = make()
        return both(e.docs[0].text, e.docs[0].text)

    assert [one.id for one in twice.plan.nodes] == ["make", "make.docs[0].text", "both"]


@pytest.mark.parametrize(
    ("compare", "operation"),
    [
        (lambda e: e.count == 1, "=="),
        (lambda e: e.count != 1, "!="),
        (lambda e: e.count < 1, "<"),
        (lambda e: e.count <= 1, "<="),
        (lambda e: e.count > 1, ">"),
        (lambda e: e.count >= e.count, ">="),
        (lambda e: not_(e.is_new), "not"),
        (lambda e: is_none(e.docs[0].note), "is_none"),
        (lambda e: some(e.docs[0].note), "some"),
        (lambda e: narrow(e.either, Doc), "narrow"),
    ],
)
def test_an_operation_is_an_expression_of_its_operands(compare: Callable[[Any], Any], operation: str) -> None:
    found = [one for one in plan_of(compare).nodes if one.operation == operation]
    assert len(found) == 1
    assert [one.name for one in found[0].arguments] in (["left", "right"], ["value"])


def test_and_needs_its_right_side_only_where_the_left_is_true() -> None:
    word = plan_of(lambda e: e.is_new & (e.count > 1)).nodes[-2]
    assert word.kind == "and"
    assert [(case.label, case.live) for case in word.cases] == [(True, True), (False, False)]
    assert [len(one.needs) for one in [word]] == [2]


def test_or_needs_its_right_side_only_where_the_left_is_false() -> None:
    word = plan_of(lambda e: (e.count > 1) | e.is_new).nodes[-2]
    assert word.kind == "or"
    assert word.cases[1].binding == word.cases[1].binding
    assert word.subject is not None


def test_a_field_read_after_narrow_is_that_of_the_class() -> None:
    assert plan_of(lambda e: narrow(e.either, Doc).text).nodes[-2].id == "narrow.text"


REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("if", lambda e: 1 if e.is_new else 2, "when("),
    ("and", lambda e: e.is_new and e.is_new, "x & y"),
    ("or", lambda e: e.is_new or e.is_new, "x | y"),
    ("not", lambda e: not e.is_new, "not_(x)"),
    ("chained comparison", lambda e: 1 < e.count < 3, "(a < b) & (b < c)"),
    ("for", lambda e: [one for one in e.docs], "x[0]"),  # noqa: C416 - it is refused
    ("unpacking", lambda e: [*e.point], "x[0]"),
    ("len", lambda e: len(e.docs), "count in a node"),
    ("in", lambda e: "a" in e.kind, "in a node"),
    ("tilde", lambda e: ~e.is_new, "not_(x)"),
    ("plus", lambda e: e.count + 1, "in a node"),
    ("reflected plus", lambda e: 1 + e.count, "in a node"),
    ("minus", lambda e: -e.count, "in a node"),
    ("modulo", lambda e: "%s" % e.kind, "make the text there"),  # noqa: UP031 - it is refused
    ("f-string", lambda e: f"{e.kind}", "make the text there"),
    ("f-string with a format", lambda e: f"{e.count:03}", "make the text there"),
    ("f-string with repr", lambda e: f"{e.kind!r}", "make the text there"),
    ("f-string of a list", lambda e: f"{[e.kind]}", "make the text there"),
    ("str", lambda e: str(e.kind), "make the text there"),
    ("str.format", lambda e: "{}".format(e.kind), "make the text there"),  # noqa: UP032 - it is refused
    ("join", lambda e: "".join([e.kind]), "make the text there"),
    ("a method with a keyword", lambda e: e.docs[0].model_copy(update={"n": 1}), "call methods in a node"),
    ("int", lambda e: int(e.count), "in a node"),
    ("range", lambda e: range(e.count), "in a node"),
    ("key of a dict", lambda e: {e.kind: 1}, "match(x"),
    ("item of a set", lambda e: {e.kind}, "match(x"),
    ("calling", lambda e: e.docs[0](), "call methods in a node"),
    ("isinstance", lambda e: isinstance(e.either, Doc), "narrow(x, Class)"),
    ("setting a field", lambda e: setattr(e, "count", 2), "make the new value in a node"),
    ("setting an item", lambda e: e.docs.__setitem__(0, 1), "make the new value in a node"),
    ("a slice", lambda e: e.docs[1:], "use a node"),
    ("a stand-in as index", lambda e: e.docs[e.count], "use a node"),
    ("with", lambda e: e.__enter__(), "use it in a node"),
    ("await", lambda e: e.__await__(), "drop `await`"),
    ("sum", lambda e: sum(e.docs), "x[0]"),
    ("sorted", lambda e: sorted(e.docs), "x[0]"),
    ("a model", lambda e: Doc(text=e.kind), "build it in a node"),
    ("a nested model", lambda e: Everything.model_validate({"docs": [e.docs[0]]}), "build it in a node"),
    # These are built without a word; they are refused at the line that uses them.
    ("a dataclass", lambda e: Pair(e.docs[0], e.docs[1]), "build it in a node"),
    ("a named tuple", lambda e: Point(e.count, 1), "build it in a node"),
    ("a model with an open field", lambda e: Open(value=e.count), "build it in a node"),
    ("a model in a list", lambda e: [Open(value=e.count)], "build it in a node"),
]


class Open(BaseModel):
    value: Any


@pytest.mark.parametrize(("read", "mend"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_not_known_yet_is_refused_with_the_line_and_what_to_write(
    read: Callable[[Any], Any], mend: str
) -> None:
    with pytest.raises(WiringError) as caught:
        plan_of(read)
    message = str(caught.value)
    assert mend in message
    used = inspect.getsourcelines(plan_of)[1] + 3
    assert any(f"{__file__}:{line}: " in message for line in (inspect.getsourcelines(read)[1], used))


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (lambda e: e.kind == "a", "make.kind == 'a'"),
        (lambda e: e.count > 3, "make.count > 3"),
        (lambda e: e.count != e.docs[0].pages, "make.count != make.docs[0].pages"),
        (lambda e: e.colour == Colour.RED, "make.colour == Colour.RED"),
        (lambda e: e.docs == [e.docs[0]], "make.docs == a list"),
        (lambda e: not_(e.count == 1), "not_(make.count == 1)"),
        (lambda e: (e.count == 1) & e.is_new, "(make.count == 1) & make.is_new"),
        (lambda e: e.is_new | is_none(e.docs[0].note), "make.is_new | is_none(make.docs[0].note)"),
        (lambda e: narrow(e.either, Doc).pages, "narrow(make.either, Doc).pages"),
        (lambda e: some(e.docs[0].note), "some(make.docs[0].note)"),
        (lambda e: e.docs[0].text == "{}", "make.docs[0].text == '{}'"),
    ],
)
def test_a_refusal_tells_what_was_written(read: Callable[[Any], Any], written: str) -> None:
    with pytest.raises(WiringError) as caught:
        plan_of(lambda e: 1 if read(e) else 2)
    assert f": {written!r} is not known while the graph is wired" in str(caught.value)


def test_python_match_on_a_stand_in_is_refused() -> None:
    def choose(e: Any) -> Any:
        match e.either:
            case Doc():
                return 1
            case _:
                return 2

    with pytest.raises(WiringError, match=r"match\(x, \{Class"):
        plan_of(choose)


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda e: e.dosc, "no field 'dosc'; did you mean 'docs'?"),
        (lambda e: e.docs[0].shout, "'shout' is a method of Doc; call it in a node"),
        (lambda e: e.kind.upper, "call it in a node"),
        (lambda e: e.docs[0].note.size, "may be None"),
        (lambda e: e.docs["a"], "are read by number"),
        (lambda e: e.table[0], "are str, not 0"),
        (lambda e: e.point[2], "has 2 items, none at 2"),
        (lambda e: e.options["dept"], "did you mean 'depth'?"),
        (lambda e: e.kind[0], "read in a node"),
        (lambda e: e.either.text, "Pair has no field 'text'"),
    ],
)
def test_an_unknown_field_or_item_is_a_fault(read: Callable[[Any], Any], why: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(read)
    assert len(caught.value.faults) == 1
    assert why in caught.value.faults[0]
    assert f"{__file__}:" in caught.value.faults[0]


def test_comparing_what_can_never_be_equal_is_a_fault() -> None:
    with pytest.raises(PlanError, match="compare values of one type"):
        plan_of(lambda e: e.kind == "c")


def test_ordering_what_may_be_none_is_a_fault() -> None:
    with pytest.raises(PlanError, match="compare values of one type"):
        plan_of(lambda e: e.docs[0].note < "m")


def test_joining_what_is_no_condition_is_a_fault() -> None:
    with pytest.raises(PlanError, match="& joins conditions, and int is none"):
        plan_of(lambda e: e.count & e.is_new)


def test_a_stand_in_can_be_printed_once_its_graph_is_wired() -> None:
    seen: list[Any] = []
    plan_of(lambda e: (seen.append(e), e)[1])
    assert repr(seen[0]) == "<stand-in for make>"


def test_a_stand_in_kept_from_another_wiring_is_refused() -> None:
    seen: list[Any] = []
    plan_of(lambda e: (seen.append(e), e)[1])
    with pytest.raises(WiringError, match="belongs to another graph"):
        plan_of(lambda _: seen[0])
    with pytest.raises(WiringError, match="belongs to another graph"):
        seen[0].docs  # noqa: B018 - the read is the point


def test_a_graph_that_catches_a_refusal_gets_nowhere_by_it() -> None:
    def hide(e: Any) -> Any:
        try:
            return 1 if e.is_new else 2
        except TypeError:
            return when(e.is_new, 1, 2)

    with pytest.raises(PlanError) as caught:
        plan_of(hide)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{__file__}:{hide.__code__.co_firstlineno + 2}: 'make.is_new' is not known")


def test_a_refusal_that_is_caught_is_told_with_all_the_other_faults() -> None:
    def hide(e: Any) -> Any:
        with contextlib.suppress(Exception):
            len(e.docs)
        return e.dosc

    with pytest.raises(PlanError) as caught:
        plan_of(hide)
    assert [
        ("count in a node" in fault, "did you mean 'docs'" in fault) for fault in caught.value.faults
    ] == [
        (True, False),
        (False, True),
    ]


def test_a_refusal_in_the_body_of_an_each_is_not_forgotten_where_the_graph_around_it_catches_it() -> None:
    @graph
    def inner(doc: Doc) -> str:
        return take("long" if doc.pages else "short")

    def hide(e: Any) -> Any:
        with contextlib.suppress(WiringError):
            return each(inner, e.docs)
        return "nothing"

    with pytest.raises(PlanError, match=r"'doc\.pages' is not known while the graph is wired"):
        plan_of(hide)


def test_a_wrong_call_of_a_control_word_is_told_even_where_it_is_caught() -> None:
    def hide(e: Any) -> Any:
        with contextlib.suppress(TypeError):
            untyped: Any = when
            return untyped(e.is_new, 1)
        return 2

    with pytest.raises(PlanError, match="when: missing a required argument: 'otherwise'"):
        plan_of(hide)


class Watcher(bdb.Bdb):
    """Shows the variables of a function after each of its lines, as debuggers do."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.code = function.__code__
        self.shown: list[str] = []

    def user_line(self, frame: FrameType) -> None:
        for name, value in frame.f_locals.items() if frame.f_code is self.code else ():
            try:
                self.shown.append(f"{name}={value!r}")
            except TypeError:
                self.shown.append(f"{name}: not known")


def test_a_debugger_may_look_at_a_stand_in_without_breaking_the_plan() -> None:
    def first(e: Any) -> Any:
        doc = e.docs[0]
        return doc.text

    watcher, tracing = Watcher(first), sys.gettrace()
    plan = watcher.runcall(plan_of, first)
    sys.settrace(tracing)
    assert plan is not None
    assert plan.nodes[1].id == "make.docs[0].text"
    assert "doc: not known" in watcher.shown


@pytest.mark.parametrize(
    "read",
    [
        lambda e: json.dumps(e.kind),
        lambda e: json.dumps({"a": e.kind}),
        lambda e: Colour(e.kind),
        lambda e: copy.deepcopy([e]),
        lambda e: Path(e.kind),
        lambda e: Pair(e, e) == Pair(e.docs, e),
        lambda e: sorted([e, e], key=lambda one: -one.count),
    ],
)
def test_what_a_library_does_with_a_stand_in_is_told_at_the_line_that_called_the_library(
    read: Callable[[Any], Any],
) -> None:
    with pytest.raises(WiringError) as caught:
        plan_of(read)
    assert str(caught.value).startswith(f"{__file__}:{read.__code__.co_firstlineno}: ")


@pytest.mark.parametrize(
    "read",
    [
        lambda e: "".join(["a", e.kind]),
        lambda e: "abc".startswith(e.kind),
        lambda e: "abc".replace("a", e.kind),
        lambda e: e.kind in "abc",
        lambda e: "%d" % e.count,  # noqa: UP031 - it is refused
        lambda e: Decimal(e.count),
        lambda e: re.match("a", e.kind),
    ],
)
def test_what_python_itself_refuses_is_told_like_all_that_stand_ins_refuse(
    read: Callable[[Any], Any],
) -> None:
    with pytest.raises(WiringError, match="pass it to a node") as caught:
        plan_of(read)
    assert str(caught.value).startswith(f"{__file__}:{read.__code__.co_firstlineno}: ")
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_type_error_of_the_graph_function_itself_is_left_alone() -> None:
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        plan_of(lambda _: sum(["a"], start=1))
    assert type(caught.value) is TypeError


INSTALLED = """
import json
from treadle import graph, node

@node
async def make() -> str:
    return "text"

@graph
def reading() -> str:
    return json.dumps(make())
"""


def test_a_graph_that_is_installed_itself_is_told_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "site-packages" / "app.py"
    file.parent.mkdir()
    file.write_text(INSTALLED)
    module: dict[str, Any] = {"__name__": "app"}
    exec(compile(INSTALLED, str(file), "exec"), module)
    with pytest.raises(WiringError) as caught:
        _ = module["reading"].plan
    assert str(caught.value).startswith(f"{file}:11: ")
