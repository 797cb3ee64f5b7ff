"""``each`` in the engine: order, how much at once, failures, people and effects in items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from treadle import (
    Ask,
    Context,
    Engine,
    Failure,
    NodeFailed,
    Retry,
    each,
    fallback,
    graph,
    human,
    node,
    run,
    tool,
    when,
)
from treadle.engine import workspace
from treadle.errors import InDoubt
from treadle.events import AttemptCancelled, NodeCompleted, QuestionAsked
from treadle.stores import MemoryStore, SqliteStore

if TYPE_CHECKING:
    from tests.engine.conftest import Calls, Place

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runs.db"))


@node
async def words(text: str) -> list[str]:
    return text.split()


@node
async def join(texts: list[str]) -> str:
    return "+".join(texts)


class Crowd:
    """Counts who is inside, and lets nobody out before all that fit have come in.

    Attributes:
        most: How many were inside at the same time, at most.
    """

    def __init__(self, size: int) -> None:
        self.size, self.inside, self.most = size, 0, 0
        self.is_full = anyio.Event()

    async def visit(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == self.size:
            self.is_full.set()
        await self.is_full.wait()
        for _ in range(5):  # whoever is let in too early comes in here
            await anyio.lowlevel.checkpoint()
        self.inside -= 1


async def test_results_stand_in_the_order_of_the_items(store: Any) -> None:
    waiting = {"a": anyio.Event(), "b": anyio.Event(), "c": anyio.Event()}

    @node
    async def turned(item: str) -> str:
        before = {"a": "b", "b": "c"}.get(item)
        if before is not None:
            await waiting[before].wait()
        waiting[item].set()
        return item.upper()

    @graph
    def g(text: str) -> list[str]:
        return each(turned, words(text))

    async with Engine(store, graphs=[g]) as engine:
        handle = await engine.start(g, "a b c")
        assert await handle.result() == ["A", "B", "C"]
        history = [record.event for record in await handle.history()]
    ended = [e.node for e in history if isinstance(e, NodeCompleted) and e.node.startswith("each")]
    assert ended == ["each(2)/turned", "each(1)/turned", "each(0)/turned"]


async def test_an_empty_list_reaches_its_consumer(store: Any, calls: Calls) -> None:
    @graph
    def g(text: str) -> str:
        return join(each(calls.work, words(text)))

    async with Engine(store, graphs=[g]) as engine:
        assert await (await engine.start(g, "")).result() == ""
    assert calls.made == []


@pytest.mark.parametrize("at_once", [1, 3, 8])
async def test_no_more_items_are_under_way_than_was_said(store: Any, at_once: int) -> None:
    crowd = Crowd(at_once)

    @node
    async def visit(item: str) -> str:
        await crowd.visit()
        return item

    @graph
    def g(text: str) -> list[str]:
        return each(at_once=at_once)(visit, words(text))

    async with Engine(store, graphs=[g]) as engine:
        handle = await engine.start(g, "x " * 4 * at_once)
        with anyio.fail_after(20):
            assert await handle.result() == ["x"] * 4 * at_once
    assert crowd.most == at_once


async def test_what_else_the_body_takes_is_the_same_for_all() -> None:
    @node
    async def priced(item: str, currency: str, *, rate: int = 1) -> str:
        return f"{item} {currency} {rate}"

    @graph
    def g(text: str, currency: str) -> list[str]:
        return each(priced, words(text), currency, rate=3)

    assert await run(g, "a b", "EUR") == ["a EUR 3", "b EUR 3"]


async def test_a_failed_item_cancels_its_siblings_and_the_caller_is_told_which(calls: Calls) -> None:
    calls.failing.add("b")
    calls.gates["c"] = anyio.Event()

    @graph(on_failure="cancel")
    def g(text: str) -> list[str]:
        return each(calls.work, words(text))

    async with Engine("memory:", graphs=[g]) as engine:
        handle = await engine.start(g, "a b c")
        with anyio.fail_after(5), pytest.raises(NodeFailed, match=r"node 'each\(1\)/work'.*no b") as failed:
            await handle.result()
        cancelled = [r.event.node for r in await handle.history() if isinstance(r.event, AttemptCancelled)]
    assert (failed.value.node, type(failed.value.__cause__)) == ("each(1)/work", ValueError)
    assert cancelled == ["each(2)/work"]


async def test_a_fallback_takes_the_failure_of_an_each_and_its_other_items_are_cancelled(
    calls: Calls,
) -> None:
    calls.failing.add("b")
    calls.gates["c"] = anyio.Event()

    @graph
    def g(text: str) -> list[str]:
        return fallback(each(calls.work, words(text)), ["nothing"])

    with anyio.fail_after(5):
        assert await run(g, "a b c") == ["nothing"]


async def test_collected_failures_stand_in_the_places_of_their_items(store: Any, calls: Calls) -> None:
    calls.failing.add("b")

    @graph
    def g(text: str) -> list[str | Failure]:
        return each(on_error="collect")(calls.work, words(text))

    async with Engine(store, graphs=[g]) as engine:
        first, second, third = await (await engine.start(g, "a b c")).result()
    assert (first, third) == ("A", "C")
    assert isinstance(second, Failure)
    assert (second.node, second.message, second.type) == ("each(1)/work", "no b", "ValueError")


async def test_collected_failures_are_the_same_to_who_reads_them_later(place: Place, calls: Calls) -> None:
    calls.failing |= {"b", "stop"}

    @node
    async def told(found: list[str | Failure]) -> str:
        await calls._work("stop")
        return ", ".join(one if isinstance(one, str) else f"{one.type}: {one.message}" for one in found)

    @graph
    def g(text: str) -> tuple[str, list[str | Failure]]:
        found = each(on_error="collect")(calls.work, words(text))
        return told(found), found

    async with place.engine(g) as engine:
        with pytest.raises(NodeFailed, match="no stop"):
            await (await engine.start(g, "a b c", run_id="r")).result()
    calls.failing.clear()
    text, found = await place.resume(g)
    assert text == "A, ValueError: no b, C"
    assert [type(one).__name__ for one in found] == ["str", "Failure", "str"]
    assert sorted(calls.made) == ["a", "b", "c", "stop", "stop"]


async def test_dropped_items_are_left_out(store: Any, calls: Calls) -> None:
    calls.failing |= {"a", "c"}

    @graph
    def g(text: str) -> str:
        return join(each(on_error="drop")(calls.work, words(text)))

    async with Engine(store, graphs=[g]) as engine:
        assert await (await engine.start(g, "a b c d")).result() == "B+D"


async def test_lists_of_lists_are_gone_through_one_inside_the_other(store: Any, calls: Calls) -> None:
    @graph
    def row(text: str) -> list[str]:
        return each(calls.work, words(text))

    @node
    async def lines(text: str) -> list[str]:
        return text.split("/")

    @graph
    def g(text: str) -> list[list[str]]:
        return each(at_once=2)(row, lines(text))

    async with Engine(store, graphs=[g]) as engine:
        handle = await engine.start(g, "a b//c")
        assert await handle.result() == [["A", "B"], [], ["C"]]
        nodes = {r.event.node for r in await handle.history() if isinstance(r.event, NodeCompleted)}
    assert "each(2)/each(0)/work" in nodes


async def test_retries_count_for_each_item_by_itself(calls: Calls) -> None:
    tries: dict[str, int] = {}

    @node(retry=Retry(attempts=3))
    async def shaky(item: str) -> str:
        tries[item] = tries.get(item, 0) + 1
        if tries[item] < 3:
            raise ConnectionError(item)
        return item

    @graph
    def g(text: str) -> list[str]:
        return each(shaky, words(text))

    async with Engine("memory:", graphs=[g], clock=None) as engine:
        assert await (await engine.start(g, "a b")).result() == ["a", "b"]
    assert tries == {"a": 3, "b": 3}


# -- people --------------------------------------------------------------------------------------------------


@human(to="somebody")
async def desk(item: str) -> Ask[str]:
    return Ask(f"What about {item}?")


@node
async def finish(said: str) -> str:
    return f"{said}!"


async def test_a_question_in_an_item_holds_up_no_other_and_its_answer_resumes_it_alone(
    place: Place, calls: Calls
) -> None:
    @graph
    def item(text: str) -> str:
        return finish(when(text == "b", desk(text), calls.work(text)))

    @graph
    def g(text: str) -> list[str]:
        return each(item, words(text))

    async with place.engine(g) as engine:
        handle = await engine.start(g, "a b c", run_id="r")
        assert await handle.settled() == "waiting"
    assert sorted(calls.made) == ["a", "c"]
    (asked,) = await place.events(g, QuestionAsked)
    async with place.engine(g) as engine:
        (question,) = await engine.questions()
        assert question.node == asked.node == "each(1)/desk"
        await engine.answer(question.id, "so be it", by="maria")
        assert await (await engine.resume("r")).result() == ["A!", "so be it!", "C!"]
    assert sorted(calls.made) == ["a", "c"]


async def test_questions_of_items_that_are_given_up_are_withdrawn(calls: Calls) -> None:
    calls.failing.add("b")
    calls.gates["b"] = anyio.Event()

    @graph
    def item(text: str) -> str:
        return when(text == "b", calls.work(text), desk(text))

    @graph
    def g(text: str) -> list[str]:
        return fallback(each(item, words(text)), [])

    async with Engine("memory:", graphs=[g]) as engine:
        handle = await engine.start(g, "a b")
        while not await engine.questions():
            await anyio.lowlevel.checkpoint()
        calls.gates["b"].set()
        assert await handle.result() == []
        assert await engine.questions() == []


# -- effects -------------------------------------------------------------------------------------------------


async def test_each_item_acts_under_a_key_of_its_own() -> None:
    keys: list[str] = []

    @tool(effect="once")
    async def pay(ctx: Context, item: str) -> str:
        """Pay somebody."""
        keys.append(ctx.idempotency_key)
        return item

    @graph
    def g(text: str) -> list[str]:
        return each(pay, words(text))

    assert await run(g, "a a b") == ["a", "a", "b"]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("on_error", ["collect", "drop"])
async def test_an_effect_in_doubt_is_neither_collected_nor_dropped(on_error: Any) -> None:
    @tool(effect="once", in_doubt="fail")
    async def pay(item: str) -> str:
        """Pay somebody."""
        if item == "b":
            raise ConnectionError("lost")
        return item

    @graph
    def item(text: str) -> str:
        return fallback(pay(text), "unpaid")

    @graph
    def g(text: str) -> list[Any]:
        return each(on_error=on_error)(item, words(text))

    with pytest.raises(InDoubt) as doubt:
        await run(g, "a b c")
    assert doubt.value.node == "each(1)/pay"


@node
async def shouted(text: str) -> str:
    return text.upper()


@graph
def of_many(text: str) -> list[str]:
    return each(shouted, [shouted(text)] * 200)


async def test_a_list_of_wires_is_not_put_together_anew_for_each_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    together = workspace.group

    def counting(binding: Any, items: list[Any]) -> Any:
        made.append(len(items))
        return together(binding, items)

    monkeypatch.setattr(workspace, "group", counting)
    assert await run(of_many, "a") == ["A"] * 200
    assert len(made) <= 2
