"""Taking a run up from its history: after a crash, a pause, a failure, or an edit of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from treadle.engine.compiled import Compiled
from treadle.engine.identity import Claimer, Owners, offer_results
from treadle.engine.live import Services
from treadle.engine.loop import RunLoop
from treadle.engine.purse import Purse, lost, requests_made
from treadle.engine.questions import Questions
from treadle.engine.records import AttemptKey, Claims, Histories
from treadle.errors import FormatMismatch, HistoryMismatch
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
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
from treadle.scheduler.replay import replay
from treadle.values import Payload


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

    @property
    def ended(self) -> RunEnded | None:
        """How the run ended, where nobody took it up after."""
        for event in reversed(self.events):
            if isinstance(event, RunEnded):
                return event
            if isinstance(event, RunResumed):
                return None
        return None


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
) -> tuple[RunLoop, RunResumed]:
    """Make a run's loop from its history, and the event with which it goes on.

    Holds that the last owner left open are charged in full.  Under another plan than recorded the
    scheduler starts afresh, and what was finished is claimed by identity.

    Raises:
        HistoryMismatch: The graph takes other inputs now than the run was started with.
    """
    started = before.started
    _check_inputs(compiled, started)
    now = services.clock.now()
    settled = lost(before.events, at=now)
    is_edited = compiled.plan.digest != before.plan.digest
    epoch: Sequence[Event] = () if is_edited else before.events[before.epoch :]
    scheduler = None
    if not is_edited:
        head = () if before.epoch == 0 else (started,)
        scheduler, _ = replay((*head, *epoch), lambda _: compiled.program)
    loop = RunLoop(
        services,
        compiled,
        started,
        log,
        purse.open(
            started.run_id,
            compiled.plan,
            budget=started.budget,
            tenant=started.tenant,
            events=[*before.events, *settled],
        ),
        scheduler=scheduler,
        questions=_questions(before.events),
        requests_made=requests_made(before.events),
        span=span,
    )
    _recall(loop, epoch)
    owners: Sequence[Owners] = ()
    if is_edited or before.epoch:
        owners = offer_results(loop.claims, before.events)
        index, decides = compiled.program.index, loop.scheduler
        loop.claimer = Claimer(
            compiled.plan, lambda node: decides.chosen[index[node]], started.inputs, loop.claims
        )
        for event in epoch:
            loop.claimer.see(event)
    loop.histories = recollect(before.events, loop.claims, owners, is_edited=is_edited)
    if settled:
        log.append(*settled)
    return loop, RunResumed(
        at=now,
        owner=owner,
        fence=log.fence,
        plan=compiled.plan.payload if is_edited else None,
        retry_failed=before.ended is not None,
    )


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


def _recall(loop: RunLoop, epoch: Sequence[Event]) -> None:
    """Take in the results recorded under the present plan."""
    index = loop.compiled.program.index
    for event in epoch:
        if isinstance(event, NodeCompleted):
            loop.workspace.recall(index[event.node], event.result)


def recollect(
    events: Iterable[Event], claims: Claims, owners: Iterable[Owners] = (), *, is_edited: bool
) -> Histories:
    """Give the calls made under the present plan, and offer what is over and nobody has claimed since.

    The history is walked as the run itself lived it: an attempt is offered when it is over, and all
    attempts under a plan once another plan came.
    """
    histories, over, plans = Histories(), set[AttemptKey](), iter(owners)
    for event in events:
        if isinstance(event, RunResumed) and event.plan is not None:
            histories = _leave(histories, over, claims, next(plans))
        histories.see(event)
        if isinstance(event, AttemptFailed | AttemptCancelled):
            over.add((event.node, event.attempt))
            claims.add_attempt(histories.of(event.node, event.attempt))
        elif isinstance(event, StepClaimed):
            claims.forget(event)
        elif isinstance(event, StepStarted) and event.once:
            claims.began_again(event)
    return _leave(histories, over, claims, next(plans)) if is_edited else histories


def _leave(histories: Histories, over: set[AttemptKey], claims: Claims, owners: Owners) -> Histories:
    """Offer what a plan that is left had under way, and begin afresh."""
    for key, attempt in histories.attempts.items():
        for record in attempt.steps.values():
            record.owner = owners.get(record.node)
        if key not in over:
            claims.add_attempt(attempt)
    over.clear()
    return Histories(kinds=histories.kinds)
