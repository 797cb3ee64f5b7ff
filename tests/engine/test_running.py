"""Runs that go well: what reaches a body, what a run gives, and in what order nodes may run."""

from __future__ import annotations

import contextvars
import math
from decimal import Decimal
from typing import Literal

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from treadle import Engine, Retry, do, graph, is_none, match, narrow, node, not_, run, some, when
from treadle.errors import PlanError, ReadFailed
from treadle.events import NodeCompleted
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio


class Item(BaseModel):
    name: str
    price: Decimal = Decimal(0)
    tags: list[str] = []
    parent: str | None = None


class Book(Item):
    pages: int = 1


@node
async def one() -> int:
    return 1


@node
async def double(x: int) -> int:
    return 2 * x


@node
async def add(a: int, b: int = 10, *, c: int = 100) -> int:
    return a + b + c


@node
async def make(name: str) -> Item:
    return Item(name=name, price=Decimal("1.10"), tags=["new"])


async def test_a_graph_gives_what_its_nodes_make_of_the_inputs() -> None:
    @graph
    def sums(x: int) -> int:
        return add(double(x), double(x), c=one())

    assert await run(sums, 3) == 13


async def test_defaults_and_keywords_reach_the_body_by_name() -> None:
    @graph
    def sums(x: int, y: int = 5) -> list[int]:
        return [add(x), add(x, y), add(x, c=y), add(x, c=1, b=y), add(b=x, a=y)]

    assert await run(sums, 1) == [111, 106, 16, 7, 106]
    assert await run(sums, x=1, y=2) == [111, 103, 13, 4, 103]


async def test_stand_ins_are_found_inside_lists_tuples_and_dicts() -> None:
    @node
    async def count(pairs: dict[str, list[int]], both: tuple[int, int]) -> int:
        return sum(sum(pair) for pair in pairs.values()) + sum(both)

    @graph
    def counted(x: int) -> int:
        return count({"a": [x, one()], "b": [double(x)]}, (one(), 4))

    assert await run(counted, 10) == 36


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (None, None),
        ("text", str),
        (2**70, int),
        (-0.0, float),
        (Decimal("1.10"), Decimal),
        ([1, None], list[int | None]),
        ((1, "a"), tuple[int, str]),
        ({"a": {"b": [1]}}, dict[str, dict[str, list[int]]]),
        (Book(name="b", price=Decimal("0.10"), pages=3), Book),
        (b"bytes", bytes),
    ],
)
async def test_consumers_and_callers_get_what_the_record_gives_back(value: object, declared: object) -> None:
    seen: list[object] = []

    async def source():  # type: ignore[no-untyped-def]  # each case has another type
        return value

    async def look(given):  # type: ignore[no-untyped-def]
        seen.append(given)
        return given

    source.__annotations__ = {"return": declared}
    look.__annotations__ = {"given": declared, "return": declared}
    first, second = node(source), node(look)

    @graph
    def looked() -> object:
        return second(first())

    looked.function.__annotations__["return"] = declared
    async with Engine() as engine:
        handle = await engine.start(looked)
        result = await handle.result()
        payloads = [r.event.result for r in await handle.history() if isinstance(r.event, NodeCompleted)]
    backs = [first.result.decode(payload.data) for payload in payloads]
    assert [repr(one) for one in (*backs, *seen)] == [repr(value)] * 3
    assert repr(result) == repr(value)


@pytest.mark.parametrize(
    ("value", "declared", "said"),
    [
        (math.nan, float, "come back equal|cannot be stored"),
        (Book(name="b"), Item, "does not come back equal|cannot be stored"),
        ("text", int, "does not fit|cannot be stored"),
        ([1, math.inf], list[float], "come back equal|cannot be stored"),
    ],
)
async def test_a_result_that_would_not_come_back_equal_fails_its_node(
    value: object, declared: object, said: str
) -> None:
    async def source():  # type: ignore[no-untyped-def]
        return value

    source.__annotations__ = {"return": declared}
    made = node(source)

    @graph
    def refused() -> object:
        return made()

    refused.function.__annotations__["return"] = declared
    with pytest.raises(Exception, match=said) as refusal:
        await run(refused)
    assert type(refusal.value).__name__ == "ResultRefused"
    assert (refusal.value.node, refusal.value.attempt) == ("source", 1)


