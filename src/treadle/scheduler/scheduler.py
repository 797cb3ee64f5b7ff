"""``Scheduler``: events in, commands out.

Theory of operation
-------------------
A run goes through *parts* (``part.py``): its own plan, and while they are under way one for each item of
an ``each`` and each round of a ``loop``.  A part's plan is a set of vertices (``program.py``); its result is
one more.  A vertex moves through these states, and only ``handle`` moves it::

    IDLE ----demanded----> WAITING --inputs there--> RUNNING ----> DONE
      ^                     |  | |                    |  |  |
      |                     |  | +--> DECIDING -------+  |  +----> FAILED (failures travel here too)
      |                     |  +----> OPEN (its items are under way) ---> DONE, FAILED
      +---nobody needs it---+----- CANCELLING <----------+
                                   PARKED <----> RUNNING

*Demand* (``demand.py``) starts at the result.  A vertex that is demanded holds what it needs; what is
held by an unfinished vertex is demanded.  A choice first holds its subject and, without counting on
them, the vertices all its cases need; once decided it holds the case taken.  A fallback holds one rung, a
race all its runners until one is done, an open ``each`` or ``loop`` the results of its items.

*Failure is an outcome.*  It reaches every vertex that counts on the failed one, and those that come
to count on it later; a fallback takes it and holds its next rung.  A vertex that has failed lets go
of what it held; whoever is then held by nobody is cancelled, withdrawn or no longer demanded.  When
failure reaches the result the run drains: nothing starts, what runs may finish.

*One event, four moves* (``course.py``): outcomes travel along the wires until they rest, and from an item
to what goes through the items; the run drains where its result has failed; what became ready starts, in the
order of the plan; what nobody holds any more is stopped.  These repeat until nothing moves.

Invariants (``check_invariants``): a vertex is demanded exactly when an unfinished one holds it, or
it is the run's result, or that of an item whose ``each`` is open; ``missing`` counts the unfinished inputs a
waiting vertex counts on; ``busy`` counts the vertices that owe an event; with ``busy`` at zero the run has
ended, or waits for people.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView
from typing import Any, ClassVar, Final

from treadle.errors import InDoubt, InternalError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    Failure,
    NodeCompleted,
    QuestionAnswered,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
    RunStarted,
)
from treadle.ids import NodeId, PartId, split
from treadle.retry import qualified_name
from treadle.scheduler.blame import blamed
from treadle.scheduler.commands import Command
from treadle.scheduler.course import Course
from treadle.scheduler.demand import Demand
from treadle.scheduler.opening import OPENING, Mode, Opening
from treadle.scheduler.part import Part
from treadle.scheduler.program import Kind, Program
from treadle.scheduler.states import CANCELLING, DECIDING, DONE, IDLE, NAMES, PARKED, RUNNING

_WORK, _EXPRESSION, _CHOICE = Kind.WORK, Kind.EXPRESSION, Kind.CHOICE
_ACTIVE = Mode.ACTIVE
IN_DOUBT: Final = qualified_name(InDoubt)
"""What a failure names that only the policy of the effect in doubt, or a person, settles."""


class Scheduler:
    """Decides what a run does next.  The same events give the same commands, always.

    Args:
        program: The compiled plan.
        seed: The run's; jitter of waits is drawn from it.

    Attributes:
        cancelled_by: The request that the run is being cancelled for, or was.
    """

    __slots__ = ("_course", "_is_refused", "_opening", "_program", "_seed", "cancelled_by")

    def __init__(self, program: Program, *, seed: str) -> None:
        self._program = program
        self._seed = seed
        self._opening: Opening | None = program.memo.get(OPENING)
        self._course = Course(
            program, Demand(program) if self._opening is None else self._opening.demand.copy()
        )
        self._is_refused = False
        self.cancelled_by: CancelRequested | None = None

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and give the commands it leads to, in the order of the plan.

        Kinds that say only what was done and paid lead to none.

        Raises:
            InternalError: The event cannot follow from what came before.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            return []
        course = self._course
        if course.left:
            course.forget_left()
        commands: list[Command] = []
        course.commands = commands
        handler(self, event)
        return commands

    @property
    def mode(self) -> Mode:
        """What the run as a whole is about."""
        return self._course.mode

    @property
    def busy(self) -> int:
        """How many vertices owe an event."""
        return self._course.busy

    @property
    def parked(self) -> KeysView[NodeId]:
        """The nodes that wait for people."""
        return self._course.parked.keys()

    @property
    def failure(self) -> Failure | None:
        """Why the run as a whole failed, once it has."""
        return self._course.root.demand.failures.get(self._program.result)

    @property
    def root(self) -> Part:
        """The state of the run's own part."""
        return self._course.root

    @property
    def chosen(self) -> dict[int, int]:
        """What the choices of the run's own part came to, by vertex."""
        return self._course.root.chosen

    def part(self, part: PartId) -> Part:
        """The state of a part that was entered, and was not left before the last event."""
        return self._course.parts[part]

    def state_of(self, node: NodeId) -> str:
        """The state of a node, in a word."""
        part, vertex = self._find(node)
        return NAMES[part.states[vertex]]

    def tries_of(self, node: NodeId) -> int:
        """How many attempts at a node have failed since the run last got fresh ones."""
        part, vertex = self._find(node)
        return part.tries.get(vertex, 0)

    def has(self, node: NodeId) -> bool:
        """Whether there is a node of this name, in a part that was entered and is not forgotten yet."""
        return self._find(node)[1] >= 0

    @property
    def blamed(self) -> set[NodeId]:
        """The work whose failures the run has failed with; no failure that was taken is among them."""
        return blamed(self._course.root)

    # -- events ------------------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> None:
        course = self._course
        if course.mode is not Mode.NEW:
            raise self._impossible(event, f"the run is {course.mode.value}")
        course.mode = Mode.ACTIVE
        root = course.root
        if self._opening is not None:
            self._begin_as_others(self._opening)
            return
        root.demand.begin()
        course.settle(root)
        if len(course.parts) == 1:
            self._program.memo[OPENING] = Opening(
                root.demand.share(), root.attempts.copy(), course.busy, course.mode, course.end,
                tuple(course.commands),
            )  # fmt: skip

    def _begin_as_others(self, opening: Opening) -> None:
        """Begin as every run of the plan does: finding out again would cost as much as the nodes."""
        course = self._course
        course.root.attempts = opening.attempts.copy()
        course.busy = opening.busy
        course.mode = opening.mode
        course.end = opening.end
        course.commands.extend(opening.commands)

    def _on_completed(self, event: NodeCompleted) -> None:
        course = self._course
        part = course.root
        vertex = self._program.index.get(event.node, -1)
        if vertex < 0 or part.states[vertex] != RUNNING or part.attempts[vertex] != event.attempt:
            part, vertex = self._running(event)  # not in the run's own part, or not as usual
        course.busy -= 1
        part.states[vertex] = DONE
        demand = part.demand
        demand.arrive(vertex)  # at once: where nothing failed, nothing else is under way
        ready = demand.ready
        if (
            len(ready) == 1
            and part.program.kinds[ready[0]] is _WORK
            and course.mode is _ACTIVE
            and not demand.orphans
        ):
            vertex = ready.pop()
            course.start(part, vertex, part.attempts[vertex] + 1)
        elif ready or demand.orphans or not course.busy:
            course.settle(part)

    def _on_decided(self, event: Decided) -> None:
        part, vertex = self._find(event.node)
        course = self._course
        if vertex < 0 or part.states[vertex] != DECIDING or course.mode is Mode.NEW:
            raise self._impossible(event, self._where(event.node))
        demand, kind = part.demand, part.program.kinds[vertex]
        last = part.program.last_choice(vertex)
        if event.failure is None and not 0 <= event.choice <= last:
            raise self._impossible(event, f"case {event.choice} of {event.node!r} is none of 0 to {last}")
        course.busy -= 1
        is_needed = bool(demand.needs[vertex]) and course.mode is _ACTIVE
        if event.failure is not None:
            demand.fail(vertex, event.failure)
        elif kind is _EXPRESSION:
            demand.finish(vertex)
        elif kind is _CHOICE and is_needed:
            demand.take_case(vertex, event.choice)
        elif kind is _CHOICE:
            demand.leave_undecided(vertex)
        elif is_needed:
            course.open(part, vertex, event.choice)
        else:
            part.states[vertex] = IDLE
        course.settle(part)

    def _on_failed(self, event: AttemptFailed) -> None:
        if event.claimed:
            self._take_over(event)
        part, vertex = self._running(event)
        self._course.busy -= 1
        stands = event.claimed and not event.tries  # it was taken under an earlier plan
        is_unneeded = part.states[vertex] == CANCELLING and not part.demand.needs[vertex] and not stands
        if IN_DOUBT in event.failure.types and (is_unneeded or self._course.mode is not _ACTIVE):
            part.note_doubt(vertex, event.failure, is_over=True)
        if is_unneeded:
            part.states[vertex] = IDLE
        elif stands or not self._retry(part, vertex, event):
            part.demand.fail(vertex, event.failure)
        self._course.settle(part)

    def _take_over(self, event: AttemptFailed) -> None:
        """Go on counting attempts where an earlier plan has stopped."""
        part, vertex = self._find(event.node)
        if vertex >= 0 and part.attempts[vertex] < event.attempt:
            part.attempts[vertex] = event.attempt

    def _retry(self, part: Part, vertex: int, event: AttemptFailed) -> bool:
        """Ask for another attempt where the policy grants one."""
        retry = part.program.retry[vertex]
        tries = part.count_try(vertex, event.tries)
        failure = event.failure
        is_ending = self._course.mode is not _ACTIVE
        if retry is None or is_ending or tries >= retry.attempts or not failure.takeable or failure.is_final:
            return False
        if not retry.matches(failure.types, retryable=failure.retryable):
            return False
        if event.claimed:
            self._course.start(part, vertex, event.attempt + 1, event.not_before)
            return True
        wait = retry.delay(tries, seed=f"{self._seed}:{event.node}", retry_after=failure.retry_after)
        self._course.start(part, vertex, event.attempt + 1, event.at + wait)
        return True

    def _on_parked(self, event: AttemptParked) -> None:
        part, vertex = self._running(event)
        course = self._course
        course.busy -= 1
        answered = part.answered.get(vertex)
        if course.mode is not _ACTIVE or not (part.demand.needs[vertex] or event.in_doubt):
            course.withdraw(part, vertex)
            if event.in_doubt:
                part.note_doubt(vertex)
        elif answered is not None and not answered.isdisjoint(event.questions):
            self._wake(part, vertex)  # an answer came while the attempt was being unwound
        else:
            course.park(part, vertex)
            if event.in_doubt:
                part.note_doubt(vertex)
        course.settle(part)

    def _on_cancelled(self, event: AttemptCancelled) -> None:
        part, vertex = self._running(event)
        self._course.busy -= 1
        part.states[vertex] = IDLE
        if self._course.mode is not _ACTIVE:
            part.note_doubt(vertex, is_over=True)  # whatever acted in it was cut off
        elif part.demand.needs[vertex]:
            self._course.start(part, vertex, event.attempt + 1)
        self._course.settle(part)

    def _on_withdrawn(self, event: QuestionWithdrawn) -> None:
        """A question nobody answered in time wakes its node as an answer does."""
        if event.why == "late":
            self._on_answered(event)

    def _on_answered(self, event: QuestionAnswered | QuestionWithdrawn) -> None:
        part, vertex = self._find(event.node)
        state = part.states[vertex] if vertex >= 0 else IDLE
        if state == PARKED:
            self._course.parked.pop(event.node, None)
            self._wake(part, vertex)
            self._course.settle(part)
        elif state in (RUNNING, CANCELLING):
            part.note_answer(vertex, event.question)

    def _wake(self, part: Part, vertex: int) -> None:
        """Go on with an attempt that waited for people; one that nobody needs settles its doubt."""
        if part.demand.needs[vertex]:
            self._course.start(part, vertex, part.attempts[vertex])
        else:
            self._course.settle_doubt(part, vertex, part.attempts[vertex])

    def _on_resumed(self, event: RunResumed) -> None:
        """Ask again for what was under way when the last owner went, and what failed where told to."""
        course = self._course
        end = course.end
        has_failed = course.mode is Mode.DRAINING or (end is not None and end.status == "failed")
        if course.mode is Mode.NEW:
            course.mode = Mode.ACTIVE
            course.root.take(Demand(self._program))
            course.root.demand.begin()
        elif course.mode is _ACTIVE:
            course.ask_again()
        elif has_failed and event.retry_failed:
            course.revive()
        elif end is None:
            course.forget_running()
        elif course.mode is Mode.FINISHING or (self._is_refused and event.retry_failed):
            course.end_run(end)
        course.settle(course.root)

    def _on_cancel_requested(self, event: CancelRequested) -> None:
        course = self._course
        if course.mode in (Mode.ACTIVE, Mode.DRAINING):
            self.cancelled_by = event
            course.mode = Mode.CANCELLING
            course.stop_everything(cancel=True)
            course.settle(course.root)

    def _on_ended(self, event: RunEnded) -> None:
        course = self._course
        if course.end is None or course.mode is not Mode.FINISHING:
            raise self._impossible(event, f"the run is {course.mode.value}")
        self._is_refused = event.status != course.end.status
        course.mode = Mode.ENDED

    _handlers: ClassVar[dict[type, Callable[[Scheduler, Any], None]]] = {
        NodeCompleted: _on_completed,
        Decided: _on_decided,
        AttemptFailed: _on_failed,
        AttemptParked: _on_parked,
        AttemptCancelled: _on_cancelled,
        QuestionAnswered: _on_answered,
        QuestionWithdrawn: _on_withdrawn,
        RunStarted: _on_started,
        RunResumed: _on_resumed,
        CancelRequested: _on_cancel_requested,
        RunEnded: _on_ended,
    }

    # -- looking inside ----------------------------------------------------------------------------

    def _find(self, node: NodeId) -> tuple[Part, int]:
        """Where a node stands; vertex -1 where there is none of this name."""
        root = self._course.root
        vertex = self._program.index.get(node, -1)
        if vertex >= 0:
            return root, vertex
        inside, name = split(node)
        part = self._course.parts.get(inside)
        return (root, -1) if part is None else (part, part.program.index.get(name, -1))

    def _running(
        self, event: NodeCompleted | AttemptFailed | AttemptParked | AttemptCancelled
    ) -> tuple[Part, int]:
        part, vertex = self._find(event.node)
        is_running = vertex >= 0 and part.states[vertex] in (RUNNING, CANCELLING)
        if not is_running or part.attempts[vertex] != event.attempt:
            raise self._impossible(event, self._where(event.node))
        return part, vertex

    def _where(self, node: NodeId) -> str:
        part, vertex = self._find(node)
        if vertex < 0:
            return f"the plan has no node {node!r}"
        return f"node {node!r} is {NAMES[part.states[vertex]]} (attempt {part.attempts[vertex]})"

    def _impossible(self, event: Event, where: str) -> InternalError:
        return InternalError(f"{type(event).__name__} cannot be: {where}; please report this: {self.story()}")

    def story(self) -> str:
        """What stands where, for a bug report: no values, only ids and states."""
        return self._course.story()

    def check_invariants(self) -> None:
        """Recompute what the state says twice, and raise ``AssertionError`` where it differs."""
        self._course.check()
