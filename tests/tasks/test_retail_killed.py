"""The tasks of a shop's customers, solved by a process that is killed at a call and by the next one.

What must come out of it is what comes out undisturbed: the shop as it must be, nothing written twice, no
call made again whose result is recorded, and every request to the model charged once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import pytest
from retail_desk import WRITE_NAMES
from retail_process import RUN, Order
from retail_shop import Shop, copy_of
from retail_tasks import GOODBYE, SCHEMA, answer, expected, tasks, went_well

from treadle.events import Event, StepCompleted, StepStarted
from treadle.messages import ModelRequest
from treadle.stores import SqliteStore
from treadle.testing import ModelServer, ScriptedModel
from treadle.testing.outcomes import Outcome, differences, read_outcome

pytestmark = [pytest.mark.anyio, pytest.mark.attack, pytest.mark.timeout(3600)]

Place = Literal["begun", "acted", "told"]
"""Before a call does anything; after it has, before anybody knows; when the model is told of it."""

SAMPLE, SEED = 4, 20261122


@pytest.fixture
def anyio_backend() -> str:
    """For reading what was recorded; the processes run on asyncio and trio by turns."""
    return "asyncio"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A process dies while it solves a task, at its so-many-th call."""

    task: str
    place: Place
    at: int

    def __str__(self) -> str:
        return f"task {self.task}, {self.place} {self.at}"

    @property
    def name(self) -> str:
        """Which tool is called there."""
        return tasks()[self.task].calls[self.at - 1][0]

    @property
    def is_known(self) -> bool:
        """Whether a call that was begun there need not, or must not, be made again."""
        return self.name in WRITE_NAMES and expected()[self.task].went_well[self.at - 1]


def kills(place: Place) -> list[Kill]:
    """Every call of every task."""
    return [
        Kill(task=task.id, place=place, at=at)
        for task in tasks().values()
        for at in range(1, len(task.calls) + 1)
    ]


class Desk:
    """Where processes work, one after another, each run in a folder of its own."""

    def __init__(self, template: Path, folder: Path, forker: subprocess.Popen[str]) -> None:
        self._template = template
        self._folder = folder
        self._forker = forker
        self._count = 0
        self._undisturbed: dict[str, Outcome] = {}

    def new(self) -> Path:
        """A folder with an untouched shop."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        copy_of(self._template, folder / "shop.db")
        return folder

    def process(self, order: Order) -> dict[str, int]:
        """Run a process to its end, and say how it ended."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(f"{json.dumps(asdict(order))}\n")
        self._forker.stdin.flush()
        ended: dict[str, int] = json.loads(self._forker.stdout.readline())
        return ended

    async def undisturbed(self, task: str) -> Outcome:
        """What a task comes to when nobody is killed."""
        if task not in self._undisturbed:
            folder = self.new()
            with ModelServer(ScriptedModel(answer), check=SCHEMA) as server:
                assert self.process(Order(task=task, url=server.url, folder=str(folder))) == {"code": 0}
            self._undisturbed[task] = await kept(folder)
            assert calls(folder) == [name for name, _ in tasks()[task].calls]
        return self._undisturbed[task]


