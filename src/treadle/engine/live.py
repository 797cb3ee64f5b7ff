"""What a body's calls need of the run they belong to: the socket between attempts and the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from treadle.engine.claims import Claims
from treadle.engine.gate import Gates
from treadle.engine.listening import Pieces
from treadle.engine.purse import AllMade, RunAccounts
from treadle.engine.questions import Questions
from treadle.engine.records import Histories
from treadle.engine.retries import Retries
from treadle.engine.sessions import Sessions
from treadle.engine.stopwatch import Time
from treadle.events import Event
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.interfaces import Clock, Index, Model, RunLog, Span, Tracer
from treadle.plan.parts import PlanNode
from treadle.retry import RetryBudget
from treadle.scheduler.commands import Command

T = TypeVar("T")


class Services(Protocol):
    """What an engine has for all its runs."""

    @property
    def clock(self) -> Clock: ...

    @property
    def fresh_copies(self) -> bool:
        """Whether everybody who asks for a value gets a copy of their own."""
        ...

    @property
    def tracer(self) -> Tracer | None: ...

    @property
    def pieces(self) -> Pieces:
        """Who listens to answers while they are written."""
        ...

    async def model(self, declared: str | Model, graph: str) -> Model:
        """The live model behind a declared one."""
        ...

    def index(self, declared: str | Index) -> Index: ...

    def resource(self, kind: type[T]) -> T: ...

    @property
    def gates(self) -> Gates:
        """Where requests to models wait their turn."""
        ...

    @property
    def retry_budget(self) -> RetryBudget:
        """What each run may send again."""
        ...

    @property
    def time(self) -> Time:
        """What timeouts go by."""
        ...

    @property
    def watch_deadline(self) -> Callable[[RunId, QuestionId, float], None]:
        """Sees to it that a question is closed at its deadline."""
        ...

    @property
    def watch_command(self) -> Callable[[Command], None] | None:
        """Is told of every command about to be obeyed; it may raise, and so stop the run there."""
        ...


class Cancellable(Protocol):
    """Something under way that can be stopped."""

    def cancel(self) -> None: ...

    def let_go(self) -> None:
        """Stop it, because nobody needs it any more, once nothing acts in it that must not be cut off."""
        ...


class Live(Protocol):
    """A run under way.

    Attributes:
        now: The engine's clock, as a function, for the hot path.
        running: What runs for each node.
    """

    services: Services
    run_id: RunId
    graph: str
    seed: str
    log: RunLog
    accounts: RunAccounts
    running: dict[NodeId, Cancellable]
    requests_made: AllMade

    @property
    def histories(self) -> Histories:
        """What the run's steps came to."""
        ...

    @property
    def claims(self) -> Claims:
        """Records that a call may claim."""
        ...

    @property
    def questions(self) -> Questions:
        """What people were asked."""
        ...

    @property
    def sessions(self) -> Sessions:
        """The sessions with programs whose tools the run calls."""
        ...

    @property
    def retries(self) -> Retries:
        """How many requests it has sent again, and may."""
        ...

    @property
    def now(self) -> Callable[[], float]:
        """A function that gives the time, in seconds since 1970."""
        ...

    def feed(self, event: Event) -> None:
        """Hand an event to the scheduler, append it with the choices it made possible, and obey."""
        ...

    def take(self, event: Event) -> None:
        """Do what ``feed`` does, for an event that leaves no question behind."""
        ...

    def record(self, *events: Event) -> None:
        """Append events that no decision depends on."""
        ...

    async def let_others_run(self) -> None:
        """Let other tasks run, and wait for the store where it is far behind."""
        ...

    def attempt_failed(
        self,
        node: NodeId,
        attempt: int,
        started_at: float,
        error: Exception,
        *,
        ended_by: tuple[StepId, ...] = (),
    ) -> None:
        """Feed the failure of an attempt, and keep its error for who waits for the run."""
        ...

    def open_span(self, node: NodeId, planned: PlanNode, attempt: int, at: float) -> Span | None:
        """Open the span of an attempt; ``None`` where nobody traces."""
        ...

    def end_span(self, span: Span, *, error: BaseException | None = None, status: str = "") -> None:
        """Close a span now."""
        ...
