"""``JumpingClock``: it stands still while anything works, and jumps in order when everything waits."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from treadle.testing import JumpingClock

pytestmark = pytest.mark.anyio


async def test_a_day_of_sleep_takes_no_time() -> None:
    clock = JumpingClock(start=100.0)
    with anyio.fail_after(5):
        await clock.sleep_until(86_500.0)
    assert (clock.now(), clock.jumps) == (86_500.0, [86_500.0])


async def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    clock = JumpingClock(start=100.0)
    await clock.sleep_until(50.0)
    assert (clock.now(), clock.jumps) == (100.0, [])


async def test_sleepers_wake_in_the_order_of_their_moments_and_work_before_the_next_jump() -> None:
    clock, woken = JumpingClock(start=0.0), list[tuple[float, float]]()

    async def sleep(moment: float) -> None:
        await clock.sleep_until(moment)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        woken.append((moment, clock.now()))

    async with anyio.create_task_group() as tasks:
        for moment in (30.0, 10.0, 20.0):
            tasks.start_soon(sleep, moment)
    assert woken == [(10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]


async def test_a_sleeper_that_comes_later_with_an_earlier_moment_is_woken_first() -> None:
    clock, woken = JumpingClock(start=0.0), list[float]()

    async def sleep(moment: float) -> None:
        await clock.sleep_until(moment)
        woken.append(moment)
        if moment == 10.0:
            await clock.sleep_until(20.0)
            woken.append(20.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep, 30.0)
        tasks.start_soon(sleep, 10.0)
    assert woken == [10.0, 20.0, 30.0]


async def test_a_cancelled_sleeper_does_not_hold_the_others_up() -> None:
    clock, first = JumpingClock(start=0.0), anyio.CancelScope()

    async def cancelled() -> None:
        with first:
            await clock.sleep_until(5.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        tasks.start_soon(clock.sleep_until, 10.0)
        first.cancel()
    assert clock.jumps == [10.0]


async def test_sleeping_is_a_cancellation_point_even_where_nothing_is_waited_for() -> None:
    clock = JumpingClock(start=100.0)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep_until(1.0)
    assert scope.cancelled_caught


async def test_time_can_be_let_pass_by_hand() -> None:
    clock = JumpingClock(start=0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep_until, 10.0)
        clock.advance(60.0)
    assert (clock.now(), clock.jumps) == (60.0, [])
