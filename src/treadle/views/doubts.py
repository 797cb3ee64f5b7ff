"""Effects that may have happened: calls that began, and whose end nobody recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.events import (
    Event,
    Failure,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    Recorded,
    RunEnded,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTried,
)
from treadle.ids import NodeId, QuestionId, StepId
from treadle.values import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A call that must not be repeated, which began and may have happened.

    Attributes:
        idempotency_key: What to look it up by, wherever it acted.
        began_at: Seconds since 1970 (UTC).
        failure: How it ended as far as is known; ``None`` where its process died.
        question: The open question about it, or ``""``.
        failed: The other node with which the run failed meanwhile, or ``""``.
    """

    callee: str
    node: NodeId
    attempt: int
    step: StepId
    idempotency_key: str
    began_at: float
    arguments: Payload | None = None
    failure: Failure | None = None
    question: QuestionId = QuestionId("")
    failed: NodeId = NodeId("")


def doubts(history: Sequence[Recorded]) -> tuple[str, ...]:
    """Name the calls whose effects are in doubt at the end of a run, in order; none while it goes on."""
    if not history or not isinstance(history[-1].event, RunEnded):
        return ()
    return tuple(doubt.callee for doubt in effects_in_doubt(history))


def effects_in_doubt(history: Sequence[Recorded], *, is_owned: bool = False) -> tuple[Doubt, ...]:
    """Give the calls of a run whose effects are in doubt, in the order in which they began.

    Args:
        history: All events of the run.
        is_owned: Whether a process works on it now: then a call that only began is under way.
    """
    reader = _Reader()
    for recorded in history:
        reader.take(recorded.event)
    found = reader.found.values()
    end = history[-1].event if history else None
    if not isinstance(end, RunEnded):
        return tuple(doubt for doubt in found if doubt.failure is not None or not is_owned)
    failed = NodeId("") if end.failure is None else end.failure.node
    return tuple(doubt if failed == doubt.node else replace(doubt, failed=failed) for doubt in found)


class _Reader:
    """The calls that are open after each event, by what they are known by outside."""

    def __init__(self) -> None:
        self.found: dict[str, Doubt] = {}
        self._keys: dict[tuple[NodeId, int, StepId], str] = {}
        self._asked: dict[QuestionId, str] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            if event.once:
                self._began(event)
        elif isinstance(event, StepFailed) and event.in_doubt:
            self._change(event, failure=event.failure)
        elif isinstance(event, StepCompleted | StepFailed | StepTried):
            self.found.pop(self._keys.get((event.node, event.attempt, event.step), ""), None)
        elif isinstance(event, NodeCompleted):
            self.found.pop(self._keys.get((event.node, event.attempt, StepId("")), ""), None)
        elif isinstance(event, QuestionAsked | QuestionAnswered | QuestionWithdrawn):
            self._question(event)

    def _began(self, event: StepStarted) -> None:
        key = event.idempotency_key
        self._keys[event.node, event.attempt, event.step] = key
        # Taken over from an attempt before, its doubt is settled first: until then nothing more was done.
        before = self.found.get(key) if event.because == "" else None
        self.found[key] = Doubt(
            callee=event.callee,
            node=event.node,
            attempt=event.attempt,
            step=event.step,
            idempotency_key=key,
            began_at=event.at if before is None else before.began_at,
            arguments=event.arguments,
            failure=None if before is None else before.failure,
        )

    def _change(self, event: StepFailed, *, failure: Failure) -> None:
        key = self._keys.get((event.node, event.attempt, event.step), "")
        if key in self.found:
            self.found[key] = replace(self.found[key], failure=failure)

    def _question(self, event: QuestionAsked | QuestionAnswered | QuestionWithdrawn) -> None:
        if isinstance(event, QuestionAsked) and event.about == "doubt":
            step = StepId(event.step.removesuffix("doubt").rstrip("/"))
            self._asked[event.question] = self._keys.get((event.node, event.attempt, step), "")
        key = self._asked.get(event.question, "")
        if key in self.found:
            is_open = isinstance(event, QuestionAsked)
            self.found[key] = replace(self.found[key], question=event.question if is_open else QuestionId(""))
