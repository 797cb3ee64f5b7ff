"""A body that runs again after a crash: what it had done is claimed, what it does otherwise is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator
from tests.engine.conftest import Calls, Place, around, edited, ends

from treadle import Context, NodeFailed, graph, node
from treadle.engine import turns
from treadle.errors import HistoryMismatch
from treadle.events import (
    NodeCompleted,
)
from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


async def test_a_recorded_step_is_not_made_again(calls: Calls, place: Place) -> None:
    async def body(ctx: Context, text: str) -> str:
        return "".join([await ctx.step(calls.work, letter) for letter in text])

    only = around(body)
    await place.crash(only, "abc", after=ends("a", "b"))
    crashed = list(calls.made)
    assert await place.resume(only) == "ABC"
    assert crashed[:2] == ["a", "b"]
    assert calls.made[len(crashed) :] == ["c"]


async def test_a_node_that_is_done_is_not_run_again(calls: Calls, place: Place) -> None:
    calls.gates["b"] = anyio.Event()

    @graph
    def both(text: str) -> list[str]:
        return [calls.work(text), calls.other("b")]

    await place.crash(both, "a", after=lambda event: isinstance(event, NodeCompleted))
    calls.gates["b"].set()
    assert await place.resume(both) == ["A", "B"]
    assert sorted(calls.made) == ["a", "b", "b"]


async def test_time_chance_and_keys_are_the_same_when_the_body_runs_again(calls: Calls, place: Place) -> None:
    seen: list[tuple[object, ...]] = []
    clock = JumpingClock()

    async def body(ctx: Context, text: str) -> str:
        before = ctx.now()
        first = await ctx.step(calls.work, "a")
        seen.append((before, ctx.now(), ctx.random.random(), ctx.random.random(), ctx.idempotency_key))
        return first + await ctx.step(calls.work, "b")

    only = around(body)
    await place.crash(only, "", before=ends("a", "b"), clock=clock)
    clock.advance(3600)
    assert await place.resume(only, clock=clock) == "AB"
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert timedelta(0) <= seen[1][1] - seen[1][0] < timedelta(hours=1)  # type: ignore[operator]


async def test_outcomes_reach_the_body_in_the_order_of_the_history(calls: Calls, place: Place) -> None:
    """A body that acts on whichever call ends first does the same again."""
    order: list[list[str]] = []
    calls.gates = {"a": anyio.Event(), "b": anyio.Event()}

    async def body(ctx: Context, text: str) -> list[str]:
        came: list[str] = []
        order.append(came)

        async def one(letter: str) -> None:
            came.append(await ctx.step(calls.work, letter))
            following = {"C": "b", "B": "a"}.get(came[-1])
            if following:
                calls.gates[following].set()

        async with anyio.create_task_group() as tasks:
            for letter in "abc":
                tasks.start_soon(one, letter)
        return [*came, await ctx.step(calls.work, f"after {came[0]}")]

    only = around(body)
    await place.crash(only, "", before=ends("c", "b", "a", "after c"))
    assert await place.resume(only) == ["C", "B", "A", "AFTER C"]
    assert order == [["C", "B", "A"], ["C", "B", "A"]]
    assert sorted(calls.made) == ["a", "after C", "after C", "b", "c"]


async def test_equal_parallel_steps_are_each_claimed_once(calls: Calls, place: Place) -> None:
    async def body(ctx: Context, text: str) -> int:
        count = 0

        async def one(letter: str) -> None:
            nonlocal count
            await ctx.step(calls.work, letter)
            count += 1

        async with anyio.create_task_group() as tasks:
            for letter in text:
                tasks.start_soon(one, letter)
        return count

    only = around(body)
    await place.crash(only, "aaaa", after=ends("a", "a", "a"))
    before = len(calls.made)
    assert await place.resume(only) == 4
    assert len(calls.made) - before == 1


async def test_steps_inside_steps_are_claimed_too(calls: Calls, place: Place) -> None:
    @node
    async def inner(ctx: Context, name: str) -> str:
        return await ctx.step(calls.work, name) + await ctx.step(calls.work, f"{name}2")

    @node
    async def middle(ctx: Context, name: str) -> str:
        return await ctx.step(inner, name)

    async def body(ctx: Context, text: str) -> str:
        return await ctx.step(middle, "x") + await ctx.step(middle, "y")

    only = around(body)
    await place.crash(only, "", after=ends("x", "x2", "xx2", "xx2", "y"))
    before = len(calls.made)
    assert await place.resume(only) == "XX2YY2"
    assert calls.made[before:] == ["y2"]


async def test_a_caught_failure_is_claimed_like_a_result(calls: Calls, place: Place) -> None:
    calls.failing.add("bad")

    async def body(ctx: Context, text: str) -> str:
        try:
            return await ctx.step(calls.work, "bad")
        except NodeFailed:
            return await ctx.step(calls.other, "instead")

    only = around(body)
    await place.crash(only, "", before=ends("instead"))
    calls.failing.clear()
    before = len(calls.made)
    assert await place.resume(only) == "INSTEAD"
    assert calls.made[before:] == ["instead"]


@pytest.mark.parametrize(
    ("after_edit", "said"),
    [
        (["a", "x", "c"], r"goes on with 'work#\w+:0', but the body called 'work#\w+:0'"),
        (["a"], "but the body ended"),
        ([], "but the body ended"),
        (["b", "a", "c"], "but the body called"),
        (["x", "a", "b", "c"], "but the body called"),
    ],
)
async def test_a_body_that_makes_other_calls_than_before_is_told_the_first_difference(
    after_edit: list[str], said: str, calls: Calls, place: Place
) -> None:
    texts = ["a", "b", "c"]
    only = edited(calls, texts)
    await place.crash(only, "", after=ends("a", "b"))
    texts[:], before = after_edit, len(calls.made)
    with anyio.fail_after(3), pytest.raises(HistoryMismatch, match=f"'body' does not repeat.*{said}"):
        await place.resume(only)
    assert calls.made[before:] == []


@pytest.mark.parametrize("after_edit", [["a", "b", "d"], ["a", "b"], ["a", "b", "c", "d"]])
async def test_a_body_edited_after_what_it_had_done_goes_on(
    after_edit: list[str], calls: Calls, place: Place
) -> None:
    texts = ["a", "b", "c"]
    only = edited(calls, texts)
    await place.crash(only, "", after=ends("a", "b"))
    texts[:], before = after_edit, len(calls.made)
    assert await place.resume(only) == [text.upper() for text in after_edit]
    assert calls.made[before:] == after_edit[2:]


async def test_a_call_without_a_record_waits_only_for_the_records_of_its_own_callee(
    calls: Calls, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    texts = ["a", "b", "c"]
    only = edited(calls, texts)
    await place.crash(only, "", after=ends("a", "b"))
    texts[:], before = ["o", "a", "b", "c"], len(calls.made)
    assert await place.resume(only) == ["O", "A", "B", "C"]
    assert calls.made[before:] == ["o", "c"]


async def test_a_call_without_a_record_waits_until_a_slow_sibling_has_claimed_the_records(
    calls: Calls, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New work must not start before old work is claimed, however long a real call takes."""
    monkeypatch.setattr(turns, "PATIENCE", 0.02)
    calls.gates["o slow"] = anyio.Event()
    texts = ["a"]

    async def body(ctx: Context, text: str) -> list[str]:
        found: list[str] = []

        async def one(letter: str) -> None:
            found.append(await ctx.step(calls.work, letter))

        async def slow() -> None:
            await ctx.step(calls.other, "o slow")
            await one("a")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            for extra in texts[1:]:
                tasks.start_soon(one, extra)
        return found

    calls.gates["o slow"].set()
    only = around(body)
    await place.crash(only, "", after=ends("o slow", "a"))
    del calls.made[:]
    texts.append("new")
    assert await place.resume(only) == ["A", "NEW"]
    assert calls.made == ["new"]


