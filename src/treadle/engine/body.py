"""``Body``: what a node's code sees as ``ctx``, and the identity of every call it makes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

from anyio.lowlevel import checkpoint_if_cancelled
from pydantic import ValidationError

from treadle.engine.activity import Activity
from treadle.engine.failures import storable
from treadle.engine.inner import Past, Place, walk
from treadle.engine.live import Live
from treadle.engine.money import Account
from treadle.engine.records import FINDER, AttemptRecords, Identity, Origin, StepRecord
from treadle.engine.requests import (
    Conversations,
    as_callee,
    bind,
    pack_and_digest,
    pack_arguments,
)
from treadle.engine.turns import Turns
from treadle.engine.workspace import made_anew
from treadle.errors import HistoryMismatch, TreadleError
from treadle.events import Progress, StepClaimed, StepCompleted, StepStarted
from treadle.ids import NodeId, RunId, StepId
from treadle.interfaces import Index, Model, Span, ToolServer, ToolSession
from treadle.messages import ModelRequest
from treadle.nodes.tool_schema import complaints
from treadle.plan.parts import Callee, Planned, PlanNode
from treadle.values import JSON, Payload, digest

P = ParamSpec("P")
R = TypeVar("R")

CALLS_PER_PASS: Final = 64
"""After so many calls a body lets other tasks of the process run."""


_NO_CALL: Final = Identity("", "")
"""That of a node's own body."""

Because = Literal["", "tried", "found", "answer", "policy"]
"""Why a call is made again, as in ``StepStarted``."""


class Maker(Protocol):
    """What a body needs of the attempt it belongs to.

    Attributes:
        records: All calls of the attempt; ``past`` those that had ended when it began here, by body.
        made: How many calls it has made or claimed so far.
    """

    live: Live
    planned: PlanNode
    node: NodeId
    number: int
    started_at: float
    records: AttemptRecords
    past: Mapping[str, list[StepRecord]]
    made: int
    unneeded: dict[StepId, Callable[[], None]] | None

    @property
    def conversations(self) -> Conversations: ...

    def offer_inside(self, call: Call) -> None:
        """Offer what a call had finished inside to the next go at it."""
        ...

    async def make(self, call: Call) -> Any:
        """Run a call that has no recorded outcome, and record how it ends."""
        ...

    async def ask(self, body: Body, question: Any) -> Any: ...

    def failed(self, record: StepRecord) -> TreadleError:
        """The error of a call whose failure is recorded."""
        ...


@runtime_checkable
class _Under(Protocol):
    """What may call agents, or be one."""

    def under(self, model: str | Model) -> Callee:
        """Give it as a body of a graph calls it that was given a model: the same each time."""
        ...


class Call:
    """One call that a body is making.

    Attributes:
        accounts: The accounts above it.
        record: What the history has of it: that it was begun, or is in doubt; ``None`` for a new one.
        asks: Whether it is a question to a person that waits for its answer.
        inner: The body of the callee, where it has begun.
        kept_key: The idempotency key under which it, or an earlier attempt, began; ``""`` where none has.
        again: The opening of the question about it that was last answered with "run again".
        error: What it raised when it was last made in this process.
        is_finder: Whether it finds out about the call around it, which is in doubt.
        was_stopped: Whether nobody needed it for a while, so that it was stopped, and now it is needed again.
        late: Whether the body that made it, or the whole attempt, is over by now, so that only its doubt
            is to be settled.
    """

    __slots__ = (
        "accounts", "again", "arguments", "asks", "body", "callee", "error", "identity", "inner", "is_finder",
        "kept_key", "late", "record", "step", "was_stopped",
    )  # fmt: skip

    def __init__(
        self, body: Body, callee: Callee, arguments: Mapping[str, Any], step: StepId, identity: Identity
    ) -> None:
        self.body = body
        self.callee = callee
        self.arguments = arguments
        self.step = step
        self.identity = identity
        self.accounts = body.accounts
        self.record: StepRecord | None = None
        self.asks = False
        self.inner: Body | None = None
        self.kept_key = ""
        self.again = 0
        self.error: Exception | None = None
        self.is_finder = False
        self.was_stopped = False
        self.late: Literal["", "body", "attempt"] = ""

    @property
    def only_asks(self) -> bool:
        """Whether nothing is under way in it but waiting for people."""
        return self.asks or (self.inner is not None and self.inner.only_asks())

    @property
    def may_have_acted(self) -> bool:
        """Whether an earlier try at it is in doubt."""
        return self.error is not None or (self.record is not None and self.record.is_open)

    @property
    def key(self) -> str:
        """Its idempotency key."""
        if self.kept_key:
            return self.kept_key
        maker = self.body.maker
        return idempotency_key(maker.live.run_id, maker.node, self.step, self.identity)