def journal() -> tuple[list[str], Graph[[str], str]]:
    """A graph with branches, and the names of its nodes in the order in which they ran."""
    ran: list[str] = []

    @node
    async def note(name: str) -> str:
        ran.append(name)
        return name

    @node
    async def pick(kind: str) -> Literal["a", "b"]:
        ran.append("pick")
        return "a" if kind == "a" else "b"

    @graph
    def branches(kind: str) -> str:
        shared = note("shared")
        return match(pick(kind), {"a": do(note("for a"), shared), "b": when(kind == "b", note("b"), shared)})

    return ran, branches


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("a", {"pick", "for a", "shared"}), ("b", {"pick", "b"}), ("c", {"pick", "shared"})],
)
async def test_a_branch_that_is_not_chosen_never_runs(kind: str, expected: set[str]) -> None:
    ran, branches = journal()
    await run(branches, kind)
    assert set(ran) == expected
    assert len(ran) == len(expected)


async def test_do_needs_all_its_arguments_and_is_its_last() -> None:
    ran: list[str] = []

    @node
    async def notify(text: str) -> None:
        ran.append(text)

    @graph
    def told(x: int) -> int:
        return do(notify("first"), notify("second"), double(x))

    assert await run(told, 4) == 8
    assert sorted(ran) == ["first", "second"]


async def test_reads_compare_and_combine_without_running_anything() -> None:
    @graph
    def facts(name: str) -> list[bool]:
        item = make(name)
        return [
            item.name == "a", item.tags[0] != "new", item.price > Decimal(1), is_none(item.parent),
            not_(is_none(item.parent)), (item.name == "a") & (item.price < Decimal(1)),
            (item.name == "a") | (item.tags[7] == "never read"),
        ]  # fmt: skip

    assert await run(facts, "a") == [True, False, True, True, False, False, True]


async def test_a_failing_read_fails_the_run_only_where_it_is_demanded() -> None:
    @graph
    def third(name: str, wanted: bool) -> str:
        return when(wanted, make(name).tags[2], name)

    assert await run(third, "a", False) == "a"
    with pytest.raises(ReadFailed, match=r"\.tags\[2\].*test_running\.py:\d+.*IndexError"):
        await run(third, "a", True)


async def test_some_and_narrow_give_the_value_or_say_what_they_met() -> None:
    @node
    async def find(name: str) -> Item | Book | None:
        return {"item": Item(name="i"), "book": Book(name="b", pages=7)}.get(name)

    @graph
    def pages(name: str) -> int:
        return narrow(some(find(name)), Book).pages

    assert await run(pages, "book") == 7
    with pytest.raises(ReadFailed, match="expected Book, not Item"):
        await run(pages, "item")
    with pytest.raises(ReadFailed, match="met None"):
        await run(pages, "nothing")


async def test_narrow_to_a_list_of_something_takes_no_none_for_one() -> None:
    @node
    async def tags(name: str) -> list[int] | None:
        return [1, 2] if name == "some" else None

    @node
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @graph
    def counted(name: str) -> int:
        return total(narrow(tags(name), list[int]))

    assert await run(counted, "some") == 3
    with pytest.raises(ReadFailed, match=r"expected list\[int\], not NoneType"):
        await run(counted, "none")


async def test_a_graph_inside_a_graph_is_no_barrier_and_demands_only_what_it_uses() -> None:
    @node
    async def never() -> int:
        raise AssertionError("nobody uses it")

    @graph
    def inner(used: int, unused: int) -> int:
        return double(used)

    @graph
    def outer(x: int) -> int:
        return add(inner(x, never()), inner(double(x), one()))

    assert await run(outer, 1) == 2 + 4 + 100


async def test_a_slow_branch_does_not_delay_a_fast_one() -> None:
    slow_may_end, ran = anyio.Event(), list[str]()

    @node
    async def slow() -> int:
        await slow_may_end.wait()
        return 1

    @node
    async def fast(step: int) -> int:
        ran.append(f"fast {step}")
        if step == 3:
            slow_may_end.set()  # the slow sibling can only end once the whole fast branch has run
        return step + 1

    @graph
    def both() -> int:
        return add(slow(), fast(fast(fast(1))))

    with anyio.fail_after(5):
        assert await run(both) == 105
    assert ran == ["fast 1", "fast 2", "fast 3"]


