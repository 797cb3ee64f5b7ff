"""Calls of nodes: names, arguments, types, policies, subgraphs, and faults all at once."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from treadle import Budget, PlanError, Retry, WiringError, do, graph, node, when
from treadle.plan.parts import Constant, Group, Wire


class Doc(BaseModel):
    text: str


class Letter(Doc):
    to: str = ""


@node
async def load(name: str) -> Doc:
    return Doc(text=name)


@node
async def letter() -> Letter:
    raise NotImplementedError


@node
async def length(doc: Doc, *, factor: float = 1.0) -> int:
    return int(len(doc.text) * factor)


@node
async def total(numbers: list[int]) -> int:
    return sum(numbers)


def faults_of(body: Callable[..., Any]) -> tuple[str, ...]:
    def wired() -> int:
        return body()  # type: ignore[no-any-return]

    with pytest.raises(PlanError) as caught:
        graph(wired).plan  # noqa: B018 - reading it builds it
    return caught.value.faults


def test_nodes_are_named_by_their_function_and_counted() -> None:
    @graph
    def three(name: str) -> int:
        return total([length(load(name)), length(load(name)), length(load.named("other")(name))])

    assert [one.id for one in three.plan.nodes] == [
        "name", "load", "length", "load.2", "length.2", "other", "length.3", "total",
    ]  # fmt: skip


def test_a_given_name_that_is_taken_is_counted_too() -> None:
    @graph
    def names(name: str) -> list[Doc]:
        twin = load.named("load.2")
        return [twin(name), load(name), load(name), twin(name)]

    assert [one.id for one in names.plan.nodes][1:] == ["load.2", "load", "load.3", "load.2.2"]


def test_a_loop_over_an_ordinary_list_makes_as_many_nodes() -> None:
    @graph
    def many() -> list[int]:
        return [length(load.named(f"doc{i}")(name)) for i, name in enumerate("abc")]

    assert len(many.plan.nodes) == 6
    assert isinstance(many.plan.result, Group)


def test_arguments_are_kept_by_parameter_and_constants_are_packed() -> None:
    @graph
    def one(name: str) -> int:
        return length(doc=load(name), factor=2)

    arguments = {argument.name: argument.binding for argument in one.plan.nodes[-1].arguments}
    assert arguments["doc"] == Wire(one.plan.nodes[1].id)
    factor = arguments["factor"]
    assert isinstance(factor, Constant)
    assert (type(factor.payload.value), factor.payload.value) == (float, 2.0)


def test_wires_inside_lists_tuples_and_dicts_are_found() -> None:
    @node
    async def take(table: dict[str, list[tuple[int, Doc]]]) -> int:
        return len(table)

    @graph
    def nested(name: str) -> int:
        return take({"a": [(1, load(name)), (2, Doc(text="b"))], "b": []})

    assert nested.plan.nodes[-1].needs == ("load",)


class Options(TypedDict):
    doc: Doc
    depth: int


def test_a_typed_dict_is_checked_key_by_key() -> None:
    @node
    async def take(options: Options) -> int:
        return options["depth"]

    faults = faults_of(lambda: take({"doc": load("a"), "dpeth": 1}))  # type: ignore[typeddict-unknown-key]
    assert any("'depth' is missing" in fault for fault in faults)
    assert any("did you mean 'depth'?" in fault for fault in faults)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (lambda: length(load()), "'name' is missing"),  # type: ignore[call-arg]
        (lambda: length(load("a", "b")), "takes 1 positional arguments, not 2"),  # type: ignore[call-arg]
        (lambda: length(load(nmae="a")), "no parameter 'nmae'; did you mean 'name'?"),  # type: ignore[call-arg]
        (lambda: length(load("a", name="b")), "'name' is given twice"),  # type: ignore[misc]
        (lambda: length(load("a"), 2.0), "takes 1 positional arguments, not 2"),  # type: ignore[misc]
        (lambda: length(total([1])), "'doc': 'total' is int, and Doc is wanted"),  # type: ignore[arg-type]
        (lambda: length("a"), "'doc': 'a' is str, and Doc is wanted"),  # type: ignore[arg-type]
        (lambda: total([length(load("a")), load("b")]), "[1]: 'load.2' is Doc, and int is wanted"),  # type: ignore[list-item]
        (lambda: total((length(load("a")),)), "a tuple is given, and list[int] is wanted"),  # type: ignore[arg-type]
        (lambda: total({"a": length(load("a"))}), "a dict is given, and list[int] is wanted"),  # type: ignore[arg-type]
        (lambda: length(load("a"), factor="2"), "'factor': "),  # type: ignore[arg-type]
        (lambda: length(load("a"), factor=float("nan")), "'factor': "),
        (lambda: load("a"), "'result': 'load' is Doc, and int is wanted"),
    ],
)
def test_wrong_wiring_is_a_fault_with_its_node_and_line(body: Callable[[], Any], fault: str) -> None:
    faults = faults_of(body)
    assert any(fault in one for one in faults), faults
    assert all(__file__ in one for one in faults)


def test_all_faults_are_told_at_once() -> None:
    def body() -> Any:
        load("lost")
        first = length(total([load("a")]))  # type: ignore[list-item,arg-type]
        return when(first, first, load())  # type: ignore[arg-type,call-arg]

    faults = faults_of(body)
    assert len(faults) == 6, faults


def test_a_subclass_may_be_wired_but_not_returned_as_the_base() -> None:
    @graph
    def fine() -> int:
        return length(letter())

    @graph
    def narrowed() -> Doc:
        return letter()

    assert fine.plan.nodes[-1].id == "length"
    with pytest.raises(PlanError, match=r"does not come back equal.*declare -> Letter"):
        narrowed.plan  # noqa: B018 - reading it builds it


@pytest.mark.parametrize(
    "declared",
    [int | str | decimal.Decimal, str | datetime.datetime, list[str | datetime.date], object, type],
)
def test_results_that_cannot_be_stored_are_faults(declared: Any) -> None:
    async def make() -> Any:
        return None

    make.__annotations__["return"] = declared
    made = node(make)

    @graph
    def stored() -> Any:
        return made()

    if declared is object:
        assert stored.plan.nodes[0].id == "make"
    else:
        with pytest.raises(PlanError, match="its result cannot be stored"):
            stored.plan  # noqa: B018 - reading it builds it


def test_parameters_and_results_without_types_are_faults_told_once() -> None:
    @node
    async def bare(x, *rest, y: int):  # type: ignore[no-untyped-def]
        return x

    faults = faults_of(lambda: bare(1, y=length(bare(2, y=1))))
    found = "\n".join(faults)
    assert "parameter 'x' has no type; write x: T" in found
    assert "it takes *rest" in found
    assert "its result has no type" in found


def test_types_that_are_defined_inside_a_function_or_further_down_are_found() -> None:
    @node
    async def early(x: int) -> Later:
        return Later(x=x)

    class Later(BaseModel):
        x: int

    @graph
    def wired(x: int) -> int:
        return early(x).x

    with pytest.raises(PlanError, match="name 'Later' is not defined"):
        wired.plan  # noqa: B018 - a local name that came after the decorator cannot be seen

    @node
    async def late(x: int) -> Later:
        return Later(x=x)

    @graph
    def fine(x: int) -> int:
        return late(x).x

    assert fine.plan.nodes[-1].id == "late.x"


# Policies.


def test_the_innermost_policy_wins_and_budgets_are_never_inherited() -> None:
    slow, quick = Retry(attempts=5), Retry(attempts=2)
    careful = load.using(retry=quick)

    @graph(retry=slow, timeout="30s", budget=Budget(usd="1"))
    def inner(name: str) -> int:
        return total([length(load(name)), length(careful(name))])

    @graph(timeout="2m")
    def outer(name: str) -> int:
        return do(load.named("alone")(name), inner(name))

    nodes = outer.plan.by_id
    policies = {str(key): one.policies for key, one in nodes.items()}
    assert (policies["inner/load"].retry, policies["inner/load"].timeout) == (slow, 30.0)
    assert policies["inner/load.2"].retry == quick
    assert (policies["alone"].retry, policies["alone"].timeout) == (None, 120.0)
    assert all(one.budget is None for one in policies.values())
    assert outer.plan.scopes[0].policies.budget == Budget(usd="1")


def test_the_node_behind_a_plan_node_carries_the_resolved_policies() -> None:
    @graph(timeout=5)
    def timed(name: str) -> Doc:
        return load(name)

    found = timed.plan.nodes[-1]
    assert found.callee is not None
    assert found.callee.policies == found.policies
    assert load.policies.timeout is None


# Subgraphs.


@graph
def measure(name: str, factor: float = 1.0) -> int:
    return length(load(name), factor=factor)


def test_a_subgraph_is_a_prefix_and_a_scope_and_no_node() -> None:
    @graph
    def outer(name: str) -> int:
        return total([measure(name), measure(name, factor=2.0)])

    plan = outer.plan
    assert [one.id for one in plan.nodes] == [
        "name", "measure/load", "measure/length", "measure.2/load", "measure.2/length", "total",
    ]  # fmt: skip
    assert [(scope.id, scope.graph, scope.parent) for scope in plan.scopes] == [
        ("measure", "measure", ""),
        ("measure.2", "measure", ""),
    ]
    assert plan.by_id[plan.nodes[1].id].scope == "measure"


def test_subgraphs_nest() -> None:
    @graph
    def middle(name: str) -> int:
        return measure(name)

    @graph
    def outer(name: str) -> int:
        return middle(name)

    assert [one.id for one in outer.plan.nodes][1:] == ["middle/measure/load", "middle/measure/length"]
    assert [scope.parent for scope in outer.plan.scopes] == ["", "middle"]


def test_inner_nodes_wait_for_the_arguments_they_use_alone() -> None:
    @graph
    def two(left: Doc, right: Doc) -> list[int]:
        return [length(left), length(right)]

    @graph
    def outer() -> list[int]:
        return two(load("a"), load("b"))

    needs = {str(one.id): one.needs for one in outer.plan.nodes}
    assert needs["two/length"] == ("load",)
    assert needs["two/length.2"] == ("load.2",)


def test_an_argument_that_a_subgraph_does_not_use_is_neither_demanded_nor_a_fault() -> None:
    @graph
    def one(left: Doc, right: Doc) -> int:
        return length(left)

    @graph
    def outer() -> int:
        return one(load("a"), load("b"))

    assert [found.id for found in outer.plan.nodes] == ["load", "one/length"]


def test_a_subgraph_that_captures_an_outer_stand_in_is_refused() -> None:
    @graph
    def outer(name: str) -> int:
        doc = load(name)

        @graph
        def inner() -> int:
            return length(doc)

        return inner()

    with pytest.raises(WiringError, match=r"'load' belongs to another graph.*as a parameter"):
        outer.plan  # noqa: B018 - reading it builds it


def test_a_graph_that_contains_itself_is_refused() -> None:
    @graph
    def endless(name: str) -> int:
        return endless(name)

    with pytest.raises(WiringError, match="contains itself"):
        endless.plan  # noqa: B018 - reading it builds it


def test_what_is_given_to_a_subgraph_and_what_it_returns_is_checked() -> None:
    @graph
    def wrong(name: str) -> Doc:
        return total([1])  # type: ignore[return-value]

    faults = faults_of(lambda: length(wrong(load("a"))))  # type: ignore[arg-type]
    assert any("subgraph 'wrong'" in fault and "'name': 'load' is Doc, and str" in fault for fault in faults)
    assert any("'result': 'wrong/total' is int, and Doc is wanted" in fault for fault in faults)


# Plans.


def test_a_plan_is_wired_once_whoever_asks_first() -> None:
    calls: list[int] = []

    @graph
    def counted(name: str) -> Doc:
        calls.append(1)
        time.sleep(0)
        return load(name)

    threads = [threading.Thread(target=lambda: counted.plan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert counted.plan is counted.plan


def test_the_message_of_many_faults_is_short_and_its_faults_are_all_there() -> None:
    def body() -> Any:
        return total([load(f"{i}") for i in range(100)])  # type: ignore[misc]

    def wired() -> int:
        return body()  # type: ignore[no-any-return]

    with pytest.raises(PlanError) as caught:
        graph(wired).plan  # noqa: B018 - reading it builds it
    assert len(caught.value.faults) == 100
    assert "and 80 more" in str(caught.value)


def test_a_plan_has_the_same_digest_in_every_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_document as t; print(t.support.plan.digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_wiring_is_linear_in_the_number_of_nodes(shape: str) -> None:
    @node
    async def step(x: int) -> int:
        return x + 1

    def calls_to_wire(count: int) -> int:
        @graph
        def wide(x: int) -> int:
            if shape == "fan":
                return total([step(x) for _ in range(count)])
            for _ in range(count):
                x = step(x)
            return x

        made = 0

        def note(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            nodes = wide.plan.nodes
        finally:
            sys.setprofile(None)
        assert len(nodes) >= count
        return made

    calls_to_wire(10)  # what is imported and remembered once
    one, ten = calls_to_wire(300), calls_to_wire(3_000)
    assert ten < 11 * one


# Before anything is spent.


def test_inputs_that_cannot_be_stored_are_faults() -> None:
    @graph
    def wired(moment: str | datetime.datetime) -> int:
        return 1

    with pytest.raises(PlanError, match="input 'moment' cannot be stored"):
        _ = wired.plan