class _Asking:
    """A question that a body waits for."""

    only_asks = True


def idempotency_key(run_id: RunId, node: NodeId, step: StepId, identity: Identity) -> str:
    """A key for the outside world: the same for the same call of a run, whatever attempt makes it."""
    known_by = "\0".join((run_id, node, step, identity.definition, identity.inputs))
    return digest(known_by.encode())[:32]


class Body:
    """One run of a body: a node's own, or that of a call inside it.  Implements ``Context``.

    Args:
        maker: The attempt.
        path: The step this body belongs to; ``""`` for the node's own.
        activity: Whether it runs or waits.
        accounts: The accounts above what it spends.
        call: Whose body it is; without one it is the node's own.

    Attributes:
        identity: That of the call.
        is_once: Whether it, or a body around it, must never be silently repeated.
    """

    __slots__ = (
        "_around", "_counts", "_key", "_random", "_turns", "accounts", "activity", "calls", "identity",
        "is_once", "maker", "path", "span",
    )  # fmt: skip

    def __init__(
        self,
        maker: Maker,
        path: str,
        *,
        activity: Activity,
        accounts: tuple[Account, ...],
        span: Span | None = None,
        call: Call | None = None,
    ) -> None:
        if call is None:
            callee, self.identity, self._key, self.is_once = maker.planned.callee, _NO_CALL, "", False
        else:
            callee, self.identity, self._key = call.callee, call.identity, call.kept_key
            self.is_once = call.body.is_once or callee.policies.effect == "once"
        self._around: str | Model | None = getattr(callee, "around", None)
        self._random: random.Random | None = None
        self.maker = maker
        self.path = path
        self.activity = activity
        self.accounts: tuple[Account, ...] = accounts
        self.span = span
        self.calls: set[Call | _Asking] = set()
        self._counts: dict[str, int] = {}
        past = maker.past.get(path)
        self._turns = None if past is None else Turns(past, self._is_busy)

    @property
    def _prefix(self) -> str:
        return f"{self.path}/" if self.path else ""

    def _is_busy(self) -> bool:
        return bool(self.calls)

    def only_asks(self) -> bool:
        """Whether every call under way waits for a person, and there is one."""
        return bool(self.calls) and all(call.only_asks for call in self.calls)

    @contextmanager
    def asking(self) -> Generator[None]:
        """Around a wait of this body for a person."""
        question = _Asking()
        self.calls.add(question)
        try:
            yield
        finally:
            self.calls.discard(question)

    def check_all_claimed(self) -> None:
        """Raise ``HistoryMismatch`` where the body ended without repeating all it did before."""
        if self._turns is not None:
            self._turns.check_all_claimed()

    # -- Context -----------------------------------------------------------------------------------

    @property
    def run_id(self) -> RunId:
        """The run this body belongs to."""
        return self.maker.live.run_id

    @property
    def attempt(self) -> int:
        """Which attempt at the node this is, counted from 1."""
        return self.maker.number

    @property
    def idempotency_key(self) -> str:
        """A key for the outside world: the same whenever this very call is made again."""
        return self._key or idempotency_key(self.run_id, self.maker.node, StepId(self.path), self.identity)

    @property
    def random(self) -> random.Random:
        """Chance that comes out the same at every resume."""
        if self._random is None:
            node, attempt, *_ = self._origin or (self.maker.node, self.maker.number)
            seed = f"{self.maker.live.seed}:{node}:{attempt}:{self.path}"
            self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose, not for secrets
        return self._random

    @property
    def _origin(self) -> Origin | None:
        """What the body has seen under an earlier plan, where its first attempt under this one goes on."""
        maker = self.maker
        return maker.live.claims.origin(maker.node) if maker.number == 1 else None

    def now(self) -> datetime:
        """The time as this body first saw it."""
        maker = self.maker
        step = self.numbered("now")
        noted = maker.records.noted.get(step)
        before = self._origin.notes.get(step) if self._origin is not None and noted is None else noted
        at = maker.live.now() if before is None else float(before.json())
        if noted is None:
            maker.live.record(
                StepCompleted(
                    at=at,
                    node=maker.node,
                    attempt=maker.number,
                    step=step,
                    started_at=at,
                    result=JSON.pack(at),
                )
            )
        return datetime.fromtimestamp(at, UTC)

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell people how far the body is; a sign of life for ``idle``."""
        maker = self.maker
        self.activity.stir()
        maker.live.record(
            Progress(
                at=maker.live.now(),
                node=maker.node,
                attempt=maker.number,
                message=storable(message),
                fraction=fraction,
            )
        )

    def resource(self, kind: type[R]) -> R:
        """Give the engine's resource of a type."""
        return self.maker.live.services.resource(kind)

    async def index(self, index: str | Index) -> Index:
        """Give an index by path, opened once for the engine."""
        return self.maker.live.services.index(index)

    async def session(self, server: ToolServer) -> ToolSession:
        """Give the run's session with a program that offers tools."""
        return await self.maker.live.sessions.get(server)

    async def step(self, node: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call another node as a recorded step."""
        callee = as_callee(node)
        if self._around is not None and isinstance(callee, _Under):
            callee = callee.under(self._around)
        return cast("R", await self.call(callee, bind(callee, args, kwargs)))

    async def walk(self, plan: Planned, arguments: Mapping[str, Any]) -> Any:
        """Go through a graph's plan: each of its nodes is a call of this body."""
        return await walk(self, plan, arguments)

    async def ask(self, question: Any) -> Any:
        """Ask a person, and wait for the answer outside memory."""
        return await self.maker.ask(self, question)

    # -- calls -------------------------------------------------------------------------------------

    async def call(self, callee: Callee, arguments: Mapping[str, Any], *, place: Place | None = None) -> Any:
        """Make a call, or give what its record says; a body that is cancelled makes no more of them.

        Args:
            callee: Whom.
            arguments: By parameter, defaults included.
            place: Where it stands in a graph that this body goes through.
        """
        await checkpoint_if_cancelled()
        definition = callee.definition
        if definition.kind == "model":
            payload, inputs = self._written(callee, definition.digest, arguments)
        else:
            payload, inputs = pack_and_digest(callee, arguments)
        name = (callee.name if place is None else place.name).replace("/", "~")
        step = self._step_at(place, f"{name}#{inputs[:10]}")
        call = Call(self, callee, arguments, step, Identity(definition.digest, inputs))
        if place is not None:
            call.was_stopped, place.step = place.step == step, step
            await place.begun(call, has_ended=self._turns is not None and self._turns.has(step))
        self.maker.made += 1
        if not self.maker.made % CALLS_PER_PASS:
            await self.maker.live.let_others_run()
        if self._turns is None:
            return await self.begin(call, payload)
        once = callee.policies.effect == "once"
        record = await self._turns.take(step, call.identity, once=once)
        if record is not None:
            return self._outcome(callee, record)
        call.step = self._turns.stands_for(step)
        try:
            value = await self.begin(call, payload)
        except TreadleError:
            await self._turns.reach(math.inf)
            raise
        await self._turns.reach(math.inf)
        return value

    def past_of(self, callee: Callee, arguments: Mapping[str, Any]) -> Past:
        """What is known of a call like this one that nobody has claimed yet."""
        claims, turns = self.maker.live.claims, self._turns
        if (turns is None or turns.is_over) and claims.is_empty:
            return ""
        identity = Identity(callee.definition.digest, pack_and_digest(callee, arguments)[1])
        if claims.offers(identity) or (turns is not None and turns.expects(identity)):
            return "ended"
        return "in doubt" if turns is not None and turns.is_in_doubt(identity) else ""

    async def reach(self, order: float) -> None:
        """Let what came before a moment of the history reach the body first; ``inf`` for what is new."""
        if self._turns is not None:
            await self._turns.reach(order)

    async def begin(self, call: Call, payload: Payload) -> Any:
        """Make a call whose turn has come: from a claimed record, or for real."""
        maker, claims = self.maker, self.maker.live.claims
        record = maker.records.steps.get(call.step)
        if record is not None and record.has_ended:
            return self._outcome(call.callee, record)
        if record is None:
            call.record = record = claims.take(call.identity, maker.node, call.step)
            if record is not None and not record.is_open:
                self._record_claim(call, record)
                return self._outcome(call.callee, record)
            self._take_over(call)
            if call.callee.policies.effect == "once":
                if record is None and claims.site is not None:
                    await claims.check_step(call.callee.definition, call.identity, maker.node, call.step)
                if not call.kept_key:
                    key = call.key
                    call.kept_key = claims.new_key(key) or key
            self.record_start(call, payload)
        else:
            call.record = record
            self._take_over(call)
            if call.was_stopped and not record.is_open and record.not_before is None:
                maker.offer_inside(call)
                self.record_start(call, payload)
        return await maker.make(call)

    def _take_over(self, call: Call) -> None:
        if call.record is not None:
            call.kept_key, call.again = call.record.idempotency_key, call.record.again

    def _step_at(self, place: Place | None, name: str) -> StepId:
        """A path for a call; one that was stopped and is needed again has that which it had."""
        before = None if place is None else place.step
        if before is not None and before.rpartition(":")[0] == f"{self._prefix}{name}":
            return before
        return self.numbered(name)

    def numbered(self, name: str) -> StepId:
        """A path for a call: the count tells equal calls of one body apart."""
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        return StepId(f"{self._prefix}{name}:{number}")

    def _written(self, callee: Callee, definition: str, arguments: Mapping[str, Any]) -> tuple[Payload, str]:
        """Write what a model is asked, and give the digest that stands for it in the call's identity."""
        request = arguments.get("request")
        if isinstance(request, ModelRequest):
            payload = self.maker.conversations.pack(definition, request)
        else:
            payload = pack_arguments(callee, arguments)
        return payload, payload.digest

    def _outcome(self, callee: Callee, record: StepRecord) -> Any:
        if record.result is None:
            raise self.maker.failed(record)
        try:
            return callee.result.unpack(record.result)
        except ValidationError as error:
            raise HistoryMismatch(
                f"what {record.step!r} in node {self.maker.node!r} gave does not fit the type of "
                f"{callee.name!r} any more: {complaints(error)}; undo the edit, "
                f"{made_anew(f'{self.maker.node}/{record.step}')}or start a new run",
                run_id=self.run_id,
                node=self.maker.node,
                attempt=self.maker.number,
            ) from error

    def _record_claim(self, call: Call, found: StepRecord) -> None:
        maker = self.maker
        maker.live.record(
            StepClaimed(
                at=maker.live.now(),
                node=maker.node,
                attempt=maker.number,
                step=call.step,
                from_node=found.node,
                from_attempt=found.attempt,
                from_step=found.step,
                callee=found.callee,
                definition=found.identity.definition,
                input_digest=found.identity.inputs,
                result=found.result,
                failure=found.failure,
                once=found.once,
            )
        )

    def record_start(self, call: Call, payload: Payload | None, *, because: Because = "") -> None:
        """Record that a call is about to be made, or made again for a reason."""
        maker, callee = self.maker, call.callee
        once = callee.policies.effect == "once"
        maker.live.record(
            StepStarted(
                at=maker.live.now(),
                node=maker.node,
                attempt=maker.number,
                step=call.step,
                callee=callee.name,
                callee_kind=FINDER if call.is_finder else callee.definition.kind,
                definition=call.identity.definition,
                input_digest=call.identity.inputs,
                arguments=payload,
                once=once,
                idempotency_key=call.key if once else "",
                again=call.again,
                because=because,
            )
        )
