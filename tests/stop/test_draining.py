"""A process that is told to stop: what runs may finish within the grace, runs park, and it exits in time."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from tests.stop.conftest import SERVICE, Child, count, events_of
from tests.stop.service import errand

from treadle import Engine
from treadle.errors import EngineClosed
from treadle.events import NodeCompleted, RunResumed

Start = Callable[..., Child]

BOTH = [("asyncio", signal.SIGTERM), ("trio", signal.SIGINT)]


def at_work(child: Start, backend: str, database: str, grace: float) -> Child:
    service = child(SERVICE, backend, database, str(grace), "serve")
    assert service.says() == "working"
    return service


async def finished(database: str) -> list[str]:
    return [event.node for event in await events_of(database) if isinstance(event, NodeCompleted)]


async def resume(database: str) -> str:
    """Take the run up here, where its work ends at once."""
    async with Engine(database, graphs=[errand]) as engine:
        return await (await engine.resume("r")).result()


@pytest.mark.parametrize(("backend", "stop"), BOTH)
def test_what_runs_may_finish_what_comes_after_does_not_start_and_all_goes_on_later(
    child: Start, backend: str, database: str, marks: Path, stop: signal.Signals
) -> None:
    service = at_work(child, backend, database, grace=30)
    service.tell(stop)
    said = service.complains()
    assert said.startswith(f"{stop.name}: nothing more is started")
    assert "within 30 s" in said
    service.go()
    code, out, err = service.ended()
    assert (code, out.split(), err) == (128 + stop, ["running", "0", "closed"], "")
    assert anyio.run(finished, database) == ["first", "work"]
    assert count(marks) == {"first": 1, "begun": 1, "worked": 1}
    assert anyio.run(resume, database, backend=backend) == "first worked worked"
    assert count(marks) == {"first": 1, "begun": 1, "worked": 2}  # by ``work`` and by ``last``
    [resumed] = [e for e in anyio.run(events_of, database) if isinstance(e, RunResumed)]
    assert not resumed.recovered


def test_what_takes_longer_than_the_grace_is_cancelled_and_cleans_up(
    child: Start, backend: str, database: str, marks: Path
) -> None:
    service = at_work(child, backend, database, grace=0.05)
    service.tell(signal.SIGTERM)
    code, out, _ = service.ended()
    assert (code, out.splitlines()) == (143, ["cleaned up", "running 0", "closed"])
    assert anyio.run(finished, database) == ["first"]
    assert count(marks) == {"first": 1, "begun": 1}


@pytest.mark.parametrize(("backend", "second"), BOTH)
def test_a_second_signal_ends_the_grace_at_once(
    child: Start, backend: str, database: str, second: signal.Signals
) -> None:
    service = at_work(child, backend, database, grace=600)
    service.tell(signal.SIGTERM)
    service.complains()
    service.tell(second)
    while not service.has_complained(within=0.15):  # what comes right after the first is taken for it
        service.tell(second)
    code, out, err = service.ended()
    assert (code, out.splitlines()) == (143, ["cleaned up", "running 0", "closed"])
    assert err == f"{second.name} again: attempts under way are stopped at once\n"


@pytest.mark.anyio
async def test_a_drained_engine_starts_and_resumes_nothing(database: str, marks: Path) -> None:
    async with Engine(database, graphs=[errand]) as engine:
        assert await engine.drain() == []
        with pytest.raises(EngineClosed, match="starts nothing more"):
            await engine.start(errand, "x")
        with pytest.raises(EngineClosed, match="starts nothing more"):
            await engine.resume("r")
        assert await engine.store.runs() == []
