"""Taking a run up from its history: after a crash, a pause, a failure, or an edit of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.budget import Budget
from treadle.engine.claiming import Claimer
from treadle.engine.compiled import Compiled
from treadle.engine.live import Services
from treadle.engine.loop import RunLoop
from treadle.engine.places import Places
from treadle.engine.purse import Purse, lost, requests_made
from treadle.engine.questions import Questions
from treadle.engine.recollect import recollect
from treadle.engine.retries import Retries
from treadle.engine.sites import retraced
from treadle.engine.uncertain import path_of
from treadle.errors import FormatMismatch, HistoryMismatch
from treadle.events import (
    CancelRequested,
    Event,
    NodeCompleted,
    Recorded,
    RunEnded,
    RunResumed,
    RunStarted,
    StepClaimed,
    StepStarted,
)
from treadle.interfaces import RunLog, RunSpan
from treadle.plan.plan import Plan
from treadle.scheduler.replay import retrace
from treadle.values import Payload

NOTHING_TOLD: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Past:
    """A run's events, and the first of those under the plan it has now.

    Attributes:
        epoch: Index of the event that brought the present plan: 0, or that of a ``RunResumed``.
    """

    events: Sequence[Event]
    epoch: int

    @property
    def started(self) -> RunStarted:
        """The first event."""
        first = self.events[0]
        if not isinstance(first, RunStarted):
            raise FormatMismatch(f"a history begins with RunStarted, not {type(first).__name__}")
        return first

    @property
    def plan(self) -> Payload:
        """The document of the plan the run has now."""
        event = self.events[self.epoch]
        if isinstance(event, RunResumed) and event.plan is not None:
            return event.plan
        return self.started.plan

    def told(self, plan: str) -> Mapping[str, str]:
        """What a person said under the plan the run has now that has not had its effect yet.

        Args:
            plan: The digest of the plan that it is for.
        """
        event = self.events[self.epoch]
        if not isinstance(event, RunResumed) or self.plan.digest != plan:
            return NOTHING_TOLD
        made = {call for later in self.events[self.epoch :] for call in _made(later)}
        return {call: record for call, record in event.claims.items() if call not in made}

    @property
    def budget(self) -> Budget | None:
        """What the run was started with in place of its graph's budget, which may be raised since.

        Earlier releases recorded the graph's own where none was given.
        """
        budget = self.started.budget
        if budget is None or budget == Plan.from_json(self.started.plan.data).policies.budget:
            return None
        return budget

    @property
    def ended(self) -> RunEnded | None:
        """How the run ended, where nobody took it up after."""
        for event in reversed(self.events):
            if isinstance(event, RunEnded):
                return event
            if isinstance(event, RunResumed):
                return None
        return None

    @property
    def cancelled_by(self) -> CancelRequested | None:
        """The newest request to cancel the run."""
        return next((event for event in reversed(self.events) if isinstance(event, CancelRequested)), None)


def _made(event: Event) -> tuple[str, ...]:
    """The call that an event says was claimed or begun."""
    if isinstance(event, StepStarted | StepClaimed):
        return (path_of(event.node, event.step),)
    return (event.node,) if isinstance(event, NodeCompleted) else ()


def is_another(compiled: Compiled, before: Past, told: Mapping[str, str] = NOTHING_TOLD) -> bool:
    """Whether a run goes on under another plan, or has to find its records again as if it did."""
    return bool(told) or compiled.plan.digest != before.plan.digest


def past(recorded: Sequence[Recorded]) -> Past:
    """Read what a store gave of a run."""
    events = [record.event for record in recorded]
    epochs = [i for i, event in enumerate(events) if isinstance(event, RunResumed) and event.plan is not None]
    return Past(events, epochs[-1] if epochs else 0)


def rebuild(
    services: Services,
    compiled: Compiled,
    before: Past,
    log: RunLog,
    purse: Purse,
    *,
    owner: str,
    span: RunSpan | None = None,
    told: Mapping[str, str] = NOTHING_TOLD,
) -> tuple[RunLoop, RunResumed]:
    """Make a run's loop from its history, and the event with which it goes on.

    Holds that the last owner left open are charged in full.  Under another plan than recorded the
    scheduler starts afresh, and what was finished is claimed by identity; so it does where a person says
    what calls of the plan take.

    Args:
        told: For calls that cannot be told apart the path of the record that each takes, or ``FRESH``.

    Raises:
        HistoryMismatch: The graph takes other inputs now than the run was started with.
    """
    started = before.started
    _check_inputs(compiled, started)
    now = services.clock.now()
    settled = lost(before.events, at=now)
    is_edited = is_another(compiled, before, told)
    told = {**before.told(compiled.plan.digest), **told}
    epoch: Sequence[Event] = () if is_edited else before.events[before.epoch :]
    sites = None
    if not is_edited:
        head = () if before.epoch == 0 else (started,)
        sites = retraced(compiled, (*head, *epoch), started.inputs, fresh_copies=services.fresh_copies)
    loop = RunLoop(
        services,
        compiled,
        started,
        log,
        purse.open(
            started.run_id,
            compiled.plan,
            budget=before.budget,
            tenant=started.tenant,
            events=[*before.events, *settled],
        ),
        sites=sites,
        questions=_questions(before.events),
        requests_made=requests_made(before.events),
        retries=Retries.of(services.retry_budget, before.events),
        span=span,
    )
    loop.claims.told = told
    loop.histories = recollect(before.events, loop.claims, is_edited=is_edited)
    if is_edited or before.epoch:
        loop.claimer = _claimer(loop, before, epoch)
    if settled:
        log.append(*settled)
    return loop, RunResumed(
        at=now,
        owner=owner,
        fence=log.fence,
        plan=compiled.plan.payload if is_edited else None,
        claims=told if is_edited else {},
        retry_failed=before.ended is not None,
    )


def _claimer(loop: RunLoop, before: Past, epoch: Sequence[Event]) -> Claimer:
    """Make what answers from records under an edited plan, as far as it has come under it."""
    compiled, inputs = loop.compiled, before.started.inputs
    claimer = Claimer(Places(compiled.plan, loop.scheduler.root, inputs), loop.claims, loop.errors)
    if epoch:
        for scheduler, event, commands in retrace((before.started, *epoch), lambda _: compiled.program):
            if isinstance(event, RunResumed) and event.plan is not None:
                claimer.places = Places(compiled.plan, scheduler.root, inputs)
            claimer.see(event)
            for command in commands:
                claimer.places.go(scheduler, command)
        claimer.places.adopt(loop.scheduler)
    return claimer


def _check_inputs(compiled: Compiled, started: RunStarted) -> None:
    takes = {str(node.id) for node in compiled.plan.nodes if node.kind == "input"}
    if takes != set(started.inputs):
        now, then = (", ".join(map(repr, sorted(names))) or "none" for names in (takes, started.inputs))
        raise HistoryMismatch(
            f"graph {started.graph!r} takes the inputs {now} now, and run {started.run_id!r} was started "
            f"with {then}; undo the edit, or start a new run",
            run_id=started.run_id,
        )


def _questions(events: Sequence[Event]) -> Questions:
    questions = Questions()
    for event in events:
        questions.see(event)
    return questions
