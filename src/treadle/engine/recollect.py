"""What a run's history offers to the calls of the plan it has now.

The history is walked as the run itself lived it: an attempt is offered when it is over; where another
plan came, all that the plan before had recorded is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treadle.engine.claims import Claims
from treadle.engine.identity import Inputs
from treadle.engine.records import AttemptKey, Histories, Identity, StepRecord
from treadle.errors import InternalError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    Event,
    NodeCompleted,
    RunResumed,
    RunStarted,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from treadle.ids import NodeId, StepId
from treadle.plan.parts import WORK, PlanNode
from treadle.plan.plan import Plan
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.values import Payload

NODE = StepId("")
"""The step of a node's own result."""


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
        if isinstance(event, StepStarted):
            _begin_again(histories, event, claims)
        histories.see(event)
        if isinstance(event, AttemptFailed | AttemptCancelled):
            over.add((event.node, event.attempt))
            claims.add_attempt(histories.of(event.node, event.attempt))
        elif isinstance(event, StepClaimed):
            claims.forget(event)
        elif isinstance(event, StepStarted) and event.once:
            claims.began_again(event)
        elif isinstance(event, NodeCompleted) and event.claimed:
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
        inputs: What its nodes were given.
    """

    def __init__(self, events: Sequence[Event], first: int, piece: Sequence[Event], number: int) -> None:
        started = events[0]
        if not isinstance(started, RunStarted):
            raise InternalError("a history does not begin with RunStarted; please report this")
        self._first = first
        self.piece = piece
        self._number = number
        opening = piece[0]
        document = opening.plan if isinstance(opening, RunResumed) and opening.plan else started.plan
        self.plan = Plan.from_json(document.data)
        program = compile_plan(self.plan)
        scheduler, _ = replay(piece if first == 0 else (started, *piece), lambda _: program)
        results: dict[NodeId, Payload] = {NodeId(name): given for name, given in started.inputs.items()}
        results.update((event.node, event.result) for event in piece if isinstance(event, NodeCompleted))
        self.inputs = Inputs(self.plan, lambda node: scheduler.chosen[program.index[node]], results)
        self._owners: dict[NodeId, Identity | None] = {}

    def offer(self, histories: Histories, over: set[AttemptKey], claims: Claims) -> None:
        """Offer the results of its nodes, and all calls of its bodies."""
        done: set[AttemptKey] = set()
        for seq, event in enumerate(self.piece, start=self._first + 1):
            if isinstance(event, NodeCompleted) and (record := self._result(event, seq)) is not None:
                done.add((event.node, event.attempt))
                claims.add([record])
        ends = self._ends()
        for key, attempt in histories.attempts.items():
            if key in done:
                attempt.steps.pop(NODE, None)  # the result of a node that is itself a call
            for record in attempt.steps.values():
                record.owner, record.seq = self._owner(record.node), ends.get((*key, record.step), 0)
            if key not in over:
                claims.add_attempt(attempt)

    def _ends(self) -> dict[tuple[NodeId, int, StepId], int]:
        """For each call the place of the newest event about it."""
        return {
            (event.node, event.attempt, event.step): seq
            for seq, event in enumerate(self.piece, start=self._first + 1)
            if isinstance(event, StepStarted | StepCompleted | StepFailed | StepClaimed)
        }

    def _owner(self, name: NodeId) -> Identity | None:
        if name not in self._owners:
            node = self._node(name)
            self._owners[name] = None if node is None else self.inputs.known(node)
        return self._owners[name]

    def _node(self, name: NodeId) -> PlanNode | None:
        return self.plan.by_id.get(name)

    def _result(self, event: NodeCompleted, seq: int) -> StepRecord | None:
        """The record of a node's result."""
        node = self._node(event.node)
        if node is None or node.kind not in WORK or node.definition is None:
            return None
        identity = self.inputs.known(node)
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
            result=event.result,
            plan=self._number,
            seq=seq,
        )


def last_piece(events: Sequence[Event]) -> Left:
    """Give the plan that a run had last."""
    pieces = list(_pieces(events))
    first, piece = pieces[-1]
    return Left(events, first, piece, len(pieces))
