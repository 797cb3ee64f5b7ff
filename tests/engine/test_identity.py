"""One identity for nodes and steps: what moves between a graph and a body is not done again, and what
could belong to several calls is refused until somebody says where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator
from tests.engine.conftest import Bank, Place

from treadle import Ask, Context, graph, human, node, tool
from treadle.errors import AmbiguousHistory, ConfigurationError, HistoryMismatch
from treadle.events import NodeCompleted, StepClaimed
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio

Wire = Callable[[], list[Any]]


class Shop:
    """Graphs called ``shop`` whose last node hangs until it may end.

    Attributes:
        bank: Notes every payment.
        ran: What was really worked on.
        stuck: Set when a last node, or a body that hangs, is reached.
    """

    def __init__(self) -> None:
        self.bank = Bank()
        self.ran: list[str] = []
        self.stuck = anyio.Event()
        self.may_end = False

        @tool(effect="once")
        async def pay(ctx: Context, amount: int, note: str = "") -> str:
            """Pay."""
            return f"{await self.bank.pay(ctx.idempotency_key)} {amount} #{len(self.bank.keys)}"

        @node
        async def work(name: str, times: int = 1) -> str:
            self.ran.append(name)
            return f"{name}{len(self.ran)}"

        @node
        async def last(values: list[str]) -> list[str]:
            await self.hang()
            return values

        @human(to="boss")
        async def boss(text: str) -> Ask[str]:
            return Ask(text)

        self.pay, self.work, self.last, self.boss = pay, work, last, boss

    async def hang(self) -> None:
        self.stuck.set()
        if not self.may_end:
            await anyio.sleep_forever()

    def graph(self, wire: Wire) -> Graph[[], list[str]]:
        @graph(name="shop")
        def shop() -> list[str]:
            return self.last(wire())

        return shop

    def body(self, make: Callable[[Context], Any], *, hangs: bool = False) -> Any:
        """A node whose body does this, and then perhaps hangs."""

        @node(name="body")
        async def body(ctx: Context, text: str) -> str:
            made: str = await make(ctx)
            if hangs:
                await self.hang()
            return made

        return body

    async def results(self, place: Place) -> dict[str, Any]:
        """The recorded results by node."""
        completed = await place.events(self.graph(list), NodeCompleted)
        return {event.node: event.result.json() for event in completed}

    async def go_on(self, place: Place, wire: Wire, claims: dict[str, str | None] | None = None) -> list[str]:
        self.may_end, edited = True, self.graph(wire)
        async with place.engine(edited) as engine:
            with anyio.fail_after(20):
                result: list[str] = await (await engine.resume("r", claims=claims)).result()
                return result


@pytest.fixture
def shop() -> Shop:
    return Shop()


# -- between a graph and a body -------------------------------------------------------------------------


@pytest.mark.parametrize("callee", ["work", "pay"])
async def test_a_node_moved_into_a_body_is_not_done_again(callee: str, shop: Shop, place: Place) -> None:
    moved: Any = getattr(shop, callee)
    given = 3 if callee == "pay" else "x"
    await place.crash(shop.graph(lambda: [moved(given)]), dies=shop.stuck)
    body = shop.body(lambda ctx: ctx.step(moved, given))
    [result] = await shop.go_on(place, lambda: [body("now a body")])
    assert result in ("paid 3 #1", "x1")
    assert len(shop.bank.keys) + len(shop.ran) == 1


@pytest.mark.parametrize("hangs", [True, False])
@pytest.mark.parametrize("callee", ["work", "pay"])
async def test_a_step_lifted_into_the_graph_is_not_done_again(
    callee: str, hangs: bool, shop: Shop, place: Place
) -> None:
    lifted: Any = getattr(shop, callee)
    given = 3 if callee == "pay" else "x"
    body = shop.body(lambda ctx: ctx.step(lifted, given), hangs=hangs)
    await place.crash(shop.graph(lambda: [body("a body")]), dies=shop.stuck)
    [result] = await shop.go_on(place, lambda: [lifted(given)])
    assert result in ("paid 3 #1", "x1")
    assert len(shop.bank.keys) + len(shop.ran) == 1


async def test_an_argument_left_to_its_default_is_the_same_call(shop: Shop, place: Place) -> None:
    await place.crash(shop.graph(lambda: [shop.work("x")]), dies=shop.stuck)
    body = shop.body(lambda ctx: ctx.step(shop.work, "x", times=1))
    assert await shop.go_on(place, lambda: [body("a body")]) == ["x1"]


async def test_an_answer_moves_with_its_call(shop: Shop, place: Place) -> None:
    asked = shop.graph(lambda: [shop.boss("go on?")])
    async with place.engine(asked) as engine:
        await (await engine.start(asked, run_id="r")).settled()
        [question] = await engine.questions()
        await engine.answer(question.id, "yes", by="ada")
        await shop.stuck.wait()
    body = shop.body(lambda ctx: ctx.step(shop.boss, "go on?"))
    assert await shop.go_on(place, lambda: [body("a body")]) == ["yes"]


async def test_the_history_says_which_record_was_taken(shop: Shop, place: Place) -> None:
    body = shop.body(lambda ctx: ctx.step(shop.pay, 3))
    await place.crash(shop.graph(lambda: [body("a body")]), dies=shop.stuck)
    await shop.go_on(place, lambda: [shop.pay(3)])
    events = await place.events(shop.graph(list))
    [claimed] = [event for event in events if isinstance(event, NodeCompleted) and event.claimed]
    source = events[claimed.claimed - 1]
    assert (claimed.node, source.node, source.step.partition("#")[0]) == ("pay", "body", "pay")


async def test_what_lies_inside_of_a_kept_result_answers_nobody_else(shop: Shop, place: Place) -> None:
    """Or a payment would be counted twice: the order that made it was only renamed."""
    body = shop.body(lambda ctx: ctx.step(shop.pay, 3))
    await place.crash(shop.graph(lambda: [body("a")]), dies=shop.stuck)
    wire = lambda: [shop.pay(3), body.named("renamed")("a")]  # noqa: E731 - the new payment comes first
    assert await shop.go_on(place, wire) == ["paid 3 #2", "paid 3 #1"]


async def test_the_steps_of_renamed_nodes_stay_with_their_node(shop: Shop, place: Place) -> None:
    reached: list[str] = []

    @node
    async def order(ctx: Context, name: str) -> str:
        paid = await ctx.step(shop.pay, 3)
        reached.append(name)
        if len(reached) == 2:
            shop.stuck.set()
        if not shop.may_end:
            await anyio.sleep_forever()
        return f"{name} {paid}"

    await place.crash(shop.graph(lambda: [order("x"), order("y")]), dies=shop.stuck)
    done = await shop.go_on(place, lambda: [order.named("b")("y"), order.named("a")("x")])
    assert sorted(done) == sorted(f"{name} paid 3 #{n}" for n, name in enumerate(reached[:2], start=1))
    assert len(shop.bank.keys) == 2


@pytest.mark.parametrize("names", [["same", "same"], ["old", "new"], ["old", "new", "newer"]])
async def test_a_body_sees_the_same_time_and_chance_under_an_edited_graph(
    names: list[str], shop: Shop, place: Place
) -> None:
    """Or it would pay again: what it pays for comes of them."""
    seen: list[str] = []

    async def drawing(ctx: Context) -> str:
        seen.append(f"{ctx.now()} {ctx.random.random()}")
        done = await ctx.step(shop.work, seen[-1])
        return done + await ctx.step(shop.pay, ctx.random.randint(1, 99))

    body = shop.body(drawing, hangs=True)
    for number, name in enumerate(names):
        shop.stuck = anyio.Event()
        wired = [body.named(name), shop.work.named(f"edit{number}")]
        await place.crash(shop.graph(lambda wired=wired: [wired[0]("x"), wired[1]("w")]), dies=shop.stuck)
    await shop.go_on(place, lambda: [body.named(names[-1])("x"), shop.work.named("last edit")("v")])
    assert len(set(seen)) == 1
    assert len(shop.bank.keys) == 1


async def test_equal_bodies_draw_their_own_chance_under_an_edited_graph(shop: Shop, place: Place) -> None:
    seen: list[float] = []

    async def drawing(ctx: Context) -> str:
        seen.append(ctx.random.random())
        done = str(await ctx.step(shop.work, str(seen[-1])))
        if len(seen) % 2 == 0:  # both have drawn
            shop.stuck.set()
        if not shop.may_end:
            await anyio.sleep_forever()
        return done

    body = shop.body(drawing)

    def wired(extra: str) -> list[Any]:
        return [body.named("a")("x"), body.named("b")("x"), shop.work.named(extra)("w")]

    for extra in ("first", "second"):
        shop.stuck = anyio.Event()
        await place.crash(shop.graph(lambda extra=extra: wired(extra)), dies=shop.stuck)
    await shop.go_on(place, lambda: wired("third"))
    assert len(set(seen)) == 2


async def test_what_a_body_asked_is_not_asked_again_under_its_new_name(shop: Shop, place: Place) -> None:
    async def both(ctx: Context) -> str:
        first = await ctx.ask(Ask("First?", to="boss", answer=str))
        return f"{first} {await ctx.ask(Ask('Second?', to='boss', answer=str))}"

    body, shop.may_end = shop.body(both), True
    old, new = (shop.graph(lambda name=name: [body.named(name)("x")]) for name in ("old", "new"))
    async with place.engine(old) as engine:
        handle = await engine.start(old, run_id="r")
        await handle.settled()
        [question] = await engine.questions()
        await engine.answer(question.id, "one", by="ada")
        await handle.settled()
    for _ in range(2):  # a second process finds it as the first did
        async with place.engine(new) as engine:
            handle = await engine.resume("r")
            await handle.settled()
            [question] = await engine.questions()
            assert question.prompt == "Second?"
    async with place.engine(new) as engine:
        handle = await engine.resume("r")
        await engine.answer(question.id, "two", by="ada")
        assert await handle.result() == ["one two"]


async def test_answers_given_to_several_equal_bodies_are_told_apart_by_hand(shop: Shop, place: Place) -> None:
    async def asking(ctx: Context) -> str:
        said = await ctx.ask(Ask("Well?", to="boss", answer=str))
        return f"{said} {await ctx.ask(Ask('And?', to='boss', answer=str))}"

    body, shop.may_end = shop.body(asking), True
    old = shop.graph(lambda: [body.named(name)("x") for name in ("a", "b")])
    async with place.engine(old) as engine:
        handle = await engine.start(old, run_id="r")
        await handle.settled()
        for question in await engine.questions():
            await engine.answer(question.id, f"said to {question.node}", by="ada")
            await handle.settled()
    new = shop.graph(lambda: [body.named("c")("x")])
    async with place.engine(new) as engine:
        with pytest.raises(AmbiguousHistory) as refused:
            await (await engine.resume("r")).result()
        [unsure] = refused.value.ambiguities
        assert (unsure.call, unsure.records) == ("c", ("a", "b"))
        handle = await engine.resume("r", claims={"c": "b"})
        await handle.settled()
        [question] = await engine.questions()
        await engine.answer(question.id, "so", by="ada")
        assert await handle.result() == ["said to b so"]


# -- what could be several ------------------------------------------------------------------------------


def _named(shop: Shop, *names: str) -> Wire:
    return lambda: [shop.pay.named(name)(3) for name in names]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(["a", "b"], ["c", "d"], id="two records, two calls"),
        pytest.param(["a", "b"], ["c"], id="two records, one call"),
        pytest.param(["a"], ["c", "d"], id="one record, two calls"),
        pytest.param(["a", "b"], ["a", "c", "d"], id="one of them is certain"),
    ],
)
async def test_effects_that_cannot_be_told_apart_are_refused(
    old: list[str], new: list[str], shop: Shop, place: Place
) -> None:
    await place.crash(shop.graph(_named(shop, *old)), dies=shop.stuck)
    with pytest.raises(AmbiguousHistory, match="could be recorded call"):
        await shop.go_on(place, _named(shop, *new))
    assert len(shop.bank.keys) == len(old)


async def test_a_refused_resume_has_recorded_nothing(shop: Shop, place: Place) -> None:
    old = shop.graph(_named(shop, "a", "b"))
    await place.crash(old, dies=shop.stuck)
    before = len(await place.events(old))
    with pytest.raises(AmbiguousHistory):
        await shop.go_on(place, _named(shop, "c", "d"))
    assert len(await place.events(old)) == before


async def test_once_told_each_call_takes_what_it_was_told(shop: Shop, place: Place) -> None:
    await place.crash(shop.graph(_named(shop, "a", "b")), dies=shop.stuck)
    paid = await shop.results(place)
    done = await shop.go_on(place, _named(shop, "c", "d", "e"), {"c": "b", "d": "a", "e": None})
    assert done == [paid["b"], paid["a"], "paid 3 #3"]


async def test_what_was_told_outlives_a_crash(shop: Shop, place: Place) -> None:
    await place.crash(shop.graph(_named(shop, "a")), dies=shop.stuck)
    edited = shop.graph(_named(shop, "c", "d"))
    async with place.engine(edited) as engine:
        shop.stuck = anyio.Event()
        await engine.resume("r", claims={"c": None, "d": "a"})
        await shop.stuck.wait()
    assert await shop.go_on(place, _named(shop, "c", "d")) == ["paid 3 #2", "paid 3 #1"]


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nobody": None}, "there is no node 'nobody'"),
        ({"c": "nothing"}, "no recorded call is named 'nothing'"),
    ],
)
async def test_a_claim_of_what_is_not_there_is_refused(
    claims: dict[str, str | None], said: str, shop: Shop, place: Place
) -> None:
    await place.crash(shop.graph(_named(shop, "a")), dies=shop.stuck)
    with pytest.raises(ConfigurationError, match=said):
        await shop.go_on(place, _named(shop, "c"), claims)


async def test_answers_that_cannot_be_told_apart_are_refused(shop: Shop, place: Place) -> None:
    asked = shop.graph(lambda: [shop.boss.named(name)("go on?") for name in ("a", "b")])
    async with place.engine(asked) as engine:
        handle = await engine.start(asked, run_id="r")
        await handle.settled()
        for question in await engine.questions():
            await engine.answer(question.id, f"yes {question.node}", by="ada")
        await shop.stuck.wait()
    wire: Wire = lambda: [shop.boss.named(name)("go on?") for name in ("c", "d")]  # noqa: E731
    with pytest.raises(AmbiguousHistory):
        await shop.go_on(place, wire)
    assert await shop.go_on(place, wire, {"c": "b", "d": "a"}) == ["yes b", "yes a"]


@pytest.mark.parametrize("amount", [3, 4])
async def test_an_effect_that_is_declared_or_given_otherwise_is_not_done_again_unasked(
    amount: int, shop: Shop, place: Place
) -> None:
    await place.crash(shop.graph(lambda: [shop.pay(3)]), dies=shop.stuck)

    @tool(effect="once", name="pay")
    async def pay_now(ctx: Context, amount: int, note: str = "", urgent: bool = True) -> str:
        """Pay."""
        return f"{await shop.bank.pay(ctx.idempotency_key)} {amount} now"

    edited: Any = shop.pay if amount == 4 else pay_now
    wire: Wire = lambda: [edited(amount)]  # noqa: E731
    with pytest.raises(AmbiguousHistory, match="done here already, and its"):
        await shop.go_on(place, wire)
    assert await shop.go_on(place, wire, {"pay": "pay"}) == ["paid 3 #1"]


async def test_an_effect_that_an_unfinished_body_may_claim_yet_is_refused_to_others(
    shop: Shop, place: Place
) -> None:
    body = shop.body(lambda ctx: ctx.step(shop.pay, 3), hangs=True)
    await place.crash(shop.graph(lambda: [body("a")]), dies=shop.stuck)
    wire: Wire = lambda: [body("a"), shop.pay(3)]  # noqa: E731
    with pytest.raises(AmbiguousHistory, match="may claim it yet"):
        await shop.go_on(place, wire)
    assert await shop.go_on(place, wire, {"pay": None}) == ["paid 3 #1", "paid 3 #2"]


async def test_what_shows_only_later_stops_the_run_in_good_order(shop: Shop, place: Place) -> None:
    """The amount becomes known under way: the run fails, what it did is recorded, and it can be told."""

    @node
    async def amount(name: str) -> int:
        shop.ran.append(name)
        return 3

    await place.crash(shop.graph(_named(shop, "a", "b")), dies=shop.stuck)
    wire: Wire = lambda: [shop.pay.named(name)(amount("x")) for name in ("c", "d")]  # noqa: E731
    with pytest.raises(AmbiguousHistory):
        await shop.go_on(place, wire)
    paid = await shop.results(place)
    assert await shop.go_on(place, wire, {"c": "b", "d": "a"}) == [paid["b"], paid["a"]]
    assert shop.ran == ["x"] * 2


async def test_a_step_that_could_be_several_records_fails_its_node(shop: Shop, place: Place) -> None:
    await place.crash(shop.graph(_named(shop, "a", "b")), dies=shop.stuck)
    body = shop.body(lambda ctx: ctx.step(shop.pay, 3))
    with pytest.raises(AmbiguousHistory) as refused:
        await shop.go_on(place, lambda: [body("x")])
    call = str(refused.value).partition("'")[2].partition("'")[0]
    paid = await shop.results(place)
    assert await shop.go_on(place, lambda: [body("x")], {call: "b"}) == [paid["b"]]
    assert len(await place.events(shop.graph(list), StepClaimed)) == 1


async def test_what_is_made_anew_acts_under_a_key_of_its_own(shop: Shop, place: Place) -> None:
    """Or the bank would take it for the payment it has made already."""
    await place.crash(shop.graph(lambda: [shop.pay(3)]), dies=shop.stuck)
    assert await shop.go_on(place, lambda: [shop.pay(3)], {"pay": None}) == ["paid 3 #2"]
    assert len(set(shop.bank.keys)) == 2


async def test_a_result_that_no_longer_fits_is_refused_and_can_be_made_anew(shop: Shop, place: Place) -> None:
    def short(text: str) -> str:
        if len(text) > 1:
            raise ValueError("too long")
        return text

    await place.crash(shop.graph(lambda: [shop.work("x")]), dies=shop.stuck)

    @node(name="work")
    async def stricter(name: str, times: int = 1) -> Annotated[str, AfterValidator(short)]:
        return name

    with pytest.raises(HistoryMismatch, match=r"result of node 'work' .*too long.*claims=\{'work': None\}"):
        await shop.go_on(place, lambda: [stricter("x")])
    assert await shop.go_on(place, lambda: [stricter("x")], {"work": None}) == ["x"]


async def test_claims_for_a_run_under_way_are_refused(shop: Shop, memory: Place) -> None:
    wired = shop.graph(lambda: [shop.pay(1)])
    async with memory.engine(wired) as engine:
        await engine.start(wired, run_id="r")
        await shop.stuck.wait()
        with pytest.raises(ConfigurationError, match="'r' is under way in this engine, so claims for 'pay'"):
            await engine.resume("r", claims={"pay": None})
        assert (await engine.resume("r")).status == "running"
