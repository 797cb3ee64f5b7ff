"""What a person is asked, what counts as an answer, and what is recorded of it."""

from __future__ import annotations

import pytest
from asking import Draft, Verdict, article, asked_once, both_at_once, calls, dear, escalated, stepwise
from set_clock import SetClock

from treadle import Ask, Context, Engine, graph, node
from treadle.errors import NodeTimeout, QuestionError
from treadle.events import AttemptParked, NodeCompleted, QuestionAnswered, QuestionAsked, QuestionWithdrawn
from treadle.values import JSON, codec

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_ran_yet() -> None:
    calls.clear()


async def events_of(handle, kind: type) -> list:
    return [recorded.event for recorded in await handle.history() if isinstance(recorded.event, kind)]


async def waiting(engine: Engine, graph_, *args):
    """Start a run, and give it with its questions once it waits."""
    handle = await engine.start(graph_, *args)
    assert await handle.settled() == "waiting"
    return handle, await engine.questions(run_id=handle.id)


async def test_an_answer_brings_the_run_back_and_nothing_runs_twice(store: str) -> None:
    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, article, "tea")
        await engine.answer(question.id, Verdict(ok=True), by="maria")
        assert await handle.result() == "on tea: True"
        assert calls == {"write": 1, "publish": 1}


async def test_who_answered_when_why_and_what_was_shown_is_recorded(store: str, clock: SetClock) -> None:
    async with Engine(store, clock=clock) as engine:
        handle, [question] = await waiting(engine, article, "tea")
        clock.advance(90)
        await engine.answer(question.id, {"ok": False}, by="maria", reason="too short")
        await handle.result()
        [asked] = await events_of(handle, QuestionAsked)
        [answered] = await events_of(handle, QuestionAnswered)
        shown = codec(Draft).pack(Draft(text="on tea", price=3))
        assert asked.shown is not None
        assert asked.shown.digest == shown.digest
        assert (answered.by, answered.reason, answered.at) == ("maria", "too short", clock.now())
        assert answered.value.json() == {"ok": False}
        assert (answered.node, answered.question) == ("review", asked.question)


async def test_an_answer_of_another_form_is_refused_before_it_is_recorded(store: str) -> None:
    async with Engine(store) as engine:
        _, [question] = await waiting(engine, article, "tea")
        with pytest.raises(QuestionError, match="does not fit its form"):
            await engine.answer(question.id, {"ok": "perhaps"}, by="maria")
        assert [found.id for found in await engine.questions()] == [question.id]
        assert await engine.store.requests() == []


async def test_where_only_the_type_refuses_the_question_opens_again_with_the_complaint(store: str) -> None:
    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, article, "tea")
        await engine.answer(question.id, {"ok": True, "why": "because"}, by="maria")
        assert await handle.settled() == "waiting"
        [again] = await engine.questions()
        assert (again.id, again.opening) == (question.id, 2)
        assert "say more than 'because'" in again.complaint
        await engine.answer(again.id, {"ok": True, "why": "it sings"}, by="maria")
        assert await handle.result() == "on tea: True"
        assert [a.opening for a in await events_of(handle, QuestionAnswered)] == [1, 2]


async def test_answering_twice_is_refused_and_the_same_again_is_fine(store: str) -> None:
    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, article, "tea")
        await engine.answer(question.id, {"ok": True}, by="maria")
        await engine.answer(question.id, {"ok": True}, by="maria")
        await handle.result()
        await engine.answer(question.id, {"ok": True}, by="maria")
        for value, who in (({"ok": False}, "maria"), ({"ok": True}, "bob")):
            with pytest.raises(QuestionError, match="'maria' has answered it"):
                await engine.answer(question.id, value, by=who)
        assert len(await events_of(handle, QuestionAnswered)) == 1


async def test_an_answer_after_the_deadline_is_refused(store: str, clock: SetClock, database: str) -> None:
    async with Engine(database, clock=clock) as engine:
        _, [question] = await waiting(engine, asked_once, "Which?")
    clock.advance(3601)
    async with Engine(database, clock=clock) as engine:  # knows not the graph, so nothing closes the question
        with pytest.raises(QuestionError, match="its deadline was"):
            await engine.answer(question.id, "this", by="maria")


