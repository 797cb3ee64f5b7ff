"""``crash_everywhere``: a graph is crashed at each append and each command, taken up, and compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import anyio

from treadle.engine.engine import Engine
from treadle.errors import TreadleError
from treadle.events import Recorded
from treadle.ids import RunId
from treadle.interfaces import Clock, Question, Store
from treadle.nodes.graph import Graph
from treadle.scheduler.commands import Command
from treadle.stores import MemoryStore
from treadle.testing.crash_report import WAYS, Crash, CrashReport, How
from treadle.testing.crashing import Crashed, CrashingLog, CrashingStore, When
from treadle.testing.outcomes import Outcome, differences, read_outcome

R = TypeVar("R")

RUN: Final = RunId("r-crashed-everywhere")
_MOST: Final = 10_000


def run_again(question: Question) -> object:
    """Answer that an effect in doubt is to be tried again, under the same idempotency key."""
    del question
    return {"outcome": "run_again"}


class _Fate:
    """Where one process ends; without ``how`` it only counts.

    Attributes:
        commands: Commands so far.
        what: What it was struck at; nothing as long as it was not.
        stop: Set where it is to end when the event loop has come round.
    """

    def __init__(self, how: How | None = None, at: int = 0) -> None:
        self.at = at
        self.commands = 0
        self.what = ""
        self.stop = anyio.Event()
        self.store: CrashingStore | None = None
        self._when, _, self._place = (how or " ").partition(" ")

    def over(self, inner: Store) -> CrashingStore:
        """Put a store around another one, where the process meets its end."""
        is_lazy = self._when == "unflushed"
        self.store = CrashingStore(inner, self.strike, is_lazy=is_lazy)
        return self.store

    def strike(self, number: int, when: When, log: CrashingLog | None) -> None:
        """Take note of an append, and end the process where it was to."""
        del log
        wanted: When = "before" if self._when in {"before", "unflushed"} else "after"
        if self._place != "append" or number != self.at or when != wanted:
            return
        events = () if self.store is None else self.store.newest
        self.what = ", ".join(event.kind for event in events) or "a request"
        if self._when == "closed":
            self.stop.set()
        else:
            raise Crashed(f"taken for dead at append {number}")

    def watch(self, command: Command) -> None:
        """Take note of a command, and end the process where it was to."""
        self.commands += 1
        if self._place != "command" or self.commands != self.at:
            return
        self.what = " ".join([type(command).__name__, getattr(command, "node", "")]).strip()
        if self._when == "after":
            self.stop.set()
            return
        self._die()
        raise Crashed(f"taken for dead at command {self.commands}")

    async def wait(self, scope: anyio.CancelScope) -> None:
        """End the process at its next chance, once that is due."""
        await self.stop.wait()
        if self._place == "command":
            self._die()
        scope.cancel()

    def _die(self) -> None:
        if self.store is not None:
            self.store.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial(Generic[R]):
    """What is run again and again."""

    graph: Graph[..., R]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    answer: Callable[[Question], object] | None
    doubt: Callable[[Question], object]
    effects: Callable[[], object]
    resources: Sequence[object]
    clock: Clock | None
    fails: bool

    async def work(self, store: Store, fate: _Fate) -> Any:
        """Start the run or take it up in an engine of its own, until it ends or its fate comes.

        Raises:
            Crashed: The process was struck.
        """
        value: Any = None
        error: TreadleError | None = None
        async with (
            Engine(store, resources=self.resources, clock=self.clock) as engine,
            anyio.create_task_group() as tasks,
        ):
            engine.services.watch_command = fate.watch
            tasks.start_soon(fate.wait, tasks.cancel_scope)
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
            for question in (await engine.questions(run_id=RUN))[:1]:  # it may make others needless
                await engine.answer(
                    question.id, self._say(question), by="crash_everywhere", opening=question.opening
                )
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
            return self.doubt(question)
        if self.answer is None:
            raise AssertionError(
                f"the run asks {question.to!r}: {question.prompt!r}; "
                "write crash_everywhere(..., answer=lambda question: ...)"
            )
        return self.answer(question)

    async def outcome(self, store: Store, value: Any) -> Outcome:
        """Read what the ended run left behind."""
        await store.open()
        try:
            return await read_outcome(store, RUN, value=value, effects=self.effects())
        finally:
            await store.aclose()


async def crash_everywhere(
    graph: Graph[..., R],
    /,
    *args: Any,
    answer: Callable[[Question], object] | None = None,
    doubt: Callable[[Question], object] = run_again,
    effects: Callable[[], object] | None = None,
    store: Callable[[], Store] = MemoryStore,
    resources: Iterable[object] = (),
    clock: Clock | None = None,
    fails: bool = False,
    at_most: int | None = None,
    **kwargs: Any,
) -> CrashReport[R]:
    """Crash a run of a graph at every append and every command, and demand what an undisturbed run gives.

    Each crash is a run of its own in a new store: an engine loses its store before an append, after
    it, or with all that nobody had flushed, or is closed there, or is followed by one that is crashed
    while it takes the run up; or it stops before or after a command of the scheduler, such as the start
    of an attempt.  A fresh engine resumes.  Then the result, or how
    the run failed, must be the undisturbed one; nothing that was recorded may have been changed or
    done again; every request must be charged once, one that was under way as lost, with what was
    held for it; the history must verify, and the ledger be the sum of what was settled.
    It is all in this process: nothing is killed.

    Args:
        graph: A deterministic graph; it is run about five times as often as it makes appends, and twice
            as often as it has nodes.
        args, kwargs: Its inputs; those named like an option here, by position.
        answer: Answers the questions the run asks people.
        doubt: Answers whether an effect in doubt happened; by default it is tried again, under the same
            idempotency key, which the question's ``prompt`` names.
        effects: Gives what the run did outside since it was last called, such as the rows it wrote; that
            must be the same whatever happens.
        store: Makes a new, empty store, in memory by default.
        resources, clock: As for ``Engine``.
        fails: Whether the run is to fail; then a crash must not change how.
        at_most: How many crashes of each kind, spread over the run; every one by default.

    Returns:
        What was done; print it for a table.

    Raises:
        AssertionError: A crash made a difference; the text says where it was, and which.
        TreadleError: The run failed, without any crash or because of one.

    Example::

        report = await crash_everywhere(support, ticket, answer=lambda question: {"answer": "Done."})
        print(report)
    """
    trial = _Trial(
        graph=graph,
        args=args,
        kwargs=kwargs,
        answer=answer,
        doubt=doubt,
        effects=effects or (lambda: None),
        resources=tuple(resources),
        clock=clock,
        fails=fails,
    )
    counting = _Fate()
    counted = counting.over(store())
    trial.effects()
    wanted = await trial.outcome(counted.inner, await trial.work(counted, counting))
    crashes: list[Crash] = []
    for number, how in enumerate(WAYS):
        last = counted.appends if how.endswith("append") else counting.commands
        for at in _places(last, at_most, skip=number):
            crash = await _crash(trial, wanted, store(), how, at)
            if crash is None:
                break
            crashes.append(crash)
    value: Any = wanted.value
    return CrashReport(
        graph=graph.name, value=value, appends=counted.appends, commands=counting.commands, crashes=crashes
    )


def _places(last: int, at_most: int | None, *, skip: int) -> Iterable[int]:
    """Where to crash: everywhere, or at so many places, which are others for each kind of crash."""
    if at_most is None:
        return range(1, _MOST)
    return sorted({1 + (last * place // at_most + skip) % last for place in range(at_most)})


async def _crash(trial: _Trial[Any], wanted: Outcome, inner: Store, how: How, at: int) -> Crash | None:
    """Crash one run and take it up; ``None`` where it was over before."""
    fate = _Fate(how, at)
    await _die(trial, inner, fate)
    if not fate.what:
        trial.effects()
        return None
    if how == "again append":
        await _die(trial, inner, _Fate("after append", 1))
    place = f"{how} {at} ({fate.what})"
    before = await _read(inner)
    try:
        value = await trial.work(inner, _Fate())
    except TreadleError as error:
        raise AssertionError(f"crashed {place}: the run could not be taken up: {error}") from error
    found = await trial.outcome(inner, value)
    for difference in differences(wanted, before, found):
        raise AssertionError(f"crashed {place}: {difference}")
    return Crash(how=how, at=at, what=fate.what, recorded=len(before), doubts=found.doubts, lost=found.lost)


async def _die(trial: _Trial[Any], inner: Store, fate: _Fate) -> None:
    """Let a process of its own work on the run until its fate comes, or the run ends."""
    with contextlib.suppress(Crashed):
        try:
            await trial.work(fate.over(inner), fate)
        except BaseExceptionGroup as group:
            _, others = group.split(Crashed)
            if others is not None:
                raise


async def _read(store: Store) -> list[Recorded]:
    """What is recorded of the run; nothing where it was never started."""
    await store.open()
    try:
        known = await store.runs()
        return await store.read(RUN) if known else []
    finally:
        await store.aclose()
