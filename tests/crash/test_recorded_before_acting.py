"""Nothing that cannot be taken back happens before what led to it is on the disk: seen with strace."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.models import ModelRequest
from treadle.testing import ModelServer, ScriptedModel, call

pytestmark = pytest.mark.needs("strace")

SCRIPT = Path(__file__).with_name("traced.py")
CALLS = "trace=fsync,fdatasync,write,sendto,sendmsg"
SAID = re.compile(r'(?:write|sendto|sendmsg)\(.*?"(begin|started|looked|paid|end|POST)\b')
SYNC = re.compile(r"(f(?:data)?sync)\(\d+<([^>]*)>")


def turns(request: ModelRequest) -> object:
    """Look first, then pay, then answer."""
    said = sum(message.role == "tool" for message in request.messages)
    return [call("look", account="a"), call("pay", account="a"), {"answer": 19}][said]


def watched(tmp_path: Path, graph: str) -> list[str]:
    """What a run does from begin to end, in order: ``sync`` when the WAL is safe, and what it says."""
    trace = tmp_path / "trace"
    with ModelServer(ScriptedModel(turns)) as server:
        command = ["strace", "-f", "-y", "-s", "64", "-o", str(trace), "-e", CALLS, sys.executable]
        found = subprocess.run(
            [*command, str(SCRIPT), str(tmp_path / "runs.db"), graph, server.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    if "ptrace" in found.stderr.lower():
        pytest.skip("strace may not trace processes here (ptrace is not permitted)")
    assert found.returncode == 0, found.stderr
    happened = list(moments(trace.read_text()))
    return happened[happened.index("begin") + 1 : happened.index("end")]


def moments(trace: str) -> Iterator[str]:
    """Read a trace: a sync counts when it has returned, what is said or sent when it begins."""
    under_way: dict[str, str] = {}
    for line in trace.splitlines():
        process = line.partition(" ")[0]
        said, sync = SAID.search(line), SYNC.search(line)
        if sync is not None:
            under_way[process] = Path(sync[2]).name
        if "sync" in line and re.search(r"\) += 0", line):
            name = under_way.pop(process)
            yield "sync" if name == "runs.db-wal" else f"sync of {name}"
        if said is not None:
            yield said[1]


def test_what_is_paid_or_done_for_good_is_recorded_first_with_one_sync_each(tmp_path: Path) -> None:
    asked = ["sync", "POST"]
    assert watched(tmp_path, "paying") == [
        *("sync", "started"),
        *(*asked, "looked"),
        *(*asked, "sync", "paid"),
        *(*asked, "sync"),
    ]


def test_a_chain_that_nobody_pays_for_syncs_at_its_start_and_for_its_result(tmp_path: Path) -> None:
    assert watched(tmp_path, "chain") == ["sync", "started", "sync"]