async def test_whoever_comes_next_is_asked_when_nobody_answered_in_time(store: str, clock: SetClock) -> None:
    async with Engine(store, clock=clock) as engine:
        handle, [question] = await waiting(engine, escalated, "Which?")
        assert (question.to, question.deadline) == ("desk", clock.now() + 3600)
        clock.advance(3600)
        await wait_for_question(engine, "boss")
        [later] = await engine.questions(run_id=handle.id)
        await engine.answer(later.id, "that one", by="ceo")
        assert await handle.result() == "that one"
        [late] = await events_of(handle, QuestionWithdrawn)
        assert (late.question, late.why, late.at) == (question.id, "late", question.deadline)


async def wait_for_question(engine: Engine, to: str) -> None:
    """Return when somebody is asked."""
    seq = 0
    [run] = await engine.store.runs()
    while not await engine.questions(to=to):
        await engine.store.changed(run.id, after=seq)
        seq = (await engine.store.run(run.id)).events


async def test_a_deadline_without_a_next_person_fails_the_run_and_resuming_asks_again(
    store: str, clock: SetClock
) -> None:
    async with Engine(store, clock=clock) as engine:
        handle, [question] = await waiting(engine, asked_once, "Which?")
        clock.advance(3600)
        with pytest.raises(NodeTimeout, match="nobody of 'desk' answered"):
            await handle.result()
        again = await engine.resume(handle.id)
        assert await again.settled() == "waiting"
        [reopened] = await engine.questions()
        assert (reopened.id, reopened.opening) == (question.id, 2)
        assert reopened.deadline == clock.now() + 3600
        await engine.answer(reopened.id, "this", by="maria")
        assert await again.result() == "this"


async def test_a_question_asked_again_has_its_own_deadline(store: str, clock: SetClock) -> None:
    @node
    async def confirm(ctx: Context) -> int:
        verdict = await ctx.ask(Ask("Is it?", to="ann", within="1h", answer=Verdict))
        return int(verdict.ok)

    @graph
    def confirmed() -> int:
        return confirm()

    async with Engine(store, clock=clock) as engine:
        handle, [question] = await waiting(engine, confirmed)
        clock.advance(3000)
        await engine.answer(question.id, {"ok": True, "why": "because"}, by="ann")
        assert await handle.settled() == "waiting"
        clock.advance(700)  # past the first deadline, before the second
        [again] = await engine.questions()
        assert again.deadline == clock.now() - 700 + 3600
        await engine.answer(again.id, {"ok": True}, by="ann")
        assert await handle.result() == 1


async def test_a_person_is_a_step_and_the_calls_around_are_made_once(store: str) -> None:
    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, stepwise, "tea")
        assert question.node == "through_steps"
        await engine.answer(question.id, {"ok": True}, by="maria")
        assert await handle.result() == "TEA! True 1"
        assert calls["dear"] == 2


async def test_people_asked_at_once_answer_in_any_order(store: str) -> None:
    async with Engine(store) as engine:
        handle, questions = await waiting(engine, both_at_once, "tea")
        assert sorted(question.to for question in questions) == ["ann", "bob"]
        for who in ("bob", "ann"):
            [question] = await engine.questions(to=who)
            await engine.answer(question.id, who == "ann", by=who)
            await handle.settled()
        assert await handle.result() == "True False TEA 1"
        assert calls["dear"] == 1
        parked = await events_of(handle, AttemptParked)
        assert [len(event.questions) for event in parked] == [2, 1]
        assert {event.attempt for event in parked} == {1}


