"""``race`` in the engine, and money inside of items: losers go, are charged, and keep nobody waiting."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from treadle import (
    Ask,
    Budget,
    BudgetExceeded,
    Context,
    Engine,
    Failure,
    Prompt,
    agent,
    each,
    fallback,
    graph,
    human,
    node,
    race,
    run,
    tool,
)
from treadle.budget import Usage
from treadle.errors import AllFailed, InDoubt
from treadle.events import AttemptCancelled, MoneySettled
from treadle.messages import Message, ModelRequest, ModelResponse, Text
from treadle.models import Price
from treadle.testing import ScriptedModel

if TYPE_CHECKING:
    from tests.engine.conftest import Calls, Place

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(0), output_mtok=Decimal(1_000))
FULL = ModelResponse(
    message=Message(role="assistant", parts=(Text(text="yes"),)),
    usage=Usage(input_tokens=5, output_tokens=10),
)


@node
async def words(text: str) -> list[str]:
    return text.split()


class Loser:
    """A node that never ends by itself, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.has_begun = anyio.Event()
        self.was_cancelled = False

        @node
        async def never(text: str) -> str:
            self.has_begun.set()
            try:
                await anyio.sleep_forever()
            except BaseException:
                self.was_cancelled = True
                raise
            return text

        @node
        async def after(text: str) -> str:
            await self.has_begun.wait()
            return text

        self.never, self.after = never, after


async def test_losers_are_gone_before_the_run_is_over() -> None:
    loser = Loser()

    @graph
    def g(text: str) -> str:
        return race(loser.never(text), loser.after(text))

    async with Engine("memory:") as engine:
        with anyio.fail_after(1):
            handle = await engine.start(g, "x")
            assert await handle.result() == "x"
        assert loser.was_cancelled
        gone = [r.event.node for r in await handle.history() if isinstance(r.event, AttemptCancelled)]
        assert gone == ["never"]


async def test_a_loser_of_many_nodes_leaves_none_behind(calls: Calls) -> None:
    loser = Loser()

    @graph
    def long(text: str) -> str:
        return calls.work(loser.never(calls.other(text)))

    @graph
    def g(text: str) -> str:
        return race(long(text), loser.after(text))

    assert await run(g, "x") == "x"
    assert calls.made == ["x"]


async def test_a_node_that_others_need_too_outlives_the_race(calls: Calls) -> None:
    calls.gates["slow"] = anyio.Event()

    @node
    async def let_go(won: str) -> str:
        calls.gates["slow"].set()
        return won

    @graph
    def g(text: str) -> tuple[str, str]:
        slow = calls.other("slow")
        return let_go(race(calls.work(text), slow)), slow

    assert await run(g, "x") == ("X", "SLOW")


