"""A history folded into attempts, steps, requests and questions: what the other views look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from treadle.budget import NOTHING, Amounts, Usage
from treadle.errors import FormatMismatch, PlanError
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    CircuitActed,
    Decided,
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    Progress,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    Recorded,
    RunEnded,
    RunResumed,
    RunStarted,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, QuestionId, StepId
from treadle.plan.plan import Plan
from treadle.values import Payload

E = TypeVar("E")


@dataclass(slots=True, kw_only=True)
class RequestFact:
    """One request to a model: held, and settled unless it is in flight or its process died."""

    held: MoneyHeld
    settled: MoneySettled | None = None

    @property
    def charged(self) -> Amounts:
        """What it took; nothing while it is not settled."""
        return self.settled.charged if self.settled else NOTHING

    @property
    def usage(self) -> Usage:
        """Its tokens."""
        return self.settled.usage if self.settled else Usage()


@dataclass(slots=True, kw_only=True)
class QuestionFact:
    """One question in its newest opening, and how it ended."""

    asked: QuestionAsked
    answered: QuestionAnswered | None = None
    withdrawn: QuestionWithdrawn | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits for somebody."""
        return self.answered is None and self.withdrawn is None


@dataclass(slots=True, kw_only=True)
class StepFact:
    """One recorded call inside an attempt.

    Attributes:
        ended: Of a call that is the node itself, the node's completion.
        tries: How many tries at it failed before the one that counts.
        circuit: What the circuit of its model did to its requests.
    """

    started: StepStarted | StepClaimed
    ended: StepCompleted | StepFailed | StepClaimed | NodeCompleted | None = None
    tries: int = 0
    requests: list[RequestFact] = field(default_factory=list[RequestFact])
    circuit: list[CircuitActed] = field(default_factory=list[CircuitActed])


@dataclass(slots=True, kw_only=True)
class AttemptFact:
    """One try at a node.

    Attributes:
        parked_at: When it was unwound to wait for people, while it still waits.
        worked: The stretches of time in which it was at work, as (start, end) in seconds since 1970.
        epoch: The plan it last went on under: 0 is the first one, and each edit counts one more.
    """

    node: NodeId
    number: int
    started_at: float
    ended: NodeCompleted | AttemptFailed | AttemptCancelled | None = None
    parked_at: float | None = None
    worked: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    steps: dict[StepId, StepFact] = field(default_factory=dict[StepId, StepFact])
    questions: dict[QuestionId, QuestionFact] = field(default_factory=dict[QuestionId, QuestionFact])
    progress: Progress | None = None
    last_at: float = 0.0
    began_at: float = 0.0
    epoch: int = 0

    @property
    def requests(self) -> Iterator[RequestFact]:
        """All requests to models made in it."""
        for step in self.steps.values():
            yield from step.requests


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """A whole history, folded.

    Attributes:
        plan: The newest plan, or ``None`` where its content was erased.
        earlier: The documents of the plans before it, the newest first.
        nodes: The attempts of each node, the first one first; nodes in order of appearance.  Under an
            edited plan attempts are counted from 1 again.
        choices: The newest choice of each control word that made one.
        resumed: When a process took the run up again.
    """

    started: RunStarted
    plan: Plan | None
    earlier: tuple[Payload, ...]
    nodes: dict[NodeId, list[AttemptFact]]
    choices: dict[NodeId, Decided]
    resumed: list[RunResumed]
    cancel: CancelRequested | None
    ended: RunEnded | None
    last_at: float

    @property
    def epoch(self) -> int:
        """How often the plan was edited."""
        return len(self.earlier)

    @property
    def attempts(self) -> Iterator[AttemptFact]:
        """All attempts of all nodes."""
        for attempts in self.nodes.values():
            yield from attempts

    @property
    def questions(self) -> Iterator[QuestionFact]:
        """All questions, in order of appearance."""
        for attempt in self.attempts:
            yield from attempt.questions.values()

    def latest(self, node: NodeId) -> AttemptFact | None:
        """The newest attempt at a node, or ``None`` where there was none."""
        attempts = self.nodes.get(node)
        return attempts[-1] if attempts else None