async def test_a_body_is_not_unwound_before_its_other_branch_is_done(store: str) -> None:
    import anyio

    release = anyio.Event()

    @node
    async def slow() -> str:
        calls["slow"] += 1
        await release.wait()
        return "done"

    @node
    async def patient(ctx: Context) -> str:
        calls["patient"] += 1
        said: list[str] = []

        async def work() -> None:
            said.append(await ctx.step(slow))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            said.append(await ctx.ask(Ask("Well?", to="ann", answer=str)))
        return " ".join(sorted(said))

    @graph
    def branches() -> str:
        return patient()

    async with Engine(store) as engine:
        handle = await engine.start(branches)
        await wait_for_question(engine, "ann")
        assert (handle.status, calls["patient"]) == ("running", 1)
        release.set()
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        await engine.answer(question.id, "yes", by="ann")
        assert await handle.result() == "done yes"
        assert calls == {"patient": 2, "slow": 1}


async def test_an_answer_while_another_branch_works_reaches_the_body_at_once(store: str) -> None:
    import anyio

    release = anyio.Event()

    @node
    async def slow() -> str:
        await release.wait()
        return "done"

    @node
    async def eager(ctx: Context) -> str:
        calls["eager"] += 1

        async def asked() -> None:
            await ctx.ask(Ask("Go on?", to="ann", answer=bool))
            release.set()

        async with anyio.create_task_group() as group:
            group.start_soon(asked)
            return await ctx.step(slow)

    @graph
    def eagerly() -> str:
        return eager()

    async with Engine(store) as engine:
        handle = await engine.start(eagerly)
        await wait_for_question(engine, "ann")
        [question] = await engine.questions()
        await engine.answer(question.id, True, by="ann")
        assert await handle.result() == "done"
        assert calls["eager"] == 1


async def test_a_question_nobody_needs_any_more_is_withdrawn(store: str) -> None:
    import anyio

    @node
    async def first_of_two(ctx: Context) -> str:
        said: list[str] = []
        async with anyio.create_task_group() as group:

            async def ask(who: str) -> None:
                said.append(await ctx.ask(Ask(f"{who}?", to=who, answer=str)))
                group.cancel_scope.cancel()

            group.start_soon(ask, "ann")
            group.start_soon(ask, "bob")
        return said[0]

    @graph
    def whoever() -> str:
        return first_of_two()

    async with Engine(store) as engine:
        handle, questions = await waiting(engine, whoever)
        [ann, bob] = sorted(questions, key=lambda question: question.to)
        await engine.answer(ann.id, "me", by="ann")
        assert await handle.result() == "me"
        [withdrawn] = await events_of(handle, QuestionWithdrawn)
        assert (withdrawn.question, withdrawn.why) == (bob.id, "unneeded")
        with pytest.raises(QuestionError, match="it was withdrawn"):
            await engine.answer(bob.id, "me too", by="bob")


async def test_a_question_to_nobody_is_a_fault_that_says_what_to_write(store: str) -> None:
    @node
    async def mumble(ctx: Context) -> bool:
        return await ctx.ask(Ask("Hm?", answer=bool))

    @graph
    def mumbling() -> bool:
        return mumble()

    async with Engine(store) as engine:
        handle = await engine.start(mumbling)
        with pytest.raises(Exception, match=r"to='a-person'"):
            await handle.result()


async def test_an_answer_is_claimed_by_the_next_attempt(store: str) -> None:
    from treadle.retry import Retry

    @node
    async def shaky(ctx: Context) -> str:
        said = await ctx.ask(Ask("Well?", to="ann", answer=str))
        if ctx.attempt == 1:
            raise OSError("the line is down")
        return f"{said} {ctx.attempt}"

    @graph
    def shaken() -> str:
        return shaky.using(retry=Retry(attempts=2, wait="10ms"))()

    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, shaken)
        await engine.answer(question.id, "yes", by="ann")
        assert await handle.result() == "yes 2"
        assert len(await events_of(handle, QuestionAsked)) == 1


async def test_an_answer_is_stored_as_data_of_its_type(store: str) -> None:
    async with Engine(store) as engine:
        handle, [question] = await waiting(engine, article, "tea")
        await engine.answer(question.id, Verdict(ok=True, why="it sings"), by="maria")
        await handle.result()
        [done] = [e for e in await events_of(handle, NodeCompleted) if e.node == "review"]
        assert done.result.json() == {"ok": True, "why": "it sings"}
        assert JSON.pack({"ok": True, "why": "it sings"}).digest == done.result.digest
        assert dear.definition.kind == "node"