async def test_a_loser_that_returns_all_the_same_changes_nothing() -> None:
    is_out = anyio.Event()

    @node
    async def stubborn(text: str) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            is_out.set()
            raise
        return "late"

    @node
    async def thread(text: str) -> str:
        with anyio.CancelScope(shield=True):  # nothing can cancel it: its result comes too late
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        return "late"

    @node
    async def quick(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text

    @graph
    def g(text: str) -> str:
        return race(stubborn(text), thread(text), quick(text))

    with anyio.fail_after(5):
        assert await run(g, "x") == "x"
    assert is_out.is_set()


async def test_what_a_loser_spent_is_charged() -> None:
    model = ScriptedModel(lambda _: FULL, price=PRICE)
    loser = Loser()

    @agent(model=model, max_output=10)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def slow(text: str) -> str:
        return loser.never(ask(text))

    @graph
    def g(text: str) -> str:
        return race(slow(text), loser.after(text))

    async with Engine("memory:") as engine:
        handle = await engine.start(g, "x")
        assert await handle.result() == "x"
        end = (await handle.history())[-1].event
    assert end.spent.usd == Decimal("0.01")  # type: ignore[union-attr]


async def test_a_loser_in_the_middle_of_a_call_is_charged_at_what_was_held() -> None:
    is_asked = anyio.Event()

    class Hanging(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ModelResponse:
            is_asked.set()
            await anyio.sleep_forever()
            return FULL

    @agent(model=Hanging([], price=PRICE), max_output=10)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @node
    async def after(text: str) -> str:
        await is_asked.wait()
        return text

    @graph(budget=Budget(usd="0.05"))
    def g(text: str) -> str:
        return race(ask(text), after(text))

    async with Engine("memory:") as engine:
        handle = await engine.start(g, "x")
        assert await handle.result() == "x"
        (settled,) = [r.event for r in await handle.history() if isinstance(r.event, MoneySettled)]
    assert settled.charged.usd == Decimal("0.01")


async def test_all_failed_says_why_each_did(calls: Calls) -> None:
    calls.failing |= {"a", "b"}

    @graph
    def g(text: str) -> str:
        return race(calls.work("a"), calls.other("b"))

    with pytest.raises(AllFailed, match="work: no a; other: no b") as failed:
        await run(g, "")
    assert failed.value.node == "race"


async def test_the_failures_of_a_race_inside_a_step_are_told_by_the_step(calls: Calls) -> None:
    calls.failing |= {"a", "b"}

    @graph
    def inner() -> str:
        return race(calls.work("a"), calls.other("b"))

    @node
    async def outer(ctx: Context) -> str:
        return await ctx.step(inner)

    @graph
    def g() -> str:
        return outer()

    with pytest.raises(AllFailed) as failed:
        await run(g)
    assert [one.message for one in failed.value.failures] == ["no a", "no b"]


async def test_an_effect_in_doubt_loses_the_race_for_all() -> None:
    @tool(effect="once", in_doubt="fail")
    async def pay(text: str) -> str:
        """Pay somebody."""
        raise ConnectionError("lost")

    @node
    async def told(paid: str) -> str:
        return paid

    loser = Loser()

    @graph(on_failure="cancel")
    def g(text: str) -> tuple[str, str]:
        paid = pay(text)
        return fallback(race(paid, loser.never(text)), "x"), told(paid)

    with pytest.raises(InDoubt):
        await run(g, "x")


async def test_a_person_who_lost_is_not_asked_any_more(calls: Calls) -> None:
    @human(to="somebody")
    async def desk(text: str) -> Ask[str]:
        return Ask(text)

    loser = Loser()
    loser.has_begun = anyio.Event()

    @graph
    def g(text: str) -> str:
        return race(desk(text), loser.after(text))

    async with Engine("memory:") as engine:
        handle = await engine.start(g, "x")
        while not await engine.questions():
            await anyio.lowlevel.checkpoint()
        loser.has_begun.set()
        assert await handle.result() == "x"
        assert await engine.questions() == []


async def test_a_race_inside_an_item_is_over_before_its_loser_is_gone(place: Place) -> None:
    """The loser reads what was read for it, and its item is forgotten with it."""

    @node
    async def first(text: str) -> list[str]:
        return [text]

    @node
    async def shielded(text: str) -> list[str]:
        with anyio.CancelScope(shield=True):
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        return ["late"]

    @graph
    def item(text: str) -> str:
        found = first(text)
        return race(first.named("quick")(text), shielded(found[0]), first.named("next")(found[0]))[0]

    @graph
    def g(text: str) -> list[str]:
        return each(item, words(text))

    async with place.engine(g) as engine:
        assert await (await engine.start(g, "a b c", run_id="r")).result() == ["a", "b", "c"]
    assert await place.resume(g) == ["a", "b", "c"]


# -- money in items ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["graph", "node"])
async def test_each_item_has_a_budget_of_its_own(level: str) -> None:
    model = ScriptedModel(lambda _: FULL, price=PRICE)
    budget = Budget(usd="0.01")

    @agent(model=model, max_output=10, min_output=10, budget=budget if level == "node" else None)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @agent(model=model, max_output=10, min_output=10)
    async def ask_again(text: str, before: str) -> Prompt[str]:
        return Prompt(text + before)

    @node
    async def keep(text: str, before: str) -> str:
        return before

    @graph(budget=budget if level == "graph" else None)
    def item(text: str) -> str:
        again = ask_again if level == "graph" else keep
        return again(text, ask(text))

    @graph
    def g(text: str) -> list[str | Failure]:
        return each(on_error="collect")(item, words(text))

    async with Engine("memory:") as engine:
        handle = await engine.start(g, "a b c")
        (live,) = engine.loops.values()
        found = await handle.result()
    if level == "graph":
        assert [one.type for one in found if isinstance(one, Failure)] == ["BudgetExceeded"] * 3
    else:
        assert found == ["yes", "yes", "yes"]
    assert len(model.requests) == 3
    assert not live.accounts._tree.by_id, "the accounts of items outlive them"


async def test_a_run_out_of_money_stops_its_items(calls: Calls) -> None:
    model = ScriptedModel(lambda _: FULL, price=PRICE)

    @agent(model=model, max_output=10, min_output=10)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph(budget=Budget(usd="0.02"))
    def g(text: str) -> list[str]:
        return each(at_once=1)(ask, words(text))

    with pytest.raises(BudgetExceeded) as short:
        await run(g, "a b c d")
    assert (short.value.node, short.value.account) == ("each(2)/ask", "run")
    assert len(model.requests) == 2
