"""The disk is full, or fails: a clear error, nothing acknowledged is lost, and the process goes on.

The database stands on a file system that is told how to fail (``forgetful.py``), and whose power is cut
at the end: what was acknowledged after a failure must have reached the disk all the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from graphs import SOME
from mounted import mounted
from workshop import Bench, Workshop

from treadle.testing.outcomes import Outcome

pytestmark = [pytest.mark.attack, pytest.mark.needs("fusermount3"), pytest.mark.timeout(3600)]

TRIES = 40
"""So often a process takes its run up: each failure may be met again by what was queued behind it."""


@cache
def undisturbed(workshop: Workshop, case: str) -> tuple[Outcome, dict[str, int]]:
    """What a run comes to, and what it takes of a disk."""
    bench = workshop.bench(case, f"{case}-on-a-good-disk")
    with mounted(bench.home) as mount:
        bench.database = mount.database
        assert bench.process() == {"code": 0}
        wanted = bench.outcome()
    return wanted, mount.counts


def fail(workshop: Workshop, case: str, name: str, **settings: Any) -> Bench:
    """Let a process work on a disk that fails, and go on as often as it does; then cut the power."""
    bench = workshop.bench(case, f"{case}-{name}")
    with mounted(bench.home, **settings) as mount:
        bench.database = mount.database
        assert bench.process(tries=TRIES) == {"code": 0}
        bench.check_taken_up(undisturbed(workshop, case)[0])
    bench.database = mount.left
    bench.check_told()
    return bench


@pytest.mark.parametrize("case", SOME)
def test_a_sync_that_fails_is_told_and_nothing_acknowledged_after_is_lost(
    workshop: Workshop, case: str, long_form: bool
) -> None:
    last = undisturbed(workshop, case)[1]["syncs"]
    places = range(4, last - 1) if long_form else {5, last * 2 // 3}
    benches = [fail(workshop, case, f"sync-{at}", failing_syncs=[at, at + 1]) for at in places]
    assert_told(benches, "the disk fails")


@pytest.mark.parametrize("case", SOME)
def test_a_log_that_cannot_be_moved_into_the_database_stays_what_counts(
    workshop: Workshop, case: str
) -> None:
    last = undisturbed(workshop, case)[1]["moves"]
    bench = fail(workshop, case, "moves", failing_moves=[last, last + 1, last + 2])
    assert bench.failures == []


@pytest.mark.parametrize("case", SOME)
def test_a_write_that_fails_is_told_and_the_process_goes_on(
    workshop: Workshop, case: str, long_form: bool
) -> None:
    last = undisturbed(workshop, case)[1]["writes"]
    places = range(last // 2, last, 3) if long_form else (last * 3 // 5,)
    benches = [fail(workshop, case, f"failing-write-{at}", failing_writes=[at, at + 1]) for at in places]
    assert_told(benches, "the disk fails")


@pytest.mark.parametrize("case", SOME)
def test_a_full_disk_is_told_and_the_process_goes_on_once_there_is_room(
    workshop: Workshop, case: str, long_form: bool
) -> None:
    most = undisturbed(workshop, case)[1]["most"]
    rooms = range(most * 3 // 4, most * 9 // 10, 2_000) if long_form else (most * 7 // 10,)
    benches = [fail(workshop, case, f"room-{room}", room=room, refusals=3) for room in rooms]
    assert_told(benches, "the disk is full; make room, then resume the runs")


def test_a_disk_that_stays_full_ends_the_process_and_the_next_one_goes_on(workshop: Workshop) -> None:
    bench, (_, counts) = workshop.bench("claim", "full-for-good"), undisturbed(workshop, "claim")
    with mounted(bench.home, room=counts["most"] * 7 // 10) as mount:
        bench.database = mount.database
        assert bench.process(tries=3) == {"code": 1}
    bench.database = mount.left
    before = bench.recorded()
    bench.check_told()
    assert_told([bench], "the disk is full; make room, then resume the runs")
    assert bench.process() == {"code": 0}
    bench.check(undisturbed(workshop, "claim")[0], before)


def assert_told(benches: list[Bench], what: str) -> None:
    """Demand that the store has failed, and only with a typed error that says why."""
    told = [text for bench in benches for text in bench.failures]
    assert told
    assert [text for text in told if not text.startswith("StoreUnavailable") or what not in text] == []
