"""What a run's history says was called, found again by identity.

A record is a finished call: of a node, or of a step inside one.  Its identity is the callee's
definition and the digest of its inputs.  Among equal records a call claims first the one of its own
path, then the oldest unclaimed one whose path the plan no longer has; so a name that shifts under an
edit picks up nobody else's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from treadle import errors
from treadle.events import (
    AttemptFailed,
    Event,
    Failure,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from treadle.ids import NodeId, StepId
from treadle.retry import qualified_name
from treadle.values import Payload

AttemptKey = tuple[NodeId, int]

_REFUSED: Final = qualified_name(errors.ResultRefused)
_NOT_THE_BODY: Final = frozenset(
    map(
        qualified_name,
        (errors.NodeTimeout, errors.BudgetExceeded, errors.HistoryMismatch, errors.InDoubt, errors.PlanError),
    )
)
"""Failures of an attempt that say nothing against what its models answered."""


class Identity(NamedTuple):
    """What two equal calls share: digests of the callee's definition and of the inputs."""

    definition: str
    inputs: str


@dataclass(slots=True, kw_only=True)
class StepRecord:
    """One call of a body, as far as the history knows it.

    Attributes:
        result, failure: How it ended; neither where that was never recorded.
        in_doubt: Whether its effect may have happened without anybody knowing how it ended.
        again: The opening of the last question about it that was answered with "run again".
        owner: Under an earlier plan: the identity that its node had there, where it is known.
        order: Grows with the history: outcomes reach a resumed body in this order.
    """

    node: NodeId
    attempt: int
    step: StepId
    callee: str
    kind: str
    identity: Identity
    started_at: float
    once: bool = False
    idempotency_key: str = ""
    result: Payload | None = None
    failure: Failure | None = None
    in_doubt: bool = False
    again: int = 0
    owner: Identity | None = None
    order: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether an outcome is known for certain."""
        return (self.result is not None or self.failure is not None) and not self.in_doubt

    @property
    def is_done(self) -> bool:
        """Whether the body of a ``once`` call returned, though its result was refused."""
        return self.once and self.failure is not None and self.failure.types[:1] == (_REFUSED,)


@dataclass(slots=True)
class AttemptRecords:
    """The calls of one attempt, by step, in the order in which they were made.

    Attributes:
        ended_by: The innermost calls whose failures ended the attempt.
        raised_in: Paths below the calls whose bodies raised by themselves (``""`` for the node's own
            body, else with a slash); none where no body is to blame.
    """

    steps: dict[StepId, StepRecord] = field(default_factory=dict[StepId, StepRecord])
    ended_by: tuple[StepId, ...] = ()
    raised_in: tuple[str, ...] = ()
    has_failed: bool = False

    def fail(self, failure: Failure, ended_by: tuple[StepId, ...]) -> None:
        """Note how the attempt failed."""
        self.has_failed, self.ended_by = True, ended_by
        if _NOT_THE_BODY.isdisjoint(failure.types):
            self.raised_in = tuple(f"{step}/" if step else "" for step in ended_by or ("",))

    def claimable(self) -> Iterator[StepRecord]:
        """What a later attempt may claim of a failed one, or of one that was cut short.

        The failure that ended the attempt runs again.  Where a body raised by itself, models are
        asked afresh: other words may avoid the error; ``once`` calls and people's answers stay.
        """
        for record in self.steps.values():
            if record.has_ended and (record.is_done or not self._runs_again(record)):
                yield record

    def _runs_again(self, record: StepRecord) -> bool:
        if record.failure is not None:
            return not self.has_failed or any(_ends(record.step, ended) for ended in self.ended_by)
        return record.kind == "model" and record.step.startswith(self.raised_in)


def by_body(steps: Iterable[StepRecord]) -> dict[str, list[StepRecord]]:
    """Group ended calls by the body that made them (``""`` for the node's own), in history order."""
    groups: dict[str, list[StepRecord]] = {}
    for record in sorted(steps, key=lambda record: record.order):
        if record.step and record.has_ended:
            groups.setdefault(record.step.rpartition("/")[0], []).append(record)
    return groups


def _ends(step: StepId, ended_by: StepId) -> bool:
    """Whether a step is the one that ended an attempt, or a call around it."""
    return not step or ended_by == step or ended_by.startswith(f"{step}/")


class Histories:
    """The step records of a run by attempt: read off its events when it is taken up, and kept up.

    Attributes:
        noted: Values a body noted under a name of its own, such as the time it first saw.
        kinds: For the definitions seen so far the kind of callee; it may come from an earlier plan.
    """

    def __init__(self, events: Iterable[Event] = (), *, kinds: dict[str, str] | None = None) -> None:
        self.attempts: dict[AttemptKey, AttemptRecords] = {}
        self.noted: dict[tuple[NodeId, int, StepId], Payload] = {}
        self.kinds = {} if kinds is None else kinds
        self._order = 0
        for event in events:
            self.see(event)

    def of(self, node: NodeId, attempt: int) -> AttemptRecords:
        """The records of an attempt; a new, empty set where it has none."""
        return self.attempts.setdefault((node, attempt), AttemptRecords())

    def see(self, event: Event) -> None:
        """Take in an event that was appended."""
        if isinstance(event, StepStarted):
            self._started(event)
        elif isinstance(event, StepCompleted | StepFailed):
            self._ended(event)
        elif isinstance(event, StepClaimed):
            self._claimed(event)
        elif isinstance(event, AttemptFailed):
            first = () if event.ended_by is None else (event.ended_by,)
            self.of(event.node, event.attempt).fail(event.failure, (*first, *event.also_ended_by))

    def _started(self, event: StepStarted) -> None:
        self.kinds[event.definition] = event.callee_kind
        steps = self.of(event.node, event.attempt).steps
        steps[event.step] = StepRecord(
            node=event.node,
            attempt=event.attempt,
            step=event.step,
            callee=event.callee,
            kind=event.callee_kind,
            identity=Identity(event.definition, event.input_digest),
            started_at=event.at,
            once=event.once,
            idempotency_key=event.idempotency_key,
            again=event.again,
        )

    def _ended(self, event: StepCompleted | StepFailed) -> None:
        record = self.of(event.node, event.attempt).steps.get(event.step)
        if record is None:
            if isinstance(event, StepCompleted):  # a value noted under a name, such as the time
                self.noted[(event.node, event.attempt, event.step)] = event.result
            return
        self._order += 1
        record.order = self._order
        if isinstance(event, StepCompleted):
            record.result, record.failure, record.in_doubt = event.result, None, False
        else:
            record.failure, record.in_doubt = event.failure, event.in_doubt

    def _claimed(self, event: StepClaimed) -> None:
        self._order += 1
        self.of(event.node, event.attempt).steps[event.step] = StepRecord(
            node=event.node,
            attempt=event.attempt,
            step=event.step,
            callee=event.callee,
            kind=self.kinds.get(event.definition, "node"),
            identity=Identity(event.definition, event.input_digest),
            started_at=event.at,
            once=event.once,
            result=event.result,
            failure=event.failure,
            order=self._order,
        )


class Claims:
    """Records that nobody has claimed yet.

    Args:
        is_gone: Tells whether the plan no longer has the node of a path.

    Attributes:
        has_moved: Tells whether the node of a record's name is another one now, which can never
            claim it: under an edited plan names shift.
    """

    def __init__(self, is_gone: Callable[[NodeId], bool]) -> None:
        self._is_gone = is_gone
        self.has_moved: Callable[[StepRecord], bool] | None = None
        self._pool: dict[Identity, list[StepRecord]] = {}
        self._doubts: dict[Identity, list[StepRecord]] = {}

    def add_attempt(self, attempt: AttemptRecords) -> None:
        """Put in what a later attempt may claim of one that has failed or was cut short."""
        self.add(attempt.claimable())
        for record in attempt.steps.values():
            if record.once and not record.has_ended:
                self._doubts.setdefault(record.identity, []).append(record)

    def doubt(self, identity: Identity, node: NodeId, step: StepId) -> StepRecord | None:
        """The same call made by an earlier attempt that never learned how it ended; given once."""
        return self._choose(self._doubts.get(identity), node, step)

    def began_again(self, event: StepStarted) -> None:
        """Take out the doubt that a call recorded later took over: it acts under the same key."""
        doubts = self._doubts.get(Identity(event.definition, event.input_digest), [])
        doubts[:] = [record for record in doubts if record.idempotency_key != event.idempotency_key]

    def add(self, records: Iterable[StepRecord]) -> None:
        """Put records in, the oldest first."""
        for record in records:
            self._pool.setdefault(record.identity, []).append(record)

    def forget(self, event: StepClaimed) -> None:
        """Take a record out that was claimed before."""
        source = (event.from_node, event.from_attempt, event.from_step)
        equal = self._pool.get(Identity(event.definition, event.input_digest), [])
        found = next((r for r in equal if (r.node, r.attempt, r.step) == source), None)
        if found is not None:
            equal.remove(found)

    def take(self, identity: Identity, node: NodeId, step: StepId) -> StepRecord | None:
        """Claim a record for a call, or give ``None``; a record is claimed once."""
        return self._choose(self._pool.get(identity), node, step)

    def _choose(self, equal: list[StepRecord] | None, node: NodeId, step: StepId) -> StepRecord | None:
        if not equal:
            return None
        chosen = next((r for r in equal if r.node == node and r.step == step), None)
        if chosen is None:
            chosen = next((r for r in equal if self._is_free(r)), None)
        if chosen is not None:
            equal.remove(chosen)
        return chosen

    def _is_free(self, record: StepRecord) -> bool:
        return self._is_gone(record.node) or (self.has_moved is not None and self.has_moved(record))
