"""SIGINT and SIGTERM to ``treadle run`` and ``treadle resume``: what is said, what is kept, the exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from tests.stop.conftest import SERVICE, Child, count, events_of

from treadle import Engine
from treadle.events import NodeCompleted
from treadle.interfaces import RunSummary

Start = Callable[..., Child]

TREADLE = ("-c", "from treadle.cli.main import main; main()")


def kept(database: str, graph: str) -> str:
    command = f"treadle resume --all {SERVICE}:{graph} --store {database}"
    return f"what was recorded is kept, and `{command}` goes on from there\n"


def at_work(child: Start, database: str, graph: str = "errand", *options: str) -> Child:
    command = ("run", f"{SERVICE}:{graph}", "--value", '"x"', "--store", database, *options)
    started = child(*TREADLE, *command)
    started.until("blocking" if graph == "careless" else "working")
    return started


async def runs(database: str) -> list[RunSummary]:
    async with Engine(database) as engine:
        return await engine.store.runs()


def finished(database: str) -> list[str]:
    [run] = anyio.run(runs, database)
    return [
        event.node for event in anyio.run(events_of, database, run.id) if isinstance(event, NodeCompleted)
    ]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_attempts_under_way_finish_nothing_more_starts_and_the_run_goes_on_later(
    child: Start, database: str, marks: Path, stop: signal.Signals
) -> None:
    command = at_work(child, database, "errand", "--grace", "30s")
    command.tell(stop)
    assert command.complains() == (
        f"{stop.name}: nothing more is started, and attempts under way may finish within 30 s; a second "
        "signal stops them at once"
    )
    command.go()
    code, _, err = command.ended()
    assert (code, err) == (128 + stop, f"stopped; {kept(database, 'errand')}")
    assert finished(database) == ["first", "work"]
    resumed = child(*TREADLE, "resume", "--all", SERVICE, "--store", database)
    assert resumed.ended()[0] == 0
    assert count(marks) == {"first": 1, "begun": 1, "worked": 2}  # by ``work`` and by ``last``


def test_a_run_whose_last_attempt_finishes_in_time_is_done(child: Start, database: str, marks: Path) -> None:
    command = at_work(child, database, "single")
    command.tell(signal.SIGTERM)
    command.complains()
    command.go()
    code, out, err = command.ended()
    assert (code, err) == (0, "")
    assert "worked" in out


def test_a_second_signal_stops_at_once(child: Start, database: str, marks: Path) -> None:
    command = at_work(child, database, "errand", "--grace", "1h")
    command.tell(signal.SIGTERM)
    command.complains()
    command.tell(signal.SIGINT)
    while not command.has_complained(within=0.15):  # what comes right after the first is taken for it
        command.tell(signal.SIGINT)
    code, out, err = command.ended()
    again = "SIGINT again: attempts under way are stopped at once\n"
    assert (code, err) == (143, f"{again}stopped; {kept(database, 'errand')}")
    assert "cleaned up" in out
    assert finished(database) == ["first"]


def test_without_grace_attempts_are_cancelled_at_the_first_signal(
    child: Start, database: str, marks: Path
) -> None:
    command = at_work(child, database, "errand", "--grace", "0")
    command.tell(signal.SIGTERM)
    code, out, _ = command.ended()
    assert code == 143
    assert "cleaned up" in out


def test_a_body_that_holds_the_event_loop_up_keeps_no_process(
    child: Start, database: str, marks: Path
) -> None:
    command = at_work(child, database, "careless", "--grace", "0")
    command.tell(signal.SIGTERM)
    code, _, err = command.ended()
    assert (code, err) == (143, f"stopped at once; {kept(database, 'careless')}")
    [run] = anyio.run(runs, database)
    assert run.status == "pending"


def test_a_body_that_holds_the_interpreter_is_ended_by_the_system(
    child: Start, database: str, marks: Path
) -> None:
    command = at_work(child, database, "holding", "--grace", "0")
    command.tell(signal.SIGTERM)
    assert command.ended()[0] == -signal.SIGALRM
    [run] = anyio.run(runs, database)
    assert run.status == "pending"


def test_a_grace_that_is_no_length_of_time_is_refused(child: Start, database: str, marks: Path) -> None:
    command = child(*TREADLE, "run", SERVICE, "--value", '"x"', "--store", database, "--grace", "soon")
    code, _, err = command.ended()
    assert code == 2
    assert "--grace: 'soon' is not a duration" in err
