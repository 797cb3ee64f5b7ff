"""What a run's history offers to the calls of the plan it has now.

The history is walked as the run itself lived it: an attempt is offered when it is over; where another
plan came, all that the plan before had recorded is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from treadle.engine.claims import Claims
from treadle.engine.failed import Failed
from treadle.engine.former import Former
from treadle.engine.places import Places
from treadle.engine.records import NODE, AttemptKey, Histories, Identity, Origin, Spot, StepRecord, around
from treadle.engine.tries import Tried
from treadle.errors import InternalError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    Event,
    NodeCompleted,
    QuestionAsked,
    RunResumed,
    RunStarted,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from treadle.ids import NodeId, StepId
from treadle.plan.parts import WORK
from treadle.plan.plan import Plan
from treadle.scheduler.commands import Command
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import retrace
from treadle.scheduler.scheduler import Scheduler

_OF_NODES: Final = (NodeCompleted, AttemptFailed, StepStarted, StepCompleted, StepClaimed, QuestionAsked)
"""What tells that a node has what it is given."""


def recollect(events: Sequence[Event], claims: Claims, *, is_edited: bool) -> Histories:
    """Give the calls made under the present plan, and offer what is over and nobody has claimed since.

    Args:
        events: The whole history.
        claims: Where to offer.
        is_edited: Whether yet another plan comes now.
    """
    kinds: dict[str, str] = {}
    histories = Histories(kinds=kinds)
    pieces = list(_pieces(events))
    for number, (first, piece) in enumerate(pieces, start=1):
        is_left = is_edited or number < len(pieces)
        histories = Histories(kinds=kinds, plan=number if is_left else 0)
        over = _live_through(piece, histories, claims)
        if is_left:
            Left(events, first, piece, number).offer(histories, over, claims)
    return Histories(kinds=kinds) if is_edited else histories


def _pieces(events: Sequence[Event]) -> Iterator[tuple[int, Sequence[Event]]]:
    """Cut a history where it went on under another plan; with the index at which each piece begins."""
    cuts = [0]
    cuts += [i for i, event in enumerate(events) if isinstance(event, RunResumed) and event.plan is not None]
    for first, last in zip(cuts, [*cuts[1:], len(events)], strict=True):
        yield first, events[first:last]


def _live_through(piece: Sequence[Event], histories: Histories, claims: Claims) -> set[AttemptKey]:
    """Take in the events under one plan; give the attempts that were over before it was left."""
    over: set[AttemptKey] = set()
    for event in piece:
        if isinstance(event, StepStarted | StepClaimed | QuestionAsked) and event.attempt > 1:
            for key, before in histories.replaced(event.node, event.attempt):
                over.add(key)
                claims.add_attempt(before)
        if isinstance(event, StepStarted):
            _begin_again(histories, event, claims)
        histories.see(event)
        claims.former.see(event)
        if isinstance(event, AttemptFailed | AttemptCancelled):
            over.add((event.node, event.attempt))
            claims.add_attempt(histories.of(event.node, event.attempt))
        elif isinstance(event, StepClaimed):
            claims.forget(event)
        elif isinstance(event, StepStarted) and event.once:
            claims.began_again(event)
        if isinstance(event, NodeCompleted | AttemptFailed) and event.claimed:
            claims.forget_seq(event.claimed)
    return over


def _begin_again(histories: Histories, event: StepStarted, claims: Claims) -> None:
    """Offer what the last try at a call had made inside it, where the event begins another one."""
    inside = histories.left_inside(event.node, event.attempt, event.step)
    if inside is not None:
        claims.add_attempt(inside)


class Left:
    """A plan that a run has left, with the piece of history made under it.

    Attributes:
        plan: As its document says; it has no code.
        places: What its nodes were given.
    """

    def __init__(self, events: Sequence[Event], first: int, piece: Sequence[Event], number: int) -> None:
        started = events[0]
        if not isinstance(started, RunStarted):
            raise InternalError("a history does not begin with RunStarted; please report this")
        self._events = events
        self._first = first
        self.piece = piece
        self._number = number
        opening = piece[0]
        document = opening.plan if isinstance(opening, RunResumed) and opening.plan else started.plan
        self.plan = Plan.from_json(document.data)
        program = compile_plan(self.plan)
        self._known: dict[NodeId, Identity | None] = {}
        self._spots: dict[NodeId, Spot] = {}
        self._failed = Failed()
        lived = piece if first == 0 else (started, *piece)
        self.places = self._walk(retrace(lived, lambda _: program), started)

    def _walk(self, steps: Iterable[tuple[Scheduler, Event, list[Command]]], started: RunStarted) -> Places:
        """Note what each node was known by while the part it stood in was open, and how it failed."""
        of: Scheduler | None = None
        places: Places | None = None
        for seq, (scheduler, event, commands) in enumerate(steps, start=self._first or 1):
            if places is None or scheduler is not of:
                of, places = scheduler, Places(self.plan, scheduler.root, started.inputs)
            places.see(event)
            self._failed.see(scheduler, event, commands, seq)
            if isinstance(event, _OF_NODES) and event.node not in self._known:
                self._known[event.node] = places.identity(event.node)
                self._spots[event.node] = places.spot(event.node)
            for command in commands:
                places.go(scheduler, command)
        if places is None or of is None:
            raise InternalError("a plan was left before anything happened; please report this")
        self._scheduler = of
        return places

    def offer(self, histories: Histories, over: set[AttemptKey], claims: Claims) -> None:
        """Offer the results of its nodes, and all calls of its bodies."""
        done: set[AttemptKey] = set()
        for seq, event in enumerate(self.piece, start=self._first + 1):
            if isinstance(event, NodeCompleted) and (record := self._result(event, seq)) is not None:
                done.add((event.node, event.attempt))
                claims.add([record])
        self._offer_failures(histories, claims)
        claims.former.leave(functools.partial(self._asked, histories), self._spot)
        self._offer_origins(histories, claims)
        ends = self._ends()
        for key, attempt in histories.attempts.items():
            for record in attempt.steps.values():
                claims.close_key(record)
            if key in done:
                attempt.steps.pop(NODE, None)  # the result of a node that is itself a call
            for record in attempt.steps.values():
                record.owner, record.spot = self._known.get(record.node), self._spots.get(record.node, ())
                record.seq = record.since = ends.get((*key, record.step), 0)
            if key not in over:
                claims.add_attempt(attempt)

    def _offer_failures(self, histories: Histories, claims: Claims) -> None:
        """Offer what failed and was taken, and say what is to be tried again."""
        for failing in self._failed.taken(self._scheduler):
            event = failing.event
            itself = histories.of(event.node, event.attempt).steps.get(NODE)
            record = None if itself is not None and itself.is_done else self._result(event, failing.seq)
            if record is not None:
                claims.add([record])
        for failing in self._failed.between(self._scheduler):
            event, identity = failing.event, self._known.get(failing.event.node)
            if identity is not None:
                tried = Tried(
                    attempt=event.attempt,
                    tries=failing.tries,
                    not_before=failing.not_before,
                    failure=event.failure,
                    seq=failing.seq,
                )
                claims.tries.note(identity, self._spots[event.node], tried)

    def _spot(self, node: NodeId) -> Spot:
        return self._spots.get(node, (node,))

    def _asked(self, histories: Histories, asked: QuestionAsked) -> Former:
        """Say by what a question was asked."""
        node, step = self._known.get(asked.node), around(asked.step)
        call = histories.of(asked.node, asked.attempt).steps.get(step) if step else None
        identity = call.identity if call is not None else None
        return Former(asked=asked, spot=self._spot(asked.node), node=node, call=identity if step else node)

    def _offer_origins(self, histories: Histories, claims: Claims) -> None:
        """Say what the newest attempt of each body has seen."""
        newest = dict(sorted(histories.attempts))
        for node, attempt in newest.items():
            identity = self._known.get(node)
            if identity is not None:
                seen = Origin(node, attempt, histories.attempts[node, attempt].noted, self._number)
                claims.note_origin(identity, self._spots[node], seen)

    def _ends(self) -> dict[tuple[NodeId, int, StepId], int]:
        """For each call the place of the newest event about it."""
        return {
            (event.node, event.attempt, NODE if isinstance(event, NodeCompleted) else event.step): seq
            for seq, event in enumerate(self.piece, start=self._first + 1)
            if isinstance(event, StepStarted | StepCompleted | StepFailed | StepClaimed | NodeCompleted)
        }

    def _result(self, event: NodeCompleted | AttemptFailed, seq: int) -> StepRecord | None:
        """The record of a node's result, or of its failure where that was taken."""
        node = self.plan.find(event.node)
        if node is None or node.kind not in WORK or node.definition is None:
            return None
        identity = self._known.get(event.node)
        if identity is None:
            return None
        return StepRecord(
            node=event.node,
            attempt=event.attempt,
            step=NODE,
            callee=node.definition.name,
            kind=node.kind,
            identity=identity,
            started_at=event.started_at,
            once=node.policies.effect == "once",
            result=event.result if isinstance(event, NodeCompleted) else None,
            failure=event.failure if isinstance(event, AttemptFailed) else None,
            taken=isinstance(event, AttemptFailed),
            plan=self._number,
            spot=self._spots[event.node],
            seq=seq,
            since=self._first_recorded(event, seq),
        )

    def _first_recorded(self, event: Event, seq: int) -> int:
        """The place of the event that a result was taken over from in the end."""
        while isinstance(event, NodeCompleted | AttemptFailed) and event.claimed:
            seq = event.claimed
            event = self._events[seq - 1]
        return seq


def last_piece(events: Sequence[Event]) -> Left:
    """Give the plan that a run had last."""
    pieces = list(_pieces(events))
    first, piece = pieces[-1]
    return Left(events, first, piece, len(pieces))
