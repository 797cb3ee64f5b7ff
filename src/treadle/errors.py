"""Every error Treadle raises, so that a caller can catch exactly what it can handle.

::

    TreadleError                       catch this to catch us
      WiringError (TypeError)          a stand-in was used as if it were a value
      PlanError (ValueError)           the plan is wrong; all faults at once, before anything runs
      ConfigurationError (ValueError)  a name, URL or setting does not lead to anything
        EngineClosed                   the engine is not open, or is closing
      RunError                         the run cannot go on; has run_id
        NodeFailed                     a node's own code raised; the cause is chained
          DidNotHappen                 raised by code that knows that a call in doubt did nothing
        ReadFailed (LookupError)       a read such as ``docs[0]`` or a ``match`` found nothing
        ResultRefused (TypeError)      a result does not come back equal from its JSON
        BudgetExceeded                 the worst case of a call does not fit what is left
        NodeTimeout (TimeoutError)     an attempt took longer than its timeout
        RunCancelled                   somebody cancelled the run
        RunWaiting                     the run waits for a person; nothing is lost
        HistoryMismatch                what was recorded and what the code does now differ
          AmbiguousHistory             which recorded effect or answer belongs to which call is not certain
        InDoubt                        an effect began and nobody recorded how it ended
        WorkerLost                     the process that works on the run died again and again
        AgentStopped                   an agent ran out of turns, or never gave a valid answer
        LoopLimit                      a loop's last round was not good enough either
        AllFailed                      every runner of a race failed
      QuestionError (ValueError)       an answer was refused
      ProviderError                    provider, status, retryable, retry_after
        RateLimited  ProviderUnavailable  RequestRejected  MalformedResponse
          CircuitOpen                  it failed so often that it is not asked for now
      ToolError                        server, tool: a tool of another program gave no result
        ToolFailed  ToolUnavailable  ToolLost
      StoreError                       StoreUnavailable  OwnershipLost  OwnedElsewhere
                                       FormatMismatch  UnknownRun  RunExists
      InternalError                    our bug: asks to be reported, and carries the story

Messages have three parts: what happened, where, how to mend it.  What a message states is also an
attribute.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple


class TreadleError(Exception):
    """The root of every error of this package."""


class WiringError(TreadleError, TypeError):
    """A stand-in was used as if it were a value while a graph was being wired."""


class PlanError(TreadleError, ValueError):
    """A plan is wrong; every fault is listed, and nothing has run.

    Attributes:
        faults: One sentence for each fault, in the order of the plan's nodes.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class ConfigurationError(TreadleError, ValueError):
    """A name, URL or setting does not lead to anything that exists, or a value is not what is wanted."""


class EngineClosed(ConfigurationError):
    """The engine is not open, or starts nothing more because it is closing; another one can go on."""


