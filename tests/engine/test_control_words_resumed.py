"""``each``, ``loop`` and ``race`` across crashes and failures: what is recorded never runs again."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel

from treadle import (
    Budget,
    Context,
    Engine,
    Failure,
    NodeFailed,
    Prompt,
    agent,
    each,
    fallback,
    graph,
    loop,
    node,
    race,
    when,
)
from treadle.errors import AllFailed, LoopLimit
from treadle.events import AttemptFailed, NodeCompleted
from treadle.testing import ScriptedModel

if TYPE_CHECKING:
    from tests.engine.conftest import Calls, Place

pytestmark = pytest.mark.anyio

REPEATING = Path(__file__).with_name("repeating.py")


@node
async def words(text: str) -> list[str]:
    return text.split()


def completes(name: str) -> Any:
    return lambda event: isinstance(event, NodeCompleted) and event.node == name


async def test_after_a_kill_in_the_middle_of_two_hundred_items_only_the_unfinished_run(
    tmp_path: Path,
) -> None:
    database, marks = f"sqlite:///{tmp_path}/runs.db", tmp_path / "marks"
    command = [sys.executable, str(REPEATING), database, str(marks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - nothing else runs
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        process.kill()
    before = marks.read_text().split()
    again = runpy.run_path(str(REPEATING))["made"](marks, last=10**6)
    async with Engine(database, graphs=[again]) as engine:
        assert await (await engine.resume("r")).result() == sum(range(1, 201))
    ran = marks.read_text().split()[len(before) :]
    assert sorted(map(int, before)) == list(range(108))
    assert sorted(map(int, ran)) == list(range(100, 200))


async def test_a_run_that_failed_at_an_item_tries_that_item_again_and_what_was_cancelled(
    place: Place, calls: Calls
) -> None:
    @node
    async def count(found: list[str]) -> int:
        return len(found)

    @graph
    def item(text: str) -> str:
        return calls.other(calls.work(text))

    @graph
    def g(text: str) -> int:
        return count(each(at_once=1)(item, words(text)))

    calls.failing.add("c")
    async with place.engine(g) as engine:
        with pytest.raises(NodeFailed, match="no c"):
            await (await engine.start(g, "a b c d", run_id="r")).result()
    assert calls.made == ["a", "A", "b", "B", "c"]
    calls.failing.clear()
    assert await place.resume(g) == 4
    assert calls.made[5:] == ["c", "C", "d", "D"]
    failed = await place.events(g, AttemptFailed)
    assert [one.node for one in failed] == ["each(2)/work"]


@pytest.mark.parametrize("last", ["each(1)/work", "each(0)/other"])
async def test_after_a_crash_inside_of_items_no_finished_node_runs_again(
    place: Place, calls: Calls, last: str
) -> None:
    @graph
    def item(text: str) -> str:
        return calls.other(calls.work(text))

    @graph
    def g(text: str) -> list[str]:
        return each(at_once=2)(item, words(text))

    await place.crash(g, "a b c d", after=completes(last))
    finished = {one.node for one in await place.events(g, NodeCompleted)}
    before = len(calls.made)
    assert await place.resume(g) == ["A", "B", "C", "D"]
    again = {("each", "abcd".index(name.lower()), name.isupper()) for name in calls.made[before:]}
    done = {("each", int(one[5]), one.endswith("other")) for one in finished if one.startswith("each")}
    assert not again & done
    assert last in finished


async def test_nested_items_are_taken_up_where_they_were(place: Place, calls: Calls) -> None:
    @graph
    def row(text: str) -> list[str]:
        return each(at_once=1)(calls.work, words(text))

    @node
    async def lines(text: str) -> list[str]:
        return text.split("/")

    @graph
    def g(text: str) -> list[list[str]]:
        return each(at_once=1)(row, lines(text))

    await place.crash(g, "a b/c d/e", after=completes("each(1)/each(0)/work"))
    before = len(calls.made)
    assert await place.resume(g) == [["A", "B"], ["C", "D"], ["E"]]
    assert set(calls.made[before:]) <= {"d", "e"}


# -- loops ---------------------------------------------------------------------------------------------------


class Draft(BaseModel):
    text: str
    score: int


@node
async def begin(text: str) -> Draft:
    return Draft(text=text, score=0)


class Reviser:
    """Revises drafts, and notes each."""

    def __init__(self) -> None:
        self.seen: list[int] = []

        @node
        async def revise(draft: Draft) -> Draft:
            self.seen.append(draft.score)
            return Draft(text=draft.text, score=draft.score + 1)

        self.revise = revise


async def test_each_round_is_recorded_and_a_crash_repeats_none(place: Place) -> None:
    reviser = Reviser()

    @graph
    def g(text: str) -> Draft:
        return loop(reviser.revise, begin(text), until=lambda d: d.score >= 4, at_most=9)

    await place.crash(g, "x", after=completes("loop(2)/revise"))
    before = len(reviser.seen)
    assert (await place.resume(g)).score == 4
    assert reviser.seen[before:] in ([2, 3], [3])  # the third was under way, or not
    assert reviser.seen[:2] == [0, 1]


async def test_until_may_be_a_node_and_is_recorded_too(place: Place) -> None:
    reviser, asked = Reviser(), list[int]()

    @node
    async def is_good(draft: Draft) -> bool:
        asked.append(draft.score)
        return draft.score >= 3

    @graph
    def g(text: str) -> Draft:
        return loop(reviser.revise, begin(text), until=is_good, at_most=9)

    await place.crash(g, "x", after=completes("loop(2)/is_good"))
    assert (await place.resume(g)).score == 3
    assert asked.count(1) == asked.count(2) == 1


async def test_a_round_may_give_what_it_was_given_and_the_run_be_taken_up_after(place: Place) -> None:
    @graph
    def keep(draft: Draft) -> Draft:
        return when(draft.score == 0, draft, draft)

    @node
    async def fails_once(draft: Draft) -> str:
        if not attempts:
            attempts.append(1)
            raise ValueError("not yet")
        return draft.text

    attempts: list[int] = []

    @graph
    def g(text: str) -> str:
        found = loop(keep, begin(text), until=lambda d: d.score > 0, at_most=3)
        return fails_once(fallback(found, begin.named("again")(text)))

    async with place.engine(g) as engine:
        with pytest.raises(NodeFailed, match="not yet"):
            await (await engine.start(g, "x", run_id="r")).result()
    assert await place.resume(g) == "x"


async def test_the_limit_of_a_loop_tells_rounds_and_last_value_in_another_process_too(place: Place) -> None:
    reviser = Reviser()

    @graph
    def g(text: str) -> Draft:
        return loop(reviser.revise, begin(text), until=lambda d: d.score >= 4, at_most=2)

    async with place.engine(g) as engine:
        with pytest.raises(LoopLimit, match="2 rounds.*raise at_most") as here:
            await (await engine.start(g, "x", run_id="r")).result()
    async with place.engine(g) as engine:
        with pytest.raises(LoopLimit, match="2 rounds.*raise at_most") as read:
            await (await engine.start(g, "x", run_id="r")).result()
        with pytest.raises(LoopLimit, match="2 rounds.*raise at_most") as there:
            await (await engine.resume("r")).result()
    for error in (here.value, read.value, there.value):
        assert (error.node, error.rounds, error.last) == ("loop", 2, '{"text":"x","score":2}')
    assert reviser.seen == [0, 1]


async def test_a_fallback_takes_the_limit_of_a_loop(place: Place) -> None:
    reviser = Reviser()

    @graph
    def g(text: str) -> Draft:
        limited = loop(reviser.revise, begin(text), until=lambda d: d.score >= 9, at_most=2)
        return fallback(limited, begin.named("desk")("desk"), on=LoopLimit)

    async with place.engine(g) as engine:
        assert (await (await engine.start(g, "x", run_id="r")).result()).text == "desk"


# -- races ---------------------------------------------------------------------------------------------------


async def test_the_winner_of_a_race_is_recorded(place: Place, calls: Calls) -> None:
    calls.gates["slow"] = anyio.Event()

    @node
    async def after(won: str) -> str:
        if not calls.failing:
            return f"{won}!"
        raise ValueError("not yet")

    @graph
    def g(text: str) -> str:
        return after(race(calls.work(text), calls.other("slow")))

    calls.failing.add("after")
    async with place.engine(g) as engine:
        with pytest.raises(NodeFailed, match="not yet"):
            await (await engine.start(g, "quick", run_id="r")).result()
    calls.failing.clear()
    calls.gates["slow"].set()
    assert await place.resume(g) == "QUICK!"
    assert calls.made.count("quick") == 1


async def test_a_race_that_all_lost_says_why_in_another_process_too(place: Place, calls: Calls) -> None:
    calls.failing |= {"a", "b"}

    @graph
    def g(text: str) -> str:
        return race(calls.work("a"), calls.other("b"))

    async with place.engine(g) as engine:
        with pytest.raises(AllFailed, match="all 2 runners.*work: no a; other: no b") as here:
            await (await engine.start(g, "", run_id="r")).result()
    async with place.engine(g) as engine:
        with pytest.raises(AllFailed, match="all 2 runners.*work: no a; other: no b") as there:
            await (await engine.start(g, "", run_id="r")).result()
    for error in (here.value, there.value):
        assert [(one.node, one.type, one.message) for one in error.failures] == [
            ("work", "ValueError", "no a"),
            ("other", "ValueError", "no b"),
        ]
    calls.failing.discard("b")
    assert await place.resume(g) == "B"
    assert sorted(calls.made) == ["a", "a", "b", "b"]


# -- what is kept --------------------------------------------------------------------------------------------


@node
async def numbers(count: int) -> list[int]:
    return list(range(count))


@node
async def half(item: int) -> int:
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item // 2


@node
async def successes(found: list[int | Failure]) -> int:
    return sum(isinstance(one, int) for one in found)


async def test_ten_thousand_items_leave_nothing_behind_but_their_results(place: Place) -> None:
    @graph
    def item(number: int) -> int:
        return fallback(half(number), half.named("again")(number))

    @graph
    def g(count: int) -> int:
        return successes(each(at_once=8, on_error="collect")(item, numbers(count)))

    count = 10_000
    async with place.engine(g) as engine:
        handle = await engine.start(g, count, run_id="r")
        (live,) = engine.loops.values()
        assert await handle.result() == count // 2
    course, tree = live.scheduler._course, live.accounts._tree
    kept = (course.parts, live.sites.by_part, tree.paths, tree.scopes, live.errors)
    assert [len(one) <= 10 for one in kept] == [True] * 5, [len(one) for one in kept]
    assert len(live.histories.attempts) <= 10


async def test_items_that_ask_models_in_budgeted_steps_leave_nothing_behind(place: Place) -> None:
    @agent(model=ScriptedModel(lambda _: "yes"), budget=Budget(tokens=1000))
    async def clerk(text: str) -> Prompt[str]:
        return Prompt(text)

    @node
    async def ask(ctx: Context, number: int) -> int:
        ctx.now()
        return len(await ctx.step(clerk, str(number)))

    @graph
    def g(count: int) -> int:
        return successes(each(at_once=2)(ask, numbers(count)))

    async with place.engine(g) as engine:
        handle = await engine.start(g, 30, run_id="r")
        (live,) = engine.loops.values()
        assert await handle.result() == 30
    kept = (live.histories.attempts, live.requests_made, live.retries._asked, live.accounts._tree.by_id)
    assert [len(one) <= 5 for one in kept] == [True] * 4, [len(one) for one in kept]


async def test_an_item_more_costs_its_result_and_its_line_of_history(place: Place) -> None:
    """In memory stay the results, and the failures: a few hundred bytes each, whatever the items did."""

    @graph
    def g(count: int) -> int:
        return successes(each(at_once=8, on_error="collect")(half, numbers(count)))

    peaks: list[int] = []
    async with place.engine(g) as engine:
        for count in (500, 2_000):
            tracemalloc.start()
            await (await engine.start(g, count)).result()
            peaks.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 1_500 < 1_500
