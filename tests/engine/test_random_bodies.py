"""Random bodies of steps, with failures, people and effects, killed at random appends and taken up again."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.engine.conftest import MortalStore
from tests.engine.random_bodies import FLAKY, PROGRAMS, Oracle, Program, World, performed, told_apart

from treadle import Engine
from treadle.events import Event, StepCompleted, StepFailed, StepStarted
from treadle.ids import RunId
from treadle.stores import MemoryStore

pytestmark = pytest.mark.timeout(1800)
RUN = RunId("r")


class Countdown:
    """Whether so many events were appended, this one included."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, event: Event) -> bool:
        self.left -= 1
        return self.left <= 0


async def live(store: Any, program: Program, world: World, *, death: int, is_before: bool) -> Any:
    """One life of an engine: to the end of the run, or to its death."""
    when = Countdown(death) if death else (lambda _event: False)
    mortal = MortalStore(store, **{"before" if is_before else "after": when})
    world.is_dead = lambda: mortal.is_dead
    result: list[Any] = []
    async with Engine(mortal, graphs=[performed], resources=[world]) as engine:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_at, mortal.dead, tasks.cancel_scope)
                result.append(await work(engine, program))
                tasks.cancel_scope.cancel()
        is_dead = mortal.is_dead
        mortal.die()
    return [] if is_dead else result


async def work(engine: Engine, program: Program) -> Any:
    handle = await engine.start(performed, json.dumps(program), run_id=RUN)
    while await handle.settled() == "waiting":
        for question in await engine.questions(run_id=RUN):
            about = question.prompt.removeprefix("what ").removesuffix("?")
            await engine.answer(question.id, about, by="ann")
    return await handle.result()


async def _stop_at(dead: anyio.Event, scope: anyio.CancelScope) -> None:
    await dead.wait()
    scope.cancel()


def ends(events: list[Event]) -> Counter[str]:
    """How often each step of a leaf ended for good, by what is recorded."""
    began: dict[object, str] = {}
    found: Counter[str] = Counter()
    for event in events:
        if isinstance(event, StepStarted) and event.arguments is not None:
            arguments = event.arguments.json()
            began[event.node, event.attempt, event.step] = f"{event.callee} {arguments.get('name')}"
        elif isinstance(event, StepCompleted) or (isinstance(event, StepFailed) and is_refusal(event)):
            found[began.get((event.node, event.attempt, event.step), "")] += 1
    return Counter({what: count for what, count in found.items() if what[:4] in ("leaf", "pay ", "refu")})


def is_refusal(event: StepFailed) -> bool:
    return event.failure.type == "Refused"


async def check(program: Program, flaky: dict[str, int], deaths: list[tuple[int, bool]]) -> None:
    store, world, oracle = MemoryStore(), World(flaky=Counter(flaky)), Oracle(program)
    result: list[Any] = []
    for death, is_before in [*deaths, (0, False)]:
        result = await live(store, program, world, death=death, is_before=is_before)
        if result:
            break
    assert result == [oracle.said]
    assert ends([one.event for one in await store.read(RUN)]) == oracle.ends
    payments = sum(count for what, count in oracle.ends.items() if what.startswith("pay "))
    assert sorted(world.paid.values()) == [1] * payments
    assert world.differences == []


@example(  # a function that finds out while another failure is being dealt with
    program=[["inner", False, [["both", [["call", "b"]], [["pay", "a"]]]]]],
    flaky={"before a": 2, "b": 2},
    deaths=[(7, True)],
    backend="asyncio",
)
@example(  # a crash between the failure of a step, with an effect inside, and that of its attempt
    program=[
        ["inner", False, [["inner", False, [["both",
            [["pay", "c"], ["call", "c"], ["ask", "b"]], [["call", "b"], ["call", "c"], ["ask", "c"]],
        ]]]]]
    ],
    flaky={"b": 2},
    deaths=[(21, True)],
    backend="asyncio",
)  # fmt: skip
@example(  # a failure, recorded beside an effect in doubt, that reaches the resumed body first
    program=[["both", [["pay", "a"]], [["call", "a"]]]],
    flaky={"a": 1},
    deaths=[(5, False)],
    backend="trio",
)
@given(
    program=PROGRAMS,
    flaky=FLAKY,
    deaths=st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=4),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_nothing_recorded_runs_again_and_the_result_is_the_undisturbed_one(
    program: Program, flaky: dict[str, int], deaths: list[tuple[int, bool]], backend: str
) -> None:
    anyio.run(check, told_apart(json.loads(json.dumps(program))), flaky, deaths, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_equal_calls_side_by_side_of_which_one_stands_behind_a_person_are_told_apart(backend: str) -> None:
    sides = [[["ask", "b"], ["pay", "a"]], [["pay", "a"], ["call", "b"]]]
    anyio.run(check, [["both", *sides], ["ask", "a"]], {}, [], backend=backend)
