"""What a run came to and what it left behind, and whether a crash has made a difference to that.

Used by ``crash_everywhere`` on runs that are crashed inside a process, and by tests that kill processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from treadle.budget import Amounts
from treadle.events import (
    AttemptCancelled,
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAsked,
    Recorded,
    RunEnded,
    StepCompleted,
    StepStarted,
)
from treadle.ids import NodeId, RunId, StepId
from treadle.interfaces import LedgerLine, Store

_Request = tuple[NodeId, int, StepId, int]
_Call = tuple[NodeId, int, StepId]
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An ended run.

    Attributes:
        history: Its events.
        value: What ``result()`` gave; ``None`` where it failed.
        effects: What it did outside, in any form that compares.
        ledger: What it was charged.
        faults: What ``verify`` found.
        questions: The prompts of questions left open.
    """

    history: Sequence[Recorded]
    value: object
    effects: object
    ledger: Sequence[LedgerLine]
    faults: Sequence[object]
    questions: Sequence[str]

    @property
    def events(self) -> list[Event]:
        """The history without places and hashes."""
        return [record.event for record in self.history]

    @property
    def end(self) -> tuple[object, ...]:
        """How it ended, in terms that a crash must not change: status, result, type of the failure."""
        end = self.ended
        if end is None:
            return ("unfinished",)
        result = None if end.result is None else end.result.data
        return (end.status, result, () if end.failure is None else end.failure.types)

    @property
    def ended(self) -> RunEnded | None:
        """The newest end."""
        return next((event for event in reversed(self.events) if isinstance(event, RunEnded)), None)

    @property
    def doubts(self) -> int:
        """How often a person was asked whether an effect had happened."""
        return sum(isinstance(event, QuestionAsked) and event.about == "doubt" for event in self.events)

    @property
    def lost(self) -> Decimal:
        """Charged for requests whose outcome nobody recorded, in USD."""
        settled = (event for event in self.events if isinstance(event, MoneySettled))
        return sum((event.charged.usd for event in settled if event.outcome == "lost"), _NOTHING)


async def read_outcome(store: Store, run_id: RunId, *, value: object, effects: object) -> Outcome:
    """Read what an ended run has left in an open store.

    Raises:
        UnknownRun: There is no such run.
        StoreError: It cannot be read.
    """
    history = await store.read(run_id)
    return Outcome(
        history=history,
        value=value,
        effects=effects,
        ledger=await store.ledger(run_id),
        faults=await store.verify(run_id, head=history[-1].hash),
        questions=[question.prompt for question in await store.questions(run_id=run_id)],
    )


def differences(wanted: Outcome, before: Sequence[Recorded], found: Outcome) -> Iterator[str]:
    """Say what a crash has changed, in sentences; nothing where it made no difference.

    Args:
        wanted: What an undisturbed run came to.
        before: What was recorded when the run was taken up after its crash.
        found: What the crashed run came to.
    """
    if found.end != wanted.end:
        yield f"the run ended with {found.end!r}, undisturbed with {wanted.end!r}"
    if found.effects != wanted.effects:
        yield f"it did {found.effects!r}, undisturbed {wanted.effects!r}"
    if list(found.history[: len(before)]) != list(before):
        yield "what was recorded before has changed"
    if found.faults:
        yield f"the history does not verify: {list(found.faults)}"
    if found.questions:
        yield f"questions are left open: {list(found.questions)}"
    yield from _repeated(wanted.events, found.events)
    yield from _misspent(wanted.events, [record.event for record in before], found)


def _repeated(wanted: Sequence[Event], found: Sequence[Event]) -> Iterator[str]:
    """Work that was recorded and done again, and effects begun without anybody saying so."""
    completed = Counter(event.node for event in found if isinstance(event, NodeCompleted))
    for node, count in completed.items():
        if count > 1:
            yield f"recorded work was done again: node {node!r} was completed {count} times"
    made, usual = _calls(found), _calls(wanted)
    for call, count in made.items():
        if count > max(usual[call], 1):
            node, callee, _ = call
            yield (
                f"recorded work was done again: {callee!r} in node {node!r} completed {count} times "
                f"with the same arguments, undisturbed {usual[call]}"
            )
    begun, told = _intents(found), sum(isinstance(e, QuestionAsked) and e.about == "doubt" for e in found)
    if begun > _intents(wanted) + told:
        yield f"effects began {begun} times, {told} of them on an answer, undisturbed {_intents(wanted)}"


