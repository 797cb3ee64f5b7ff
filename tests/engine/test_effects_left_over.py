"""Effects that an edit leaves over: nothing is done in their place until somebody says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from treadle import Ask, Context, Engine, do, graph, human, node, tool
from treadle.errors import AmbiguousHistory, HistoryMismatch
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio

acted: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def _nothing_acted() -> None:
    acted.clear()


@tool(effect="once")
async def pay(amount: int) -> int:
    """Pay."""
    acted.append(("pay", amount))
    return amount


@tool(effect="once")
async def transfer(amount: int) -> int:
    """Pay another way."""
    acted.append(("transfer", amount))
    return amount


@node
async def through(ctx: Context, amount: int) -> int:
    return await ctx.step(pay, amount)


@human(to="boss")
async def allow(amount: int) -> Ask[bool]:
    return Ask(f"{amount}?")


@node
async def unrelated(number: int) -> int:
    return number


def version(do_it: Any, amount: int, *, more: bool = False) -> Graph[[int], int]:
    """A body that acts, and then waits for a person; with another node beside it."""

    @node
    async def order(ctx: Context, number: int) -> int:
        done: int = await ctx.step(do_it, amount)
        await ctx.step(allow, number)
        return done

    @graph
    def orders(number: int) -> int:
        return do(unrelated(number), order(number)) if more else order(number)

    return orders


async def go_on(
    store: str,
    first: Graph[[int], int],
    then: Graph[[int], int],
    *,
    claims: dict[str, str | None] | None = None,
) -> int:
    """Run one until it waits, resume the other, and answer."""
    async with Engine(store, graphs=[first]) as engine:
        assert await (await engine.start(first, 1, run_id="r")).settled() == "waiting"
    async with Engine(store, graphs=[then]) as engine:
        with anyio.fail_after(20):
            handle = await engine.resume("r", claims=claims)
            if await handle.settled() == "waiting":
                for question in await engine.questions(run_id="r"):
                    await engine.answer(question.id, True, by="ann")
            return int(await handle.result())


@pytest.fixture
def store(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.mark.parametrize(
    ("done", "wanted", "amount"),
    [(pay, pay, 7), (pay, transfer, 5), (through, through, 7), (pay, through, 7)],
    ids=["another amount", "another tool", "deep inside", "inside another node"],
)
async def test_a_body_that_would_act_otherwise_is_refused_though_the_graph_was_edited_elsewhere_too(
    store: str, done: Any, wanted: Any, amount: int
) -> None:
    with pytest.raises(AmbiguousHistory, match="was done in node 'order' already"):
        await go_on(store, version(done, 5), version(wanted, amount, more=True))
    assert acted == [("pay", 5)]


async def test_a_body_that_was_told_to_act_anew_does(store: str) -> None:
    first, then = version(pay, 5), version(pay, 7, more=True)
    assert await go_on(store, first, then, claims={"order": None}) == 7
    assert acted == [("pay", 5), ("pay", 7)]


async def test_a_body_that_does_what_it_did_goes_on_under_an_edit_elsewhere(store: str) -> None:
    assert await go_on(store, version(pay, 5), version(pay, 5, more=True)) == 5
    assert acted == [("pay", 5)]


def renamed(function: Callable[..., Any]) -> Graph[[int], int]:
    """A graph that acts through a function, and waits for a person beside it."""

    @graph
    def renamings(number: int) -> int:
        return do(allow(number), function(5))

    return renamings


async def test_an_effect_of_a_function_that_was_renamed_is_not_made_again_unasked(store: str) -> None:
    with pytest.raises(
        AmbiguousHistory, match="done by 'pay', which was given the same and is called no more"
    ):
        await go_on(store, renamed(pay), renamed(transfer))
    assert acted == [("pay", 5)]


async def test_a_function_that_was_renamed_takes_the_effect_when_told(store: str) -> None:
    assert await go_on(store, renamed(pay), renamed(transfer), claims={"transfer": "pay"}) == 5
    assert acted == [("pay", 5)]


async def test_a_body_that_chooses_another_effect_by_itself_is_told_before_it_acts(store: str) -> None:
    chosen = [pay]

    @node
    async def order(ctx: Context, number: int) -> int:
        done = await ctx.step(chosen[-1], number)
        await ctx.step(allow, number)
        return done

    @graph
    def orders(number: int) -> int:
        return order(number)

    async with Engine(store, graphs=[orders]) as engine:
        handle = await engine.start(orders, 1, run_id="r")
        assert await handle.settled() == "waiting"
        chosen.append(transfer)
        [question] = await engine.questions(run_id="r")
        await engine.answer(question.id, True, by="ann")
        with anyio.fail_after(20), pytest.raises(HistoryMismatch, match="goes on with 'pay#"):
            await handle.result()
    assert acted == [("pay", 1)]


@node
async def order(ctx: Context, number: int) -> int:
    done = await ctx.step(pay, number)
    await ctx.step(allow, number)
    return done


@pytest.mark.parametrize("claims", [None, {"second": None}], ids=["unasked", "told"])
async def test_the_effect_of_a_body_that_became_two_goes_to_neither_of_them_unasked(
    store: str, claims: dict[str, str | None] | None
) -> None:
    @graph(name="orders")
    def before(number: int) -> int:
        return order(number)

    @graph(name="orders")
    def after(number: int) -> int:
        return do(order.named("first")(number), order.named("second")(number))

    if claims is None:
        with pytest.raises(AmbiguousHistory, match="'second' is equal to it too|'first' is equal to it too"):
            await go_on(store, before, after)
        assert acted == [("pay", 1)]
        return
    assert await go_on(store, before, after, claims=claims) == 1
    assert acted == [("pay", 1), ("pay", 1)]


async def test_a_body_that_was_renamed_keeps_its_effect_beside_an_equal_one(store: str) -> None:
    @graph(name="orders")
    def before(number: int) -> int:
        return do(order.named("first")(number), order.named("second")(number))

    @graph(name="orders")
    def after(number: int) -> int:
        return do(order.named("first")(number), order.named("third")(number))

    assert await go_on(store, before, after) == 1
    assert acted == [("pay", 1), ("pay", 1)]


Wire = Callable[[Any], Callable[[int], Any]]


def parked(amount: int, wire: Wire, *, name: str = "order") -> Graph[[int], int]:
    """A body that acts and waits for a person; the graph is wired with it as told."""

    async def body(ctx: Context, number: int) -> int:
        done = await ctx.step(pay, amount)
        await ctx.step(allow, number)
        return done

    body.__name__ = name
    place = wire(node(body))

    @graph(name="orders")
    def orders(number: int) -> int:
        return cast("int", place(number))

    return orders


def inside(body: Any) -> Callable[[int], Any]:
    """Wire a body within a subgraph."""

    @graph
    def within(number: int) -> int:
        return cast("int", body(number))

    return within


@pytest.mark.parametrize(
    ("wire", "name"),
    [(lambda body: body.named("reserve"), "order"), (inside, "order"), (lambda body: body, "book")],
    ids=["renamed", "moved", "function renamed"],
)
async def test_a_body_that_would_act_otherwise_is_refused_under_another_name_too(
    store: str, wire: Wire, name: str
) -> None:
    with pytest.raises(AmbiguousHistory, match="was done in node 'order' already"):
        await go_on(store, parked(5, lambda body: cast("Any", body)), parked(7, wire, name=name))
    assert acted == [("pay", 5)]


@pytest.mark.parametrize("wire", [lambda body: body.named("reserve"), inside], ids=["renamed", "moved"])
async def test_a_body_that_does_what_it_did_goes_on_under_another_name(store: str, wire: Wire) -> None:
    assert await go_on(store, parked(5, lambda body: cast("Any", body)), parked(5, wire)) == 5
    assert acted == [("pay", 5)]


@pytest.mark.parametrize("between", [False, True], ids=["at once", "after another step"])
async def test_a_body_that_chooses_another_effect_while_one_is_in_doubt_does_not_act(
    store: str, between: bool
) -> None:
    began = anyio.Event()

    @tool(effect="once")
    async def hang(amount: int) -> int:
        """Begin to pay, and never end."""
        began.set()
        await anyio.sleep_forever()
        return amount

    chosen: list[Any] = [hang]

    @node
    async def order(ctx: Context, number: int) -> int:
        if between and chosen[-1] is transfer:
            await ctx.step(unrelated, number)
        return int(await ctx.step(chosen[-1], number))

    @graph
    def orders(number: int) -> int:
        return order(number)

    async with Engine(store, graphs=[orders]) as engine:
        await engine.start(orders, 1, run_id="r")
        await began.wait()
    chosen.append(transfer)
    async with Engine(store, graphs=[orders]) as engine:
        with anyio.fail_after(20), pytest.raises(HistoryMismatch, match="goes on with 'hang#"):
            await (await engine.resume("r")).result()
    assert acted == []