def read_facts(history: Sequence[Recorded]) -> RunFacts:
    """Fold a history.

    Raises:
        FormatMismatch: It does not begin with the start of a run.
    """
    if not history or not isinstance(history[0].event, RunStarted):
        raise FormatMismatch("the history does not begin with 'run_started'; run `treadle verify` on it")
    reader = _Reader(history[0].event)
    for recorded in history[1:]:
        reader.take(recorded)
    return reader.facts()


def plan_in(document: Payload) -> Plan | None:
    """Read a plan; ``None`` where that cannot be done."""
    try:
        return Plan.from_json(document.data)
    except (FormatMismatch, PlanError):
        return None  # erased, or from a newer release: everything else can be shown all the same


class _Reader:
    """Takes one event after the other."""

    def __init__(self, started: RunStarted) -> None:
        self.started = started
        self.plans = [started.plan]
        self.nodes: dict[NodeId, list[AttemptFact]] = {}
        self.choices: dict[NodeId, Decided] = {}
        self.resumed: list[RunResumed] = []
        self.cancel: CancelRequested | None = None
        self.ended: RunEnded | None = None
        self.last_at = started.at
        self._asked: dict[QuestionId, list[AttemptFact]] = {}
        self._results: dict[int, Event] = {}

    def facts(self) -> RunFacts:
        return RunFacts(
            started=self.started,
            plan=plan_in(self.plans[-1]),
            earlier=tuple(reversed(self.plans[:-1])),
            nodes=self.nodes,
            choices=self.choices,
            resumed=self.resumed,
            cancel=self.cancel,
            ended=self.ended,
            last_at=self.last_at,
        )

    def take(self, recorded: Recorded) -> None:
        event = recorded.event
        self.last_at = max(self.last_at, event.at)
        if isinstance(event, NodeCompleted | AttemptFailed | AttemptCancelled):
            self._end(event)
            self._results[recorded.seq] = event
        elif isinstance(event, StepStarted | StepCompleted | StepTried | StepFailed | StepClaimed):
            self._step(event)
        elif isinstance(event, MoneyHeld | MoneySettled | CircuitActed):
            self._request(event)
        elif isinstance(event, QuestionAsked | QuestionAnswered | QuestionWithdrawn):
            self._question(event)
        else:
            self._other(event)

    def _other(self, event: Event) -> None:
        if isinstance(event, AttemptParked):
            attempt = self._attempt(event.node, event.attempt, event.at)
            attempt.parked_at = event.at
            attempt.worked.append((attempt.began_at, event.at))
        elif isinstance(event, Progress):
            self._attempt(event.node, event.attempt, event.at).progress = event
        elif isinstance(event, Decided):
            self.choices[event.node] = event
        elif isinstance(event, RunResumed):
            self._resume(event)
        elif isinstance(event, CancelRequested):
            self.cancel = event
        elif isinstance(event, RunEnded):
            self.ended = event
            self._close(event.at)

    def _close(self, at: float) -> None:
        """A run that is over asks nobody any more; resumed, it asks anew."""
        for question, attempts in self._asked.items():
            for attempt in attempts:
                fact = attempt.questions[question]
                if fact.is_open:
                    fact.withdrawn = QuestionWithdrawn(at=at, node=fact.asked.node, question=question)

    def _resume(self, event: RunResumed) -> None:
        """What was under way had stopped with its process, and is at work again from here on."""
        self.resumed.append(event)
        self.ended = None
        if event.plan is not None:
            self.plans.append(event.plan)
        for attempt in (each for attempts in self.nodes.values() for each in attempts):
            if attempt.ended is None and attempt.parked_at is None:
                attempt.worked.append((attempt.began_at, attempt.last_at))
                attempt.began_at = event.at

    def _attempt(self, node: NodeId, number: int, at: float) -> AttemptFact:
        """The attempt an event belongs to; seen for the first time, it began with the event.

        One that had ended before the plan was edited is another one; one that had not goes on.
        """
        attempt, epoch = self._last(node, number), len(self.plans) - 1
        if attempt is None or (attempt.epoch < epoch and attempt.ended is not None):
            attempt = AttemptFact(node=node, number=number, started_at=at, began_at=at, epoch=epoch)
            self.nodes.setdefault(node, []).append(attempt)
        elif attempt.epoch < epoch:
            attempt.epoch = epoch
            if attempt.parked_at is not None:
                attempt.parked_at, attempt.began_at = None, at
        attempt.last_at = max(attempt.last_at, at)
        return attempt

    def _last(self, node: NodeId, number: int) -> AttemptFact | None:
        found = (one for one in reversed(self.nodes.get(node, ())) if one.number == number)
        return next(found, None)

    def _with_step(self, node: NodeId, number: int, step: StepId) -> AttemptFact | None:
        """The newest attempt of a number that knows of a step: how one ended may come after an edit."""
        attempts = reversed(self.nodes.get(node, ()))
        return next((one for one in attempts if one.number == number and step in one.steps), None)

    def _end(self, event: NodeCompleted | AttemptFailed | AttemptCancelled) -> None:
        if not isinstance(event, AttemptCancelled) and event.claimed and self._is_kept(event):
            return
        attempt = self._attempt(event.node, event.attempt, event.started_at)
        attempt.started_at = min(attempt.started_at, event.started_at)
        began = attempt.began_at if attempt.worked else attempt.started_at
        if attempt.parked_at is None:
            attempt.worked.append((began, event.at))
        attempt.parked_at = None
        attempt.ended = event
        attempt.last_at = event.at
        itself = attempt.steps.get(StepId(""))
        if itself is not None and isinstance(event, NodeCompleted) and not _is_told(itself):
            itself.ended = event

    def _is_kept(self, event: NodeCompleted | AttemptFailed) -> bool:
        """Whether an outcome that is taken from a record is told already: it is this node's own last one."""
        attempts = self.nodes.get(event.node)
        last = attempts[-1] if attempts else None
        if last is None or last.ended is None:
            return False
        is_same = last.ended is self._results.get(event.claimed)
        if not is_same and getattr(last.ended, "claimed", 0) != event.claimed:
            return False
        was = last.epoch
        for one in attempts or ():
            one.epoch = len(self.plans) - 1 if one.epoch == was else one.epoch
        return True

    def _step(self, event: StepStarted | StepCompleted | StepTried | StepFailed | StepClaimed) -> None:
        at = event.started_at if isinstance(event, StepCompleted | StepFailed) else event.at
        begins = isinstance(event, StepStarted | StepClaimed)
        known = None if begins else self._with_step(event.node, event.attempt, event.step)
        attempt = known or self._attempt(event.node, event.attempt, at)
        fact = attempt.steps.get(event.step)
        if isinstance(event, StepClaimed):
            attempt.steps.setdefault(event.step, StepFact(started=event, ended=event))
        elif isinstance(event, StepStarted):
            if fact is None:
                attempt.steps[event.step] = StepFact(started=event)
            else:
                fact.ended = None  # it is made again
        elif isinstance(event, StepTried):
            if fact is not None:
                fact.tries = event.tries
        elif fact is not None:
            fact.ended = event

    def _request(self, event: MoneyHeld | MoneySettled | CircuitActed) -> None:
        attempt = self._with_step(event.node, event.attempt, event.step)
        if attempt is None:
            return
        attempt.last_at, step = max(attempt.last_at, event.at), attempt.steps[event.step]
        if isinstance(event, CircuitActed):
            step.circuit.append(event)
            return
        if isinstance(event, MoneyHeld):
            step.requests.append(RequestFact(held=event))
            return
        for request in step.requests:
            if request.held.request == event.request:
                request.settled = event

    def _question(self, event: QuestionAsked | QuestionAnswered | QuestionWithdrawn) -> None:
        if isinstance(event, QuestionAsked):
            attempt = self._attempt(event.node, event.attempt, event.at)
            attempt.questions[event.question] = QuestionFact(asked=event)
            self._asked.setdefault(event.question, []).append(attempt)
            return
        for attempt in self._asked.get(event.question, ()):  # an edit may have renamed its node since
            fact = attempt.questions[event.question]
            if isinstance(event, QuestionWithdrawn):
                fact.withdrawn = event
                continue
            fact.answered = event
            # An answer that came while nobody worked on the run is older than its taking up.
            taken_up_at = max([event.at, *(resumed.at for resumed in self.resumed)])
            attempt.parked_at, attempt.began_at = None, taken_up_at


def _is_told(step: StepFact) -> bool:
    """Whether its own event says how a step ended for certain."""
    return step.ended is not None and not (isinstance(step.ended, StepFailed) and step.ended.in_doubt)
