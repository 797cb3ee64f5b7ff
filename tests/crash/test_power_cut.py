"""The power fails at any moment: what somebody was told is safe is there, and the run goes on.

The database stands on a file system that forgets what was not synced (``forgetful.py``).
"""

from __future__ import annotations

import os
import random
import uuid
from functools import cache
from pathlib import Path

import pytest
from graphs import SOME, STEADY
from mounted import Mount, mounted
from workshop import Bench, Workshop

from treadle.testing.outcomes import Outcome

pytestmark = [pytest.mark.attack, pytest.mark.needs("fusermount3"), pytest.mark.timeout(3600)]

CUTS = 50
SAMPLE = 3
CONTROLS = 4
SEED = 20261122


@cache
def undisturbed(workshop: Workshop, case: str, *, syncs: bool = True) -> tuple[Outcome, int]:
    """What a run comes to, and how many changes it makes to the disk."""
    bench = workshop.bench(case, f"{case}-undimmed-{syncs}")
    with mounted(bench.home) as mount:
        bench.database = mount.database
        assert bench.process(syncs=syncs) == {"code": 0}
        wanted = bench.outcome()
    return wanted, mount.counts["changes"]


def cut(workshop: Workshop, case: str, at: int, *, keeps: bool, syncs: bool = True) -> tuple[Bench, Mount]:
    """Let a run work until the power fails at a change."""
    bench = workshop.bench(case, f"{case}-cut-{at}-{uuid.uuid4().hex}")
    settings = {"cut_at": at, "keeps": keeps, "process": str(bench.home / "process")}
    with mounted(bench.home, seed=f"{SEED} {at}", **settings) as mount:
        bench.database = mount.database
        bench.process(backend=("asyncio", "trio")[at % 2], syncs=syncs)
    bench.database = mount.left
    return bench, mount


def survive(workshop: Workshop, case: str, at: int) -> None:
    """Let the power fail, look for what was promised, and let the run go on."""
    wanted, _ = undisturbed(workshop, case)
    bench, _ = cut(workshop, case, at, keeps=at % 3 == 0)
    before = bench.recorded()
    bench.check_told()
    assert bench.process() == {"code": 0}
    bench.check(wanted, before)


def moments(case: str, last: int, count: int) -> list[int]:
    """At which changes the power fails: the last is after the end."""
    chosen = random.Random(f"{SEED} {case}")
    return sorted([*(chosen.randint(1, last) for _ in range(count - 1)), last + 1])


@pytest.mark.parametrize("case", [*SOME, *STEADY])
def test_what_was_acknowledged_is_there_after_a_power_cut(
    workshop: Workshop, case: str, long_form: bool
) -> None:
    _, last = undisturbed(workshop, case)
    for at in moments(case, last, CUTS if long_form else SAMPLE):
        survive(workshop, case, at)


def test_without_syncs_the_same_cuts_lose_what_was_acknowledged(workshop: Workshop, long_form: bool) -> None:
    _, last = undisturbed(workshop, "claim", syncs=False)
    count = CUTS if long_form else CONTROLS
    for at in range(last // 2, last * 2 // 3, max(1, last // 6 // count)):
        bench, mount = cut(workshop, "claim", at, keeps=False, syncs=False)
        assert mount.counts["changes"] == at
        with pytest.raises(AssertionError, match="not there"):
            bench.check_told()


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    with mounted(tmp_path) as mount:
        with (mount.folder / "kept").open("wb", buffering=0) as file:
            file.write(b"safe")
            os.fsync(file.fileno())
            sync_folder(mount.folder)
            file.write(b" and lost")
        assert (mount.folder / "kept").read_bytes() == b"safe and lost"
        (mount.folder / "lost").write_bytes(b"never synced")
    assert [path.name for path in mount.image.iterdir()] == ["kept"]
    assert (mount.image / "kept").read_bytes() == b"safe"


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder to its disk."""
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)
