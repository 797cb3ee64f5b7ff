"""What a run's history says was called: by nodes, and by the steps of bodies.

A record is a call with its outcome.  Its identity is the callee's definition and the digest of its
arguments, which are the same for a call made as a node and as a step; ``claims.py`` finds it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from treadle import errors
from treadle.events import (
    AttemptFailed,
    Event,
    Failure,
    NodeCompleted,
    QuestionAnswered,
    QuestionWithdrawn,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, QuestionId, StepId
from treadle.retry import qualified_name
from treadle.values import Payload

AttemptKey = tuple[NodeId, int]

NODE: Final = StepId("")
"""The step of a node whose body is itself the recorded call."""

FINDER: Final = "finder"
"""The kind of a step that finds out whether the call around it, in doubt, happened."""

_IN_DOUBT: Final = qualified_name(errors.InDoubt)
_REFUSED: Final = qualified_name(errors.ResultRefused)
_NOT_THE_BODY: Final = frozenset(
    map(
        qualified_name,
        (errors.NodeTimeout, errors.BudgetExceeded, errors.HistoryMismatch, errors.InDoubt, errors.PlanError),
    )
)
"""Failures of an attempt that say nothing against what its models answered."""


class Origin(NamedTuple):
    """Of a node that a run goes on with under another plan: what its body has seen before.

    Attributes:
        node, attempt: As which it first drew chance.
        notes: Values it noted under names of their own, such as the time.
        plan: The plan under which it was seen last, counted from 1.
    """

    node: NodeId
    attempt: int
    notes: dict[StepId, Payload]
    plan: int


Spot = tuple[str, ...]
"""Where a node stands: its name; inside an item or a round those of the ``each`` or ``loop`` and of the item
before it."""


class Identity(NamedTuple):
    """What two equal calls share: digests of the callee's definition and of the inputs."""

    definition: str
    inputs: str


