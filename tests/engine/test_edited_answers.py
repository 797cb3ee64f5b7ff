"""People's answers under an edited graph: each counts once, for the call it was given to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place

from treadle import Ask, Context, each, graph, human, node, tool
from treadle.editing import Outlook, check_against
from treadle.errors import AmbiguousHistory, NodeFailed
from treadle.events import QuestionAsked, StepStarted
from treadle.ids import RunId
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio

Wire = Callable[[], Any]


class Office:
    """Graphs called ``office`` in which people sign, and payments follow.

    Attributes:
        paid: What was paid.
    """

    def __init__(self) -> None:
        self.paid: list[int] = []

        @human(to="boss")
        async def sign(amount: int) -> Ask[bool]:
            return Ask(f"Pay {amount}?")

        @human(to="boss")
        async def nod(amount: int) -> Ask[bool]:
            return Ask("Well?")

        @tool(effect="once", in_doubt="ask")
        async def pay(amount: int) -> int:
            """Pay."""
            self.paid.append(amount)
            return amount

        @node
        async def payout(ctx: Context, amount: int) -> str:
            is_signed = await ctx.step(sign, amount)
            return f"{is_signed} {await ctx.step(pay, amount)}"

        @node
        async def body(ctx: Context, amount: int) -> bool:
            return await ctx.step(sign, amount)

        @node
        async def talk(ctx: Context, amount: int) -> str:
            first = await ctx.ask(Ask("First?", to="boss", answer=str))
            return f"{first} {await ctx.ask(Ask('Second?', to='boss', answer=str))}"

        @node
        async def late(amount: int) -> int:
            return amount

        self.sign, self.nod, self.pay, self.payout = sign, nod, pay, payout
        self.body, self.talk, self.late = body, talk, late
        self.unsure, self.wrapped = self._unsure()

    def _unsure(self) -> tuple[Any, Any]:
        @tool(effect="once", in_doubt="ask")
        async def unsure(amount: int) -> str:
            """Pay, and lose the line the first time."""
            self.paid.append(amount)
            if len(self.paid) == 1:
                raise ConnectionError("the line broke")
            return str(amount)

        @node
        async def wrapped(ctx: Context, amount: int) -> str:
            return await ctx.step(unsure, amount)

        return unsure, wrapped

    def graph(self, wire: Wire) -> Graph[[], list[Any]]:
        @graph(name="office")
        def office() -> list[Any]:
            made: list[Any] = wire()
            return made

        return office

    async def ask(self, place: Place, wire: Wire, *answers: Any) -> None:
        """Ask, and have the first questions answered while nobody is there who knows the graph."""
        before = self.graph(wire)
        async with place.engine(before) as engine:
            await (await engine.start(before, run_id="r")).settled()
        async with place.engine() as engine:
            questions = await engine.questions()
            for question, value in zip(questions, answers, strict=False):
                await engine.answer(question.id, value, by="maria")

    async def go_on(self, place: Place, wire: Wire, claims: dict[str, str | None] | None = None) -> Any:
        """Resume under another graph: the result, or the nodes that ask."""
        after = self.graph(wire)
        async with place.engine(after) as engine:
            with anyio.fail_after(20):
                handle = await engine.resume("r", claims=claims)
                if await handle.settled() == "waiting":
                    return sorted(question.node for question in await engine.questions())
                return await handle.result()

    async def check(self, place: Place, wire: Wire, claims: dict[str, str | None] | None = None) -> Outlook:
        after = self.graph(wire)
        async with place.engine(after) as engine:
            return await check_against(after, "r", engine.store, claims=claims)


@pytest.fixture
def office() -> Office:
    return Office()


def _named(callee: Any, *names: str) -> Wire:
    return lambda: [callee.named(name)(1) for name in names]


# -- one answer, one call ------------------------------------------------------------------------------


@pytest.mark.parametrize("callee", ["sign", "payout", "talk", "body"])
@pytest.mark.parametrize("names", [("first", "second"), ("first", "second", "third")])
async def test_an_answer_that_several_calls_could_take_is_refused_to_all_of_them(
    callee: str, names: tuple[str, ...], office: Office, place: Place
) -> None:
    asks = getattr(office, callee)
    await office.ask(place, _named(asks, "before"), "yes" if callee == "talk" else True)
    outlook = await office.check(place, _named(asks, *names))
    assert [look.outcome for look in outlook.looks[: len(names)]] == ["ambiguous"] * len(names)
    with pytest.raises(AmbiguousHistory, match="one answer was given, and .* may ask the same"):
        await office.go_on(place, _named(asks, *names))
    assert not office.paid


async def test_two_calls_of_which_one_was_answered_are_not_taken_for_each_other(
    office: Office, place: Place
) -> None:
    await office.ask(place, _named(office.payout, "p0", "p1"), True)
    after: Wire = lambda: [office.payout(1), office.payout(1)]  # noqa: E731
    with pytest.raises(AmbiguousHistory):
        await office.go_on(place, after)
    assert await office.go_on(place, after, {"payout": None, "payout.2": "p0"}) == ["payout"]
    assert office.paid == [1]


async def test_once_told_one_call_takes_the_answer_and_the_other_asks(office: Office, place: Place) -> None:
    await office.ask(place, _named(office.sign, "before"), True)
    after, told = _named(office.sign, "first", "second"), {"first": "before", "second": None}
    outlook = await office.check(place, after, told)
    assert outlook.looks[0].why == "with what 'maria' answered to 'before'"
    assert await office.go_on(place, after, told) == ["second"]
    assert await office.go_on(place, after) == ["second"]  # a second process finds it as the first did


async def test_a_call_that_shows_only_later_does_not_take_an_answer_that_was_taken(
    office: Office, place: Place
) -> None:
    await office.ask(place, _named(office.payout, "before"), True)
    after: Wire = lambda: [  # noqa: E731
        office.payout.named("first")(1),
        office.payout.named("second")(office.late(1)),
    ]
    for _ in range(2):
        assert await office.go_on(place, after) == ["second"]
    assert office.paid == [1]


async def test_a_call_at_its_own_place_takes_its_answer_whoever_else_asks_the_same(
    office: Office, place: Place
) -> None:
    await office.ask(place, _named(office.payout, "p0"), True)
    assert await office.go_on(place, _named(office.payout, "p0", "p1")) == ["p1"]
    assert await office.go_on(place, _named(office.payout, "p1", "p0", "p2")) == ["p1", "p2"]
    assert office.paid == [1]


async def test_a_call_that_is_made_anew_asks_anew(office: Office, place: Place) -> None:
    await office.ask(place, _named(office.sign, "a"), True)
    for _ in range(2):
        assert await office.go_on(place, _named(office.sign, "a"), {"a": None}) == ["a"]


# -- an answer follows its call ------------------------------------------------------------------------


@pytest.mark.parametrize("callee", ["sign", "nod", "payout"])
@pytest.mark.parametrize(
    ("after", "asked"),
    [
        pytest.param([2, 1], ["each(0)/{}"], id="moved"),
        pytest.param([3, 1, 2], ["each(0)/{}", "each(2)/{}"], id="inserted"),
        pytest.param([3, 2, 1, 1], ["each(0)/{}", "each(1)/{}", "each(3)/{}"], id="doubled"),
        pytest.param([2], ["each(0)/{}"], id="removed"),
    ],
)
async def test_an_item_keeps_its_answer_wherever_it_stands(
    callee: str, after: list[int], asked: list[str], office: Office, place: Place
) -> None:
    asks = getattr(office, callee)
    await office.ask(place, lambda: each(asks, [1, 2]), True)
    for _ in range(2):
        waiting = await office.go_on(place, lambda: each(asks, after))
        assert waiting == [one.format(callee) for one in asked]
    assert len(office.paid) == (callee == "payout" and 1 in after)


async def test_items_that_ask_the_same_do_not_take_each_others_answers(office: Office, place: Place) -> None:
    await office.ask(place, lambda: each(office.nod, [1, 2]), True, False)
    assert await office.go_on(place, lambda: each(office.nod, [2, 1])) == [False, True]


async def test_an_answer_moves_into_a_body(office: Office, place: Place) -> None:
    await office.ask(place, _named(office.sign, "sign"), True)
    assert await office.go_on(place, lambda: [office.body(1)]) == [True]


async def test_an_answer_moves_out_of_a_body(office: Office, place: Place) -> None:
    await office.ask(place, lambda: [office.body(1)], True)
    assert await office.go_on(place, _named(office.sign, "lifted")) == [True]


async def test_an_answer_that_a_body_still_there_may_ask_for_is_refused_to_others(
    office: Office, place: Place
) -> None:
    await office.ask(place, lambda: [office.talk(1), office.body(1)], "one", True)
    after: Wire = lambda: [office.talk(1), office.body(1), office.sign(1)]  # noqa: E731
    with pytest.raises(AmbiguousHistory, match="still in the plan and may ask for it yet"):
        await office.go_on(place, after)
    assert await office.go_on(place, after, {"sign": None}) == ["sign", "talk"]


async def test_an_answer_that_nobody_takes_is_told_before(office: Office, place: Place) -> None:
    await office.ask(place, lambda: [office.sign(1)], True)
    outlook = await office.check(place, lambda: [office.sign.named("other")(2)])
    assert [(look.node, look.outcome, look.why) for look in outlook.looks] == [
        ("other", "runs", "it is new"),
        ("sign", "dropped", "asked again: the answer of 'maria' was to another call"),
    ]


async def test_an_answer_too_many_is_told_before(office: Office, place: Place) -> None:
    await office.ask(place, lambda: each(office.payout, [1, 1]), True, True)
    outlook = await office.check(place, lambda: each(office.payout, [1]))
    [dropped] = [look for look in outlook.looks if look.outcome == "dropped"]
    assert dropped.node.startswith("each(1)/payout/sign#")
    assert dropped.why == "asked again: the answer of 'maria' was to another call"


@pytest.mark.parametrize("callee", ["sign", "payout"])
async def test_an_answer_that_is_being_taken_over_survives_a_crash(
    callee: str, office: Office, place: Place
) -> None:
    asks = getattr(office, callee)
    await office.ask(place, _named(asks, "before"), True)
    after = _named(asks, "after")
    await place.crash(office.graph(after), after=lambda event: isinstance(event, QuestionAsked))
    async with place.engine() as engine:
        asked = [one for one in await engine.store.read(RunId("r")) if isinstance(one.event, QuestionAsked)]
        assert len(asked) == 2
    result = await office.go_on(place, after)
    assert result == ([True] if callee == "sign" else ["True 1"])


async def test_an_edit_of_an_edit_keeps_answers(office: Office, place: Place) -> None:
    await office.ask(place, lambda: each(office.talk, [1, 2]), "one")
    for items in ([2, 1], [3, 2, 1], [1, 3]):
        await office.go_on(place, partial(each, office.talk, items))
    async with place.engine() as engine:
        asked = {(question.node, question.prompt) for question in await engine.questions()}
    assert asked == {("each(0)/talk", "Second?"), ("each(1)/talk", "First?")}


# -- what was said about an effect in doubt ------------------------------------------------------------


@pytest.mark.parametrize("way", ["as a node", "in a body"])
@pytest.mark.parametrize(
    ("said", "result", "acts"),
    [
        ({"outcome": "happened", "result": "seven"}, "seven", 1),
        ({"outcome": "run_again"}, "1", 2),
        ({"outcome": "did_not_happen"}, None, 1),
    ],
)
async def test_what_was_said_about_an_effect_in_doubt_follows_it(
    way: str, said: dict[str, Any], result: str | None, acts: int, place: Place
) -> None:
    office = Office()
    unsure = office.unsure if way == "as a node" else office.wrapped
    await office.ask(place, _named(unsure, "before"), said)
    for _ in range(2):
        try:
            assert await office.go_on(place, _named(unsure, "after")) == [result]
        except NodeFailed as error:
            assert (result, "DidNotHappen" in str(error)) == (None, True)  # noqa: PT017 - either way it ends
            break
    assert len(office.paid) == acts


async def test_what_was_said_about_an_effect_outlives_a_crash_under_the_edited_graph(place: Place) -> None:
    office = Office()
    await office.ask(place, _named(office.unsure, "before"), {"outcome": "happened", "result": "seven"})
    after = office.graph(_named(office.unsure, "after"))
    await place.crash(after, after=lambda event: isinstance(event, StepStarted))
    assert await office.go_on(place, _named(office.unsure, "after")) == ["seven"]
    assert len(office.paid) == 1