class RunError(TreadleError):
    """A run cannot go on.

    Attributes:
        run_id: The run, or ``None`` where the error was raised outside of one.
        node: The node it concerns, where there is one.
        attempt: The attempt of that node, counted from 1.
    """

    def __init__(
        self,
        message: str,
        *,
        run_id: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.node = node
        self.attempt = attempt


class NodeFailed(RunError):
    """A node's own code raised; the original error is the ``__cause__`` where this process still has it.

    Attributes:
        failure: What is recorded of it (a ``treadle.events.Failure``): classes, words, ``file:line``.
    """

    failure: object = None


class DidNotHappen(NodeFailed):
    """A call that must not be repeated did nothing.

    Raised by the body of such a call, or by the function that finds out about it
    (``@tool(effect="once", in_doubt=...)``): then the call is not in doubt, and may be made again.
    """


class LoopLimit(RunError):
    """A loop went through all its rounds, and ``until`` was not reached.

    Attributes:
        rounds: How many rounds there were.
        last: The value of the last round, as JSON text.
    """

    def __init__(self, message: str, *, rounds: int = 0, last: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.rounds = rounds
        self.last = last


class AllFailed(RunError):
    """Every runner of a race failed; the message says why each of them did.

    Attributes:
        failures: What is recorded of each (``treadle.events.Failure``), in the order of the runners.
    """

    def __init__(self, message: str, *, failures: Sequence[Any] = (), **where: Any) -> None:
        super().__init__(message, **where)
        self.failures = tuple(failures)


class ReadFailed(RunError, LookupError):
    """A read on a stand-in found nothing in the value, or a ``match`` no case for it."""


class ResultRefused(RunError, TypeError):
    """A value was refused because its JSON does not come back equal."""


class BudgetExceeded(RunError):
    """The worst case of a call does not fit a budget; it was not sent.

    Attributes:
        account: The account that is short, such as ``"run"`` or ``"node expert"``.
        measure: ``"usd"``, ``"tokens"``, ``"calls"`` or ``"seconds"``.
        limit, held, spent, needed: Amounts in the unit of the measure.
    """

    def __init__(
        self,
        message: str,
        *,
        account: str,
        measure: str,
        limit: Decimal,
        held: Decimal,
        spent: Decimal,
        needed: Decimal | None,
        run_id: str | None = None,
        node: str | None = None,
    ) -> None:
        super().__init__(message, run_id=run_id, node=node)
        self.account = account
        self.measure = measure
        self.limit = limit
        self.held = held
        self.spent = spent
        self.needed = needed


class NodeTimeout(RunError, TimeoutError):
    """An attempt took longer than its timeout."""


class RunCancelled(RunError):
    """The run was cancelled; what it had finished is kept.

    Attributes:
        by: Who asked for it; ``"deadline"`` where the run's ``deadline=`` had passed.
        reason: Why, as it was said.
    """

    def __init__(self, message: str, *, by: str = "", reason: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.by = by
        self.reason = reason


class RunWaiting(RunError):
    """The run waits for a person; it goes on where it stands once the question is answered.

    Attributes:
        questions: The ids of the open questions.
    """

    def __init__(self, message: str, *, run_id: str, questions: Sequence[str]) -> None:
        super().__init__(message, run_id=run_id)
        self.questions = tuple(questions)


class HistoryMismatch(RunError):
    """What was recorded and what the code does now differ, so going on could repeat paid work."""


class Ambiguity(NamedTuple):
    """A call of the plan that more than one thing could be true of.

    Attributes:
        call: The node, or the node and the step inside it.
        records: The recorded calls that could be it, each as ``told`` names it.
        others: Other nodes of the plan that these records could be as well.
        why: In words.
    """

    call: str
    records: tuple[str, ...]
    others: tuple[str, ...]
    why: str


class AmbiguousHistory(HistoryMismatch):
    """Under an edited graph a recorded effect or a person's answer could belong to more than one call.

    Nothing was repeated, and nothing taken for something else.  ``engine.resume(run_id, claims={...})``
    says what each call takes: the path of a record, or ``None`` to make it anew.

    Attributes:
        ambiguities: For each call that cannot be told: ``call``, the ``records`` that could be it, the
            ``others`` of the plan that these could be as well, and ``why``.
    """

    def __init__(
        self, message: str, *, ambiguities: Sequence[Ambiguity] = (), run_id: str | None = None
    ) -> None:
        super().__init__(message, run_id=run_id)
        self.ambiguities = tuple(ambiguities)


class InDoubt(RunError):
    """An effect began, and whether it happened was never recorded.

    Attributes:
        step: The path of the call in doubt.
        idempotency_key: The key the call was made under.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str,
        idempotency_key: str,
        run_id: str | None = None,
        node: str | None = None,
    ) -> None:
        super().__init__(message, run_id=run_id, node=node)
        self.step = step
        self.idempotency_key = idempotency_key


class WorkerLost(RunError):
    """The process that works on the run died again and again, and nothing was finished in between.

    The run is not taken up by itself any more; resuming it is an order to try it afresh.

    Attributes:
        deaths: How many died in a row.
    """

    def __init__(
        self,
        message: str,
        *,
        deaths: int,
        run_id: str | None = None,
        node: str | None = None,
        attempt: int | None = None,
    ) -> None:
        super().__init__(message, run_id=run_id, node=node, attempt=attempt)
        self.deaths = deaths


class AgentStopped(RunError):
    """An agent ended without a valid answer: out of turns, refused, or never in the asked form."""


class QuestionError(TreadleError, ValueError):
    """An answer was refused: unknown question, answered already, too late, or of the wrong form."""


class ProviderError(TreadleError):
    """A model provider did not give an answer.

    Attributes:
        provider: The provider's name, such as ``"openai"``.
        status: The HTTP status, or ``None`` where no response came.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds the provider asks to wait, or ``None``.
        sent: False only where the request surely never left, such as a refused connection; what was
            sent and broke off is paid for, as far as anybody can know.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.provider = provider
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after


class RateLimited(ProviderError):
    """The provider refuses more requests for now (429), or for good when a quota is used up."""


class ProviderUnavailable(ProviderError):
    """The provider could not be reached, broke off, or is overloaded (5xx, 529)."""


class CircuitOpen(ProviderUnavailable):
    """The model failed so often in a row that it is left alone for now: nothing was sent, or charged."""


class RequestRejected(ProviderError):
    """The provider will not answer this request: wrong key, wrong form, refused content."""


class MalformedResponse(ProviderError):
    """The provider answered with something that is not what its interface promises."""


class ToolError(TreadleError):
    """A tool of another program gave no result.

    Attributes:
        server: The program, by the name it was given.
        tool: The tool, as that program calls it.
        retryable: Whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, server: str, tool: str) -> None:
        super().__init__(message)
        self.server = server
        self.tool = tool


class ToolFailed(ToolError):
    """The other program answered that the call failed, or refused it; how it ended is known."""


class ToolUnavailable(ToolError):
    """The other program could not be reached, so nothing was done."""

    retryable = True


class ToolLost(ToolError):
    """The connection broke before an answer came: whether the tool did its work is not known."""

    retryable = True


class StoreError(TreadleError):
    """A store could not do what it was asked to."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written now; nothing acknowledged is lost."""


class OwnershipLost(StoreError):
    """Another process has taken the run over; this one may no longer append to it."""


class OwnedElsewhere(StoreError):
    """Another process owns the run.

    Attributes:
        owner: Who holds it: host, process id and since when.
    """

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class FormatMismatch(StoreError):
    """The store was not written by Treadle, is damaged, or comes from a newer release."""


class UnknownRun(StoreError, LookupError):
    """The store holds no run of that id."""


class RunExists(StoreError):
    """A run of that id exists already, with another graph or other inputs."""


class InternalError(TreadleError):
    """A bug of ours; please report it with the story it carries."""


NEVER_TAKEN: Final = (InDoubt, WorkerLost, HistoryMismatch, InternalError, RunCancelled, PlanError)
"""What ends a run whatever stands around it: no other attempt follows, nobody takes it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Give ``"; did you mean 'x'?"`` for the known name nearest to an unknown one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
