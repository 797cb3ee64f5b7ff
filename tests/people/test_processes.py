"""Several processes and one run: one works on it, all can ask for something, and nothing happens twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
from working_process import errand, favour

from treadle import Engine
from treadle.engine.handle import RunHandle
from treadle.errors import OwnedElsewhere, RunCancelled, RunExists
from treadle.events import CancelRequested, QuestionAnswered, RunResumed, RunStarted

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]
SCRIPT = str(Path(__file__).with_name("working_process.py"))
RUN = "r-together"


class Worker:
    """Another process, that says what it does line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    async def says(self) -> str:
        assert self.process.stdout is not None
        with anyio.fail_after(20):
            return (await anyio.to_thread.run_sync(self.process.stdout.readline)).strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def worker(database: str, *arguments: str) -> Generator[Worker]:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, database, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def workers(database: str, *commands: tuple[str, ...]) -> Generator[list[Worker]]:
    with ExitStack() as stack:
        yield [stack.enter_context(worker(database, *command)) for command in commands]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """What this process runs on; the others do on asyncio."""
    return request.param


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where the nodes leave a line each time they run."""
    return tmp_path / "marks.txt"


def count(marks: Path) -> Counter[str]:
    return Counter(marks.read_text().split())


async def history(database: str, run: str = RUN) -> list:
    async with Engine(database) as engine:
        return [recorded.event for recorded in await engine.store.read(run)]


async def kinds(database: str) -> Counter[str]:
    return Counter(type(event).__name__ for event in await history(database))


async def asked(database: str) -> str:
    """The question of the run, once it is asked."""
    async with Engine(database) as engine:
        with anyio.fail_after(10):
            while not (found := await engine.questions()):
                await anyio.lowlevel.checkpoint()
        return found[0].id


async def park(database: str, marks: Path) -> str:
    """Leave a run that waits for a person, owned by nobody; give its question."""
    async with Engine(database) as engine:
        handle = await engine.start(favour, str(marks), run_id=RUN)
        assert await handle.settled() == "waiting"
        return handle.questions[0]


async def test_two_tasks_start_the_same_run_and_both_get_its_result(database: str, marks: Path) -> None:
    handles: list[RunHandle[str]] = []

    async def begin(engine: Engine) -> None:
        handles.append(await engine.start(favour, str(marks), run_id=RUN))

    async with Engine(database) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(begin, engine)
            group.start_soon(begin, engine)
        await handles[0].settled()
        await engine.answer(handles[0].questions[0], True, by="boss")
        results = [await handle.result() for handle in handles]
    assert results == ["first second True"] * 2
    assert count(marks) == {"first": 1, "second": 1}


async def test_a_run_id_with_other_inputs_is_refused(database: str, marks: Path) -> None:
    await park(database, marks)
    async with Engine(database) as engine:
        with pytest.raises(RunExists, match="other inputs"):
            await engine.start(favour, "elsewhere", run_id=RUN)


async def test_two_processes_start_the_same_run_and_both_get_its_result(database: str, marks: Path) -> None:
    command = ("errand", RUN, str(marks))
    async with Engine(database, graphs=[errand]):
        pass  # so that the database is there
    with workers(database, command, command) as both:
        for each in both:
            assert await each.says() == "open"
        for each in both:
            each.go()
        lines = [await both[0].says(), await both[1].says()]
        assert lines == [f"running {RUN}"] * 2
        question = await asked(database)
        async with Engine(database) as engine:
            await engine.answer(question, True, by="boss")
        for each in both:
            each.go()  # one of them holds; to the other it says nothing
        lines = [await each.says() for each in both]
        lines.append(await both[lines.index("holding")].says())
        assert sorted(lines) == ["first held True", "first held True", "holding"]
    assert count(marks) == {"first": 1, "hold": 1}


async def test_of_two_processes_that_resume_a_run_one_goes_on_and_the_other_hears_who(
    database: str, marks: Path
) -> None:
    with worker(database, "errand", RUN, str(marks)) as first:
        await first.says()
        first.go()
        assert [await first.says(), await first.says()] == [f"running {RUN}", "holding"]
        first.kill()
    with workers(database, ("resume", RUN), ("resume", RUN)) as both:
        for each in both:
            assert await each.says() == "open"
        for each in both:
            each.go()
        lines = sorted([await each.says() for each in both])
        assert lines[1] == f"running {RUN}"
        assert lines[0].startswith(f"OwnedElsewhere: run '{RUN}' is owned by process ")
        assert any(f"process {each.process.pid} " in lines[0] for each in both)
        await asked(database)
    assert (await kinds(database))["RunResumed"] == 1


async def test_a_killed_owner_frees_its_run_at_once(database: str, marks: Path) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        await asked(database)  # so that the mark is recorded
        async with Engine(database, graphs=[errand]) as engine:
            with pytest.raises(OwnedElsewhere) as refused:
                await engine.resume(RUN)
            assert f"process {owner.process.pid} " in refused.value.owner
            owner.kill()
            handle = await engine.resume(RUN)
            assert handle.status == "running"
    assert count(marks)["first"] == 1


async def test_who_started_a_run_that_another_process_works_on_takes_it_over_when_that_dies(
    database: str, marks: Path
) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        await asked(database)
        async with Engine(database, graphs=[errand]) as engine:
            handle = await engine.start(errand, str(marks), run_id=RUN)
            assert handle.status == "running"
            owner.kill()
            with anyio.fail_after(5):
                while RUN not in engine.loops:
                    await anyio.lowlevel.checkpoint()
    assert count(marks)["first"] == 1


async def test_an_answer_reaches_the_process_at_work(database: str, marks: Path) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        question = await asked(database)
        async with Engine(database) as engine:
            await engine.answer(question, True, by="boss")
            with anyio.fail_after(3):
                while await engine.store.requests(RUN):
                    await anyio.lowlevel.checkpoint()
        owner.go()
        assert await owner.says() == "first held True"
    assert count(marks) == {"first": 1, "hold": 1}
    assert (await kinds(database))["QuestionAnswered"] == 1


async def test_an_answer_to_a_killed_process_is_taken_up_once_by_the_next(database: str, marks: Path) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        question = await asked(database)
        owner.kill()
    async with Engine(database) as engine:
        await engine.answer(question, True, by="boss")
    with worker(database, "resume", RUN) as heir:
        await heir.says()
        heir.go()
        assert sorted([await heir.says(), await heir.says()]) == ["holding", f"running {RUN}"]
        heir.go()
        assert await heir.says() == "first held True"
    assert count(marks) == {"first": 1, "hold": 2}
    assert (await kinds(database))["QuestionAnswered"] == 1


async def test_an_answer_given_while_nobody_works_is_taken_up_by_whoever_opens_next(
    database: str, marks: Path
) -> None:
    question = await park(database, marks)
    async with Engine(database) as engine:  # knows not the graph
        await engine.answer(question, True, by="boss")
        assert (await engine.store.run(RUN)).status == "pending"
    async with Engine(database, graphs=[favour]) as engine:
        with anyio.fail_after(3):
            async for recorded in (await engine.start(favour, str(marks), run_id=RUN)).events():
                last = recorded.event
    assert last.status == "completed"
    assert count(marks) == {"first": 1, "second": 1}


@pytest.mark.parametrize("servers", [1, 3])
async def test_a_run_that_waits_is_brought_back_by_one_of_the_engines_that_look(
    database: str, marks: Path, servers: int
) -> None:
    question = await park(database, marks)
    with workers(database, *[("serve",)] * servers) as engines:
        for each in engines:
            assert await each.says() == "open"
        async with Engine(database) as engine:
            await engine.answer(question, True, by="boss")
            with anyio.fail_after(5):
                while (await engine.store.run(RUN)).status != "completed":
                    await anyio.lowlevel.checkpoint()
    events = await history(database)
    assert [type(event) for event in events[-4:-1]].count(QuestionAnswered) <= 1
    assert sum(isinstance(event, QuestionAnswered) for event in events) == 1
    assert sum(isinstance(event, RunResumed) for event in events) == 1
    assert count(marks) == {"first": 1, "second": 1}


async def test_a_handle_hears_how_its_run_ended_in_another_process(database: str, marks: Path) -> None:
    async with Engine(database, graphs=[favour]) as engine:
        handle = await engine.start(favour, str(marks), run_id=RUN)
        assert await handle.settled() == "waiting"
        with worker(database, "resume", RUN) as other:
            await other.says()
            other.go()
            assert await other.says() == f"running {RUN}"
            await engine.answer(handle.questions[0], True, by="boss")
            with anyio.fail_after(5):
                assert await handle.result() == "first second True"
            assert await other.says() == "first second True"
    assert (await kinds(database))["QuestionAnswered"] == 1


async def test_a_cancellation_stops_the_process_at_work(database: str, marks: Path) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        async with Engine(database) as engine:
            await engine.cancel(RUN, by="maria", reason="too dear")
            await engine.cancel(RUN, by="maria", reason="too dear")
        assert (await owner.says()).startswith("RunCancelled: ")
    events = await history(database)
    [asked] = [event for event in events if isinstance(event, CancelRequested)]
    assert (asked.by, asked.reason) == ("maria", "too dear")


async def test_a_cancellation_of_a_killed_process_is_carried_out_by_the_next(
    database: str, marks: Path
) -> None:
    with worker(database, "errand", RUN, str(marks)) as owner:
        await owner.says()
        owner.go()
        assert [await owner.says(), await owner.says()] == [f"running {RUN}", "holding"]
        owner.kill()
    async with Engine(database) as engine:
        await engine.cancel(RUN, by="maria")
    async with Engine(database, graphs=[errand]) as engine:
        handle = await engine.resume(RUN)
        with pytest.raises(RunCancelled):
            await handle.result()
    found = await kinds(database)
    assert (found["CancelRequested"], found["RunEnded"]) == (1, 1)
    assert isinstance((await history(database))[0], RunStarted)
