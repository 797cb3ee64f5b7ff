"""A scheduler fed by hand: facts go in by name, commands come out as words.

Commands read ``start a``, ``start a (2)`` for a second attempt, ``start a (2) at 7.5``, ``decide when``,
``cancel a``, ``drop unstarted``, ``withdraw a``, ``park`` and ``end failed``; ``enter each(0)`` and
``leave each(0)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from driver import SEED, failure, started

from treadle import node
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptParked,
    CancelRequested,
    Decided,
    Event,
    Failure,
    NodeCompleted,
    QuestionAnswered,
    QuestionWithdrawn,
    RunEnded,
    RunResumed,
)
from treadle.ids import NodeId, QuestionId
from treadle.nodes.graph import Graph
from treadle.scheduler.commands import (
    CancelAttempt,
    CancelUnstarted,
    Command,
    Decide,
    EndRun,
    Enter,
    Leave,
    Park,
    StartAttempt,
)
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.scheduler.scheduler import Scheduler
from treadle.values import JSON


@node
async def source() -> int:
    return 1


@node
async def plus(x: int) -> int:
    return x + 1


@node
async def both(x: int, y: int) -> int:
    return x + y


@node
async def check(x: int) -> bool:
    return x > 0


def sources(names: str) -> list[int]:
    """Nodes without inputs; called while wiring."""
    return [source.named(name)() for name in names.split()]


class Table:
    """One run of a graph, an event at a time.  Every event is checked, and all of them are replayed.

    Args:
        is_replayed: Whether to replay after every event, which takes as long as there are events.
    """

    def __init__(self, graph: Graph[..., Any], *, is_replayed: bool = True) -> None:
        self.is_replayed = is_replayed
        self.program = compile_plan(graph.plan)
        self.scheduler = Scheduler(self.program, seed=SEED)
        self.events: list[Event] = []
        self.commands: list[list[Command]] = []
        self.at = 100.0

    def feed(self, event: Event) -> list[str]:
        self.commands.append(self.scheduler.handle(event))
        self.events.append(event)
        self.scheduler.check_invariants()
        if not self.is_replayed:
            return self.words()
        replayed, commands = replay(self.events, lambda _: self.program)
        assert commands == self.commands
        assert replayed.root.states == self.scheduler.root.states
        return self.words()

    def words(self) -> list[str]:
        """What the last event led to."""
        return [_words(command) for command in self.commands[-1]]

    def attempt(self, name: str) -> int:
        part, vertex = self.scheduler._find(NodeId(name))
        return part.attempts[vertex] or 1

    def state(self, name: str) -> str:
        return self.scheduler.state_of(NodeId(name))

    # What happens.

    def start(self) -> list[str]:
        return self.feed(started(self.at))

    def done(self, *names: str) -> list[str]:
        """One node after the other returns; gives the commands of them all."""
        return [word for name in names for word in self.feed(self.completed(name))]

    def completed(self, name: str) -> NodeCompleted:
        return NodeCompleted(
            at=self.at,
            node=NodeId(name),
            attempt=self.attempt(name),
            started_at=self.at,
            result=JSON.pack(1),
        )

    def fails(self, name: str, why: str | Failure = "A") -> list[str]:
        found = failure(NodeId(name), why) if isinstance(why, str) else why  # type: ignore[arg-type]
        return self.feed(
            AttemptFailed(
                at=self.at, node=NodeId(name), attempt=self.attempt(name), started_at=self.at, failure=found
            )
        )

    def decided(self, name: str, choice: int = 0) -> list[str]:
        return self.feed(Decided(at=self.at, node=NodeId(name), choice=choice))

    def unreadable(self, name: str) -> list[str]:
        return self.feed(
            Decided(at=self.at, node=NodeId(name), choice=-1, failure=failure(NodeId(name), "A"))
        )

    def gone(self, name: str) -> list[str]:
        """An attempt was cancelled."""
        return self.feed(
            AttemptCancelled(at=self.at, node=NodeId(name), attempt=self.attempt(name), started_at=self.at)
        )

    def parks(self, name: str, questions: Sequence[str] = ("q",), *, in_doubt: bool = False) -> list[str]:
        asked = tuple(map(QuestionId, questions))
        return self.feed(
            AttemptParked(
                at=self.at,
                node=NodeId(name),
                attempt=self.attempt(name),
                questions=asked,
                in_doubt=in_doubt,
            )
        )

    def answered(self, name: str, question: str = "q") -> list[str]:
        return self.feed(
            QuestionAnswered(
                at=self.at, node=NodeId(name), question=QuestionId(question), value=JSON.pack(1), by="maria"
            )
        )

    def withdrawn(self, name: str, why: Literal["unneeded", "late"]) -> list[str]:
        return self.feed(QuestionWithdrawn(at=self.at, node=NodeId(name), question=QuestionId("q"), why=why))

    def cancel(self) -> list[str]:
        return self.feed(CancelRequested(at=self.at))

    def resume(self, *, retry_failed: bool = False) -> list[str]:
        return self.feed(RunResumed(at=self.at, owner="other", fence=2, retry_failed=retry_failed))

    def ended(self, status: Literal["completed", "failed", "cancelled"]) -> list[str]:
        return self.feed(RunEnded(at=self.at, status=status))


def _words(command: Command) -> str:
    if isinstance(command, StartAttempt):
        attempt = f" ({command.attempt})" if command.attempt > 1 else ""
        verb = "settle" if command.only_settles else "start"
        return f"{verb} {command.node}{attempt}" + (
            f" at {command.not_before:g}" if command.not_before else ""
        )
    if isinstance(command, EndRun):
        return f"end {command.status}"
    if isinstance(command, CancelUnstarted):
        return "drop unstarted"
    if isinstance(command, Park):
        return "park"
    if isinstance(command, Enter | Leave):
        return f"{type(command).__name__.lower()} {command.part}"
    verb = (
        "decide"
        if isinstance(command, Decide)
        else "cancel"
        if isinstance(command, CancelAttempt)
        else "withdraw"
    )
    return f"{verb} {command.node}"
