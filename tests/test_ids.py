"""How runs and questions are named."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time

import pytest

from treadle.ids import new_run_id, question_id, run_id_made_of


def test_names_that_are_made_of_others_never_change() -> None:
    assert run_id_made_of("a", "b") == "r-y33vkec8v5q1v5wk9"
    assert question_id(hashlib.sha256(b"x").hexdigest()) == "q-5nrhcgnq4tr480b2"


def test_run_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    first, later = new_run_id(), time.time_ns() + 2_000_000
    monkeypatch.setattr("treadle.ids.time.time_ns", lambda: later)
    second = new_run_id()
    assert first < second
    assert re.fullmatch(r"r-[0-9a-hjkmnp-tv-z]{17}", second)


def test_no_run_id_is_given_twice() -> None:
    ids = [new_run_id() for _ in range(5000)]
    assert len({run_id[-8:] for run_id in ids}) == 5000


FORKS = """
import os
from treadle.ids import new_run_id
new_run_id()
child = os.fork()
os.write(1, (" ".join(new_run_id()[-8:] for _ in range(70)) + "\\n").encode())
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_draws_others() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    mine, theirs = (set(line.split()) for line in done.stdout.splitlines())
    assert len(mine) == len(theirs) == 70
    assert not mine & theirs
