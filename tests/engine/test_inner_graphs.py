"""A graph as a step of a body: its nodes are recorded calls, its rules are those of a graph at the top."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.engine.conftest import Calls, MortalStore, around

from treadle import (
    Ask,
    Budget,
    BudgetExceeded,
    Context,
    Engine,
    NodeFailed,
    Prompt,
    Retry,
    agent,
    do,
    each,
    fallback,
    graph,
    human,
    loop,
    node,
    race,
    run,
    tool,
    when,
)
from treadle.errors import HistoryMismatch, InDoubt, LoopLimit, NodeTimeout, ReadFailed, WiringError
from treadle.events import (
    QuestionAsked,
    QuestionWithdrawn,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock, ScriptedModel

pytestmark = pytest.mark.anyio


def inside(inner: Graph[[str], Any]) -> Graph[[str], Any]:
    async def body(ctx: Context, text: str) -> Any:
        return await ctx.step(inner, text)

    return around(body)


@human(to="maria")
async def desk(text: str) -> Ask[str]:
    return Ask(f"What of {text}?")


async def started_in(engine: Engine, only: Graph[[str], Any]) -> Any:
    handle = await engine.start(only, "a", run_id="r")
    await handle.settled()
    return handle


async def test_every_node_is_a_recorded_call_named_after_its_place(calls: Calls) -> None:
    @graph
    def inner(text: str) -> list[str]:
        first = calls.work(text)
        return [calls.work.named("again")(first), *[calls.work(first)]]

    @graph
    def outer(text: str) -> list[str]:
        return do(each(calls.work, [text]), inner(text))

    async with Engine(graphs=[only := inside(outer)]) as engine:
        handle = await started_in(engine, only)
        assert await handle.result() == ["A", "A"]
        events = [one.event for one in await handle.history()]
    [whole, *nodes] = [event for event in events if isinstance(event, StepStarted)]
    assert (whole.callee, whole.callee_kind) == ("outer", "graph")
    names = {event.step.removeprefix(f"{whole.step}/").partition("#")[0] for event in nodes}
    assert names == {"each~work", "inner~work", "inner~again", "inner~work.2"}
    assert {event.callee_kind for event in nodes} == {"node"}


async def test_a_node_starts_when_its_own_inputs_are_ready() -> None:
    meeting = anyio.Event()

    @node
    async def slow(text: str) -> str:
        await meeting.wait()
        return text

    @node
    async def quick(text: str) -> str:
        return text

    @node
    async def after(text: str) -> str:
        meeting.set()
        return text

    @graph
    def inner(text: str) -> list[str]:
        return [slow(text), after(quick(text))]

    assert await run(inside(inner), "a") == ["a", "a"]


async def test_what_only_another_branch_needs_never_runs(calls: Calls) -> None:
    @graph
    def inner(text: str) -> str:
        return when(text == "b", calls.work("b"), calls.work("c"))

    assert await run(inside(inner), "a") == "C"
    assert calls.made == ["c"]


async def test_a_failure_is_taken_by_a_fallback_and_else_fails_the_step(calls: Calls) -> None:
    calls.failing.add("a")

    @graph
    def saved(text: str) -> str:
        return fallback(calls.work(text), calls.work("b"))

    @graph
    def lost(text: str) -> str:
        return calls.work(text)

    assert await run(inside(saved), "a") == "B"
    with pytest.raises(NodeFailed, match="ValueError: no a"):
        await run(inside(lost), "a")


async def test_a_race_that_all_lose_a_read_that_finds_nothing_and_a_raising_comparison_fail_it(
    calls: Calls,
) -> None:
    calls.failing |= {"a", "b"}

    @node
    async def listed(text: str) -> list[str]:
        return [text]

    @graph
    def raced(text: str) -> str:
        return race(calls.work(text), calls.work("b"))

    @graph
    def read(text: str) -> str:
        return listed(text)[1]

    with pytest.raises(Exception, match="all 2 runners of the race failed: .*no a.*no b"):
        await run(inside(raced), "a")
    with pytest.raises(ReadFailed, match="found nothing"):
        await run(inside(read), "a")


async def test_what_runs_beside_a_failure_ends_and_is_recorded(calls: Calls) -> None:
    begun = anyio.Event()

    @node
    async def late(text: str) -> str:
        begun.set()
        for _ in range(20):
            await checkpoint()
        return text

    @node
    async def fails(text: str) -> str:
        await begun.wait()
        raise ValueError("it fails")

    @graph
    def inner(text: str) -> list[str]:
        return [calls.work(late(text)), fails(text)]

    async with Engine(graphs=[only := inside(inner)]) as engine:
        handle = await started_in(engine, only)
        events = [one.event for one in await handle.history()]
    ended = [event.result.json() for event in events if isinstance(event, StepCompleted)]
    assert handle.status == "failed"
    assert ended == ["a"]
    assert not calls.made


async def test_policies_of_its_nodes_hold_and_those_of_the_graph_are_theirs() -> None:
    tries: list[str] = []

    @node
    async def flaky(text: str) -> str:
        tries.append(text)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return text

    @node
    async def endless(text: str) -> str:
        await anyio.sleep_forever()
        return text

    @graph(retry=Retry(attempts=3), timeout="5s")
    def inner(text: str) -> str:
        return fallback(endless.using(retry=Retry(attempts=1))(text), flaky(text), on=NodeTimeout)

    async with Engine(graphs=[only := inside(inner)], clock=JumpingClock()) as engine:
        assert await (await engine.start(only, "a")).result() == "a"
    assert len(tries) == 3


async def test_a_person_in_it_parks_the_run_and_nothing_finished_runs_again(calls: Calls) -> None:
    @graph
    def inner(text: str) -> list[str]:
        return [calls.work(text), desk(calls.work("b")), calls.work(desk.named("second")(text))]

    store = MemoryStore()
    async with Engine(store, graphs=[only := inside(inner)]) as engine:
        handle = await started_in(engine, only)
        assert handle.status == "waiting"
        first, second = sorted(await engine.questions(), key=lambda one: one.prompt)
    async with Engine(store, graphs=[only]) as engine:
        await engine.answer(first.id, "c", by="maria")
        await engine.answer(second.id, "d", by="maria")
        handle = await engine.resume("r")
        assert await handle.result() == ["A", "c", "D"]
    assert sorted(calls.made) == ["a", "b", "d"]


async def test_a_question_that_nobody_needs_any_more_is_withdrawn_at_once() -> None:
    gone = anyio.Event()

    @node
    async def quick(text: str) -> str:
        for _ in range(20):
            await checkpoint()
        return text

    @node
    async def after(text: str) -> str:
        await gone.wait()
        return text

    @graph
    def inner(text: str) -> str:
        return after(race(desk(text), quick(text)))

    async with Engine(graphs=[only := inside(inner)]) as engine:
        handle = await engine.start(only, "a")
        async for recorded in handle.events():
            if isinstance(recorded.event, QuestionWithdrawn):
                gone.set()
        assert await handle.result() == "a"
        assert not await engine.questions()


async def test_questions_beside_a_failure_are_withdrawn_and_nobody_is_waited_for(calls: Calls) -> None:
    @node
    async def fails(text: str) -> str:
        for _ in range(20):
            await checkpoint()
        raise ValueError("it fails")

    @graph
    def inner(text: str) -> list[str]:
        return [desk(text), fails(text)]

    async with Engine(graphs=[only := inside(inner)]) as engine:
        handle = await started_in(engine, only)
        assert handle.status == "failed"
        events = [one.event for one in await handle.history()]
    kinds = [type(event) for event in events if isinstance(event, QuestionAsked | QuestionWithdrawn)]
    assert kinds == [QuestionAsked, QuestionWithdrawn]


async def test_who_lost_a_race_is_not_begun_again_after_a_crash() -> None:
    begun: list[str] = []
    losing = anyio.Event()

    @node
    async def loser(text: str) -> str:
        begun.append("loser")
        losing.set()
        await anyio.sleep_forever()
        return text

    @node
    async def winner(text: str) -> str:
        begun.append("winner")
        await losing.wait()
        return text

    @node
    async def last(text: str) -> str:
        begun.append("last")
        return text

    @graph
    def inner(text: str) -> str:
        return last(race(loser(text), winner(text)))

    def is_last(event: object) -> bool:
        return isinstance(event, StepStarted) and event.callee == "last"

    kept, only = MemoryStore(), inside(inner)
    mortal: Any = MortalStore(kept, before=is_last)
    async with Engine(mortal, graphs=[only]) as engine:
        await engine.start(only, "a", run_id="r")
        await mortal.dead.wait()
    async with Engine(kept, graphs=[only]) as engine:
        assert await (await engine.resume("r")).result() == "a"
    assert begun.count("loser") == begun.count("winner") == 1


async def test_a_new_attempt_claims_what_had_succeeded_in_it_before_anything_new_begins(calls: Calls) -> None:
    tries: list[str] = []

    @node
    async def loser(text: str) -> str:
        tries.append("loser")
        await anyio.sleep_forever()
        return text

    @node
    async def flaky(text: str) -> str:
        tries.append(text)
        if tries.count(text) < 2:
            raise ConnectionError("not yet")
        return text

    @graph
    def inner(text: str) -> list[str]:
        return [flaky(calls.work(race(loser(text), calls.work("b")))), calls.work("c")]

    async def body(ctx: Context, text: str) -> list[str]:
        return await ctx.step(inner, text)

    assert await run(around(body, retry=Retry(attempts=2, wait="1ms")), "a") == ["B", "C"]
    assert sorted(calls.made) == ["B", "b", "c"]
    assert tries.count("B") == 2
    assert tries.count("loser") <= 1


async def test_a_loser_that_ended_all_the_same_comes_to_that_again_after_a_crash() -> None:
    lost, ended = anyio.Event(), anyio.Event()

    @node
    async def loser(text: str) -> str:
        with anyio.CancelScope(shield=True):
            await lost.wait()
        ended.set()
        raise ValueError("too late")

    @node
    async def winner(text: str) -> str:
        return text

    @node
    async def after(text: str) -> str:
        lost.set()
        await ended.wait()
        for _ in range(5):
            await checkpoint()
        return text

    @node
    async def last(text: str) -> str:
        return text

    @graph
    def inner(text: str) -> str:
        return last(after(winner(winner(race(loser(text), winner(winner(text)))))))

    def is_last(event: object) -> bool:
        return isinstance(event, StepStarted) and event.callee == "last"

    kept, only = MemoryStore(), inside(inner)
    mortal: Any = MortalStore(kept, before=is_last)
    async with Engine(mortal, graphs=[only]) as engine:
        await engine.start(only, "a", run_id="r")
        await mortal.dead.wait()
    async with Engine(kept, graphs=[only]) as engine:
        assert await (await engine.resume("r")).result() == "a"
        failed = [one.event for one in await engine.store.read(RunId("r"))]
    assert sum(isinstance(event, StepFailed) for event in failed) == 1


class Paying:
    """A graph in which a call that has paid is stopped, and needed again by what the fallback goes on with.

    Attributes:
        keys: Those under which it paid.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        paid = anyio.Event()

        @tool(effect="once")
        async def pay(ctx: Context, what: str) -> str:
            """Pay."""
            self.keys.append(ctx.idempotency_key)
            return what

        @node
        async def order(ctx: Context, text: str) -> str:
            first = not self.keys
            await ctx.step(pay, text)
            paid.set()
            if first:
                await anyio.sleep_forever()
            return await ctx.step(pay, f"{text}{text}")

        @node
        async def fails(text: str) -> str:
            await paid.wait()
            raise ValueError(text)

        @node
        async def check(text: str) -> bool:
            await anyio.wait_all_tasks_blocked()
            return bool(text)

        @node
        async def join(a: str, b: str) -> str:
            return a + b

        @graph
        def inner(text: str) -> str:
            ordered = order(text)
            return fallback(join(ordered, fails(text)), when(check(text), ordered, "nothing"))

        self.graph = inside(inner)