@dataclass(slots=True, kw_only=True, eq=False)
class StepRecord:
    """One call, of a node (``step`` is empty) or of a body, as far as the history knows it.

    Attributes:
        result, failure: How it ended; neither where that was never recorded.
        in_doubt: Whether its effect may have happened without anybody knowing how it ended.
        tries: How many tries at it have failed; ``not_before`` when the next one begins, while it is
            between two, and nothing is under way.
        ended_by: The innermost calls inside it whose failures ended the newest try.
        ended_at: When that try ended.
        finding: What a function found out about it since it was begun; ``findings`` how often one has.
        again: The opening of the last question about it that was answered with "run again".
        owner: Under an earlier plan: the identity that its node had there, where it is known.
        order: Grows with the history: outcomes reach a resumed body in this order.
        begun: Where it was begun, in the same count.
        plan: Which plan of the run it was made under, counted from 1; 0 for the present one.
        spot: Under an earlier plan: where its node stood.
        seq: Under an earlier plan: the place in the history of the event that says how it ended.
        since: The same; of a result that was taken over from plan to plan, where it was recorded first.
        taken: Of a node under an earlier plan: whether it failed, and that was taken: it is finished work.
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
    tries: int = 0
    not_before: float | None = None
    ended_by: tuple[StepId, ...] = ()
    ended_at: float = 0.0
    finding: StepCompleted | StepFailed | None = None
    findings: int = 0
    again: int = 0
    owner: Identity | None = None
    order: int = 0
    begun: int = 0
    plan: int = 0
    spot: Spot = ()
    seq: int = 0
    since: int = 0
    taken: bool = False

    @property
    def path(self) -> str:
        """What it is called: its node, or its node and the step."""
        return f"{self.node}/{self.step}" if self.step else self.node

    @property
    def place(self) -> Identity | None:
        """What its node was, where that is known."""
        return self.owner if self.step else self.identity

    @property
    def turn(self) -> int:
        """When a resumed body learns of it: when it ended; that it was begun, where it is in doubt."""
        return self.order if self.has_ended else self.begun

    @property
    def is_open(self) -> bool:
        """Whether it is a ``once`` call that may have acted: nobody knows how it ended."""
        if not self.once or self.not_before is not None:
            return False
        return self.in_doubt or (self.result is None and self.failure is None)

    @property
    def is_dear(self) -> bool:
        """Whether it must never be taken for another call, nor be made again unasked."""
        return (self.once or self.kind == "human") and not self.taken

    @property
    def has_ended(self) -> bool:
        """Whether an outcome is known for certain."""
        if self.in_doubt or self.not_before is not None:
            return False
        return self.result is not None or self.failure is not None

    @property
    def is_done(self) -> bool:
        """Whether the body of a ``once`` call returned, though its result was refused."""
        return self.once and self.failure is not None and self.failure.types[:1] == (_REFUSED,)


@dataclass(slots=True)
class AttemptRecords:
    """The calls of one attempt, by step, in the order in which they were made.

    Attributes:
        noted: Values a body noted under a name of its own, such as the time it first saw.
        ended_by: The innermost calls whose failures ended the attempt.
        raised_in: Paths below the calls whose bodies raised by themselves (``""`` for the node's own
            body, else with a slash); none where no body is to blame.
        is_offered: Whether a later attempt may claim of it by now.
    """

    steps: dict[StepId, StepRecord] = field(default_factory=dict[StepId, StepRecord])
    ended_by: tuple[StepId, ...] = ()
    raised_in: tuple[str, ...] = ()
    has_failed: bool = False
    noted: dict[StepId, Payload] = field(default_factory=dict[StepId, Payload])
    is_offered: bool = False

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
            if record.kind == FINDER or not record.has_ended:
                continue
            if record.is_done or not self._runs_again(record):
                yield record

    def _runs_again(self, record: StepRecord) -> bool:
        if record.failure is not None:
            return not self.has_failed or any(_ends(record.step, ended) for ended in self.ended_by)
        return record.kind == "model" and record.step.startswith(self.raised_in)


def by_body(steps: Iterable[StepRecord]) -> dict[str, list[StepRecord]]:
    """Group ended calls by the body that made them (``""`` for the node's own), in history order.

    With them stand calls in doubt, where they were begun: what came after must not keep the body from making
    them again.
    """
    groups: dict[str, list[StepRecord]] = {}
    for record in sorted(steps, key=lambda record: record.turn):
        if record.step and (record.has_ended or record.is_open) and record.kind != FINDER:
            groups.setdefault(record.step.rpartition("/")[0], []).append(record)
    return groups


def _ends(step: StepId, ended_by: StepId) -> bool:
    """Whether a step is the one that ended an attempt, or a call around it."""
    return not step or ended_by == step or ended_by.startswith(f"{step}/")


def is_inside(step: StepId, call: StepId) -> bool:
    """Whether a step was made by the body of a call, or below it; all are inside the node's own, ``""``."""
    return step.startswith(f"{call}/") if call else bool(step)


def around(step: StepId) -> StepId:
    """The call whose body made a step; ``""`` where it is the node's own."""
    return StepId(step.rpartition("/")[0])


def was_cut_off(failure: Failure) -> bool:
    """Whether a call in doubt was stopped from outside, and did not fail by itself."""
    return failure.types[:1] == (_IN_DOUBT,)


class Histories:
    """The step records of a run by attempt: read off its events when it is taken up, and kept up.

    Attributes:
        closed: When questions were answered or withdrawn: the ``order`` of that.
        kinds: For the definitions seen so far the kind of callee; it may come from an earlier plan.

    Args:
        plan: As in ``StepRecord``.
    """

    def __init__(
        self, events: Iterable[Event] = (), *, kinds: dict[str, str] | None = None, plan: int = 0
    ) -> None:
        self.attempts: dict[AttemptKey, AttemptRecords] = {}
        self._newest: dict[NodeId, int] = {}
        self.kinds = {} if kinds is None else kinds
        self.closed: dict[QuestionId, int] = {}
        self._order = 0
        self._plan = plan
        for event in events:
            self.see(event)

    def of(self, node: NodeId, attempt: int) -> AttemptRecords:
        """The records of an attempt; a new, empty set where it has none."""
        found = self.attempts.get((node, attempt))
        if found is None:
            found = self.attempts[node, attempt] = AttemptRecords()
        return found

    def replaced(self, node: NodeId, attempt: int) -> Iterator[tuple[AttemptKey, AttemptRecords]]:
        """The attempts at a node before one that begins, but for those given before.

        Not each of them has ended in the history: one that waited for people is withdrawn with its run, or
        by who needed it, and begins again under the next number.
        """
        for number in range(self._newest.get(node, 1), attempt):
            found = self.attempts.get((node, number))
            if found is not None:
                yield (node, number), found
        self._newest[node] = max(attempt, self._newest.get(node, 1))

    def forget(self, node: NodeId, attempt: int) -> None:
        """Forget the calls of an attempt whose node is completed: it never runs again."""
        self.attempts.pop((node, attempt), None)

    def see(self, event: Event) -> None:
        """Take in an event that was appended."""
        change = self._changes.get(type(event))
        if change is not None:
            change(self, event)

    def left_inside(self, node: NodeId, attempt: int, step: StepId) -> AttemptRecords | None:
        """Take out what was called inside a call that is about to be made again: it may claim of that."""
        steps = self.of(node, attempt).steps
        call = steps.get(step)
        if call is None:
            return None
        inside = AttemptRecords({name: record for name, record in steps.items() if is_inside(name, step)})
        for name in inside.steps:
            del steps[name]
        if call.failure is not None:
            inside.fail(call.failure, call.ended_by or (step,))
        return inside

    def _started(self, event: StepStarted) -> None:
        self.kinds[event.definition] = event.callee_kind
        steps = self.of(event.node, event.attempt).steps
        before = steps.get(event.step)
        self._order += 1
        steps[event.step] = StepRecord(
            node=event.node,
            attempt=event.attempt,
            step=event.step,
            callee=event.callee,
            kind=event.callee_kind,
            identity=Identity(event.definition, event.input_digest),
            started_at=event.at,
            plan=self._plan,
            once=event.once,
            idempotency_key=event.idempotency_key,
            again=event.again,
            begun=self._order if before is None else before.begun,
            tries=0 if before is None or event.again > before.again else before.tries,
            findings=0 if before is None else before.findings,
        )

    def _closed(self, event: QuestionAnswered | QuestionWithdrawn) -> None:
        self._order += 1
        self.closed[event.question] = self._order

    def _failed(self, event: AttemptFailed) -> None:
        first = () if event.ended_by is None else (event.ended_by,)
        self.of(event.node, event.attempt).fail(event.failure, (*first, *event.also_ended_by))

    def _completed(self, event: NodeCompleted) -> None:
        """A node that is itself a call: its result says that the call returned."""
        attempt = self.attempts.get((event.node, event.attempt))
        record = None if attempt is None else attempt.steps.get(NODE)
        if record is not None and not record.has_ended:
            self._order += 1
            record.order, record.ended_at, record.not_before = self._order, event.at, None
            record.result, record.failure, record.in_doubt = event.result, None, False

    def _tried(self, event: StepTried) -> None:
        record = self.of(event.node, event.attempt).steps.get(event.step)
        if record is not None:
            record.failure, record.ended_by, record.in_doubt = event.failure, event.ended_by, False
            record.tries, record.not_before = event.tries, event.not_before

    def _ended(self, event: StepCompleted | StepFailed) -> None:
        record = self.of(event.node, event.attempt).steps.get(event.step)
        if record is None:
            if isinstance(event, StepCompleted):  # a value noted under a name, such as the time
                self.of(event.node, event.attempt).noted[event.step] = event.result
            return
        self._order += 1
        record.order, record.ended_at, record.not_before = self._order, event.at, None
        if record.kind == FINDER:
            self._found(event)
        if isinstance(event, StepCompleted):
            record.result, record.failure, record.in_doubt = event.result, None, False
            return
        record.failure, record.in_doubt, record.ended_by = event.failure, event.in_doubt, event.ended_by
        record.tries += event.in_doubt and not was_cut_off(event.failure)

    def _found(self, event: StepCompleted | StepFailed) -> None:
        about = self.of(event.node, event.attempt).steps.get(around(event.step))
        if about is not None:
            about.findings += 1
            if isinstance(event, StepCompleted) or event.failure.takeable:
                about.finding = event

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
            plan=self._plan,
            once=event.once,
            result=event.result,
            failure=event.failure,
            order=self._order,
        )

    _changes: ClassVar[dict[type, Callable[[Histories, Any], None]]] = {
        StepStarted: _started,
        StepCompleted: _ended,
        StepFailed: _ended,
        StepTried: _tried,
        StepClaimed: _claimed,
        QuestionAnswered: _closed,
        QuestionWithdrawn: _closed,
        AttemptFailed: _failed,
        NodeCompleted: _completed,
    }
