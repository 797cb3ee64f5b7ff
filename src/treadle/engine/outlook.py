"""What resuming a run under an edited graph comes to, found out by doing it: on its history, without a store.

The run is rebuilt as resuming rebuilds it, its scheduler and its claims are those of the run itself, and
whatever would be recorded or started is only noted.  So what is told here is what happens then.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from treadle.engine.clock import SystemClock
from treadle.engine.compiled import Compiled, compile_runners
from treadle.engine.former import Former
from treadle.engine.live import Services
from treadle.engine.purse import Purse
from treadle.engine.questions import event_of
from treadle.engine.recollect import Left, last_piece
from treadle.engine.records import StepRecord
from treadle.engine.registry import checked_id
from treadle.engine.taking_up import NOTHING_TOLD, Past, is_another, past, rebuild
from treadle.engine.uncertain import FRESH, in_words, path_of
from treadle.errors import Ambiguity, AmbiguousHistory, ConfigurationError, HistoryMismatch, nearest
from treadle.events import AttemptFailed, Event, NodeCompleted, QuestionAnswered
from treadle.ids import NodeId, RunId, StepId
from treadle.interfaces import Request, RunLog, Store
from treadle.nodes.graph import Graph
from treadle.plan.parts import REPEATED, WORK, Definition, PlanNode
from treadle.retry import RetryBudget

Outcome = Literal["kept", "runs", "waits", "later", "unneeded", "ambiguous", "unfit", "dropped"]

_CHANGES: Final = {
    "kind": "it is another kind of node",
    "name": "it is another function",
    "parameters": "its parameters are declared otherwise",
    "result": "its result is declared otherwise",
    "model": "it declares another model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What becomes of one node of the plan, or of one recorded result that no node takes.

    Attributes:
        node: Its name in the plan; of a dropped result the name it was recorded under.
        outcome: ``"kept"``: its result is there; ``"runs"`` at once; ``"waits"`` for a person;
            ``"later"``: when what it needs is there, it is kept if it is given the same again, else it
            runs; ``"unneeded"``: nobody needs it, as far as is known; ``"ambiguous"``, ``"unfit"``:
            resuming refuses; ``"dropped"``: recorded, and no node of the plan takes it.
        why: In words; empty where there is nothing to say.
        source: The path of the recorded call that is kept, where it is another one.
    """

    node: str
    outcome: Outcome
    why: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What resuming a run comes to.

    Attributes:
        is_edited: Whether the graph is another one than the run had last.
        looks: The work nodes in the order of the plan, calls inside bodies that claims were given for, then
            what is dropped.
        refused: Why resuming refuses, or ``""``.
    """

    run_id: RunId
    graph: str
    is_edited: bool
    looks: tuple[Look, ...]
    refused: str = ""


async def check_against(
    graph: Graph[..., Any], run_id: str, store: Store, *, claims: Mapping[str, str | None] | None = None
) -> Outlook:
    """Tell what resuming a run with a graph would keep, run, and refuse.  Nothing is run or written.

    Args:
        graph: The graph as it is now.
        run_id: A run in the store.
        store: An open store.
        claims: As ``Engine.resume`` takes them.

    Raises:
        UnknownRun: There is no such run.
        HistoryMismatch: The graph takes other inputs now than the run was started with.
        ConfigurationError: The run is of another graph, or a claim names what is not there.
    """
    before = past(await store.read(RunId(checked_id("run_id", run_id))))
    if before.started.graph != graph.name:
        raise ConfigurationError(
            f"run {run_id!r} is of graph {before.started.graph!r}, not of {graph.name!r}; name the file it "
            "was started from"
        )
    compiled = compile_runners(graph.plan)
    asked = await store.requests(before.started.run_id)
    return _Rehearsal(cast("Services", _Outside()), compiled, before, told_in(claims), asked).outlook()


def require_clear(
    services: Services,
    compiled: Compiled,
    before: Past,
    told: Mapping[str, str],
    requests: Sequence[Request] = (),
) -> None:
    """Refuse to go on under an edited plan where it is not certain what belongs to what.

    Args:
        requests: What was asked of the run meanwhile: answers among it.

    Raises:
        AmbiguousHistory: A recorded effect or a person's answer could belong to several calls.
        HistoryMismatch: A recorded result does not fit its type any more.
        ConfigurationError: A claim names what is not there.
    """
    if not is_another(compiled, before, told):
        return
    rehearsal = _Rehearsal(services, compiled, before, told, requests)
    if rehearsal.ambiguities:
        raise AmbiguousHistory(
            in_words(rehearsal.ambiguities), ambiguities=rehearsal.ambiguities, run_id=before.started.run_id
        )
    for error in rehearsal.unfit.values():
        raise error


def told_in(claims: Mapping[str, str | None] | None) -> Mapping[str, str]:
    """What a person said, as it is recorded."""
    return {call: FRESH if record is None else record for call, record in (claims or NOTHING_TOLD).items()}


def refuse_claims(run_id: str, told: Mapping[str, str]) -> None:
    """Refuse what a person says of the calls of a run that is under way: it has taken its records.

    Raises:
        ConfigurationError: Something was said.
    """
    if told:
        raise ConfigurationError(
            f"run {run_id!r} is under way in this engine, so claims for {', '.join(map(repr, told))} "
            "come too late; resume it with them when it waits, has failed or its engine is closed"
        )


class _Silent:
    """A log that notes what is appended."""

    queued = 0
    is_durable = False
    fence = 0
    was_abandoned = False

    def __init__(self, run_id: RunId) -> None:
        self.run_id = run_id
        self.events: list[Event] = []

    def append(self, *events: Event) -> None:
        self.events.extend(events)


class _Outside:
    """What a run that only is looked at needs of an engine, over that of a real one where there is one."""

    watch_command = None
    fresh_copies = False
    tracer = None
    retry_budget = RetryBudget()

    def __init__(self, services: Services | None = None) -> None:
        self.clock = SystemClock() if services is None else services.clock

    def watch_deadline(self, *_ignored: object) -> None:
        """Deadlines are of no interest."""


class _Rehearsal:
    """A run taken up on paper."""

    def __init__(
        self,
        services: Services,
        compiled: Compiled,
        before: Past,
        told: Mapping[str, str],
        requests: Sequence[Request],
    ) -> None:
        self._compiled = compiled
        self._before = before
        self._told = told
        self._log = _Silent(before.started.run_id)
        self.is_edited = compiled.plan.digest != before.plan.digest
        self.ambiguities: list[Ambiguity] = []
        self.unfit: dict[NodeId, HistoryMismatch] = {}
        self._loop, resumed = rebuild(
            cast("Services", _Outside(services)),
            compiled,
            before,
            cast("RunLog", self._log),
            Purse(),
            owner="",
            told=told,
        )
        self._check_told()
        self._loop.claims.report = self.ambiguities.append
        if self._loop.claimer is not None:
            self._loop.claimer.unfit = self.unfit
        self._answers: dict[NodeId, Former] = {}
        self._hear(requests)
        if not self._is_over:
            self._loop.take(resumed)
            self._find_answers()

    def _hear(self, requests: Sequence[Request]) -> None:
        """Take in the answers that nobody has taken up yet."""
        questions = self._loop.questions
        for request in requests:
            event = event_of(request)
            asked = questions.admits(event) if isinstance(event, QuestionAnswered) else None
            if asked is not None:
                questions.see(event)

    def _find_answers(self) -> None:
        """Find out which answers the nodes that run will take, as far as it is known."""
        claims, claimer, answered = self._loop.claims, self._loop.claimer, self._loop.questions.answer
        running = [] if claimer is None else [name for name in claimer.begun if name not in self._claimed]
        for name in running:
            found = claims.former.outlook(claims, answered, name)
            unsure = next((one for one in found if isinstance(one, Ambiguity)), None)
            if unsure is not None and all(one.call != name for one in self.ambiguities):
                self.ambiguities.append(unsure)
            self._answers.update((name, one) for one in found if isinstance(one, Former))

    @property
    def _is_over(self) -> bool:
        ended = self._before.ended
        return ended is not None and ended.status != "failed"

    def _check_told(self) -> None:
        plan, claims = self._compiled.plan, self._loop.claims
        for call, label in self._told.items():
            if self._around(call) is None or ("#" not in call and plan.find(NodeId(call)) is None):
                raise ConfigurationError(f"there is no node {call!r} in the plan{nearest(call, plan.by_id)}")
            if label != FRESH and not claims.former.knows(label) and claims.named(label) is None:
                known = [record.path for record in claims.unclaimed() if record.plan]
                raise ConfigurationError(
                    f"no recorded call is named {label!r}{nearest(label, known)}; `treadle check FILE "
                    f"--against {self._before.started.run_id}` lists them"
                )

    def outlook(self) -> Outlook:
        """Sum up what was found."""
        before, plan = self._before, self._compiled.plan
        looks = [look for node in plan.nodes for look in self._looks(node)]
        refused = in_words(self.ambiguities) if self.ambiguities else ""
        if not refused and self.unfit:
            refused = str(next(iter(self.unfit.values())))
        return Outlook(
            run_id=before.started.run_id,
            graph=plan.name,
            is_edited=self.is_edited,
            looks=(*looks, *self._told_inside(), *(self._dropped() if not self._is_over else ())),
            refused=refused,
        )

    def _told_inside(self) -> Iterator[Look]:
        """What a person said of calls inside bodies: it holds when the body makes them."""
        for call, label in self._told.items():
            node = self._around(call)
            if node is None or node == call:
                continue
            if node in self._claimed or self._loop.scheduler.state_of(node) == "done":
                yield Look(node=NodeId(call), outcome="unneeded", why=f"{node!r} is kept, so it is not made")
            elif label == FRESH:
                yield Look(node=NodeId(call), outcome="runs", why=f"you said so, when {node!r} makes it")
            else:
                why = f"as {label}: you said so, when {node!r} makes it"
                yield Look(node=NodeId(call), outcome="kept", why=why, source=label)

    def _around(self, call: str) -> NodeId | None:
        """The node that a call is, or is made in."""
        plan = self._compiled.plan
        while call and plan.find(NodeId(call)) is None:
            call = call.rpartition("/")[0]
        return NodeId(call) if call else None

    # -- one node --------------------------------------------------------------------------------------

    def _looks(self, node: PlanNode) -> Iterator[Look]:
        if node.kind in WORK:
            yield self._look(node.id, node)
        elif node.kind in REPEATED and self._loop.claimer is not None:
            claimer = self._loop.claimer
            for name in claimer.begun:
                inside = claimer.places.node(name) if name.startswith(f"{node.id}(") else None
                if inside is not None:
                    yield self._look(name, inside)

    def _look(self, name: NodeId, node: PlanNode) -> Look:
        """Tell of a node, or of one inside an item or a round that begins at once."""
        if name in self.unfit:
            return Look(node=name, outcome="unfit", why=str(self.unfit[name]))
        ambiguity = next((one for one in self.ambiguities if one.call == name), None)
        if ambiguity is not None:
            return Look(node=name, outcome="ambiguous", why=ambiguity.why)
        state = "done" if name in self._claimed else self._loop.scheduler.state_of(name)
        if state == "done":
            why = "it failed, and that was taken" if name in self._failures else ""
            return Look(node=name, outcome="kept", why=why, source=self._source(name))
        if state == "running":
            return Look(node=name, outcome="runs", why=self._why(name, node))
        if state == "parked":
            return Look(node=name, outcome="waits", why="a person was asked")
        if state == "waiting":
            return Look(node=name, outcome="later", why=self._after(node))
        return Look(node=name, outcome="unneeded")

    @functools.cached_property
    def _claimed(self) -> dict[NodeId, int]:
        """The records that nodes take: the places of their events in the history."""
        done = {e.node: e.claimed for e in self._log.events if isinstance(e, NodeCompleted) and e.claimed}
        return {**done, **self._failures}

    @functools.cached_property
    def _failures(self) -> dict[NodeId, int]:
        """The recorded failures that nodes take, so that they are not run."""
        events = (e for e in self._log.events if isinstance(e, AttemptFailed))
        return {e.node: e.claimed for e in events if e.claimed and not e.tries}

    def _source(self, node: NodeId) -> str:
        """The path a result was recorded under, where it is not the node's own."""
        if node not in self._claimed:
            return ""
        event = self._before.events[self._claimed[node] - 1]
        step = StepId("" if isinstance(event, NodeCompleted) else getattr(event, "step", ""))
        path = path_of(getattr(event, "node", NodeId("")), step)
        return "" if path == node else path

    def _after(self, node: PlanNode) -> str:
        scheduler = self._loop.scheduler
        missing = [need for need in node.needs if scheduler.state_of(need) not in ("done", "idle")]
        return f"after {', '.join(map(repr, missing))}" if missing else ""

    def _why(self, name: NodeId, node: PlanNode) -> str:
        """Why a node runs at once."""
        if self._told.get(name) == FRESH:
            return "you said so"
        if name in self._answers:
            return self._answered(self._answers[name])
        left = self._left
        then = left.plan.find(name)
        if then is None or then.definition is None:
            return "it is new"
        if then.definition != node.definition and node.definition is not None:
            return "; ".join(_differences(then.definition, node.definition))
        changed = self._changed_inputs(name)
        if changed:
            return f"its inputs changed: {', '.join(map(repr, changed))}"
        done = any(isinstance(e, NodeCompleted) and e.node == name for e in left.piece)
        return "its result went to another node" if done else "it was not finished"

    def _answered(self, former: Former) -> str:
        answer = self._loop.questions.answer(former.asked.question)
        return f"with what {'' if answer is None else answer.by!r} answered to {former.path!r}"

    def _changed_inputs(self, name: NodeId) -> list[str]:
        claimer = self._loop.claimer
        if claimer is None:
            return []
        try:
            before, after = self._left.places.given(name), claimer.places.given(name)
        except LookupError:
            return []
        return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))

    @functools.cached_property
    def _left(self) -> Left:
        return last_piece(self._before.events)

    def _dropped(self) -> Iterator[Look]:
        """Results that were recorded, and that no node takes or could take yet."""
        claims, claimer = self._loop.claims, self._loop.claimer
        if claimer is None:
            return
        for record in claims.unclaimed():
            if record.step or record.taken or not record.plan or self._may_be_taken(record):
                continue
            yield Look(node=claims.label(record), outcome="dropped", why=self._why_dropped(record))
        for lost in claims.former.lost(claims, self._loop.questions.answer):
            why = f"asked again: the answer of {lost.answer.by!r} was to another call"
            yield Look(node=lost.former.path, outcome="dropped", why=why)

    def _may_be_taken(self, record: StepRecord) -> bool:
        claimer = self._loop.claimer
        pending = () if claimer is None else claimer.pending(record.identity.definition)
        return claimer is not None and any(
            node is None or claimer.identity(node) in (None, record.identity) for node in pending
        )

    def _why_dropped(self, record: StepRecord) -> str:
        node = self._compiled.plan.by_id.get(record.node)
        return "it is not in the plan any more" if node is None else "this is another call now"


def _differences(then: Definition, now: Definition) -> list[str]:
    return [why for name, why in _CHANGES.items() if getattr(then, name) != getattr(now, name)]