async def test_a_call_that_is_stopped_and_needed_again_claims_what_it_had_finished() -> None:
    paying = Paying()
    assert await run(paying.graph, "a") == "aa"
    assert len(paying.keys) == 2


@pytest.mark.parametrize("last", ["check", "order", "pay"])
async def test_after_a_crash_too_a_call_that_is_needed_again_claims_what_it_had_finished(last: str) -> None:
    paying, seen = Paying(), list[str]()

    def is_there(event: object) -> bool:
        if isinstance(event, StepStarted | StepClaimed):
            seen.append(event.callee)
        return "check" in seen and seen[-1] == last

    kept = MemoryStore()
    mortal: Any = MortalStore(kept, after=is_there)
    async with Engine(mortal, graphs=[paying.graph]) as engine:
        await engine.start(paying.graph, "a", run_id="r")
        await mortal.dead.wait()
    async with Engine(kept, graphs=[paying.graph]) as engine:
        assert await (await engine.resume("r")).result() == "aa"
    assert len(paying.keys) == len(set(paying.keys)) == 2


async def test_its_budget_and_those_of_its_subgraphs_are_walls() -> None:
    model = ScriptedModel(lambda _: "yes")

    @agent(model=model)
    async def ask(text: str) -> Prompt[str]:
        return Prompt(text)

    @node
    async def refused(text: str) -> str:
        return "no"

    @graph(budget=Budget(calls=1))
    def part(text: str) -> list[str]:
        return [fallback(ask.named(name)(name), refused(name), on=BudgetExceeded) for name in "ab"]

    @graph(budget=Budget(calls=3))
    def inner(text: str) -> list[list[str]]:
        return [part(text), part(text), part(text), each(part, [text])[0]]

    found = await run(inside(inner), "a")
    assert sum(answer == "yes" for pair in found for answer in pair) == 3
    assert all(pair.count("yes") <= 1 for pair in found)
    assert len(model.requests) == 3


