"""What an engine does about what comes from outside: in what order, and where the store fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from asking import Draft, Verdict, article, asked_once, calls, escalated
from set_clock import SetClock

from treadle import Ask, Context, Engine, graph, human, node
from treadle.engine import outside
from treadle.engine.questions import request_to_answer
from treadle.errors import HistoryMismatch, NodeTimeout, QuestionError, RunCancelled, StoreUnavailable
from treadle.events import (
    CancelRequested,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RunEnded,
)
from treadle.interfaces import Question, Request
from treadle.stores import MemoryStore, SqliteStore

pytestmark = pytest.mark.anyio


async def events_of(engine: Engine, run: str, *kinds: type) -> list[Any]:
    recorded = await engine.store.read(run)
    return [record.event for record in recorded if isinstance(record.event, kinds)]


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


@human(to="ann", within="1h")
async def quick(text: str) -> Ask[str]:
    return Ask(f"quick: {text}")


@human(to="bob", within="9h")
async def slow(text: str) -> Ask[str]:
    return Ask(f"slow: {text}")


@node
async def tell(ctx: Context, text: str) -> str:
    """Ask two people at once, and say in which order they came to an end."""
    said: list[str] = []

    async def ask(who: Any) -> None:
        try:
            said.append(await ctx.step(who, text))
        except Exception as error:
            said.append(type(error).__name__)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, quick)
        group.start_soon(ask, slow)
    return " ".join(sorted(said))


@graph
def told(text: str) -> str:
    return tell(text)


async def test_answers_and_passed_deadlines_apply_in_the_order_of_their_times(
    database: str, clock: SetClock
) -> None:
    async with Engine(database, clock=clock) as engine:
        handle = await engine.start(told, "tea", run_id="r-1")
        assert await handle.settled() == "waiting"
    async with Engine(database, clock=clock) as engine:  # it knows not the graph
        clock.advance(7200)
        [question] = await engine.questions(to="bob")
        await engine.answer(question.id, "later", by="bob")
    clock.advance(600)
    async with Engine(database, graphs=[told], clock=clock) as engine:
        handle = await engine.resume("r-1")
        assert await handle.result() == "NodeTimeout later"
        [late, answered] = await events_of(engine, "r-1", QuestionWithdrawn, QuestionAnswered)
        assert (late.why, answered.value.json()) == ("late", "later")
        assert answered.at - late.at == 3600


class AtTheLastMoment(SqliteStore):
    """Another process answers in time, right before somebody closes the question."""

    reply: Request | None = None

    async def submit(self, request: Request) -> None:
        if request.kind == "late" and self.reply is not None:
            reply, self.reply = self.reply, None
            await super().submit(reply)
        await super().submit(request)


@pytest.mark.parametrize("is_at_work", [True, False])
async def test_an_answer_that_was_acknowledged_counts_though_the_deadline_has_just_passed(
    is_at_work: bool, clock: SetClock, tmp_path: Path
) -> None:
    gate, working = anyio.Event(), anyio.Event()

    @node
    async def hold(text: str) -> str:
        working.set()
        await gate.wait()
        return text

    @graph
    def held(text: str) -> list[str]:
        return [quick(text), hold(text)]

    store = AtTheLastMoment(str(tmp_path / "people.db"))
    async with Engine(store, graphs=[held], clock=clock) as engine:
        handle = await engine.start(held, "x", run_id="r-1")
        await working.wait()
        if not is_at_work:
            gate.set()
            await handle.settled()
        question = await until_asked(engine)
        store.reply = request_to_answer(question, "in time", at=clock.now() + 3599, by="ann")
        clock.advance(3600)
        await until(lambda: store.reply is None)
        gate.set()
        assert await handle.result() == ["in time", "x"]
        assert not await events_of(engine, "r-1", QuestionWithdrawn)


async def until_asked(engine: Engine) -> Question:
    with anyio.fail_after(10):
        while not (found := await engine.questions()):
            await anyio.lowlevel.checkpoint()
    return found[0]


async def test_an_answer_after_the_question_was_closed_is_refused_however_early_it_was_written(
    database: str, clock: SetClock
) -> None:
    async with Engine(database, graphs=[asked_once], clock=clock) as engine:
        handle = await engine.start(asked_once, "Which?", run_id="r-1")
        await handle.settled()
        [question] = await engine.questions()
        written = request_to_answer(question, "mine", at=clock.now() + 3599, by="ann")
        clock.advance(3600)
        with pytest.raises(NodeTimeout):
            await handle.result()
        with pytest.raises(QuestionError):
            await engine.store.submit(written)


async def test_an_answer_in_time_counts_however_late_it_is_taken_up(database: str, clock: SetClock) -> None:
    async with Engine(database, clock=clock) as engine:
        handle = await engine.start(asked_once, "Which?", run_id="r-1")
        assert await handle.settled() == "waiting"
    async with Engine(database, clock=clock) as engine:
        clock.advance(3600)  # the last moment
        [question] = await engine.questions()
        await engine.answer(question.id, "this", by="maria")
    clock.advance(86_400)
    async with Engine(database, graphs=[asked_once], clock=clock) as engine:
        assert await (await engine.resume("r-1")).result() == "this"


async def test_a_deadline_that_passed_while_nobody_looked_is_kept_when_an_engine_opens(
    database: str, clock: SetClock
) -> None:
    async with Engine(database, clock=clock) as engine:
        handle = await engine.start(escalated, "Which?", run_id="r-1")
        assert await handle.settled() == "waiting"
    clock.advance(4000)
    async with Engine(database, graphs=[escalated], clock=clock) as engine:
        with anyio.fail_after(5):
            while [q.to for q in await engine.questions()] != ["boss"]:
                await engine.store.changed("r-1", after=(await engine.store.run("r-1")).events)
        [late] = await events_of(engine, "r-1", QuestionWithdrawn)
        assert late.at == clock.now() - 400


async def test_a_deadline_of_a_question_that_another_engine_asked_is_kept(
    database: str, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "DEADLINE_SECONDS", 0.05)
    async with Engine(database, graphs=[escalated], clock=clock) as idle:
        async with Engine(database, clock=clock) as other:
            handle = await other.start(escalated, "Which?", run_id="r-1")
            assert await handle.settled() == "waiting"
        clock.advance(3600)
        with anyio.fail_after(5):
            while not await idle.questions(to="boss"):
                await anyio.lowlevel.checkpoint()


async def test_the_deadline_of_a_run_ends_it_while_it_waits(store: str, clock: SetClock) -> None:
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(article, "tea", deadline=clock.now() + 60)
        assert await handle.settled() == "waiting"
        clock.advance(60)
        with pytest.raises(RunCancelled):
            await handle.result()
        [asked] = await events_of(engine, handle.id, CancelRequested)
        assert (asked.by, asked.at) == ("deadline", clock.now())


# -- where what is asked changes --------------------------------------------------------------------


def shop(price: int) -> Any:
    """The same graph at another price: what is shown for approval is another thing."""

    @node
    async def quote(item: str, price: int) -> Draft:
        return Draft(text=item, price=price)

    @human(to="boss")
    async def approve(draft: Draft) -> Ask[Verdict]:
        return Ask("May we buy it?", show=draft)

    @node
    async def buy(verdict: Verdict, price: int) -> str:
        return f"{verdict.ok} at {price}"

    @graph
    def purchase(item: str) -> str:
        draft = quote(item, price)
        return buy(approve(draft), draft.price)

    return purchase


async def test_an_approval_goes_stale_with_what_was_shown(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(shop(3), "tea", run_id="r-1")
        assert await handle.settled() == "waiting"
        [first] = await engine.questions()
        assert first.shown == {"text": "tea", "price": 3}
    async with Engine(database) as engine:
        await engine.answer(first.id, {"ok": True}, by="boss")
    async with Engine(database, graphs=[shop(9)]) as engine:
        handle = await engine.resume("r-1")
        assert await handle.settled() == "waiting"
        [second] = await engine.questions()
        assert second.id != first.id
        assert second.shown == {"text": "tea", "price": 9}
        await engine.answer(second.id, {"ok": False}, by="boss")
        assert await handle.result() == "False at 9"


async def test_a_question_that_an_edit_made_pointless_is_withdrawn(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(shop(3), "tea", run_id="r-1")
        assert await handle.settled() == "waiting"
        [first] = await engine.questions()
    async with Engine(database, graphs=[shop(9)]) as engine:
        handle = await engine.resume("r-1")
        assert await handle.settled() == "waiting"
        [withdrawn] = await events_of(engine, "r-1", QuestionWithdrawn)
        assert (withdrawn.question, withdrawn.why) == (first.id, "unneeded")
        assert len(await events_of(engine, "r-1", QuestionAsked)) == 2


price = {"now": 3}


@human(to="boss")
async def agree(item: str) -> Ask[Verdict]:
    return Ask("May we buy it?", show=Draft(text=item, price=price["now"]))


@graph
def agreed(item: str) -> Verdict:
    return agree(item)


async def test_an_answer_to_what_is_shown_otherwise_by_now_is_not_used(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(agreed, "tea")
        await handle.settled()
        [first] = await engine.questions()
        monkeypatch.setitem(price, "now", 9)
        await engine.answer(first.id, {"ok": True}, by="boss")
        assert await handle.settled() == "waiting"
        [second] = await engine.questions()
        assert (second.opening, second.shown["price"]) == (1, 9)
        await engine.answer(second.id, {"ok": False}, by="boss")
        assert await handle.result() == Verdict(ok=False)


# -- cancelling ---------------------------------------------------------------------------------------


async def test_a_waiting_run_is_cancelled_and_asks_nobody_any_more(store: str) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        await handle.cancel(by="maria", reason="closed")
        with pytest.raises(RunCancelled):
            await handle.result()
        assert handle.status == "cancelled"
        assert await engine.questions() == []
        [asked] = await events_of(engine, handle.id, CancelRequested)
        assert (asked.by, asked.reason) == ("maria", "closed")


async def test_a_running_run_is_cancelled(store: str) -> None:
    @node
    async def for_ever() -> int:
        calls["for_ever"] += 1
        await anyio.sleep_forever()
        return 1

    @graph
    def endless() -> int:
        return for_ever()

    calls.clear()
    async with Engine(store) as engine:
        handle = await engine.start(endless)
        await until(lambda: calls["for_ever"])
        await handle.cancel()
        await handle.cancel(by="bob")
        with anyio.fail_after(1), pytest.raises(RunCancelled):
            await handle.result()
        assert len(await events_of(engine, handle.id, CancelRequested)) == 1


async def test_cancelling_a_run_that_is_over_changes_nothing(store: str) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        await engine.answer(handle.questions[0], {"ok": True}, by="maria")
        await handle.result()
        before = len(await handle.history())
        await handle.cancel(by="maria")
        assert (handle.status, await handle.result()) == ("completed", "on tea: True")
        assert len(await handle.history()) == before
        assert await engine.store.requests() == []


async def test_a_cancellation_before_the_first_step_counts(store: str) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(article, "tea")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert len(await events_of(engine, handle.id, RunEnded)) == 1


# -- where something fails ------------------------------------------------------------------------------


class FailingStore(SqliteStore):
    """A store whose requests cannot be read for a while."""

    fails = False
    looks = 0

    async def requests(self, run_id: Any = None) -> list[Request]:
        FailingStore.looks += 1
        if FailingStore.fails:
            raise StoreUnavailable("the disk is on fire")
        return await super().requests(run_id)


async def test_a_store_that_fails_for_a_while_neither_ends_the_engine_nor_is_pestered(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outside, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(outside, "LONGEST_PAUSE", 0.4)
    path = database.removeprefix("sqlite:///")
    async with Engine(FailingStore(path), graphs=[article]) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        FailingStore.fails, FailingStore.looks = True, 0
        with caplog.at_level(logging.WARNING, "treadle"):
            await anyio.sleep(1)
        assert 3 < FailingStore.looks < 12
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "the disk is on fire" in caplog.text
        await engine.answer(handle.questions[0], {"ok": True}, by="maria")
        FailingStore.fails = False
        with anyio.fail_after(5):
            assert await handle.result() == "on tea: True"


async def test_a_run_that_cannot_go_on_is_told_to_its_handle_and_harms_no_other(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    from treadle.engine import engine as room

    async with Engine(database) as engine:
        bad, good = [await engine.start(article, topic) for topic in ("bad", "good")]
        for handle in (bad, good):
            await handle.settled()

        def refuse(services: Any, compiled: Any, before: Any, *args: Any, **kwargs: Any) -> Any:
            if before.started.run_id == bad.id:
                raise HistoryMismatch("it was another graph")
            return original(services, compiled, before, *args, **kwargs)

        original = room.rebuild
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "rebuild", refuse)
            for handle in (bad, good):
                await engine.answer(handle.questions[0], {"ok": True}, by="maria")
            assert await good.result() == "on good: True"
            with pytest.raises(HistoryMismatch):
                await bad.result()
        assert "it was another graph" in caplog.text
        again = await engine.resume(bad.id)
        assert await again.result() == "on bad: True"


async def test_an_idle_engine_asks_the_store_one_thing_at_each_look_however_many_runs_wait(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "POLL_SECONDS", 0.01)
    asked: list[str] = []

    def counting(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def read_and_count(*args: Any, **kwargs: Any) -> Any:
            asked.append(name)
            return read(*args, **kwargs)

        return read_and_count

    async with Engine(database, graphs=[article]) as engine:
        for number in range(20):
            handle = await engine.start(article, f"{number}")
            await handle.settled()
        del handle
        for name in ("requests", "runs", "run", "read", "questions", "question"):
            monkeypatch.setattr(engine.store, name, counting(name, getattr(engine.store, name)))
        await until(lambda: asked.count("requests") >= 10)
    assert len(asked) - asked.count("requests") <= 3  # a look at deadlines and at handles, now and then


async def test_two_engines_of_one_memory_store_keep_its_deadlines(clock: SetClock) -> None:
    kept = MemoryStore()
    async with Engine(kept, clock=clock) as engine:
        handle = await engine.start(escalated, "Which?")
        await handle.settled()
    async with Engine(kept, graphs=[escalated], clock=clock) as engine:
        clock.advance(3600)
        with anyio.fail_after(5):
            while [q.to for q in await engine.questions()] != ["boss"]:
                await anyio.lowlevel.checkpoint()
