"""What the scheduler asks of the engine, one frozen value for each kind of request."""

from __future__ import annotations

from typing import Literal

from treadle.events import Failure, fact
from treadle.ids import NodeId, PartId


@fact
class StartAttempt:
    """Run a node's body; answer with ``NodeCompleted``, ``AttemptFailed``, ``AttemptParked`` or
    ``AttemptCancelled``.

    Attributes:
        node, index: What it is called in the run, and its number in the program of its part.
        not_before: When a backoff ends, in seconds since 1970; 0 for at once.
        part: The item or round that it stands in.
        only_settles: Whether nobody needs it any more: it runs only where an effect in it is in doubt, until
            that is settled; else answer with ``AttemptCancelled`` at once.
    """

    node: NodeId
    index: int
    attempt: int
    not_before: float = 0.0
    part: PartId = PartId("")
    only_settles: bool = False


@fact
class CancelAttempt:
    """Cancel a running attempt; it still answers with how it ended.

    Attributes:
        at_once: Whether the run is ending: else nobody needs it any more, and a call in it that must not be
            cut off ends first.
    """

    node: NodeId
    index: int
    part: PartId = PartId("")
    at_once: bool = False


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
    """Compute a choice, an expression, how long a list is or whether a loop is done, on values; answer
    with ``Decided``."""

    node: NodeId
    index: int
    part: PartId = PartId("")


@fact
class Enter:
    """An item of an ``each`` or a round of a ``loop`` begins: what follows may happen inside it.

    Attributes:
        part: The item or round.
        node, index, number: The ``each`` or ``loop``, and which of its items or rounds it is.
        inside: The part that the ``each`` or ``loop`` stands in.
    """

    part: PartId
    node: NodeId
    index: int
    number: int
    inside: PartId = PartId("")


@fact
class Leave:
    """An item or a round has come to its end: keep its outcome, and forget the rest of it.

    Attributes:
        failure: Why it failed, where its ``each`` takes that.
    """

    part: PartId
    node: NodeId
    index: int
    number: int
    inside: PartId = PartId("")
    failure: Failure | None = None


@fact
class Park:
    """Nothing runs and people are awaited: the run may leave memory."""


@fact
class EndRun:
    """The run is over: record ``RunEnded``."""

    status: Literal["completed", "failed", "cancelled"]
    failure: Failure | None = None


Command = StartAttempt | CancelAttempt | CancelUnstarted | Withdraw | Decide | Enter | Leave | Park | EndRun
