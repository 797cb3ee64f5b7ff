"""What the scheduler asks of the engine, one frozen value for each kind of request."""

from __future__ import annotations

from typing import Literal

from treadle.events import Failure, fact
from treadle.ids import NodeId


@fact
class StartAttempt:
    """Run a node's body; answer with ``NodeCompleted``, ``AttemptFailed``, ``AttemptParked`` or
    ``AttemptCancelled``.

    Attributes:
        not_before: When a backoff ends, in seconds since 1970; 0 for at once.
    """

    node: NodeId
    index: int
    attempt: int
    not_before: float = 0.0


@fact
class CancelAttempt:
    """Cancel a running attempt nobody needs any more; it still answers with how it ended."""

    node: NodeId
    index: int


@fact
class CancelUnstarted:
    """Drop what was asked to start and has not begun, backoffs too; each answers ``AttemptCancelled``."""


@fact
class Withdraw:
    """Withdraw the open questions of a parked node; record it, no answer is expected."""

    node: NodeId
    index: int


@fact
class Decide:
    """Compute a choice or an expression on values; answer with ``Decided``."""

    node: NodeId
    index: int


@fact
class Park:
    """Nothing runs and people are awaited: the run may leave memory."""


@fact
class EndRun:
    """The run is over: record ``RunEnded``."""

    status: Literal["completed", "failed", "cancelled"]
    failure: Failure | None = None


Command = StartAttempt | CancelAttempt | CancelUnstarted | Withdraw | Decide | Park | EndRun
