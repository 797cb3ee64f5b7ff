"""What every store must do, as tests: subclass ``StoreContract`` and run it on your own store.

::

    class TestMyStore(StoreContract):
        def new_store(self, folder: Path) -> Store:
            return MyStore(folder / "runs")

A store that writes somewhere takes ``treadle.testing.database_contract.DatabaseContract`` instead,
which also breaks commits and tampers with what is stored.  The tests are async and run through
anyio's pytest plugin; give an ``anyio_backend`` fixture to run them on asyncio and trio.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from treadle.budget import Amounts
from treadle.errors import OwnedElsewhere, OwnershipLost, QuestionError, RunExists, UnknownRun
from treadle.events import (
    CancelRequested,
    Event,
    NodeCompleted,
    QuestionWithdrawn,
    RunResumed,
    Unknown,
)
from treadle.ids import NodeId, QuestionId, RunId
from treadle.testing.store_samples import (
    HEAD,
    NOBODY,
    QUESTION,
    RUN,
    answer,
    answered,
    asked,
    cancel,
    completed,
    ended,
    late,
    settled,
    started,
)
from treadle.testing.upkeep_contract import UpkeepContract
from treadle.values import Payload


class StoreContract(UpkeepContract):
    """The contract of ``treadle.interfaces.Store`` and ``RunLog``."""

    # Histories

    async def test_a_new_run_begins_with_its_start(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            (first,) = await store.read(RUN)
            assert (first.seq, first.event) == (1, started())
            assert (log.run_id, log.fence, log.queued) == (RUN, 1, 0)

    async def test_events_are_read_in_the_order_they_were_appended(self, tmp_path: Path) -> None:
        events = [completed(n) for n in range(20)]
        async with self.run(tmp_path, *events) as (store, _log):
            recorded = await store.read(RUN)
            assert [r.seq for r in recorded] == list(range(1, 22))
            assert [r.event for r in recorded[1:]] == events

    async def test_reading_after_a_place_gives_the_rest(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, *(completed(n) for n in range(5))) as (store, _log):
            whole = await store.read(RUN)
            assert await store.read(RUN, after=4) == whole[4:]
            assert await store.read(RUN, after=6) == []

    async def test_several_events_can_be_appended_at_once(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(completed(1), completed(2), completed(3))
            await log.flush()
            assert [r.event for r in await store.read(RUN, after=1)] == [completed(n) for n in (1, 2, 3)]

    async def test_large_and_small_payloads_come_back(self, tmp_path: Path) -> None:
        contents = ["", "x" * 299, "y" * 2_000, "z" * 50_000, "z" * 50_000, {"n": [1, 2.5, None, "é"]}]
        async with self.run(tmp_path, *(completed(n, c) for n, c in enumerate(contents))) as (store, _log):
            found = [r.event for r in await store.read(RUN, after=1)]
            assert [e.result.json() for e in found if isinstance(e, NodeCompleted)] == contents

    async def test_an_event_of_an_unknown_kind_is_kept(self, tmp_path: Path) -> None:
        news: dict[str, Any] = {"planet": "mars", "result": Payload(data=b"[1]"), "at": 5.0}
        unknown = Unknown(at=5.0, name="rocket_launched", body=news)
        async with self.run(tmp_path, unknown) as (store, _log):
            assert (await store.read(RUN, after=1))[0].event == unknown
            assert await store.verify(RUN) == []

    async def test_the_same_events_have_the_same_head_in_every_store(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1), settled("0.10"), ended()) as (store, _log):
            assert (await store.run(RUN)).head == HEAD
            assert (await store.read(RUN))[-1].hash == HEAD

    async def test_an_unknown_run_is_named_with_the_nearest_one(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, _log):
            calls = (store.read, store.run, store.own, store.ledger, store.verify, store.requests)
            for call in calls:
                with pytest.raises(UnknownRun, match="r-2"):
                    await call(RunId("r-2"))
            with pytest.raises(UnknownRun, match=r"did you mean 'r-1'"):
                await store.changed(RunId("r-2"), after=0)

    async def test_a_run_id_is_taken_only_once(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, _log):
            with pytest.raises(RunExists, match="r-1"):
                await store.create(started())
            assert len(await store.read(RUN)) == 1

    # Ownership

    async def test_a_run_has_one_owner(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, _log):
            with pytest.raises(OwnedElsewhere, match="process") as caught:
                await store.own(RUN)
            assert "process" in caught.value.owner

    async def test_a_released_run_can_be_owned_again_under_a_higher_fence(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            await log.release()
            await log.release()
            again = await store.own(RUN)
            again.append(completed(2))
            await again.flush()
            assert again.fence > log.fence
            assert [r.seq for r in await store.read(RUN)] == [1, 2, 3]

    async def test_a_released_log_takes_nothing_more(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            await log.release()
            with pytest.raises(OwnershipLost, match="r-1"):
                log.append(completed(1))
            assert len(await store.read(RUN)) == 1

    async def test_releasing_writes_what_is_queued(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(completed(1))
            await log.release()
            assert len(await store.read(RUN)) == 2

    # Waiting

    async def test_a_change_wakes_who_waits_for_it(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log), anyio.create_task_group() as tasks:
            seen = anyio.Event()

            async def watch() -> None:
                await store.changed(RUN, after=1)
                assert len(await store.read(RUN, after=1)) == 1
                seen.set()

            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            assert not seen.is_set()
            log.append(completed(1))
            with anyio.fail_after(5):
                await seen.wait()

    async def test_a_change_that_has_been_is_not_waited_for(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            with anyio.fail_after(5):
                await store.changed(RUN, after=1)
                await log.release()
                await store.changed(RUN, after=1)

    async def test_a_drained_queue_is_short(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            for number in range(500):
                log.append(completed(number))
            await log.drained(100)
            assert log.queued < 100
            await log.drained(1)
            assert len(await store.read(RUN)) == 501

    async def test_a_cancelled_flush_is_written_all_the_same(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(completed(1))
            with anyio.CancelScope() as scope:
                scope.cancel()
                await log.flush()
            log.append(completed(2))
            await log.flush()
            assert len(await store.read(RUN)) == 3

    async def test_closing_within_a_cancelled_scope_writes_what_is_queued(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(completed(1))
            with anyio.CancelScope() as scope, anyio.CancelScope(shield=False):
                scope.cancel()
                await store.aclose()
            await store.aclose()
            await store.open()
            assert len(await store.read(RUN)) == 2
            assert (await store.own(RUN)).fence == 2

    # Summaries

    async def test_the_status_follows_the_history(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            assert (await store.run(RUN)).status == "running"
            log.append(asked())
            await log.release()
            assert (await store.run(RUN)).status == "waiting"
            await store.submit(answer())
            assert (await store.run(RUN)).status == "pending"
            again = await store.own(RUN)
            again.append(answered(), ended("failed"))
            await again.flush()
            assert (await store.run(RUN)).status == "failed"
            again.append(RunResumed(at=210.0, owner="x", fence=again.fence))
            await again.flush()
            assert (await store.run(RUN)).status == "running"

    async def test_a_summary_tells_what_a_table_needs(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(), settled("0.10")) as (store, log):
            summary = await store.run(RUN)
            assert (summary.graph, summary.labels, summary.events) == ("support", {"team": "cards"}, 3)
            assert (summary.started_at, summary.updated_at) == (100.0, 130.0)
            assert (summary.questions, summary.spent.usd) == (1, Decimal("0.10"))
            assert "process" in summary.owner
            await log.release()
            assert (await store.run(RUN)).owner == ""

    async def test_runs_are_listed_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for number in range(5):
                graph = "even" if number % 2 == 0 else "odd"
                log = await store.create(started(RunId(f"r-{number}"), graph=graph))
                log.append(*([ended()] if number > 2 else []))
                await log.release()
            assert [run.id for run in await store.runs()] == ["r-4", "r-3", "r-2", "r-1", "r-0"]
            assert [run.id for run in await store.runs(limit=2)] == ["r-4", "r-3"]
            assert [run.id for run in await store.runs(graph="odd")] == ["r-3", "r-1"]
            assert [run.id for run in await store.runs(status="completed", limit=1)] == ["r-4"]
            assert [run.id for run in await store.runs(status="pending", limit=1)] == ["r-2"]

    # People

    async def test_a_question_is_shown_as_it_was_asked(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=500.0)) as (store, _log):
            (question,) = await store.questions()
            assert question == await store.question(QUESTION)
            assert (question.run_id, question.graph, question.node) == (RUN, "support", "desk")
            assert (question.to, question.prompt, question.state) == ("leads", "May we refund this?", "open")
            assert (question.schema, question.shown) == ({"type": "boolean"}, {"amount": "12.50"})
            assert (question.asked_at, question.deadline, question.opening) == (110.0, 500.0, 1)
            assert await store.questions(to="nobody") == []
            assert len(await store.questions(run_id=RUN, to="leads")) == 1

    async def test_an_answer_waits_until_its_run_has_taken_it_up(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, log):
            await store.submit(answer())
            (request,) = await store.requests()
            assert (request.run_id, request.by, request.question) == (RUN, "maria", QUESTION)
            assert request.value == Payload(data=b"true")
            assert (await store.question(QUESTION)).state == "answered"
            log.append(answered())
            await log.flush()
            assert await store.requests() == []
            assert (await store.question(QUESTION)).state == "answered"

    async def test_the_same_answer_again_changes_nothing(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, log):
            await store.submit(answer())
            await store.submit(answer(at=400.0))
            assert len(await store.requests(RUN)) == 1
            log.append(answered())
            await log.flush()
            await store.submit(answer(at=400.0))
            assert await store.requests(RUN) == []

    async def test_a_second_answer_is_refused(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, log):
            await store.submit(answer())
            for other in (answer(by="joe"), answer(value=b"false")):
                with pytest.raises(QuestionError, match="'maria' has answered"):
                    await store.submit(other)
            log.append(answered())
            await log.flush()
            with pytest.raises(QuestionError, match="'maria' has answered"):
                await store.submit(answer(by="joe"))

    async def test_of_two_answers_at_once_one_is_taken(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, _log):
            refused: list[str] = []

            async def try_it(by: str) -> None:
                try:
                    await store.submit(answer(by=by))
                except QuestionError:
                    refused.append(by)

            async with anyio.create_task_group() as tasks:
                for by in ("maria", "joe", "ann"):
                    tasks.start_soon(try_it, by)
            assert len(refused) == 2
            assert [r.by for r in await store.requests()] == list({"maria", "joe", "ann"} - set(refused))

    async def test_an_answer_after_the_deadline_is_refused(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, _log):
            with pytest.raises(QuestionError, match="deadline"):
                await store.submit(answer(at=116.5))
            await store.submit(answer(at=116.0))

    async def test_a_question_with_an_answer_waiting_is_not_closed_as_late(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, _log):
            await store.submit(answer())
            await store.submit(late())
            assert [request.kind for request in await store.requests()] == ["answer"]
            assert (await store.question(QUESTION)).state == "answered"

    async def test_a_question_that_is_closed_as_late_takes_no_answer(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, log):
            await store.submit(late())
            await store.submit(late())
            assert [request.kind for request in await store.requests()] == ["late"]
            assert (await store.question(QUESTION)).state == "withdrawn"
            assert await store.questions() == []
            with pytest.raises(QuestionError, match="deadline"):
                await store.submit(answer(at=115.0))
            log.append(QuestionWithdrawn(at=116.0, node=NodeId("desk"), question=QUESTION, why="late"))
            await log.flush()
            assert await store.requests() == []

    async def test_only_the_newest_opening_is_closed_as_late(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, log):
            await store.submit(late())
            log.append(asked(opening=2, deadline=126.0))
            await log.flush()
            await store.submit(late())
            assert await store.requests() == []
            assert (await store.question(QUESTION)).state == "open"

    async def test_an_answer_and_a_closing_at_once_come_to_one_of_them(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked(deadline=116.0)) as (store, _log):
            refused: list[QuestionError] = []

            async def try_it() -> None:
                try:
                    await store.submit(answer())
                except QuestionError as error:
                    refused.append(error)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(try_it)
                tasks.start_soon(store.submit, late())
            [request] = await store.requests()
            assert request.kind == ("late" if refused else "answer")

    async def test_an_answer_to_a_withdrawn_question_is_refused(self, tmp_path: Path) -> None:
        withdrawn = QuestionWithdrawn(at=112.0, node=NodeId("desk"), question=QUESTION)
        async with self.run(tmp_path, asked(), withdrawn) as (store, _log):
            with pytest.raises(QuestionError, match="withdrawn"):
                await store.submit(answer())
            assert [q.state for q in await store.questions(state=None)] == ["withdrawn"]

    async def test_a_question_that_opens_again_takes_a_new_answer(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, log):
            await store.submit(answer(value=b'"maybe"'))
            log.append(asked(opening=2))
            await log.flush()
            assert await store.requests() == []
            assert (await store.question(QUESTION)).state == "open"
            with pytest.raises(QuestionError, match="opened again"):
                await store.submit(answer())
            await store.submit(answer(opening=2))
            assert len(await store.requests()) == 1

    async def test_an_unknown_question_is_named_with_the_nearest_one(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, _log):
            with pytest.raises(QuestionError, match=QUESTION):
                await store.question(QuestionId("q-4k7d2m9x"))

    async def test_a_cancellation_waits_until_its_run_has_heard_of_it(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            await store.submit(cancel())
            await store.submit(cancel())
            (request,) = await store.requests()
            assert (request.kind, request.by, request.reason) == ("cancel", "maria", "sent twice")
            log.append(CancelRequested(at=116.0, by="maria", reason="sent twice"))
            await log.flush()
            assert await store.requests() == []

    async def test_requests_are_given_in_order_of_arrival(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, _log):
            await store.create(started(RunId("r-2")))
            await store.submit(cancel(by="ann", run_id=RunId("r-2")))
            await store.submit(answer())
            await store.submit(cancel(by="joe"))
            found = await store.requests()
            assert [request.by for request in found] == ["ann", "maria", "joe"]
            assert [request.id for request in found] == sorted({request.id for request in found})
            assert [request.by for request in await store.requests(RUN)] == ["maria", "joe"]

    async def test_a_run_that_has_ended_wants_nothing(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, asked()) as (store, log):
            await store.submit(cancel())
            log.append(ended())
            await log.flush()
            await store.submit(cancel(by="joe"))
            assert await store.requests() == []
            assert [q.state for q in await store.questions(state=None)] == ["withdrawn"]
            with pytest.raises(UnknownRun):
                await store.submit(cancel(run_id=NOBODY))

    # Money

    async def test_the_ledger_sums_by_account_node_and_model(self, tmp_path: Path) -> None:
        spent = [settled("0.10"), settled("0.05", request=2), settled("0.01", node="quick")]
        async with self.run(tmp_path, *spent) as (store, _log):
            lines = {(line.account, line.node): line for line in await store.ledger(RUN)}
            assert set(lines) == {
                ("run", "expert"),
                ("run", "quick"),
                ("node expert", "expert"),
                ("node quick", "quick"),
            }
            line = lines["run", "expert"]
            assert (line.usd, line.requests, line.model) == (Decimal("0.15"), 2, "gpt-5-mini")
            assert (line.input_tokens, line.output_tokens) == (40, 20)
            assert (await store.run(RUN)).spent == Amounts(usd=Decimal("0.16"), tokens=90, calls=3)

    # The chain

    async def test_a_whole_history_verifies(self, tmp_path: Path) -> None:
        events: list[Event] = [completed(1, "x" * 3000), asked(), answered(), settled("0.10"), ended()]
        async with self.run(tmp_path, *events) as (store, _log):
            assert await store.verify(RUN) == []

    async def test_a_history_with_costs_of_nothing_in_cents_verifies(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, settled("0.00"), settled("0.10", request=2)) as (store, _log):
            assert await store.verify(RUN) == []

    async def test_a_head_kept_elsewhere_is_found_or_missed(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            head = (await store.run(RUN)).head
            log.append(completed(2))
            await log.flush()
            assert await store.verify(RUN, head=head) == []
            (fault,) = await store.verify(RUN, head="0" * 64)
            assert "head" in fault.what