async def test_a_step_declared_otherwise_than_recorded_is_a_mismatch(calls: Calls, place: Place) -> None:
    kinds: list[Any] = [calls.work]

    @node(name="work")
    async def work(name: str) -> int:
        raise AssertionError("must not run before the difference is told")

    async def body(ctx: Context, text: str) -> str:
        return f"{await ctx.step(kinds[0], 'a')} {await ctx.step(calls.other, 'b')}"

    only = around(body)
    await place.crash(only, "", after=ends("a"))
    kinds[0] = work
    with pytest.raises(HistoryMismatch, match="declared otherwise"):
        await place.resume(only)


async def test_after_undoing_the_edit_a_mismatched_run_goes_on_without_paying_again(
    calls: Calls, place: Place
) -> None:
    texts = ["a", "b", "c"]
    only = edited(calls, texts)
    await place.crash(only, "", after=ends("a", "b"))
    before = len(calls.made)
    del texts[1:]
    with pytest.raises(HistoryMismatch):
        await place.resume(only)
    texts[1:] = ["b", "c"]
    assert await place.resume(only) == ["A", "B", "C"]
    assert calls.made[before:] == ["c"]


@pytest.mark.parametrize("stepped", [False, True])
async def test_a_recorded_result_that_no_longer_fits_its_type_is_a_mismatch(
    stepped: bool, place: Place
) -> None:
    least, hangs, reached = [0], [True], anyio.Event()

    def check(value: int) -> int:
        if value < least[0]:
            raise ValueError(f"must be at least {least[0]}")
        return value

    Number = Annotated[int, AfterValidator(check)]  # noqa: N806 - a type

    @node
    async def make() -> Number:  # type: ignore[valid-type]
        return 1

    async def wait(found: int) -> int:
        reached.set()
        if hangs[0]:
            await anyio.sleep_forever()
        return found

    @node
    async def use(number: Number) -> int:  # type: ignore[valid-type]
        return await wait(number)

    @node
    async def step(ctx: Context) -> int:
        return await wait(await ctx.step(make))

    @graph
    def only() -> int:
        return step() if stepped else use(make())

    await place.crash(only, dies=reached)
    least[0], hangs[0] = 10, False
    with pytest.raises(HistoryMismatch, match="does not fit.*must be at least 10"):
        await place.resume(only)
    least[0] = 0
    assert await place.resume(only) == 1
