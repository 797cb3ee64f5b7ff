"""A file of messages that is interrupted: how far it came, and what does the rest, in real processes."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from tests.stop.conftest import SERVICE, Child, count

from treadle import Engine
from treadle.interfaces import RunSummary

Start = Callable[..., Child]

TREADLE = ("-c", "from treadle.cli.main import main; main()")


@pytest.fixture
def messages(tmp_path: Path) -> str:
    """Four messages, and an empty line."""
    path = tmp_path / "four messages.jsonl"
    path.write_text('"a"\n\n"b"\n"c"\n"d"\n')
    return str(path)


def at_second(child: Start, database: str, messages: str, *options: str) -> Child:
    """A command whose first message is over and whose second one is at work."""
    command = ("run", f"{SERVICE}:single", "--input", messages, "--store", database, "--concurrency", "1")
    started = child(*TREADLE, *command, *options)
    started.until("working")
    started.go()
    started.until("working")
    return started


async def runs(database: str) -> list[RunSummary]:
    async with Engine(database) as engine:
        return list(reversed(await engine.store.runs()))


def go_on(child: Start, words: str) -> Child:
    """Give the command that a text says after ``treadle`` on a line of its own."""
    [line] = [line for line in words.splitlines() if line.startswith("  treadle run")]
    return child(*TREADLE, *shlex.split(line)[1:])


def finish(command: Child, *, messages: int) -> tuple[int, str, str]:
    for _ in range(messages):
        command.until("working")
        command.go()
    return command.ended()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_file_says_how_far_it_came_and_the_command_it_gives_does_the_rest(
    child: Start, database: str, marks: Path, messages: str, stop: signal.Signals
) -> None:
    command = at_second(child, database, messages, "--grace", "0")
    command.tell(stop)
    code, out, err = command.ended()
    assert code == 128 + stop
    assert "1 run: 1 completed" in out
    assert "2 of 4 messages were begun (1 over, 1 on their way), 2 were not" in err
    assert f"treadle resume --all {SERVICE}:single --store {database}" in err
    rest = go_on(child, err)
    code, out, _ = finish(rest, messages=3)
    assert code == 0
    assert "4 runs: 4 completed" in out
    assert [run.status for run in anyio.run(runs, database)] == ["completed"] * 4
    assert count(marks)["worked"] == 4


def test_those_that_were_begun_can_be_resumed_alone(
    child: Start, database: str, marks: Path, messages: str
) -> None:
    command = at_second(child, database, messages, "--grace", "0")
    command.tell(signal.SIGTERM)
    _, _, err = command.ended()
    [line] = [line for line in err.splitlines() if line.startswith("  treadle resume")]
    assert finish(child(*TREADLE, *shlex.split(line)[1:]), messages=1)[0] == 0
    assert [run.status for run in anyio.run(runs, database)] == ["completed"] * 2
    assert finish(go_on(child, err), messages=2)[0] == 0
    assert count(marks)["worked"] == 4


def test_after_a_kill_the_labels_say_how_far_a_file_came_and_its_batch_goes_on(
    child: Start, database: str, marks: Path, messages: str
) -> None:
    command = at_second(child, database, messages)
    command.tell(signal.SIGKILL)
    command.ended()
    listed = child(*TREADLE, "runs", "--store", database, "--json").ended()[1].splitlines()
    labels = [json.loads(line)["labels"] for line in listed]
    assert [one["line"] for one in labels] == ["3", "1"]
    assert {one["input"] for one in labels} == {messages}
    [batch] = {one["batch"] for one in labels}
    assert f"line=3 batch={batch}" in child(*TREADLE, "runs", "--store", database).ended()[1]
    again = ("run", f"{SERVICE}:single", "--input", messages, "--store", database, "--batch", batch)
    code, out, _ = finish(child(*TREADLE, *again, "--concurrency", "1"), messages=3)
    assert (code, "4 runs: 4 completed" in out) == (0, True)
    assert count(marks)["worked"] == 4


def test_a_batch_that_is_done_runs_nothing_again(
    child: Start, database: str, marks: Path, messages: str
) -> None:
    command = ("run", f"{SERVICE}:single", "--input", messages, "--store", database, "--batch", "monday")
    assert finish(child(*TREADLE, *command, "--concurrency", "1"), messages=4)[0] == 0
    code, out, _ = child(*TREADLE, *command).ended()
    assert (code, "4 of 4 messages were begun before, 4 of them over" in out) == (0, True)
    assert count(marks)["worked"] == 4


def test_a_command_that_a_body_holds_up_says_what_goes_on_too(
    child: Start, database: str, marks: Path, messages: str
) -> None:
    command = child(*TREADLE, "run", f"{SERVICE}:careless", "--input", messages, "--store", database,
                    "--grace", "0", "--batch", "stuck")  # fmt: skip
    command.until("blocking")
    command.tell(signal.SIGTERM)
    code, _, err = command.ended()
    assert code == 143
    assert "stopped at once; what was recorded is kept, and `treadle run " in err
    assert "--batch stuck" in err


def test_a_file_in_memory_says_that_it_is_gone(child: Start, marks: Path, messages: str) -> None:
    command = at_second(child, "memory:", messages, "--grace", "0")
    command.tell(signal.SIGTERM)
    code, out, err = command.ended()
    assert code == 143
    assert "1 run: 1 completed" in out
    assert "gone" in err
    assert "treadle resume" not in err
