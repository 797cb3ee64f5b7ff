"""A failure that something took is finished work: it is kept under an edited graph, and so are backoffs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place

from treadle import (
    Ask,
    Context,
    NodeFailed,
    Retry,
    each,
    fallback,
    graph,
    human,
    loop,
    node,
    race,
    tool,
)
from treadle.editing import check_against
from treadle.events import AttemptFailed
from treadle.nodes.graph import Graph
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio

HOUR = 3600.0


class Declined(Exception):
    """The bank did nothing."""


class Works:
    """Graphs called ``works`` at whose end a person signs; an edit puts another node behind.

    Attributes:
        ran: What was really done.
        broken: What fails, as long as it stands here.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.broken = {"a", "declined"}

        @node
        async def work(x: str) -> str:
            return self.do(x)

        @node(retry=Retry(attempts=3, wait=HOUR))
        async def patient(x: str) -> str:
            return self.do(x)

        @tool(effect="once", retry=Retry(attempts=1, on=Declined))
        async def pay(ctx: Context, x: str) -> str:
            """Pay."""
            return self.do(x)

        @human(to="desk")
        async def desk(x: str) -> Ask[str]:
            return Ask(f"What is {x}?")

        @node
        async def join(values: list[str]) -> str:
            return self.do(" ".join(values))

        self.work, self.patient, self.pay, self.desk, self.join = work, patient, pay, desk, join

    def do(self, x: str) -> str:
        self.ran.append(x)
        if x in self.broken:
            raise Declined(x)
        return x

    def graph(self, wire: Any, *, edited: bool = False, signed: bool = True) -> Graph[[], str]:
        @human(to="boss")
        async def sign(value: str) -> Ask[str]:
            return Ask("Sign?", show=value)

        @node
        async def after(value: str) -> str:
            return value

        @graph(name="works")
        def works() -> str:
            made = sign(wire()) if signed else wire()
            return after(made) if edited else made

        return works

    async def begin(self, place: Place, wire: Any) -> list[str]:
        """Run until the boss is asked; what fails is mended then.  Give the questions."""
        wired, asked = self.graph(wire), list[Any]()
        async with place.engine(wired) as engine:
            handle = await engine.start(wired, run_id="r")
            while await handle.settled() == "waiting":
                asked = [question async for question in engine.questions()]
                if asked[0].to == "boss":
                    break
                await engine.answer(asked[0].id, "told", by="ada")
        self.broken.clear()
        return [question.id for question in asked]

    async def edit(self, place: Place, wire: Any, claims: dict[str, str | None] | None = None) -> list[str]:
        """Do so, edit elsewhere, and go on; give what ran for it."""
        asked, ran = await self.begin(place, wire), len(self.ran)
        async with place.engine(self.graph(wire, edited=True)) as engine:
            assert await (await engine.resume("r", claims=claims)).settled() == "waiting"
            assert claims or [question.id async for question in engine.questions()] == asked
        return self.ran[ran:]


@pytest.fixture
def works() -> Works:
    return Works()


async def test_a_refused_payment_is_not_tried_again_where_the_next_one_was_made(
    works: Works, memory: Place
) -> None:
    assert await works.edit(memory, lambda: fallback(works.pay("declined"), works.pay("b"))) == []


async def test_an_answer_given_in_place_of_what_failed_is_kept(works: Works, memory: Place) -> None:
    assert await works.edit(memory, lambda: fallback(works.work("a"), works.desk("x"))) == []


async def test_a_question_asked_in_place_of_what_failed_stays_open(works: Works, memory: Place) -> None:
    def wire() -> Any:
        return fallback(works.work("a"), works.desk("x"))

    wired = works.graph(wire)
    async with memory.engine(wired) as engine:
        await (await engine.start(wired, run_id="r")).settled()
        [asked] = await engine.questions()
    works.broken.clear()
    async with memory.engine(works.graph(wire, edited=True)) as engine:
        await (await engine.resume("r")).settled()
        assert [question.id for question in await engine.questions()] == [asked.id]
    assert works.ran == ["a"]