@pytest.mark.parametrize("width", [2, 3, 150])
async def test_all_nodes_whose_inputs_are_there_are_under_way_at_once(width: int) -> None:
    arrived, everybody = list[int](), anyio.Event()

    @node
    async def meet(number: int) -> int:
        arrived.append(number)
        if len(arrived) == width:
            everybody.set()
        await everybody.wait()
        return number

    @graph
    def party() -> list[int]:
        return [meet.named(f"m{i}")(i) for i in range(width)]

    with anyio.fail_after(10):
        assert await run(party) == list(range(width))


async def test_context_variables_set_by_a_body_do_not_reach_the_next_node() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    @node
    async def spoil(x: int) -> int:
        seen.append(variable.get())
        variable.set("spoilt")
        return x + 1

    @graph
    def chain() -> int:
        return add(spoil(spoil(spoil(1))), spoil(5))

    await run(chain)
    assert seen == ["unset"] * 4
    assert variable.get() == "unset"


async def test_context_variables_set_by_a_failed_attempt_do_not_reach_the_next() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    @node(retry=Retry(attempts=3, wait=0.001))
    async def spoil(x: int) -> int:
        seen.append(variable.get())
        variable.set("spoilt")
        if len(seen) < 3:
            raise ValueError("again")
        return x

    @graph
    def only() -> int:
        return double(spoil(1))

    await run(only)
    assert seen == ["unset"] * 3


async def test_context_variables_of_the_starter_reach_no_further_than_its_own_runs() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    @node
    async def read() -> str:
        return variable.get()

    @graph
    def reading() -> str:
        return read()

    async with Engine() as engine:
        token = variable.set("mine")
        first = await engine.start(reading)
        variable.reset(token)
        second = await engine.start(reading)
        assert (await first.result(), await second.result()) == ("mine", "unset")


async def test_many_graphs_run_at_once_in_one_engine() -> None:
    gate, waiting = anyio.Event(), list[int]()

    @node
    async def wait(x: int) -> int:
        waiting.append(x)
        if len(waiting) == 40:
            gate.set()
        await gate.wait()
        return x

    @graph
    def first(x: int) -> int:
        return double(wait(x))

    @graph
    def second(x: int) -> int:
        return add(wait(x), 0, c=0)

    with anyio.fail_after(10):
        async with Engine() as engine:
            handles = [await engine.start(first if i % 2 else second, i) for i in range(40)]
            assert [await handle.result() for handle in handles] == [i * (1 + i % 2) for i in range(40)]


async def test_a_known_run_id_with_equal_inputs_is_the_same_run() -> None:
    ran: list[int] = []

    @node
    async def count(x: int) -> int:
        ran.append(x)
        return len(ran)

    @graph
    def counted(x: int) -> int:
        return count(x)

    async with Engine(graphs=[counted]) as engine:
        first = await engine.start(counted, 1, run_id="r")
        again = await engine.start(counted, 1, run_id="r")
        assert (await first.result(), await again.result()) == (1, 1)
        with pytest.raises(Exception, match="other inputs"):
            await engine.start(counted, 2, run_id="r")


async def test_a_wrong_input_starts_nothing() -> None:
    @graph
    def doubled(x: int) -> int:
        return double(x)

    async with Engine() as engine:
        with pytest.raises(PlanError, match="'x': 'three'.*int"):
            await engine.start(doubled, "three")  # type: ignore[arg-type]  # the point of the test
        assert await engine.store.runs() == []


async def test_a_thousand_nodes_that_never_wait_leave_the_loop_usable() -> None:
    """Between nodes that never wait, other tasks of the process get their turn."""
    turns, done = 0, anyio.Event()

    @graph
    def chain(x: int) -> int:
        for _ in range(1000):
            x = add(x, 0, c=1)
        return x

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await anyio.lowlevel.checkpoint()

    assert chain.plan is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        assert await run(chain, 0) == 1000
        done.set()
    assert turns >= 10


@pytest.mark.parametrize(("given", "taken"), [(True, "true"), (1, "one"), (False, "other"), (0, "other")])
async def test_a_boolean_is_no_number_among_cases(given: bool | int, taken: str) -> None:
    @node
    async def same() -> int | bool:
        return given

    @node
    async def say(word: str) -> str:
        return word

    @graph
    def only() -> str:
        return match(same(), {1: say("one")} if given is not True else {True: say("true")}, otherwise="other")

    assert await run(only) == taken
