"""Random graphs in the real engine: results by the oracle, and replaying gives the commands there were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lazy_oracle import OK, Oracle
from live_graphs import Box, Live, Sequential, live
from random_plans import NUMBER, Row

from treadle.engine.engine import Engine
from treadle.errors import QuestionError, RunCancelled
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    NodeCompleted,
    QuestionAnswered,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
    RunStarted,
)
from treadle.scheduler.commands import Command
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.scheduler.scheduler import Scheduler

ROWS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=16)
MOVING = (
    RunStarted,
    NodeCompleted,
    Decided,
    AttemptFailed,
    AttemptParked,
    AttemptCancelled,
    QuestionAnswered,
    QuestionWithdrawn,
    CancelRequested,
    RunResumed,
    RunEnded,
)
Handled = list[tuple[Event, list[Command]]]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def recorded() -> Iterator[dict[Scheduler, Handled]]:
    """Note what each scheduler handles, and what it commands."""
    found: dict[Scheduler, Handled] = {}
    handle = Scheduler.handle

    def noting(self: Scheduler, event: Event) -> list[Command]:
        commands = handle(self, event)
        self.check_invariants()
        found.setdefault(self, []).append((event, list(commands)))  # the engine adds to what it is given
        return commands

    Scheduler.handle = noting  # type: ignore[method-assign]  # taken back below
    try:
        yield found
    finally:
        Scheduler.handle = handle  # type: ignore[method-assign]


@dataclass
class Outcome:
    """What a run came to."""

    history: list[Event] = field(default_factory=list)
    value: list[Box] | None = None
    error: BaseException | None = None

    @property
    def completed(self) -> set[str]:
        return {event.node for event in self.history if isinstance(event, NodeCompleted)}

    @property
    def ended(self) -> RunEnded:
        end = self.history[-1]
        assert isinstance(end, RunEnded)
        return end


async def run_to_end(made: Live, *, cancel_after: int = -1, is_eager: bool = False) -> Outcome:
    """Run a graph in an engine, answer whoever asks, and cancel it after some passes through the loop.

    An eager person answers while the body that asks is still being unwound, or has other things to do.
    """
    outcome = Outcome()
    async with Engine("memory:") as engine:
        handle = await engine.start(made.graph)
        if cancel_after >= 0:
            for _ in range(cancel_after):
                await checkpoint()
            await handle.cancel()
        with anyio.fail_after(20):
            while is_eager and handle.status in ("pending", "running", "waiting"):
                await answer_one(engine, made)
                await checkpoint()
            while await handle.settled() == "waiting":
                await answer_one(engine, made)
        try:
            outcome.value = await handle.result()
        except Exception as error:
            outcome.error = error
        outcome.history = [record.event for record in await handle.history()]
    return outcome


async def answer_one(engine: Engine, made: Live) -> None:
    for question in (await engine.questions())[:1]:
        box = Box(key=question.node, number=made.bodies[question.node].number)
        with suppress(QuestionError):  # withdrawn since it was listed
            await engine.answer(question.id, box, by="maria", opening=question.opening)


def check_replay(made: Live, outcome: Outcome, handled: dict[Scheduler, Handled]) -> None:
    """What each live scheduler was told and commanded is a beginning of what replaying gives."""
    program = compile_plan(made.graph.plan)
    _, commands = replay(outcome.history, lambda _: program)
    story = moving(zip(outcome.history, commands, strict=True))
    told = [moving(one) for one in handled.values()]
    assert all(one == story[: len(one)] for one in told)
    assert max(map(len, told)) == len(story)


def moving(handled: Iterable[tuple[Event, list[Command]]]) -> Handled:
    """Leave out what is only recorded, and says what was done and paid."""
    return [
        (event, commands)
        for event, commands in handled
        if isinstance(event, MOVING)
        and not (isinstance(event, QuestionWithdrawn) and event.why == "unneeded")
    ]


def check_outcome(made: Live, outcome: Outcome) -> None:
    """Where no order of completion matters, the run came to what running by hand comes to."""
    oracle = Oracle(made.scripted())
    if any(len(endings) > 1 for endings in (oracle.endings, *map(oracle.of, made.graph.plan.by_id))):
        return
    assert outcome.completed <= oracle.may_start
    (ending,) = oracle.endings
    if ending != OK:
        assert outcome.ended.failure is not None
        assert (outcome.ended.status, outcome.ended.failure.node) == ("failed", ending[0])
        return
    assert outcome.error is None
    assert outcome.value == Sequential(made).result()
    assert {one for one in oracle.must_finish if one in made.bodies} <= outcome.completed


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, is_eager=st.booleans())
def test_a_live_run_comes_to_what_the_oracle_says_and_its_replay_to_the_same_commands(
    backend: str, rows: list[Row], is_eager: bool
) -> None:
    made = live(rows)
    with recorded() as handled:
        outcome = anyio.run(partial(run_to_end, made, is_eager=is_eager), backend=backend)
    check_replay(made, outcome, handled)
    check_outcome(made, outcome)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, cancel_after=st.integers(0, 12))
def test_a_cancelled_live_run_replays_to_the_same_commands(
    backend: str, rows: list[Row], cancel_after: int
) -> None:
    made = live(rows)
    with recorded() as handled:
        outcome = anyio.run(partial(run_to_end, made, cancel_after=cancel_after), backend=backend)
    check_replay(made, outcome, handled)
    if outcome.ended.status == "cancelled":
        assert isinstance(outcome.error, RunCancelled)
    else:
        check_outcome(made, outcome)
