"""What happened in a run, one frozen value for each kind of fact.

The scheduler reads events, the store keeps them, the stream shows them, tests compare them.  Values
travel as ``Payload``s that are encoded only when somebody reads them.  Times are seconds since 1970
(UTC).  An event, once appended, is never edited; an unknown kind is kept and skipped (``Unknown``).

Only ``RunStarted``, ``RunResumed``, ``NodeCompleted``, ``AttemptFailed``, ``AttemptParked``,
``AttemptCancelled``, ``Decided``, ``QuestionAnswered`` and ``CancelRequested`` move a plan forward;
the others say what was done and paid on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Final, Literal

from treadle.budget import NOTHING, Amounts, Budget, Usage
from treadle.fact import fact as fact  # noqa: PLC0414 - events are read from here, whole
from treadle.failure import Failure as Failure  # noqa: PLC0414
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.values import Payload

FORMAT_VERSION: Final = 1
"""The version of the history format described in ``docs/reference/history.md``."""


@fact
class RunStarted:
    """A run was accepted: graph, inputs and limits.  Always the first event.

    Attributes:
        plan: The plan document; its digest is the plan's.
        inputs: One payload for each input of the graph, by parameter name.
        seed: Whence jitter and ``ctx.random``; ``budget`` what stands in place of the graph's own, if any.
        traceparent: W3C trace context that all spans of the run belong to, or ``""``.
    """

    kind: ClassVar[str] = "run_started"
    at: float
    run_id: RunId
    graph: str
    plan: Payload
    inputs: Mapping[str, Payload]
    seed: str
    budget: Budget | None = None
    tenant: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    deadline: float | None = None
    traceparent: str = ""
    format: int = FORMAT_VERSION


@fact
class RunResumed:
    """A process took the run up again after a crash, a failure or an edit.

    Attributes:
        plan: The plan from here on, where it is another one than before; then the scheduler starts
            afresh, and finished work is claimed from the records by identity.
        retry_failed: Whether what had failed gets fresh attempts.
        claims: What a person said where records could not be told apart: for a call of the plan the
            recorded call it takes, or ``""`` where it is made anew.
        recovered: Whether the process before died over it, rather than letting it go in good order.
    """

    kind: ClassVar[str] = "run_resumed"
    at: float
    owner: str
    fence: int
    plan: Payload | None = None
    retry_failed: bool = False
    claims: Mapping[str, str] = field(default_factory=dict[str, str])
    recovered: bool = False


@fact
class NodeCompleted:
    """A node's attempt returned; its result is recorded.

    Attributes:
        claimed: Where the result was taken from a record made under an earlier plan: the ``seq`` of the
            event that recorded it; 0 where the node ran.
    """

    kind: ClassVar[str] = "node_completed"
    at: float
    node: NodeId
    attempt: int
    started_at: float
    result: Payload
    claimed: int = 0


@fact
class AttemptFailed:
    """An attempt at a node ended in an error.

    Attributes:
        ended_by: The step whose failure ended the attempt, or ``None`` where the body itself raised.
        also_ended_by: Further steps that failed at the same time, in a task group of the body.
        claimed: Where the failure was taken over from a record made under an earlier plan: the ``seq`` of
            the event that recorded it; 0 where the attempt was made.
        tries: Of a failure that was taken over, and after which the node is tried again: how many tries
            have failed so far; 0 where it stands.
        not_before: Of the same: when the next try begins.
    """

    kind: ClassVar[str] = "attempt_failed"
    at: float
    node: NodeId
    attempt: int
    started_at: float
    failure: Failure
    ended_by: StepId | None = None
    also_ended_by: tuple[StepId, ...] = ()
    claimed: int = 0
    tries: int = 0
    not_before: float = 0.0


@fact
class AttemptParked:
    """Every pending call of an attempt waits for people: it is unwound until an answer comes.

    Attributes:
        in_doubt: Whether an effect in it is in doubt: then the run waits for the answer though nobody needs
            the attempt any more.
    """

    kind: ClassVar[str] = "attempt_parked"
    at: float
    node: NodeId
    attempt: int
    questions: tuple[QuestionId, ...]
    in_doubt: bool = False


@fact
class AttemptCancelled:
    """An attempt was cancelled, because nobody needs it any more or the run ends."""

    kind: ClassVar[str] = "attempt_cancelled"
    at: float
    node: NodeId
    attempt: int
    started_at: float


@fact
class Decided:
    """A choice was computed on values: the case taken, that a read succeeded, how much is to be repeated.

    Attributes:
        choice: Index of the case of ``when`` and ``match``; 0 for an expression; how many items an ``each``
            has; whether a ``loop`` is done (1) or goes on (0); -1 where it failed.
        failure: Why it failed.
        digest: Of the control word with everything it was computed from declared; on resume a
            choice with another digest is computed anew.
    """

    kind: ClassVar[str] = "decided"
    at: float
    node: NodeId
    choice: int
    failure: Failure | None = None
    digest: str = ""


@fact
class StepStarted:
    """A recorded call inside a node's body is about to be made.

    Attributes:
        step: Its path within the attempt; ``""`` for a node whose body is itself the call.
        callee: Name of the tool, node, agent or model called.
        callee_kind: ``"node"``, ``"tool"``, ``"agent"``, ``"human"``, ``"retriever"``, ``"model"``,
            ``"graph"``, or ``"finder"`` for a function that finds out whether the call around it happened.
        definition: Digest of the callee's definition; with ``input_digest`` its identity.
        arguments: What it was called with; for a model the request.
        once: Whether the call must never be silently repeated.
        idempotency_key: The key under which it acts; the same at every attempt to make the call.
        again: Where the call was in doubt and a person had it run again: the opening of the question
            whose answer said so, which holds for this one time; 0 otherwise.
        because: Why a call is made again: ``"tried"`` after a try that did nothing, ``"found"`` after a
            function found out that it did not happen, ``"answer"`` because a person said so, or
            ``"policy"`` because it may be repeated under its key; ``""`` the first time, and where it was
            stopped and is needed again.
        resolved: What ``auto``, routes and limits came to, such as the model's real name.
    """

    kind: ClassVar[str] = "step_started"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    callee: str
    callee_kind: str
    definition: str
    input_digest: str
    arguments: Payload | None = None
    once: bool = False
    idempotency_key: str = ""
    again: int = 0
    because: Literal["", "tried", "found", "answer", "policy"] = ""
    resolved: Mapping[str, str] = field(default_factory=dict[str, str])


@fact
class StepCompleted:
    """A recorded call returned."""

    kind: ClassVar[str] = "step_completed"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    started_at: float
    result: Payload


@fact
class StepTried:
    """A try at a recorded call failed and did nothing; the call goes on, with another try.

    Attributes:
        tries: How many have failed so far; ``not_before`` when the next begins.  A crash changes neither.
        ended_by: The innermost calls inside it whose failures ended the try, which are made again; none
            where a body raised by itself.
    """

    kind: ClassVar[str] = "step_tried"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    tries: int
    failure: Failure
    not_before: float
    ended_by: tuple[StepId, ...] = ()


@fact
class StepFailed:
    """A recorded call ended in an error.

    Attributes:
        in_doubt: Whether the effect may have happened.
        ended_by: The innermost calls inside it whose failures ended it; none where a body raised by itself.
    """

    kind: ClassVar[str] = "step_failed"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    started_at: float
    failure: Failure
    in_doubt: bool = False
    ended_by: tuple[StepId, ...] = ()


@fact
class StepClaimed:
    """A call was answered from an earlier attempt's record instead of being made again.

    Attributes:
        from_attempt, from_step: Where the record stands.
        callee, definition, input_digest: As in the record.
        result: What the record says; empty where ``failure`` is given.
        once: Whether the call must never be silently repeated.
    """

    kind: ClassVar[str] = "step_claimed"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    from_node: NodeId
    from_attempt: int
    from_step: StepId
    callee: str
    definition: str
    input_digest: str
    result: Payload | None = None
    failure: Failure | None = None
    once: bool = False


@fact
class MoneyHeld:
    """The worst case of one request was set aside in every account above it, before sending.

    Attributes:
        request: Counts the requests of the step, from 1: a retried one is held and settled anew.
        accounts: Ids of the accounts, outermost first.
        max_output_tokens: The output limit the request was sent with.
        hedge: Whether it is the second of two at once.
    """

    kind: ClassVar[str] = "money_held"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    request: int
    accounts: tuple[str, ...]
    held: Amounts
    max_output_tokens: int = 0
    model: str = ""
    provider: str = ""
    hedge: bool = False


@fact
class MoneySettled:
    """A hold was replaced by what the request really took.

    Attributes:
        outcome: ``"completed"``, ``"failed"``, ``"cancelled"``, or ``"lost"`` where the process died
            in between and the hold itself is charged.
        basis: Where the price comes from (``Price.basis``), with its version.
        over: Whether it took more than was held: the accounts are closed.
        not_before: When another request follows on a failure: a crash does not start the wait over.
    """

    kind: ClassVar[str] = "money_settled"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    request: int
    accounts: tuple[str, ...]
    charged: Amounts
    started_at: float
    usage: Usage = field(default_factory=Usage)
    outcome: Literal["completed", "failed", "cancelled", "lost"] = "completed"
    model: str = ""
    provider: str = ""
    basis: str = ""
    price_version: str = ""
    error: str = ""
    over: bool = False
    not_before: float | None = None


@fact
class CircuitActed:
    """The circuit breaker of a model, which all runs of an engine share, decided on a request.

    Attributes:
        did: ``"refused"``: it was not sent; ``"probed"``: it was let through to find out; ``"opened"``:
            its failure had the model left alone; ``"closed"``: its answer had it asked again.
        until: When the next one is let through.
    """

    kind: ClassVar[str] = "circuit_acted"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    request: int
    did: Literal["refused", "probed", "opened", "closed"]
    model: str
    provider: str
    until: float | None = None
    failures: int = 0


@fact
class QuestionAsked:
    """People were asked; the run can leave memory until they answer.

    Attributes:
        to: Who is asked: a person or a group, by name.
        prompt: The question in words.
        shown: What was shown with it, or ``None``.
        schema: JSON Schema the answer must satisfy.
        deadline: When the answer is due, or ``None`` for ever.
        opening: Counts how often it was opened; ``about`` ``"doubt"`` asks whether an effect happened.
        former: Under an edited plan: the question of an earlier one whose answer it takes over.
    """

    kind: ClassVar[str] = "question_asked"
    at: float
    node: NodeId
    attempt: int
    step: StepId
    question: QuestionId
    to: str
    prompt: str
    schema: Payload
    shown: Payload | None = None
    deadline: float | None = None
    opening: int = 1
    about: Literal["answer", "doubt"] = "answer"
    complaint: str = ""
    former: QuestionId = QuestionId("")


@fact
class QuestionAnswered:
    """A person answered."""

    kind: ClassVar[str] = "question_answered"
    at: float
    node: NodeId
    question: QuestionId
    value: Payload
    by: str
    reason: str = ""
    opening: int = 1


@fact
class QuestionWithdrawn:
    """A question was closed without an answer.

    Attributes:
        why: ``"unneeded"``: nobody needs the answer any more; ``"late"``: its deadline has passed, and
            the node that asked goes on without one.
    """

    kind: ClassVar[str] = "question_withdrawn"
    at: float
    node: NodeId
    question: QuestionId
    why: Literal["unneeded", "late"] = "unneeded"


@fact
class Progress:
    """A body told how far it is; for people only."""

    kind: ClassVar[str] = "progress"
    at: float
    node: NodeId
    attempt: int
    message: str
    fraction: float | None = None


@fact
class CancelRequested:
    """Somebody asked for the run to be cancelled."""

    kind: ClassVar[str] = "cancel_requested"
    at: float
    by: str = ""
    reason: str = ""


@fact
class RunEnded:
    """The run is over.

    Attributes:
        status: ``"completed"``, ``"failed"`` or ``"cancelled"``.
        spent: Everything charged to the run.
    """

    kind: ClassVar[str] = "run_ended"
    at: float
    status: Literal["completed", "failed", "cancelled"]
    result: Payload | None = None
    failure: Failure | None = None
    spent: Amounts = NOTHING


@fact
class Unknown:
    """An event of a kind this release does not know, kept as it was written."""

    kind: ClassVar[str] = "unknown"
    at: float
    name: str
    body: Mapping[str, Any]


Event = (
    RunStarted | RunResumed | NodeCompleted | AttemptFailed | AttemptParked | AttemptCancelled
    | Decided | StepStarted | StepCompleted | StepTried | StepFailed | StepClaimed | MoneyHeld
    | MoneySettled | CircuitActed | QuestionAsked | QuestionAnswered | QuestionWithdrawn | Progress
    | CancelRequested | RunEnded | Unknown
)  # fmt: skip


@fact
class Recorded:
    """An event with its place in a run's history.

    Attributes:
        seq: Counts the run's events from 1, without gaps.
        hash: SHA-256 over the hash before and this event's canonical bytes, hexadecimal.
    """

    seq: int
    hash: str
    event: Event