def _calls(events: Iterable[Event]) -> Counter[tuple[NodeId, str, str]]:
    """How often each call of a node was completed, by callee and arguments."""
    started: dict[_Call, StepStarted] = {}
    made: Counter[tuple[NodeId, str, str]] = Counter()
    for event in events:
        if isinstance(event, StepStarted):
            started[event.node, event.attempt, event.step] = event
        elif isinstance(event, StepCompleted | NodeCompleted):
            step = event.step if isinstance(event, StepCompleted) else StepId("")
            call = started.pop((event.node, event.attempt, step), None)
            if call is not None:
                made[event.node, call.callee, f"{call.definition} {call.input_digest}"] += 1
    return made


def _intents(events: Iterable[Event]) -> int:
    """How often an effect began that was not known, or declared, to be harmless to begin again."""
    starts = [event for event in events if isinstance(event, StepStarted) and event.once]
    return sum(event.because in ("", "answer") for event in starts)


def _misspent(wanted: Sequence[Event], before: Sequence[Event], found: Outcome) -> Iterator[str]:
    """Each request is charged once: what came back at what it took, what was under way at its hold."""
    held, settled = _held(found.events), _settled(found.events)
    again = [event for event in found.events if isinstance(event, MoneySettled)]
    if len(again) != len(settled) or set(held) != set(settled):
        yield f"{len(held)} requests were held for and {len(again)} settled, not one for one"
    under_way = {key: hold for key, hold in _held(before).items() if key not in _settled(before)}
    for key, hold in under_way.items():
        paid = settled.get(key)
        if paid is None or paid.outcome != "lost" or paid.charged != hold.held:
            yield f"request {key} was under way at the crash, and was not charged as lost: {paid!r}"
    known = {*under_way, *_settled(before)}
    strays = [key for key, event in settled.items() if event.outcome == "lost" and key not in known]
    if strays:
        yield f"requests {strays} were charged as lost, and were not under way at the crash"
    usual, now = _charges(wanted, found.events), _charges(found.events, wanted)
    if usual != now:
        yield f"what came back was charged with {dict(now)}, undisturbed with {dict(usual)}"
    yield from _unexplained(found, sum((event.charged.usd for event in again), _NOTHING), len(again))


def _held(events: Iterable[Event]) -> Mapping[_Request, MoneyHeld]:
    return {(e.node, e.attempt, e.step, e.request): e for e in events if isinstance(e, MoneyHeld)}


def _settled(events: Iterable[Event]) -> Mapping[_Request, MoneySettled]:
    return {(e.node, e.attempt, e.step, e.request): e for e in events if isinstance(e, MoneySettled)}


def _charges(events: Sequence[Event], others: Sequence[Event]) -> Counter[tuple[NodeId, Amounts]]:
    """What completed requests took, by node; not of nodes that were cancelled here or there.

    A loser of a race, or the neighbour of a call that failed, may come back or may be cut off.
    """
    listed = [*events, *others]
    cut = {event.node for event in listed if isinstance(event, AttemptCancelled)}
    cut |= {
        event.node for event in listed if isinstance(event, MoneySettled) and event.outcome == "cancelled"
    }
    return Counter(
        (event.node, event.charged)
        for event in events
        if isinstance(event, MoneySettled) and event.outcome == "completed" and event.node not in cut
    )


def _unexplained(found: Outcome, usd: Decimal, requests: int) -> Iterator[str]:
    lines = [line for line in found.ledger if line.account == "run"]
    charged = sum((line.usd for line in lines), _NOTHING)
    if charged != usd or sum(line.requests for line in lines) != requests:
        yield f"the ledger is not the sum of what was settled: {charged} USD and {usd} USD"
    if found.ended is not None and found.ended.spent.usd != usd:
        yield f"the run says that it spent {found.ended.spent.usd} USD, and {usd} USD were settled"
