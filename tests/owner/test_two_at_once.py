"""Several processes and one run: it runs once, whoever starts or resumes it, and hears of everything once."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import apsw
import pytest
from tests.owner.conftest import RUN, Start, Worker, count, events, kinds, open_gate, question
from tests.owner.process import GRAPHS

from treadle import Engine
from treadle.errors import RunCancelled
from treadle.events import QuestionAnswered, RunResumed

pytestmark = pytest.mark.timeout(1800)  # for the long form


def at_once(*workers: Worker) -> list[str]:
    """Let processes begin at the same instant, and give the last line of each."""
    for one in workers:
        one.go()
    said: list[str] = []
    for one in workers:
        lines: list[str] = []
        while line := one.says():
            lines.append(line)
        said.append(" / ".join(lines))
    return said


@pytest.mark.attack
def test_processes_that_start_a_run_at_the_same_instant_run_it_once_and_all_get_its_result(
    worker: Start, database: str, folder: Path, long_form: bool
) -> None:
    rounds, processes = (100, 3) if long_form else (1, 2)
    for number in range(rounds):
        run = f"r{number}"
        workers = [worker("start", "short", run=run) for _ in range(processes)]
        assert at_once(*workers) == ["begun / paid / done"] * processes
        assert kinds(database, run)["RunStarted"] == 1
        assert kinds(database, run)["RunEnded"] == 1
    assert count(folder) == {"paid": rounds}


@pytest.mark.attack
def test_of_processes_that_resume_a_run_one_goes_on_and_the_others_hear_who_holds_it(
    worker: Start, database: str, folder: Path, long_form: bool
) -> None:
    first = worker("start", "errand")
    first.go()
    assert first.says() == "begun"
    asked = question(database)
    first.kill()
    for number in range(50 if long_form else 1):
        both = [worker("resume"), worker("resume")]
        for one in both:
            one.go()
        said = {one.pid: one.says() for one in both}
        [owner] = [one for one in both if said[one.pid] == "begun"]
        [other] = [words for words in said.values() if words != "begun"]
        assert other.startswith(f"OwnedElsewhere: run 'r' is owned by process {owner.pid} ")
        assert kinds(database)["RunResumed"] == number + 1
        owner.kill()
    assert count(folder)["paid"] == 1
    assert question(database) == asked


@pytest.fixture
def owner(worker: Start, database: str) -> Worker:
    """A process in the middle of the run, whose question is asked."""
    one = worker("start", "errand")
    one.go()
    assert one.says() == "begun"
    question(database)
    return one


def stop(one: Worker, database: str) -> None:
    """Stop a process as a debugger would, in a moment in which it writes nothing: whoever stands then keeps
    the file locked, for everybody."""
    status = Path(f"/proc/{one.pid}/stat")
    connection = apsw.Connection(database.removeprefix("sqlite:///"))
    while True:
        one.process.send_signal(signal.SIGSTOP)
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            pass
        try:
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.BusyError:
            one.process.send_signal(signal.SIGCONT)
        else:
            connection.close()
            return


def test_a_stopped_owner_keeps_its_run_and_finishes_it_when_it_wakes(
    owner: Worker, worker: Start, database: str, folder: Path
) -> None:
    stop(owner, database)
    other = worker("resume")
    [said] = at_once(other)
    assert said.startswith(f"OwnedElsewhere: run 'r' is owned by process {owner.pid} ")
    at_once(worker("answer", question(database)))
    open_gate(folder)
    owner.process.send_signal(signal.SIGCONT)
    assert owner.says() == "paid worked True"
    found = kinds(database)
    assert (found["QuestionAnswered"], found["RunEnded"]) == (1, 1)
    resumed = {event.owner for event in events(database) if isinstance(event, RunResumed)}
    assert {name.rpartition(":")[2] for name in resumed} <= {
        str(owner.pid)
    }  # where the answer came after work
    assert count(folder) == {"paid": 1, "began": 1, "worked": 1}


def test_a_stopped_owner_that_was_overtaken_can_append_nothing_when_it_wakes(
    owner: Worker, database: str, folder: Path
) -> None:
    stop(owner, database)
    Path(f"{folder / 'runs.db'}-locks").unlink()  # what must not be done: now nobody sees its lock
    heads: list[str] = []

    async def overtake() -> None:
        async with Engine(database, graphs=GRAPHS.values()) as engine:
            handle = await engine.resume(RUN)
            await engine.answer((await engine.questions())[0].id, True, by="boss")
            open_gate(folder)
            assert await handle.result() == "paid worked True"
            heads.append((await engine.store.run(RUN)).head)

    anyio.run(overtake)
    owner.process.send_signal(signal.SIGCONT)
    assert owner.says().startswith("OwnershipLost: ")

    async def head() -> str:
        async with Engine(database) as engine:
            assert await engine.store.verify(RUN, head=heads[0]) == []
            return (await engine.store.run(RUN)).head

    assert anyio.run(head) == heads[0]
    assert kinds(database)["RunEnded"] == 1
    assert count(folder)["paid"] == 1


@pytest.mark.parametrize("where", ["at work", "killed", "absent"])
@pytest.mark.parametrize("wanted", ["answer", "cancel"])
def test_what_another_process_asks_for_is_done_exactly_once(
    worker: Start, database: str, folder: Path, wanted: str, where: str
) -> None:
    one = worker("start", "errand")
    one.go()
    assert one.says() == "begun"
    asked = question(database)
    if where != "at work":
        one.kill()
    if where == "absent":
        anyio.run(_let_go, database)
    argument = asked if wanted == "answer" else "maria"
    askers = [worker(wanted, argument) for _ in range(2 if where == "at work" else 1)]
    assert at_once(*askers) == ["done"] * len(askers)
    open_gate(folder)
    said = one.says() if where == "at work" else anyio.run(_resume, database)
    assert (
        said
        == {"answer": "paid worked True", "cancel": "RunCancelled: run 'r' was cancelled by maria"}[wanted]
    )
    found = kinds(database)
    done = {"answer": "QuestionAnswered", "cancel": "CancelRequested"}[wanted]
    assert (found[done], found["RunEnded"]) == (1, 1)
    assert count(folder)["paid"] == 1


def _last(one: Worker) -> str:
    said = ""
    while line := one.says():
        said = line
    return said


async def _resume(database: str) -> str:
    async with Engine(database, graphs=GRAPHS.values()) as engine:
        try:
            return await (await engine.resume(RUN)).result()
        except RunCancelled as error:
            return f"RunCancelled: {error}"


async def _let_go(database: str) -> None:
    """Own the run for a moment and leave in good order."""
    async with Engine(database, graphs=GRAPHS.values()) as engine:
        await engine.resume(RUN)


@pytest.mark.attack
def test_answers_of_several_processes_to_a_run_that_is_killed_again_and_again_count_once(
    worker: Start, database: str, folder: Path, long_form: bool
) -> None:
    for number in range(50 if long_form else 1):
        run = f"r{number}"
        one = worker("start", "errand", run=run)
        one.go()
        assert one.says() == "begun"
        asked = question(database)
        askers = [worker("answer", asked, run=run) for _ in range(2)]
        for asker in askers:
            asker.go()
        one.kill()  # at the same instant
        assert [_last(asker) for asker in askers] == ["done", "done"]
        open_gate(folder)
        heir = worker("resume", run=run)
        assert at_once(heir) == ["begun / paid worked True / done"]
        answers = [event for event in events(database, run) if isinstance(event, QuestionAnswered)]
        assert [event.by for event in answers] == ["boss"]
        (folder / "gate").unlink()