@pytest.mark.parametrize("on_error", ["drop", "collect"])
@pytest.mark.parametrize("is_graph", [False, True])
async def test_an_item_that_failed_stays_out(
    is_graph: bool, on_error: Any, works: Works, memory: Place
) -> None:
    @graph
    def item(x: str) -> str:
        return works.work(x)

    @node
    async def count(values: list[Any]) -> str:
        return works.do(f"{len(values)} values")

    def wire() -> Any:
        many: Any = each(on_error=on_error)
        return count(many(item if is_graph else works.work, ["a", "b"]))

    assert await works.edit(memory, wire) == []


async def test_a_runner_that_failed_has_no_second_chance(works: Works, memory: Place) -> None:
    assert await works.edit(memory, lambda: race(works.work("a"), works.work("b"))) == []


async def test_what_failed_in_a_round_is_not_tried_again(works: Works, memory: Place) -> None:
    @graph
    def one(x: str) -> str:
        return works.work(fallback(works.work("a"), x))

    def wire() -> Any:
        rounds = loop(one, "b", until=lambda text: text == "never", at_most=2)
        return fallback(rounds, works.work("c"))

    assert await works.edit(memory, wire) == []


async def test_what_failed_stays_failed_through_edit_after_edit(works: Works, memory: Place) -> None:
    def wire() -> Any:
        return fallback(works.pay("declined"), works.pay("b"))

    assert await works.edit(memory, wire) == []
    for edited in (False, True, True):
        async with memory.engine(works.graph(wire, edited=edited)) as engine:
            assert await (await engine.resume("r")).settled() == "waiting"
    assert works.ran == ["declined", "b"]


async def test_a_policy_may_be_edited_and_gives_no_new_tries(works: Works, memory: Place) -> None:
    assert await works.begin(memory, lambda: fallback(works.work("a"), works.work("b")))
    more = works.work.using(retry=Retry(attempts=5))
    async with memory.engine(works.graph(lambda: fallback(more("a"), works.work("b")))) as engine:
        assert await (await engine.resume("r")).settled() == "waiting"
    assert works.ran == ["a", "b"]


async def test_what_failed_is_made_anew_where_a_person_says_so(works: Works, memory: Place) -> None:
    def wire() -> Any:
        return fallback(works.work("a"), works.work.named("other")("b"))

    assert await works.edit(memory, wire, {"work": None}) == ["a"]


async def test_a_failure_that_nothing_takes_any_more_ends_the_run_and_is_tried_when_that_is_resumed(
    works: Works, memory: Place
) -> None:
    await works.begin(memory, lambda: fallback(works.work("a"), works.work("b")))
    async with memory.engine(works.graph(lambda: works.work("a"))) as engine:
        assert await (await engine.resume("r")).settled() == "failed"
        assert works.ran == ["a", "b"]
        assert await (await engine.resume("r")).settled() == "waiting"
    assert works.ran == ["a", "b", "a"]


async def test_a_failure_with_other_inputs_is_another_call(works: Works, memory: Place) -> None:
    await works.begin(memory, lambda: fallback(works.work("a"), works.work("b")))
    async with memory.engine(works.graph(lambda: fallback(works.work("c"), works.work("b")))) as engine:
        assert await (await engine.resume("r")).settled() == "waiting"
    assert works.ran == ["a", "b", "c"]


async def test_it_is_told_before_that_a_failure_is_kept(works: Works, memory: Place) -> None:
    def wire() -> Any:
        return fallback(works.pay("declined"), works.pay("b"))

    await works.begin(memory, wire)
    edited = works.graph(wire, edited=True)
    async with memory.engine(edited) as engine:
        outlook = await check_against(edited, "r", engine.store)
    told = {look.node: (look.outcome, look.why) for look in outlook.looks}
    assert told["pay"] == ("kept", "it failed, and that was taken")
    assert told["pay.2"] == ("kept", "")


