"""A process is killed at each of its writes to the database, by the kernel, and another takes its run up.

``strace`` sends SIGKILL when the process enters the n-th system call that would change a file of the
database: in the midst of commits, between the frames of the log, before and after each sync.
"""

from __future__ import annotations

import random
import signal
from functools import cache

import pytest
from graphs import SOME
from workshop import WRITES, Workshop

from treadle.testing.outcomes import Outcome

pytestmark = [pytest.mark.attack, pytest.mark.needs("strace"), pytest.mark.timeout(3600)]

SAMPLE = 3
SEED = 20261122


@cache
def undisturbed(workshop: Workshop, case: str) -> tuple[Outcome, int]:
    """What a run comes to, and how many writes its busiest thread makes."""
    bench = workshop.bench(case, f"{case}-undisturbed")
    assert bench.traced() == {"code": 0}
    bench.check_told()
    return bench.outcome(), max(bench.writes.values())


def strike(workshop: Workshop, case: str, at: int, *, is_new: bool = False) -> bool:
    """Kill a run at a write, and take it up; tell whether it was killed."""
    wanted, _ = undisturbed(workshop, case)
    bench = workshop.bench(case, f"{case}-write-{at}{'-new' * is_new}", is_new=is_new)
    backend = ("asyncio", "trio")[at % 2]
    ended = bench.traced(f"{','.join(WRITES)}:signal=KILL:when={at}", backend=backend)
    assert ended in ({"signal": signal.SIGKILL}, {"code": 0}), ended
    before = bench.recorded()
    bench.check_told()
    assert bench.process(backend=backend) == {"code": 0}
    bench.check(wanted, before)
    return ended != {"code": 0}


@pytest.mark.parametrize("case", SOME)
def test_a_process_killed_at_a_write_makes_no_difference(
    workshop: Workshop, case: str, long_form: bool
) -> None:
    _, last = undisturbed(workshop, case)
    points = range(1, last + 1)
    if not long_form:
        points = sorted(random.Random(f"{SEED} {case}").sample(points, SAMPLE))
    struck = [strike(workshop, case, at) for at in points]
    assert any(struck)


def test_a_process_killed_while_it_makes_its_database_leaves_one_that_the_next_can_use(
    workshop: Workshop, long_form: bool
) -> None:
    points = range(1, 50) if long_form else (7, 30)
    struck = [strike(workshop, "claim", at, is_new=True) for at in points]
    assert all(struck)