@pytest.fixture(scope="module")
def desk(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    command = [sys.executable, str(Path(__file__).with_name("retail_process.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forker:
        yield Desk(template, tmp_path_factory.mktemp("desk"), forker)
        assert forker.stdin is not None
        forker.stdin.close()


async def kept(folder: Path) -> Outcome:
    """What is recorded of the run in a folder; its effects are what has changed in the shop."""
    shop = Shop(folder / "shop.db")
    store = SqliteStore(str(folder / "runs.db"))
    await store.open()
    try:
        return await read_outcome(store, RUN, value=GOODBYE, effects=shop.changed())
    finally:
        await store.aclose()
        shop.close()


def calls(folder: Path) -> list[str]:
    """The calls the shop in a folder has had."""
    shop = Shop(folder / "shop.db")
    made = shop.calls
    shop.close()
    return made


def killing(kill: Kill, folder: Path) -> ScriptedModel:
    """A model that kills who asks it, once, where that is due."""
    left = [kill.at] if kill.place == "told" else []

    def says(request: ModelRequest) -> object:
        if sum(message.role == "tool" for message in request.messages) in left:
            left.clear()
            os.kill(int((folder / "process").read_text()), signal.SIGKILL)
        return answer(request)

    return ScriptedModel(says)


async def strike(desk: Desk, kill: Kill) -> None:
    """Kill a process at a call, have another one take its run up, and compare."""
    wanted, folder = await desk.undisturbed(kill.task), desk.new()
    backend = ("asyncio", "trio")[kill.at % 2]
    death = "" if kill.place == "told" else kill.place
    with ModelServer(killing(kill, folder), check=SCHEMA) as server:
        again = Order(task=kill.task, url=server.url, folder=str(folder), backend=backend)
        first = replace(again, death=death, at=kill.at)
        assert desk.process(first) == {"signal": signal.SIGKILL}
        before, asked = await kept(folder), len(server.received)
        assert len(went_well(before.events)) == kill.at - (kill.place != "told")
        assert desk.process(again) == {"code": 0}
        sent = Counter(json.dumps(received.body) for received in server.received)
    found = await kept(folder)
    assert list(differences(wanted, before.history, found)) == []
    assert found.effects == expected()[kill.task].changed
    assert went_well(found.events) == expected()[kill.task].went_well
    assert found.doubts == 0
    check_calls(kill, calls(folder))
    check_requests(kill, sent, asked - answers(before.events))


def check_calls(kill: Kill, made: list[str]) -> None:
    """Each call was made once; again only what only looks, or did nothing, and is not recorded."""
    wanted = Counter(name for name, _ in tasks()[kill.task].calls)
    again = Counter({kill.name: 1} if kill.place == "acted" and not kill.is_known else {})
    assert Counter(made) == wanted + again


def answers(events: list[Event]) -> int:
    """How many answers of the model are recorded."""
    models = {
        event.step for event in events if isinstance(event, StepStarted) and event.callee_kind == "model"
    }
    return sum(isinstance(event, StepCompleted) and event.step in models for event in events)


def check_requests(kill: Kill, sent: Counter[str], unknown: int) -> None:
    """Each request reached the model once; again only one whose answer was not recorded.

    A call that only looks begins while the answer that asks for it is still on its way to the disk.
    """
    assert len(sent) == len(tasks()[kill.task].calls) + 1
    assert Counter(sent.values())[2] == sent.total() - len(sent) == unknown
    assert unknown in ({1} if kill.place == "told" else {0} if kill.name in WRITE_NAMES else {0, 1})


@pytest.mark.parametrize("place", get_args(Place))
async def test_a_task_is_solved_though_its_process_is_killed_at_any_call(
    desk: Desk, place: Place, long_form: bool
) -> None:
    every = kills(place)
    assert len(every) == 375
    for kill in every if long_form else random.Random(f"{SEED} {place}").sample(every, SAMPLE):
        try:
            await strike(desk, kill)
        except AssertionError as error:
            raise AssertionError(f"{kill}: {error}") from error


async def strike_again_and_again(desk: Desk, task: str, every: int) -> None:
    """Let each process make so many calls and die as it begins the next, until one ends the run."""
    wanted, folder = await desk.undisturbed(task), desk.new()
    with ModelServer(ScriptedModel(answer), check=SCHEMA) as server:
        dying = Order(task=task, url=server.url, folder=str(folder), death="begun", at=every + 1)
        before, deaths = wanted, 0
        while desk.process(dying) != {"code": 0}:
            before, deaths = await kept(folder), deaths + 1
            assert len(went_well(before.events)) == every * deaths
        assert deaths == (len(tasks()[task].calls) - 1) // every
        sent = Counter(json.dumps(received.body) for received in server.received)
    found = await kept(folder)
    assert not deaths or list(differences(wanted, before.history, found)) == []
    assert found.effects == expected()[task].changed
    assert calls(folder) == [name for name, _ in tasks()[task].calls]
    assert len(sent) == len(tasks()[task].calls) + 1
    assert sent.total() <= len(sent) + deaths


@pytest.mark.parametrize("every", [1, 2, 3])
async def test_a_task_is_solved_though_every_process_dies_after_a_few_calls(
    desk: Desk, every: int, long_form: bool
) -> None:
    longest = sorted(tasks(), key=lambda task: -len(tasks()[task].calls))
    for task in longest if long_form else longest[every : every + 1]:
        try:
            await strike_again_and_again(desk, task, every)
        except AssertionError as error:
            raise AssertionError(f"task {task}: {error}") from error
