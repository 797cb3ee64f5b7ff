"""``Demand``: which vertices are needed, by whom, and what an outcome does to those who wait for it.

It knows neither events nor commands.  What it finds out stands in three lists that the scheduler
empties: ``ready`` (inputs are there), ``finished`` (an outcome still to be carried on) and ``orphans``
(held by nobody any more).  Nothing here recurses: plans may be a hundred thousand vertices deep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar, cast

from treadle.errors import AllFailed
from treadle.events import Failure
from treadle.failure import written
from treadle.ids import PartId, within
from treadle.retry import qualified_name
from treadle.scheduler.program import Indices, Kind, Program
from treadle.scheduler.states import CANCELLING, DECIDING, DONE, FAILED, IDLE, NAMES, PARKED, WAITING

_ALL_FAILED: Final = tuple(qualified_name(c) for c in AllFailed.__mro__ if c not in (object, BaseException))
"""What a race fails with, as a failure names it."""

_NOBODY: Final[tuple[int, ...]] = ()
_FALLBACK: Final = Kind.FALLBACK
_RACE: Final = Kind.RACE

T = TypeVar("T")


class Demand:
    """The state of each vertex, and the holds between them.

    A vertex *counts on* what it waits for, and *loosely* holds what it will need whichever way it
    decides.  Each list is indexed as the program's vertices.

    Thousands of runs and items begin alike.  What they rarely change they share with the one that
    ``share`` gave, in forms that refuse a change; a method that changes any of it takes ``_own`` first.

    Attributes:
        states: ``IDLE`` and so on.
        missing: How many unfinished vertices a waiting one counts on.
        needs: How many holds there are on an unfinished vertex; the result has one of its own.
        holders: Who counts on a vertex, or did before its outcome was carried on, once for each hold; as
            a tuple where other runs that began alike may share it.
        chosen: The case of a choice, the present rung of a fallback, or the winner of a race.
        failures: Why a vertex failed.
        reached: The rung that each fallback has come to: failures of those before it were taken for good.
        hops: The fallbacks that have just gone on, with the rung before: taken back where the run ended
            before anything of the next rung could begin.
        inside: The item or round whose demand it is.
    """

    __slots__ = (
        "_adrift", "_gone", "_is_shared", "_program", "chosen", "failures", "finished", "holders", "hops",
        "inside", "missing", "needs", "orphans", "reached", "ready", "states",
    )  # fmt: skip

    def __init__(self, program: Program) -> None:
        size = len(program.ids)
        self._program = program
        self.inside = PartId("")
        self.states = [DONE if kind is Kind.INPUT else IDLE for kind in program.kinds]
        self.missing = [0] * size
        self.needs = [0] * size
        self.holders: list[list[int] | tuple[int, ...]] = [_NOBODY] * size
        self.chosen: dict[int, int] = {}
        self.failures: dict[int, Failure] = {}
        self.reached: dict[int, int] = {}
        self.hops: list[tuple[int, int]] = []
        self.ready: list[int] = []
        self.finished: list[int] = []
        self.orphans: list[int] = []
        self._gone: dict[int, list[int]] = {}
        self._adrift: frozenset[int] = frozenset()
        self._is_shared = False

    def begin(self) -> None:
        """Demand the run's result."""
        self._own()
        self.needs[self._program.result] = 1
        self.demand([self._program.result])

    def share(self) -> Demand:
        """Make one that runs which begin alike are copied from, with what they have in common."""
        made = self.copy()
        made._is_shared = True  # noqa: SLF001 - its own, here and below
        made.needs = _fixed(self.needs)
        made.holders = _fixed([*map(tuple, self.holders)])
        made.orphans, made.hops = _fixed(self.orphans), _fixed(self.hops)
        made.chosen, made.failures = _locked(self.chosen), _locked(self.failures)
        made.reached = _locked(self.reached)
        made._gone = _locked({need: _fixed(gone) for need, gone in self._gone.items()})  # noqa: SLF001
        return made

    def copy(self) -> Demand:
        """Begin as a shared one began."""
        made = Demand.__new__(Demand)
        made._program = self._program  # noqa: SLF001 - its own, here and below
        made._is_shared = self._is_shared  # noqa: SLF001
        made.inside = self.inside
        made.states, made.missing = self.states.copy(), self.missing.copy()
        made.ready, made.finished = self.ready.copy(), self.finished.copy()
        made.needs, made.holders, made.orphans = self.needs, self.holders, self.orphans
        made.chosen, made.failures = self.chosen, self.failures
        made.reached, made.hops = self.reached, self.hops
        made._gone, made._adrift = self._gone, self._adrift  # noqa: SLF001
        return made

    def _own(self) -> None:
        """Share nothing any more."""
        if self._is_shared:
            self._is_shared = False
            self.needs, self.holders = [*self.needs], [*self.holders]
            self.orphans, self.hops = [*self.orphans], [*self.hops]
            self.chosen, self.failures = {**self.chosen}, {**self.failures}
            self.reached = {**self.reached}
            self._gone = {need: [*gone] for need, gone in self._gone.items()}

    def let_result_go(self) -> None:
        """Take the hold on the result away; what only it needed is looked at once outcomes have travelled."""
        self._own()
        self._let_go(self._program.result)

    def forget(self) -> None:
        """Forget every failure and every hold: what is done stays done, and what was taken stays taken."""
        self._own()
        while self.hops:
            vertex, before = self.hops.pop()
            self.reached[vertex] = before
        for vertex, state in enumerate(self.states):
            if state != DONE:
                self.states[vertex] = IDLE
                self.chosen.pop(vertex, None)
            self.holders[vertex] = _NOBODY
        self.missing = [0] * len(self.states)
        self.needs = [0] * len(self.states)
        self.failures.clear()
        self.orphans.clear()
        self._gone.clear()
        self._adrift = frozenset()

    # -- taking hold ---------------------------------------------------------------------------------

    def demand(self, stack: list[int]) -> None:
        """Demand vertices that are idle, and all they need to begin with."""
        self._own()
        states, program = self.states, self._program
        while stack:
            vertex = stack.pop()
            if states[vertex] != IDLE:
                continue
            states[vertex] = WAITING
            kind = program.kinds[vertex]
            if kind is _FALLBACK:
                self._hold_rung(vertex, self.reached.get(vertex, 0), stack)
                continue
            if kind is _RACE:
                self._hold_runners(vertex, stack)
                continue
            failed = self._hold(vertex, program.inputs[vertex], stack)
            if failed is not None:
                self._mark_failed(vertex, failed)
                continue
            for need in program.common[vertex]:
                self._hold_loosely(need, stack)
            if not self.missing[vertex]:
                self.ready.append(vertex)

    def take_case(self, vertex: int, case: int) -> None:
        """Hold the case a choice has come to, then let go of what was held for all of them."""
        self._own()
        stack: list[int] = []
        _, loose = self._held_by(vertex)
        self._adrift -= {vertex}
        self.states[vertex] = WAITING
        self.chosen[vertex] = case
        failed = self._hold(vertex, self._program.cases[vertex][case], stack)
        for need in loose:
            self._let_go(need)
        if failed is not None:
            self._mark_failed(vertex, failed)
        elif not self.missing[vertex]:
            self.ready.append(vertex)
        self.demand(stack)

    def _hold(self, vertex: int, wanted: Indices, stack: list[int]) -> Failure | None:
        """Count on some vertices; give the failure of the first that has failed, holding none then."""
        states, holders, needs = self.states, self.holders, self.needs
        for need in wanted:
            if states[need] == FAILED:
                return self.failures[need]
        missing = 0
        for need in wanted:
            state = states[need]
            if state != DONE:
                missing += 1
                held = holders[need]
                if type(held) is not list:
                    held = holders[need] = [*held]
                held.append(vertex)
                needs[need] += 1
                if state == IDLE:
                    stack.append(need)
        self.missing[vertex] = missing
        return None

    def _hold_loosely(self, need: int, stack: list[int]) -> None:
        """Demand a vertex that will be needed, without counting on it yet."""
        if self.states[need] < DONE:
            self.needs[need] += 1
            if self.states[need] == IDLE:
                stack.append(need)

    def _hold_rung(self, vertex: int, rung: int, stack: list[int]) -> None:
        """Count on a rung of a fallback, or on the first later one that has not failed already."""
        cases = self._program.cases[vertex]
        while True:
            self.chosen[vertex] = rung
            failed = self._hold(vertex, cases[rung], stack)
            if failed is None:
                break
            if rung + 1 == len(cases) or not self._takes(vertex, failed):
                self._mark_failed(vertex, failed)
                return
            rung = self._hop(vertex, rung)
        if not self.missing[vertex]:
            self.ready.append(vertex)

    def _hold_runners(self, vertex: int, stack: list[int]) -> None:
        """Count on every runner of a race that has not failed already; one that is done wins at once."""
        runners = self._program.inputs[vertex]
        arrived = next((one for one in runners if self.states[one] == DONE), None)
        if arrived is not None:
            self._win(vertex, arrived)
            return
        lost = next((one for one in runners if self._is_lost(one)), None)
        running = [one for one in runners if self.states[one] != FAILED]
        if lost is not None or not running:
            self._mark_failed(vertex, self._defeat(vertex, lost))
            return
        self._hold(vertex, tuple(running), stack)

    def _win(self, vertex: int, runner: int) -> None:
        """Settle a race: what it comes to is what this runner came to."""
        self.chosen[vertex] = next(
            case for case, wanted in enumerate(self._program.cases[vertex]) if runner in wanted
        )
        self.missing[vertex] = 0
        self.ready.append(vertex)

    def _is_lost(self, runner: int) -> bool:
        """Whether a runner failed in a way that nobody may take."""
        return self.states[runner] == FAILED and not self.failures[runner].takeable

    def _defeat(self, vertex: int, lost: int | None) -> Failure:
        """Why a race failed: one runner in a way that nobody may take, or all of them."""
        if lost is not None:
            return self.failures[lost]
        failures = [self.failures[runner] for runner in self._program.inputs[vertex]]
        told = "; ".join(f"{failure.node or 'a runner'}: {failure.message}" for failure in failures)
        return replace(
            failures[-1],
            types=_ALL_FAILED,
            message=f"all {len(failures)} runners of the race failed: {told}",
            node=within(self.inside, self._program.ids[vertex]),
            attempt=0,
            where="",
            details={"failures": written(failures)},
        )

    def _takes(self, vertex: int, failure: Failure) -> bool:
        on = self._program.on[vertex]
        return failure.takeable and (not on or any(name in on for name in failure.types))

    # -- letting go ----------------------------------------------------------------------------------

    def abandon(self, vertex: int) -> None:
        """Make a waiting vertex idle, as if it had never been demanded."""
        self._own()
        self.states[vertex] = IDLE
        self._let_go_of_all(vertex, again=True)
        self.chosen.pop(vertex, None)

    def let_drift(self, vertex: int) -> None:
        """Let go of what a vertex holds loosely while it is being decided, because nobody needs it.

        Where somebody needs it again before it is decided, it waits for the decision alone.
        """
        self._own()
        _, loose = self._held_by(vertex)
        self._adrift |= {vertex}
        for need in loose:
            self._let_go(need)

    def leave_undecided(self, vertex: int) -> None:
        """Make a choice idle that was decided when nobody needed it any more."""
        self.let_drift(vertex)
        self._adrift -= {vertex}
        self.states[vertex] = IDLE

    def _let_go(self, need: int) -> None:
        """Take one hold away; what nobody holds any more is looked at once outcomes have travelled."""
        if self.states[need] >= DONE:
            return
        self.needs[need] -= 1
        if not self.needs[need]:
            self.orphans.append(need)

    def _let_go_of_all(self, vertex: int, *, again: bool) -> None:
        """Let go of whatever an unfinished vertex holds; ``again``: it may come to count on it later.

        An unfinished input was unfinished when it was held, so exactly these are held now.
        """
        counted, loose = self._held_by(vertex)
        if again:
            self._note_gone(vertex, counted)
        for need in counted:
            self._let_go(need)
        for need in loose:
            self._let_go(need)

    def _note_gone(self, vertex: int, counted: Indices) -> None:
        """Have outcomes of what a vertex counted on pass it by, those on their way too.

        Taking its entries out of long lists of holders would cost as much as they are long.
        """
        for need in counted:
            if self.holders[need]:
                self._gone.setdefault(need, []).append(vertex)

    def _held_by(self, vertex: int) -> tuple[Indices, Indices]:
        """What an unfinished vertex counts on, and what it holds loosely; done ones are among them."""
        chosen = self.chosen.get(vertex)
        if chosen is not None:
            return self._program.cases[vertex][chosen], ()
        loose = () if vertex in self._adrift else self._program.common[vertex]
        return self._program.inputs[vertex], loose

    # -- outcomes ------------------------------------------------------------------------------------

    def finish(self, vertex: int) -> None:
        """Note that a vertex is done; ``arrive`` carries it on."""
        self.states[vertex] = DONE
        self.finished.append(vertex)

    def fail(self, vertex: int, failure: Failure) -> None:
        """Fail a vertex that holds its inputs, or a rung, or a case; ``arrive`` carries it on."""
        self._own()
        self._let_go_of_all(vertex, again=False)
        if self._adrift:
            self._adrift -= {vertex}
        self._mark_failed(vertex, failure)

    def _mark_failed(self, vertex: int, failure: Failure) -> None:
        self.states[vertex] = FAILED
        self.failures[vertex] = failure
        self.finished.append(vertex)

    def arrive(self, vertex: int) -> None:
        """Tell those who count on a vertex that it is done, or has failed."""
        holders = self.holders[vertex]
        if not holders:
            return
        if self._gone and vertex in self._gone:
            self._own()
            holders = _without(holders, self._gone.pop(vertex))
        states = self.states
        if states[vertex] == FAILED:
            self._own()
            failure = self.failures[vertex]
            for holder in holders:
                if states[holder] == WAITING:
                    self._fail_or_go_on(holder, vertex, failure)
            return
        missing, kinds = self.missing, self._program.kinds
        for holder in holders:
            if states[holder] == WAITING:
                if kinds[holder] is _RACE:
                    self._arrive_first(holder, vertex)
                    continue
                missing[holder] -= 1
                if not missing[holder]:
                    self.ready.append(holder)

    def _arrive_first(self, vertex: int, runner: int) -> None:
        """Let a race be won, unless it has been already, and let go of the losers."""
        if vertex in self.chosen:
            return
        self._own()
        self._let_go_of_all(vertex, again=True)
        self._win(vertex, runner)

    def _fall_out(self, vertex: int, runner: int) -> None:
        """Go on with the other runners of a race, or fail with all of them."""
        if vertex in self.chosen:
            return
        self.missing[vertex] -= 1
        if self._is_lost(runner):
            self.fail(vertex, self._defeat(vertex, runner))
        elif not self.missing[vertex]:
            self.fail(vertex, self._defeat(vertex, None))

    def _fail_or_go_on(self, vertex: int, need: int, failure: Failure) -> None:
        kind = self._program.kinds[vertex]
        if kind is _RACE:
            self._fall_out(vertex, need)
            return
        if kind is not _FALLBACK:
            self.fail(vertex, failure)
            return
        rung = self.chosen[vertex]
        if rung + 1 == len(self._program.cases[vertex]) or not self._takes(vertex, failure):
            self.fail(vertex, failure)
            return
        self._let_go_of_all(vertex, again=True)
        stack: list[int] = []
        self._hold_rung(vertex, self._hop(vertex, rung), stack)
        self.demand(stack)

    def _hop(self, vertex: int, rung: int) -> int:
        """Take the failure of a rung, and give the next."""
        self.hops.append((vertex, rung))
        self.reached[vertex] = rung + 1
        return rung + 1

    # -- looking inside ------------------------------------------------------------------------------

    def check(self, *, is_held: bool = True) -> None:
        """Recompute all counts, and raise ``AssertionError`` where they differ.

        Args:
            is_held: Whether somebody needs the result.
        """
        states, ids = self.states, self._program.ids
        assert not [*self.ready, *self.finished, *self.orphans], "something was left lying"
        assert {v for v, state in enumerate(states) if state == FAILED} == set(self.failures)
        held = [0] * len(states)
        held[self._program.result] = int(is_held)
        for vertex, state in enumerate(states):
            if state not in (WAITING, DECIDING):
                continue
            counted, loose = self._held_by(vertex)
            unfinished = [need for need in counted if states[need] < DONE]
            assert self.missing[vertex] == len(unfinished), f"{ids[vertex]} miscounts its inputs"
            assert state == DECIDING or unfinished, f"{ids[vertex]} waits for nothing"
            for need in (*unfinished, *(need for need in loose if states[need] < DONE)):
                held[need] += 1
        for vertex, state in enumerate(states):
            if state < DONE:
                assert self.needs[vertex] == held[vertex], f"{ids[vertex]} miscounts its holders"
                assert bool(held[vertex]) == (state != IDLE) or state in (CANCELLING, DECIDING, PARKED), (
                    f"{ids[vertex]} is {NAMES[state]} with {held[vertex]} holders"
                )


def _fixed(items: list[T]) -> list[T]:
    """The same items, in a form that refuses a change."""
    return cast("list[T]", tuple(items))


def _locked(items: dict[int, T]) -> dict[int, T]:
    """The same, of what is found by vertex."""
    return cast("dict[int, T]", MappingProxyType(items.copy()))


def _without(holders: Iterable[int], gone: list[int]) -> list[int]:
    """The holders but for so many entries of each that has gone."""
    left = Counter(gone)
    kept: list[int] = []
    for holder in holders:
        if left[holder]:
            left[holder] -= 1
        else:
            kept.append(holder)
    return kept
