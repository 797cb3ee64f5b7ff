"""``crash_everywhere``: a graph is crashed at each of its appends, taken up, and compared."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import anyio

from treadle.engine.engine import Engine
from treadle.errors import TreadleError
from treadle.events import (
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAsked,
    Recorded,
    RunEnded,
    StepCompleted,
    StepStarted,
)
from treadle.ids import RunId
from treadle.interfaces import Clock, LedgerLine, Question, Store
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing.crashing import Crashed, CrashingLog, CrashingStore, Strike, When

R = TypeVar("R")

How = Literal["before", "after", "unflushed", "closed"]
"""How a process ends at an append: ``"before"`` and ``"after"`` it is recorded, ``"unflushed"`` with all
lost that nobody had flushed, ``"closed"`` in good order: the engine is closed right after it."""

WAYS: Final[tuple[How, ...]] = ("before", "after", "unflushed", "closed")
RUN: Final = RunId("r-crashed-everywhere")
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport(Generic[R]):
    """What ``crash_everywhere`` did.

    Attributes:
        value: The undisturbed result; ``None`` where the run fails, as it was said to.
        appends: Appends of the undisturbed run.
        struck: How often an unfinished run was struck.
        doubts: How often a person was asked whether an effect had happened.
    """

    value: R | None
    appends: int
    struck: int
    doubts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a run came to, and what it left behind."""

    history: Sequence[Recorded]
    value: Any
    effects: object
    ledger: Sequence[LedgerLine]
    faults: Sequence[object]
    questions: Sequence[str]

    @property
    def events(self) -> list[Event]:
        return [record.event for record in self.history]

    @property
    def end(self) -> tuple[object, ...]:
        """How it ended, in terms that a crash must not change."""
        end = next(event for event in reversed(self.events) if isinstance(event, RunEnded))
        result = None if end.result is None else end.result.data
        return (end.status, result, () if end.failure is None else end.failure.types)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial(Generic[R]):
    """What is run again and again."""

    graph: Graph[..., R]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    answer: Callable[[Question], object] | None
    effects: Callable[[], object]
    resources: Sequence[object]
    clock: Clock | None
    fails: bool

    async def work(self, store: Store, stop: anyio.Event | None = None) -> Any:
        """Start the run or take it up in an engine of its own, until it ends or ``stop`` is set.

        Raises:
            Crashed: The store struck.
        """
        value: Any = None
        error: TreadleError | None = None
        async with (
            Engine(store, resources=self.resources, clock=self.clock) as engine,
            anyio.create_task_group() as tasks,
        ):
            if stop is not None:
                tasks.start_soon(_cancel_at, stop, tasks.cancel_scope)
            try:
                value = await self._drive(engine)
            except TreadleError as raised:
                error = raised
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        return value

    async def _drive(self, engine: Engine) -> Any:
        handle = await engine.start(self.graph, *self.args, run_id=RUN, **self.kwargs)
        while await handle.settled() == "waiting":
            for question in await engine.questions(run_id=RUN):
                await engine.answer(question.id, self._say(question), by="crash_everywhere")
        try:
            return await handle.result()
        except Crashed:
            raise
        except TreadleError:
            if not self.fails:
                raise
            return None  # how it failed is compared as it was recorded

    def _say(self, question: Question) -> object:
        if question.about == "doubt":
            return {"outcome": "run_again"}
        if self.answer is None:
            raise AssertionError(
                f"the run asks {question.to!r}: {question.prompt!r}; "
                "write crash_everywhere(..., answer=lambda question: ...)"
            )
        return self.answer(question)

    async def outcome(self, store: Store, value: Any) -> _Outcome:
        """Read what the ended run left behind."""
        await store.open()
        try:
            history = await store.read(RUN)
            return _Outcome(
                history=history,
                value=value,
                effects=self.effects(),
                ledger=await store.ledger(RUN),
                faults=await store.verify(RUN, head=history[-1].hash),
                questions=[question.prompt for question in await store.questions(run_id=RUN)],
            )
        finally:
            await store.aclose()


async def crash_everywhere(
    graph: Graph[..., R],
    /,
    *args: Any,
    answer: Callable[[Question], object] | None = None,
    effects: Callable[[], object] | None = None,
    store: Callable[[], Store] = MemoryStore,
    resources: Iterable[object] = (),
    clock: Clock | None = None,
    fails: bool = False,
    **kwargs: Any,
) -> CrashReport[R]:
    """Crash a run of a graph at every append it makes, take it up, and demand what an undisturbed run gives.

    Each crash is a run of its own in a new store: an engine loses its store before an append, after
    it, or with all that nobody had flushed, or is closed there; a fresh engine resumes.  Then the
    result, or how the run failed, must be the undisturbed one; nothing that was recorded may have
    been changed or done again; the history must verify, and the ledger hold what was settled.
    It is all in this process: nothing is killed.

    Args:
        graph: A deterministic graph; it is run about four times as often as it makes appends.
        args, kwargs: Its inputs; those named like an option here, by position.
        answer: Answers the questions the run asks people.  Whether an effect in doubt happened is
            answered by trying again, under the same idempotency key.
        effects: Gives what the run did outside since it was last called, such as the rows it wrote; that
            must be the same whatever happens.
        store: Makes a new, empty store, in memory by default.
        resources, clock: As for ``Engine``.
        fails: Whether the run is to fail; then a crash must not change how.

    Raises:
        AssertionError: A crash made a difference; the text says where it was, and which.
        TreadleError: The run failed, without any crash or because of one.

    Example::

        report = await crash_everywhere(support, ticket, answer=lambda question: {"answer": "Done."})
        assert report.struck > 0
    """
    trial = _Trial(
        graph=graph,
        args=args,
        kwargs=kwargs,
        answer=answer,
        effects=effects or (lambda: None),
        resources=tuple(resources),
        clock=clock,
        fails=fails,
    )
    counting = CrashingStore(store(), lambda _number, _when, _log: None)
    trial.effects()
    wanted = await trial.outcome(counting.inner, await trial.work(counting))
    struck = doubts = 0
    for how in WAYS:
        for at in range(1, _MOST):
            found = await _crash(trial, wanted, store(), how, at)
            if found is None:
                break
            struck += 1
            doubts += found
    return CrashReport(value=wanted.value, appends=counting.appends, struck=struck, doubts=doubts)


