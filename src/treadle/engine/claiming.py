"""Answering the attempts of a run under an edited plan from what it recorded under earlier ones."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from treadle.engine.claims import Claims
from treadle.engine.failures import failure_of
from treadle.engine.places import Places
from treadle.engine.records import NODE, Identity, Spot, StepRecord
from treadle.engine.uncertain import FRESH
from treadle.engine.workspace import Workspace
from treadle.errors import HistoryMismatch
from treadle.events import AttemptFailed, Event, NodeCompleted
from treadle.ids import NodeId
from treadle.plan.parts import Definition
from treadle.scheduler.commands import CancelAttempt, StartAttempt

_UNKNOWN: Final = Identity("", "")
"""What a node is known by whose inputs cannot be told from the history: nothing is equal to it."""


class Due:
    """Attempts that records may answer: they come out in the order in which these were made.

    So what is taken over happens in the order in which it happened, and a race has the winner it had.
    """

    def __init__(self, claimer: Claimer) -> None:
        self._claimer = claimer
        self._heap: list[tuple[int, int, StartAttempt]] = []
        self._count = 0
        self._cancelled: set[NodeId] = set()

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, command: StartAttempt) -> None:
        """Put an attempt in."""
        self._count += 1
        heapq.heappush(self._heap, (self._claimer.moment(command.node), self._count, command))

    def pop(self) -> StartAttempt:
        """Take the one out whose record is the oldest; one that has none comes before."""
        return heapq.heappop(self._heap)[-1]

    def cancel(self, command: CancelAttempt) -> None:
        """Note that nobody needs an attempt any more, before it has begun."""
        self._cancelled.add(command.node)

    def may_answer(self, command: StartAttempt) -> bool:
        """Whether a record may answer an attempt; of a cancelled one only where it is known what it is."""
        return command.node not in self._cancelled or self._claimer.identity(command.node) is not None


class Claimer:
    """Answers the attempts of a run under an edited plan from its records.  Implements ``Site``.

    Args:
        places: The plan the run has now, and what its nodes are given.
        claims: The records on offer.
        errors: Where to keep why a node cannot be answered.

    Attributes:
        unfit: Where set, recorded results that do not fit their types any more are noted here, and count
            as any other; else the node fails.
    """

    def __init__(self, places: Places, claims: Claims, errors: dict[NodeId, Exception]) -> None:
        self.places = places
        self._claims = claims
        self._errors = errors
        self.unfit: dict[NodeId, HistoryMismatch] | None = None
        self._known: dict[NodeId, Identity] = {}
        self._begun: dict[NodeId, None] = {}
        self._done: set[NodeId] = set()
        claims.site = self

    def see(self, event: Event) -> None:
        """Note what a node came to under this plan."""
        self.places.see(event)
        if isinstance(event, NodeCompleted):
            self._begun[event.node] = None
            self._done.add(event.node)

    def answer(
        self, command: StartAttempt, workspace: Workspace, at: float
    ) -> NodeCompleted | AttemptFailed | None:
        """Complete a node that is about to start from a record, or fail it where that is not certain.

        Such a failure is taken by nobody: what is under way ends, it is paid for, and the run waits to be
        told.
        """
        node, number = command.node, command.attempt
        try:
            record = self.claim(node)
            if record is None:
                return self._tried(node, number, at)
            if record.failure is not None:
                return AttemptFailed(
                    at=at,
                    node=node,
                    attempt=max(number, record.attempt),
                    started_at=at,
                    failure=record.failure,
                    claimed=record.seq,
                )
            if record.result is None:
                return None
            workspace.recall(command.index, record.result)
            self._check_type(command, workspace)
        except HistoryMismatch as error:
            self._errors[node] = error
            failure = failure_of(error, node=node, attempt=number)
            return AttemptFailed(at=at, node=node, attempt=number, started_at=at, failure=failure)
        completed = NodeCompleted(
            at=at, node=node, attempt=number, started_at=at, result=record.result, claimed=record.seq
        )
        self.see(completed)
        return completed

    def _tried(self, node: NodeId, number: int, at: float) -> AttemptFailed | None:
        """Go on with a node that was between two tries, and with its backoff."""
        if self._claims.told.get(node) == FRESH:
            return None
        tried = self._claims.tries.take(self, node)
        if tried is None:
            return None
        return AttemptFailed(
            at=at,
            node=node,
            attempt=max(number, tried.attempt),
            started_at=at,
            failure=tried.failure,
            claimed=tried.seq,
            tries=tried.tries,
            not_before=tried.not_before,
        )

    def _check_type(self, command: StartAttempt, workspace: Workspace) -> None:
        try:
            workspace.value(command.index)
        except HistoryMismatch as error:
            if self.unfit is None:
                raise
            self.unfit[command.node] = error

    def claim(self, node: NodeId) -> StepRecord | None:
        """Take the record of a node that is about to start, where there is one.

        Raises:
            AmbiguousHistory: Which call a ``once`` record or a person's answer belongs to is not certain.
        """
        record = self._claims.find(self.identity(node) or _UNKNOWN, node, NODE)
        self._begun[node] = None
        if record is None:
            self._claims.left.check_node(self._claims, node)
        is_finished = record is not None and (record.result is not None or record.taken)
        return self._claims.taken(record) if record is not None and is_finished else None

    def moment(self, node: NodeId) -> int:
        """When what a node may take was recorded: its place in the history; 0 where there is nothing."""
        identity = self.identity(node)
        return 0 if identity is None else self._claims.moment(identity, node)

    @property
    def begun(self) -> Sequence[NodeId]:
        """The nodes that were answered or have to run, in that order."""
        return list(self._begun)

    # -- Site ------------------------------------------------------------------------------------------

    def definition(self, node: NodeId) -> str | None:
        """The digest of the definition of a work node; ``None`` where the plan has no such node."""
        planned = self.places.node(node)
        if planned is None or planned.definition is None:
            return None
        return planned.definition.digest

    def declared(self, node: NodeId) -> Definition | None:
        """What a work node is; ``None`` where the plan has no such node."""
        planned = self.places.node(node)
        return None if planned is None else planned.definition

    def acts(self, node: NodeId) -> bool:
        """Whether a node must not be repeated."""
        planned = self.places.node(node)
        return planned is not None and planned.policies.effect == "once"

    def identity(self, node: NodeId) -> Identity | None:
        """The identity of a node, as soon as all that it is given is known."""
        found = self._known.get(node)
        if found is None:
            found = self.places.identity(node)
            if found is not None:
                self._known[node] = found
        return found

    def spot(self, node: NodeId) -> Spot:
        """Where a node stands, whatever stands before it in its lists."""
        return self.places.spot(node)

    def at(self, spot: Spot) -> NodeId | None:
        """The node that stands at a spot now; raises ``LookupError`` where that is not known yet."""
        return self.places.at(spot)

    def pending(self, definition: str) -> Sequence[NodeId | None]:
        """The nodes of a definition that may take a record yet: neither done nor begun; ``None`` for items
        and rounds that may begin."""
        return [node for node in self.places.of_definition(definition) if node not in self._begun]

    def unfinished(self, definition: str) -> Sequence[NodeId]:
        """The nodes of a definition that have not been completed, begun or not."""
        of = self.places.of_definition(definition)
        return [node for node in of if node is not None and node not in self._done]
