"""Failures: what the caller is told, how they travel, and what a failed run does when it is resumed."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from treadle import (
    Ask,
    Engine,
    NodeFailed,
    Retry,
    fallback,
    graph,
    human,
    node,
    run,
    when,
)
from treadle.errors import ReadFailed
from treadle.events import AttemptCancelled, AttemptFailed, NodeCompleted, RunEnded

if TYPE_CHECKING:
    from tests.engine.conftest import Calls, Place

pytestmark = pytest.mark.anyio


class Odd(Exception):
    """A user's error."""


async def deep(text: str) -> str:
    raise Odd(f"no {text}")


async def test_a_users_error_reaches_the_caller_with_its_cause_and_its_place() -> None:
    @node
    async def failing(text: str) -> str:
        return await deep(text)

    @graph
    def only(text: str) -> str:
        return failing(text)

    with pytest.raises(NodeFailed, match="node 'failing'.*attempt 1.*Odd: no luck at") as failed:
        await run(only, "luck")
    error: Any = failed.value
    line = deep.__code__.co_firstlineno + 1
    assert isinstance(error.__cause__, Odd)
    assert (error.node, error.attempt, error.failure.where) == ("failing", 1, f"{__file__}:{line}")
    assert Path(error.failure.where.rpartition(":")[0]).exists()  # noqa: ASYNC240 - nothing else runs


async def test_the_same_error_is_told_from_the_record_by_another_process(place: Place) -> None:
    @node
    async def failing(text: str) -> str:
        return await deep(text)

    @node
    async def once_more(text: str) -> str:
        raise AssertionError("is never reached")

    @graph
    def only(text: str) -> str:
        return once_more(failing(text))

    async with place.engine(only) as engine:
        handle = await engine.start(only, "luck", run_id="r")
        with pytest.raises(NodeFailed) as live:
            await handle.result()
    async with place.engine(only) as engine:
        again = await engine.start(only, "luck", run_id="r")
        with pytest.raises(NodeFailed) as recorded:
            await again.result()
    assert str(recorded.value) == str(live.value)
    assert recorded.value.__cause__ is None


@pytest.mark.parametrize("members", [1, 2])
async def test_errors_are_taken_out_of_a_bodys_task_group(members: int) -> None:
    @node
    async def grouped(text: str) -> str:
        async def fail() -> None:
            raise Odd(text)

        async with anyio.create_task_group() as tasks:
            for _ in range(members):
                tasks.start_soon(fail)
        return text

    @graph
    def only(text: str) -> str:
        return grouped(text)

    with pytest.raises(NodeFailed, match="luck" if members == 1 else "2 sub-exceptions") as failed:
        await run(only, "luck")
    assert isinstance(failed.value.__cause__, Odd if members == 1 else ExceptionGroup)


async def test_an_error_in_a_condition_is_a_failure_like_any_other() -> None:
    class Moody(str):
        __slots__ = ()

    @node
    async def values() -> list[int]:
        return []

    @graph
    def only() -> str:
        return fallback(when(values()[0] > 1, "many", "one"), "none")

    assert await run(only) == "none"

    @graph
    def bare() -> str:
        return when(values()[0] > 1, "many", "one")

    with pytest.raises(ReadFailed, match="IndexError"):
        await run(bare)


async def test_a_finished_run_keeps_no_reference_to_its_engine_or_error() -> None:
    """What failed in a run is not kept alive by the engine once its handle is gone."""

    @node
    async def failing(text: str) -> str:
        raise Odd(text)

    @graph
    def only(text: str) -> str:
        return failing(text)

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "gone")
        await handle.settled()
        del handle
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        assert not [e for e in gc.get_objects() if isinstance(e, Odd) and str(e) == "gone"]


async def test_a_fallback_takes_a_failure_and_says_nothing_of_it() -> None:
    @node
    async def failing(text: str) -> str:
        raise Odd(text)

    @node
    async def passing(text: str) -> str:
        return text

    @graph
    def only(text: str) -> str:
        return fallback(failing(text), passing(text))

    assert await run(only, "luck") == "luck"