async def fail_and_edit(works: Works, place: Place, wire: Any) -> list[str]:
    """Run until the run has failed, mend what fails, edit elsewhere, and go on; give what ran for it."""
    wired = works.graph(wire, signed=False)
    async with place.engine(wired) as engine:
        with pytest.raises(NodeFailed):
            await (await engine.start(wired, run_id="r")).result()
    ran = len(works.ran)
    works.broken.clear()
    await place.resume(works.graph(wire, edited=True, signed=False))
    return works.ran[ran:]


async def test_of_a_failed_run_what_it_failed_with_runs_again_and_what_was_taken_does_not(
    works: Works, memory: Place
) -> None:
    works.broken = {"declined", "b a"}

    def wire() -> Any:
        return works.join([fallback(works.pay("declined"), works.pay("b")), "a"])

    assert await fail_and_edit(works, memory, wire) == ["b a"]


async def test_of_a_fallback_that_failed_the_last_rung_alone_runs_again(works: Works, memory: Place) -> None:
    works.broken = {"declined", "b b"}

    def wire() -> Any:
        return fallback(works.pay("declined"), works.join([works.pay("b"), "b"]))

    assert await fail_and_edit(works, memory, wire) == ["b b"]


async def test_what_was_taken_before_the_run_failed_and_was_resumed_stays_taken(
    works: Works, memory: Place
) -> None:
    works.broken = {"declined", "b b"}

    def wire() -> Any:
        return fallback(works.pay("declined"), works.join([works.pay("b"), "b"]))

    wired = works.graph(wire)
    async with memory.engine(wired) as engine:
        assert await (await engine.start(wired, run_id="r")).settled() == "failed"
        works.broken.clear()
        assert await (await engine.resume("r")).settled() == "waiting"
    async with memory.engine(works.graph(wire, edited=True)) as engine:
        assert await (await engine.resume("r")).settled() == "waiting"
    assert works.ran == ["declined", "b", "b b", "b b"]


@pytest.mark.parametrize("claims", [None, {"work": None}])
async def test_a_backoff_and_the_count_of_tries_hold(
    claims: dict[str, str | None] | None, works: Works, memory: Place
) -> None:
    """Under an edited graph, and where records are found again because a person said something."""

    def wire() -> Any:
        return works.join([works.patient("a"), works.work("b")])

    wired = works.graph(wire, signed=False)
    await memory.crash(wired, after=lambda event: isinstance(event, AttemptFailed))
    [failed] = await memory.events(wired, AttemptFailed)
    edited, clock = works.graph(wire, signed=False, edited=claims is None), JumpingClock(start=failed.at + 10)
    async with memory.engine(edited, clock=clock) as engine:
        with anyio.fail_after(20), pytest.raises(NodeFailed):
            await (await engine.resume("r", claims=claims)).result()
    assert clock.jumps[:2] == [failed.at + HOUR, failed.at + 2 * HOUR]
    assert works.ran.count("a") == 3
    attempts = [event.attempt for event in await memory.events(wired, AttemptFailed)]
    assert attempts == [1, 1, 2, 3]


async def test_a_backoff_holds_through_edit_after_edit(works: Works, memory: Place) -> None:
    wired, edited = (works.graph(lambda: works.patient("a"), signed=False, edited=e) for e in (False, True))
    await memory.crash(wired, after=lambda event: isinstance(event, AttemptFailed))
    for other in (edited, wired, wired, edited):
        async with memory.engine(other) as engine:
            assert (await engine.resume("r")).status == "running"
            await anyio.wait_all_tasks_blocked()
    assert works.ran == ["a"]
    failed = await memory.events(wired, AttemptFailed)
    assert {(event.tries, event.not_before) for event in failed[1:]} == {(1, failed[0].at + HOUR)}