async def test_an_effect_in_it_that_is_in_doubt_is_asked_about_and_taken_by_nobody(calls: Calls) -> None:
    @tool(effect="once", in_doubt="ask")
    async def pay(text: str) -> str:
        """Pay."""
        raise ConnectionError("lost")

    @tool(effect="once", in_doubt="fail")
    async def settle(text: str) -> str:
        """Settle."""
        raise ConnectionError("lost")

    @graph
    def asked(text: str) -> str:
        return fallback(pay(text), calls.work(text))

    @graph
    def failing(text: str) -> str:
        return fallback(settle(text), calls.work(text))

    async with Engine(graphs=[only := inside(asked)]) as engine:
        handle = await started_in(engine, only)
        [question] = await engine.questions()
        assert question.about == "doubt"
        await engine.answer(question.id, {"outcome": "happened", "result": "paid"}, by="maria")
        assert await handle.result() == "paid"
    with pytest.raises(InDoubt):
        await run(inside(failing), "a")
    assert not calls.made


async def test_a_graph_in_a_graph_in_a_step_and_a_graph_in_a_step_of_its_node(calls: Calls) -> None:
    @graph
    def small(text: str) -> str:
        return calls.work(text)

    @node
    async def calling(ctx: Context, text: str) -> str:
        return await ctx.step(small, text=text)

    @graph
    def inner(text: str) -> list[str]:
        return [small(text), calling("b"), calling("c")]

    assert await run(inside(inner), "a") == ["A", "B", "C"]


