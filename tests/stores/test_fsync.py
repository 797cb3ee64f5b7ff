"""Which commits fsync, seen from outside with strace."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("strace")

WRITER = """
import os, sys, anyio
from treadle.stores import SqliteStore
from treadle.testing.store_samples import completed, started

async def main(path, steps):
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    logs = [await store.create(started(f"r-{n}")) for n in range(2, 22)]
    os.write(1, b"begin")
    for number, step in enumerate(steps):
        if step == "m":
            async with anyio.create_task_group() as many:
                for other in logs:
                    other.append(completed(number))
                    many.start_soon(other.flush)
        elif step == "a":
            log.append(completed(number))
        elif step == "d":
            await log.drained(1)
        elif step == "f":
            await log.flush()
    os.write(1, b"end")
    os._exit(0)

anyio.run(main, *sys.argv[1:])
"""


def synced(tmp_path: Path, steps: str) -> list[str]:
    """The files that are fsynced between begin and end."""
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,write"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", calls, sys.executable, "-c", WRITER]
    found = subprocess.run([*command, str(tmp_path / "runs.db"), steps], capture_output=True, text=True)
    if "PTRACE" in found.stderr or "ptrace" in found.stderr:
        pytest.skip("strace may not trace processes here (ptrace is not permitted)")
    assert found.stdout == "beginend", found.stderr
    between = re.split(r'"begin"|"end"', trace.read_text())[1]
    return [Path(name).name for name in re.findall(r"f(?:data)?sync\(\d+<([^>]*)>", between)]


def test_appending_without_flushing_syncs_nothing(tmp_path: Path) -> None:
    assert synced(tmp_path, "ad" * 100) == []


def test_a_flush_is_one_sync_of_the_wal(tmp_path: Path) -> None:
    assert synced(tmp_path, "af" * 20) == ["runs.db-wal"] * 20


def test_one_flush_covers_everything_before_it(tmp_path: Path) -> None:
    assert synced(tmp_path, "ad" * 50 + "a" * 50 + "f") == ["runs.db-wal"]


def test_what_was_committed_without_a_sync_is_synced_by_a_later_flush(tmp_path: Path) -> None:
    assert synced(tmp_path, "adf") == ["runs.db-wal"]


def test_flushing_again_syncs_nothing(tmp_path: Path) -> None:
    assert synced(tmp_path, "affff") == ["runs.db-wal"]


def test_what_many_runs_flush_at_once_is_few_syncs(tmp_path: Path) -> None:
    synced_files = synced(tmp_path, "m" * 20)  # one each but where the thread was about to look by itself
    assert 20 <= len(synced_files) < 40
