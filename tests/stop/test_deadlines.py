"""The deadline of a run is kept by any engine that is open, whoever began the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import apsw
import pytest
from tests.people.set_clock import SetClock

from treadle import Ask, Engine, graph, human, node
from treadle.engine import outside
from treadle.errors import RunCancelled
from treadle.events import CancelRequested
from treadle.ids import RunId
from treadle.interfaces import DueRun
from treadle.stores import MemoryStore, SqliteStore

pytestmark = pytest.mark.anyio

RUN = RunId("r")


@human(to="maria")
async def agree(text: str) -> Ask[bool]:
    return Ask(text)


@node
async def hang(text: str) -> bool:
    await anyio.sleep_forever()
    return True


@graph
def asking(text: str) -> bool:
    return agree(text)


@graph
def hanging(text: str) -> bool:
    return hang(text)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runs.db"))


async def began_elsewhere(store: Any, clock: SetClock, only: Any) -> None:
    """A run with a deadline in an hour, left by the engine that began it."""
    async with Engine(store, clock=clock) as engine:
        await engine.start(only, "Well?", run_id="r", deadline=clock.now() + 3600)
        await anyio.wait_all_tasks_blocked()


async def ends(engine: Engine) -> None:
    """Return once the run is cancelled."""
    with anyio.fail_after(10):
        while (await engine.store.run(RUN)).status != "cancelled":
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("only", [asking, hanging], ids=["waiting", "interrupted"])
async def test_a_deadline_that_passed_while_nobody_looked_ends_the_run_when_an_engine_opens(
    store: Any, clock: SetClock, only: Any
) -> None:
    await began_elsewhere(store, clock, only)
    clock.advance(4000)
    async with Engine(store, graphs=[only], clock=clock) as engine:
        await ends(engine)


@pytest.mark.parametrize("only", [asking, hanging], ids=["waiting", "interrupted"])
async def test_an_engine_that_did_not_begin_the_run_ends_it_in_time(
    store: Any, clock: SetClock, only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "DEADLINE_SECONDS", 0.05)
    await began_elsewhere(store, clock, only)
    async with Engine(store, graphs=[only], clock=clock) as engine:
        clock.advance(3600)
        await ends(engine)
        events = [one.event for one in await engine.store.read(RUN)]
    [asked] = [event for event in events if isinstance(event, CancelRequested)]
    assert (asked.by, asked.at) == ("deadline", clock.now())


async def test_it_is_kept_while_the_engine_was_already_open(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "DEADLINE_SECONDS", 0.05)
    path = str(tmp_path / "runs.db")
    async with Engine(SqliteStore(path), graphs=[hanging], clock=clock) as idle:
        await began_elsewhere(SqliteStore(path), clock, hanging)
        clock.advance(3600)
        await ends(idle)


async def test_an_engine_that_does_not_know_the_graph_leaves_the_run_alone(
    store: Any, clock: SetClock
) -> None:
    await began_elsewhere(store, clock, asking)
    clock.advance(4000)
    async with Engine(store, graphs=[hanging], clock=clock) as engine:
        await anyio.wait_all_tasks_blocked()
        assert (await engine.store.run(RUN)).status == "waiting"


async def test_a_run_that_is_over_is_not_due(store: Any, clock: SetClock) -> None:
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(asking, "Well?", run_id="r", deadline=clock.now() + 3600)
        await handle.settled()
        assert await store.due_runs(clock.now()) == []
        assert await store.due_runs(clock.now() + 3600) == [
            DueRun(id=handle.id, graph="asking", deadline=clock.now() + 3600)
        ]
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert await store.due_runs(clock.now() + 3600) == []


async def test_runs_of_a_store_that_was_written_before_are_due_too(tmp_path: Path, clock: SetClock) -> None:
    path = str(tmp_path / "runs.db")
    await began_elsewhere(SqliteStore(path), clock, asking)
    before = apsw.Connection(path)
    for statement in ("DROP INDEX runs_by_deadline", "ALTER TABLE runs DROP COLUMN deadline"):
        before.execute(statement)
    before.pragma("user_version", 1)
    before.close()
    store = SqliteStore(path)
    await store.open()
    assert [run.id for run in await store.due_runs(clock.now() + 3600)] == ["r"]
    await store.aclose()