async def _crash(trial: _Trial[Any], wanted: _Outcome, inner: Store, how: How, at: int) -> int | None:
    """Crash one run and take it up; give how many effects were in doubt, ``None`` where it was over."""
    stop = anyio.Event()
    store = CrashingStore(inner, _striker(how, at, stop), is_lazy=how == "unflushed")
    with contextlib.suppress(Crashed):
        try:
            await trial.work(store, stop)
        except BaseExceptionGroup as group:
            _, others = group.split(Crashed)
            if others is not None:
                raise
    if store.appends < at:
        trial.effects()
        return None
    place = f"{how} append {at} ({', '.join(event.kind for event in store.newest) or 'a request'})"
    before = await _read(inner)
    try:
        value = await trial.work(inner)
    except TreadleError as error:
        raise AssertionError(f"crashed {place}: the run could not be taken up: {error}") from error
    found = await trial.outcome(inner, value)
    _compare(wanted, before, found, place)
    doubts = [e for e in found.events if isinstance(e, QuestionAsked) and e.about == "doubt"]
    return len(doubts)


def _striker(how: How, at: int, stop: anyio.Event) -> Strike:
    wanted: When = "after" if how in ("after", "closed") else "before"

    def strike(number: int, when: When, log: CrashingLog | None) -> None:
        del log
        if number != at or when != wanted:
            return
        if how == "closed":
            stop.set()
            return
        raise Crashed(f"taken for dead at append {number}")

    return strike


async def _cancel_at(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _read(store: Store) -> list[Recorded]:
    """What is recorded of the run; nothing where it was never started."""
    await store.open()
    try:
        known = await store.runs()
        return await store.read(RUN) if known else []
    finally:
        await store.aclose()


def _compare(wanted: _Outcome, before: Sequence[Recorded], found: _Outcome, place: str) -> None:
    """Raise where the crash made a difference."""
    ended = Counter(_ended(found.events))
    begun, told = _intents(found.events)
    twice = [what for what, count in ended.items() if count > 1]
    held = [event for event in found.events if isinstance(event, MoneyHeld)]
    settled = [event for event in found.events if isinstance(event, MoneySettled)]
    again = sum(event.outcome in ("lost", "cancelled") for event in settled)
    most = sum(isinstance(event, MoneyHeld) for event in wanted.events) + again
    checks: list[tuple[bool, str]] = [
        (found.end == wanted.end, f"the run ended with {found.end!r}, undisturbed with {wanted.end!r}"),
        (found.effects == wanted.effects, f"it did {found.effects!r}, undisturbed {wanted.effects!r}"),
        (list(found.history[: len(before)]) == list(before), "what was recorded before has changed"),
        (not found.faults, f"the history does not verify: {found.faults}"),
        (not found.questions, f"questions are left open: {found.questions}"),
        (not twice, f"recorded work was done again: {twice}"),
        (begun <= _intents(wanted.events)[0] + told, f"effects began {begun} times, {told} on an answer"),
        (len(held) <= most, f"{len(held)} requests were paid for, {most} were to be"),
        (len(held) == len(settled), f"{len(held)} holds, but {len(settled)} settlements"),
        (_charged(found), "the ledger is not the sum of what was settled"),
    ]
    for holds, what in checks:
        if not holds:
            raise AssertionError(f"crashed {place}: {what}")


def _ended(events: Iterable[Event]) -> Iterable[object]:
    """What may happen once in a run: a node's or a call's completion."""
    for event in events:
        if isinstance(event, NodeCompleted):
            yield event.node
        elif isinstance(event, StepCompleted):
            yield (event.node, event.attempt, event.step)


def _intents(events: Iterable[Event]) -> tuple[int, int]:
    """How often an effect began, and how often a person was asked whether one had happened."""
    listed = list(events)
    begun = sum(isinstance(event, StepStarted) and event.once for event in listed)
    return begun, sum(isinstance(event, QuestionAsked) and event.about == "doubt" for event in listed)


def _charged(found: _Outcome) -> bool:
    settled = [event for event in found.events if isinstance(event, MoneySettled)]
    lines = [line for line in found.ledger if line.account == "run"]
    usd = sum((event.charged.usd for event in settled), start=0)
    return sum((line.usd for line in lines), start=0) == usd and sum(line.requests for line in lines) == len(
        settled
    )