async def test_an_edited_graph_in_a_step_is_a_mismatch_of_its_body(calls: Calls) -> None:
    def made(*names: str) -> Graph[[str], Any]:
        @graph
        def inner(text: str) -> list[str]:
            return [desk(text), *[calls.work.named(name)(name) for name in names]]

        return inside(inner)

    store = MemoryStore()
    async with Engine(store, graphs=[only := made("b", "c")]) as engine:
        await started_in(engine, only)
        [question] = await engine.questions()
        await engine.answer(question.id, "d", by="maria")
    async with Engine(store, graphs=[made("b")]) as engine:
        with pytest.raises(HistoryMismatch, match=r"its history goes on with .*c#"):
            await (await engine.resume(RunId("r"))).result()


async def test_a_loop_at_its_limit_fails_the_step_and_can_be_caught(calls: Calls) -> None:
    @graph
    def inner(text: str) -> str:
        return loop(calls.work, text, until=lambda value: value == "never", at_most=2)

    async def body(ctx: Context, text: str) -> str:
        try:
            return await ctx.step(inner, text)
        except LoopLimit as limit:
            return f"{limit.rounds} rounds"

    assert await run(around(body), "a") == "2 rounds"


async def test_wrong_arguments_are_refused_as_those_of_a_node(calls: Calls) -> None:
    @graph
    def inner(text: str) -> str:
        return calls.work(text)

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(inner, txt=text)  # type: ignore[call-arg]

    with pytest.raises(WiringError, match="'txt' of 'inner' is unknown; did you mean 'text'"):
        await run(around(body), "a")