@pytest.mark.parametrize(
    ("on", "taken"), [(Odd, True), (Exception, True), (KeyError, False), ((KeyError, Odd), True)]
)
async def test_a_fallback_takes_only_what_it_names(on: Any, taken: bool) -> None:
    @node
    async def failing(text: str) -> str:
        raise Odd(text)

    @graph
    def only(text: str) -> str:
        return fallback(failing(text), text, on=on)

    if taken:
        assert await run(only, "luck") == "luck"
    else:
        with pytest.raises(NodeFailed):
            await run(only, "luck")


async def test_draining_lets_what_runs_finish_and_starts_nothing_more(calls: Calls) -> None:
    calls.gates = {"slow": anyio.Event(), "bad": anyio.Event()}
    calls.failing.add("bad")

    @graph
    def only() -> list[str]:
        return [calls.work("bad"), calls.other(calls.work.named("slow")("slow"))]

    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only)
        await anyio.wait_all_tasks_blocked()
        calls.gates["bad"].set()
        await anyio.wait_all_tasks_blocked()
        assert handle.status == "running"
        calls.gates["slow"].set()
        assert await handle.settled() == "failed"
        events = [one.event for one in await handle.history()]
    assert [event.node for event in events if isinstance(event, NodeCompleted)] == ["slow"]
    assert sorted(calls.made) == ["bad", "slow"]


async def test_cancelling_on_failure_stops_what_runs(calls: Calls) -> None:
    calls.gates = {"slow": anyio.Event()}
    calls.failing.add("bad")

    @graph(on_failure="cancel")
    def only() -> list[str]:
        return [calls.work.named("slow")("slow"), calls.work("bad")]

    with anyio.fail_after(5):
        async with Engine(graphs=[only]) as engine:
            handle = await engine.start(only)
            assert await handle.settled() == "failed"
            events = [one.event for one in await handle.history()]
    assert [event.node for event in events if isinstance(event, AttemptCancelled)] == ["slow"]


async def test_draining_ends_backoffs_and_withdraws_questions(calls: Calls) -> None:
    calls.failing.update({"flaky", "bad"})
    calls.gates["bad"] = anyio.Event()

    @human(to="boss")
    async def boss() -> Ask[str]:
        return Ask("well?")

    @graph
    def only() -> list[str]:
        flaky = calls.work.named("flaky").using(retry=Retry(attempts=9, wait="1h"))
        return [flaky("flaky"), calls.work("bad"), boss()]

    with anyio.fail_after(5):
        async with Engine(graphs=[only]) as engine:
            handle = await engine.start(only)
            await anyio.wait_all_tasks_blocked()
            assert len(await engine.questions()) == 1
            calls.gates["bad"].set()
            assert await handle.settled() == "failed"
            assert await engine.questions() == []
    assert calls.made.count("flaky") == 1


async def test_a_failed_run_resumes_with_only_what_failed_and_what_depends_on_it(
    calls: Calls, place: Place
) -> None:
    calls.failing.add("b")

    @graph
    def only() -> list[str]:
        good = calls.work.named("a")("a")
        return [calls.other.named("after a")(good), calls.other.named("after b")(calls.work.named("b")("b"))]

    async with place.engine(only) as engine:
        assert await (await engine.start(only, run_id="r")).settled() == "failed"
    calls.failing.clear()
    assert await place.resume(only) == ["A", "B"]
    assert sorted(calls.made) == ["A", "B", "a", "b", "b"]
    ends = await place.events(only, RunEnded)
    assert [event.status for event in ends] == ["failed", "completed"]


async def test_a_failed_run_can_fail_and_resume_again_and_again(calls: Calls, place: Place) -> None:
    calls.failing.add("b")

    @graph(retry=Retry(attempts=2, wait=0.001))
    def only() -> list[str]:
        return [calls.work.named("a")("a"), calls.work.named("b")("b")]

    async with place.engine(only) as engine:
        assert await (await engine.start(only, run_id="r")).settled() == "failed"
        assert await (await engine.resume("r")).settled() == "failed"
    async with place.engine(only) as engine:
        assert await (await engine.resume("r")).settled() == "failed"
    assert calls.made == ["a", *["b"] * 6]  # fresh attempts each time
    failed = await place.events(only, AttemptFailed)
    assert [event.attempt for event in failed] == [1, 2, 3, 4, 5, 6]
