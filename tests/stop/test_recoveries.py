"""A run that keeps killing its worker: it is taken up so often, and then stops in a state of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.stop.conftest import SERVICE, count, events_of
from tests.stop.service import deadly, endless

from treadle import Engine
from treadle.errors import ConfigurationError, WorkerLost
from treadle.events import AttemptFailed, RunEnded, RunResumed

DIED = 9


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and what the processes said that worked on it."""

    folder: Path
    backend: str
    codes: tuple[int, ...] = ()
    said: str = ""

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'runs.db'}"

    def live(self, verb: str = "recover", **environment: str) -> tuple[int, str]:
        """Let a process work on the run to its end; give its exit code, and what it said."""
        ended = subprocess.run(
            [sys.executable, SERVICE, self.backend, self.database, "0", verb],
            capture_output=True,
            text=True,
            env={**os.environ, "MARKS": str(self.folder / "marks.txt"), **environment},
        )
        return ended.returncode, ended.stdout

    def count(self) -> dict[str, int]:
        return count(self.folder / "marks.txt")


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that has killed every worker that took it up, until nobody did."""
    place, codes = Place(folder=tmp_path_factory.mktemp("dead"), backend="asyncio"), list[int]()
    while (last := place.live())[0] == DIED:
        codes.append(DIED)
    return replace(place, codes=tuple(codes), said=last[1])


@pytest.fixture
def given_up(dead: Place, tmp_path: Path) -> Place:
    """The same, for one test."""
    shutil.copytree(dead.folder, tmp_path / "copy")
    return replace(dead, folder=tmp_path / "copy")


def test_it_is_taken_up_as_often_as_the_engine_says_and_then_fails(given_up: Place) -> None:
    assert len(given_up.codes) == 3  # the first life, and two recoveries
    assert given_up.said.startswith("WorkerLost: the process that worked on run 'r' died 3 times in a row")
    assert "node 'kill' was under way" in given_up.said
    assert given_up.count() == {"first": 1, "killed": 3}
    events = anyio.run(events_of, given_up.database)
    assert [e.recovered for e in events if isinstance(e, RunResumed)] == [True] * 3
    assert [type(e) for e in events[-2:]] == [AttemptFailed, RunEnded]


def test_nobody_finds_it_pending_any_more(given_up: Place) -> None:
    assert given_up.live() == (0, "")
    assert given_up.count()["killed"] == 3


def test_an_order_takes_it_up_afresh(given_up: Place) -> None:
    lives = [given_up.live("order"), given_up.live(), given_up.live(), given_up.live()]
    assert [code for code, _ in lives] == [DIED, DIED, DIED, 0]
    assert lives[-1][1].startswith("WorkerLost")
    assert given_up.live("order", HARMLESS="1") == (0, "first\n")
    assert given_up.count()["first"] == 1


def test_an_item_that_kills_its_worker_is_given_up_too(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, backend="trio")
    lives = [place.live("items") for _ in range(3)]
    assert [code for code, _ in lives] == [DIED, DIED, 0]
    assert lives[-1][1].startswith("WorkerLost: the process that worked on run 'r' died 2 times in a row")
    assert place.count() == {"killed": 2}


def test_a_worker_that_dies_at_once_is_counted_before_it_begins(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, backend="asyncio")
    lives = [place.live("again") for _ in range(4)]
    assert [code for code, _ in lives] == [DIED, DIED, DIED, 0]
    assert lives[-1][1].startswith("WorkerLost: the process that worked on run 'r' died 3 times in a row")
    assert place.count() == {"crumbled": 3}


async def _reads(database: str) -> tuple[str, BaseException]:
    async with Engine(database, graphs=[deadly]) as engine:
        handle = await engine.start(deadly, "first", run_id="r")
        with pytest.raises(WorkerLost) as told:
            await handle.result()
        return handle.status, told.value


def test_a_later_reader_is_told_the_same(given_up: Place) -> None:
    status, error = anyio.run(_reads, given_up.database)
    assert status == "failed"
    assert isinstance(error, WorkerLost)
    assert (error.run_id, error.node, error.attempt, error.deaths) == ("r", "kill", 1, 3)


@pytest.mark.anyio
async def test_a_worker_that_leaves_in_good_order_does_not_count(database: str, marks: Path) -> None:
    for _ in range(4):
        async with Engine(database, graphs=[endless], recoveries=0) as engine:
            handle = await engine.start(endless, "x", run_id="r")
            assert handle.status == "running"
    resumed = [event for event in await events_of(database) if isinstance(event, RunResumed)]
    assert [event.recovered for event in resumed] == [False] * 3


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True, None])
def test_what_is_no_number_of_recoveries_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        Engine(recoveries=wrong)
