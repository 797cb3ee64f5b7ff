"""The timeline of a run: a tree of run, subgraphs, nodes, attempts, steps, requests and questions.

It is the tree of spans that tracing exports, read from the history alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from treadle.budget import NOTHING, Amounts, Usage
from treadle.events import (
    AttemptCancelled,
    AttemptFailed,
    CircuitActed,
    Failure,
    NodeCompleted,
    Recorded,
    StepClaimed,
    StepFailed,
)
from treadle.ids import NodeId, PartId, StepId, owner_of, split, within
from treadle.plan.parts import REPEATED
from treadle.plan.plan import Plan
from treadle.views.facts import (
    AttemptFact,
    QuestionFact,
    RequestFact,
    RunFacts,
    StepFact,
    plan_in,
    read_facts,
)

SpanKind = Literal["run", "scope", "node", "attempt", "step", "request", "question"]
SpanStatus = Literal[
    "completed", "claimed", "failed", "in doubt", "cancelled", "lost", "running", "waiting", "withdrawn"
]

NO_TOKENS: Final = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a run.

    Attributes:
        kind: What it is a stretch of.
        callee: Of nodes and steps: what was called, such as ``"agent"``, ``"tool"``, ``"model"``.
        status: ``"claimed"`` was answered from an earlier record; ``"lost"`` went down with a process.
        started_at: Seconds since 1970 (UTC); of a claimed one when it was claimed.
        seconds: How long it took, or ``None`` while it goes on or where nothing was done.
        note: A model's name, a failure's message, who was asked or answered.
        usage, spent: Tokens and money of it and everything below it.
    """

    kind: SpanKind
    name: str
    status: SpanStatus
    started_at: float
    seconds: float | None = None
    callee: str = ""
    note: str = ""
    usage: Usage = NO_TOKENS
    spent: Amounts = NOTHING
    children: tuple[Span, ...] = ()

    def walk(self) -> Iterator[Span]:
        """Give it and everything below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


def timeline(history: Sequence[Recorded]) -> Span:
    """Read a history as a tree of spans.

    Raises:
        FormatMismatch: It does not begin with the start of a run.
    """
    facts = read_facts(history)
    started = facts.started
    children = _Tree(facts).inside("")
    return _above(
        Span(
            kind="run",
            name=started.graph,
            status=_run_status(facts),
            started_at=started.at,
            seconds=facts.ended.at - started.at if facts.ended else None,
            note=_run_note(facts),
        ),
        children,
    )


def add_usage(parts: Iterable[Usage]) -> Usage:
    """Sum token counts."""
    total = [0, 0, 0, 0, 0]
    for one in parts:
        counts = (
            one.input_tokens,
            one.output_tokens,
            one.cache_read_tokens,
            one.cache_write_tokens,
            one.reasoning_tokens,
        )
        total = [a + b for a, b in zip(total, counts, strict=True)]
    return Usage(
        input_tokens=total[0],
        output_tokens=total[1],
        cache_read_tokens=total[2],
        cache_write_tokens=total[3],
        reasoning_tokens=total[4],
    )


def _above(span: Span, children: Sequence[Span]) -> Span:
    """Put spans below another one, which then counts their usage too."""
    return replace(
        span,
        children=tuple(children),
        usage=add_usage([span.usage, *(child.usage for child in children)]),
        spent=sum((child.spent for child in children), span.spent),
    )


def _run_status(facts: RunFacts) -> SpanStatus:
    if facts.ended is not None:
        return facts.ended.status
    open_questions = any(question.is_open for question in facts.questions)
    under_way = (one for one in facts.attempts if one.ended is None and one.epoch == facts.epoch)
    busy = any(attempt.parked_at is None for attempt in under_way)
    return "waiting" if open_questions and not busy else "running"


def _run_note(facts: RunFacts) -> str:
    notes: list[str] = []
    if facts.resumed:
        count = len(facts.resumed)
        notes.append("resumed" if count == 1 else f"resumed {count} times")
    if facts.cancel is not None:
        by, reason = facts.cancel.by, facts.cancel.reason
        notes.append("cancelled" + (f" by {by}" if by else "") + (f": {reason}" if reason else ""))
    if facts.ended is not None and facts.ended.failure is not None:
        notes.append(failure_note(facts.ended.failure))
    return "; ".join(notes)


def failure_note(failure: Failure) -> str:
    """A failure on one line: its class, the first line of its message, and the line of code it came from."""
    file, _, line = failure.where.rpartition(":")
    where = f" (at {file.replace(chr(92), '/').rpartition('/')[2]}:{line})" if file else ""
    return f"{failure.type}: {failure.message.partition(chr(10))[0]}{where}"


SHOWN_ITEMS: Final = 50
"""Of an ``each`` with more items the completed ones after so many are shown as one line."""


class _Tree:
    """What began in a run, by where it stands: in which part, and of which ``each`` or ``loop`` that is."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self.plan = facts.plan
        self._earlier: list[Plan] | None = None
        self.nodes: dict[PartId, list[NodeId]] = {}
        self.parts: dict[NodeId, dict[PartId, None]] = {}
        for node in facts.nodes:
            part = PartId("") if self.plan is None or node in self.plan.by_id else split(node)[0]
            self.nodes.setdefault(part, []).append(node)
            self._note(part)

    def _note(self, part: PartId) -> None:
        while part:
            node, _ = owner_of(part)
            self.parts.setdefault(node, {})[part] = None
            part = split(node)[0]

    def inside(self, scope: str, part: PartId = PartId("")) -> list[Span]:
        """The spans directly inside a subgraph, in order of time; only what began is there."""
        spans: list[Span] = []
        plan = None if self.plan is None else self.plan.body_of(part)
        for box in plan.scopes if plan is not None else ():
            children = self.inside(box.id, part) if box.parent == scope else ()
            if children:
                spans.append(_scope(box.id, children))
        for node in self.nodes.get(part, ()):
            planned = None if plan is None else plan.by_id.get(split(node)[1] if part else node)
            if (planned.scope if planned is not None else "") == scope:
                kind = planned.kind if planned is not None else self._former_kind(node)
                spans.append(_node(self.facts, node, kind, self.facts.nodes[node]))
        for planned in plan.nodes if plan is not None and self.parts else ():
            if planned.kind in REPEATED and planned.scope == scope:
                spans += self._repeated(within(part, planned.id))
        return sorted(spans, key=lambda span: span.started_at)

    def _former_kind(self, node: NodeId) -> str:
        """The kind of a node that the newest plan does not have."""
        if self._earlier is None:
            self._earlier = [plan for plan in map(plan_in, self.facts.earlier) if plan is not None]
        found = (plan.find(node) for plan in self._earlier)
        return next((planned.kind for planned in found if planned is not None), "node")

    def _repeated(self, node: NodeId) -> list[Span]:
        """An ``each`` or a ``loop`` with its items or rounds; nothing where none has begun."""
        items = [self._item(part) for part in self.parts.get(node, ())]
        if not items:
            return []
        shown = [item for number, item in enumerate(items) if number < SHOWN_ITEMS or _is_news(item)]
        if len(shown) < len(items):
            rest = [item for number, item in enumerate(items) if number >= SHOWN_ITEMS and not _is_news(item)]
            whole = _scope(f"and {len(rest)} more", rest)
            shown.append(replace(whole, children=()))
        return [replace(_scope(node, shown), callee=node.rpartition("/")[2].partition(".")[0])]

    def _item(self, part: PartId) -> Span:
        """An item or a round: where it is one node, that node stands for it."""
        children, number = self.inside("", part), f"({owner_of(part)[1]})"
        if len(children) == 1 and children[0].kind == "node":
            return replace(children[0], name=f"{children[0].name} {number}")
        return replace(_scope(number, children), callee="item")


def _is_news(item: Span) -> bool:
    return item.status not in ("completed", "claimed")


_WORST: Final[tuple[SpanStatus, ...]] = ("failed", "in doubt", "waiting", "running", "lost", "cancelled")


def _scope(name: str, children: Sequence[Span]) -> Span:
    found = {child.status for child in children}
    worst: list[SpanStatus] = [one for one in _WORST if one in found]
    started_at = min(child.started_at for child in children)
    ends = [child.started_at + child.seconds for child in children if child.seconds is not None]
    seconds = max(ends) - started_at if len(ends) == len(children) else None
    span = Span(
        kind="scope",
        name=name.rpartition("/")[2],
        callee="graph",
        status=worst[0] if worst else "completed",
        started_at=started_at,
        seconds=seconds,
    )
    return _above(span, children)


def _node(facts: RunFacts, name: str, kind: str, attempts: Sequence[AttemptFact]) -> Span:
    """A node; where there was one attempt, it stands for it.

    Its time is that of its attempts under the plan that it last went on under.
    """
    spans = [_attempt(facts, attempt, is_last=attempt is attempts[-1]) for attempt in attempts]
    before = sum(attempt.epoch < attempts[-1].epoch for attempt in attempts)
    spans = [*map(_of_earlier_plan, spans[:before]), *spans[before:]]
    title, callee = name.rpartition("/")[2], "person" if kind == "human" else kind
    if len(spans) == 1:
        return replace(spans[0], kind="node", name=title, callee=callee)
    last, first = spans[-1], spans[before]
    end = None if last.seconds is None else last.started_at + last.seconds - first.started_at
    span = Span(
        kind="node",
        name=title,
        callee=callee,
        status=last.status,
        started_at=first.started_at,
        seconds=end,
    )
    return _above(span, spans)


def _of_earlier_plan(span: Span) -> Span:
    return replace(span, note=f"under an earlier plan{': ' * bool(span.note)}{span.note}")


def _attempt(facts: RunFacts, attempt: AttemptFact, *, is_last: bool) -> Span:
    ended = attempt.ended
    status: SpanStatus
    note = ""
    if isinstance(ended, NodeCompleted):
        status = "claimed" if ended.claimed else "completed"
    elif isinstance(ended, AttemptFailed):
        status, note = "failed", failure_note(ended.failure)
    elif isinstance(ended, AttemptCancelled):
        status = "cancelled"
    elif attempt.epoch < facts.epoch:
        status = "lost" if attempt.parked_at is None else "withdrawn"
    elif attempt.parked_at is not None and facts.ended is None:
        status = "waiting"
    elif facts.ended is not None or not is_last:
        status = "lost"
    else:
        status = "running"
        note = attempt.progress.message if attempt.progress else ""
    own = attempt.steps.get(StepId(""))
    if own is not None and status in {"cancelled", "lost"} and _may_have_acted(own):
        status = "in doubt"
    if own is not None and not note and isinstance(own.ended, StepFailed) and own.ended.in_doubt:
        note = f"in doubt: {failure_note(own.ended.failure)}"
    span = Span(
        kind="attempt",
        name=f"attempt {attempt.number}",
        status=status,
        started_at=attempt.started_at,
        seconds=ended.at - attempt.started_at if ended and status != "claimed" else None,
        note=note,
    )
    return _above(span, _calls(attempt))


def _calls(attempt: AttemptFact) -> list[Span]:
    """The steps of an attempt as a tree by their paths, and its questions."""
    spans = [_question(question) for question in attempt.questions.values()]
    below: dict[StepId, list[StepId]] = {}
    for step in attempt.steps:
        below.setdefault(_parent(step, attempt), []).append(step)
    for step in below.get(StepId(""), []):
        if step:
            spans.append(_step_tree(step, attempt, below))
        else:
            spans += _requests(attempt.steps[step])
    return sorted(spans, key=lambda span: span.started_at)


def _parent(step: StepId, attempt: AttemptFact) -> StepId:
    """The nearest recorded step around one, or ``""``."""
    parent = step.rpartition("/")[0]
    while parent and StepId(parent) not in attempt.steps:
        parent = parent.rpartition("/")[0]
    return StepId(parent)


def _step_tree(step: StepId, attempt: AttemptFact, below: dict[StepId, list[StepId]]) -> Span:
    inner = [_step_tree(one, attempt, below) for one in below.get(step, [])]
    fact = attempt.steps[step]
    span = _step(fact, is_over=attempt.ended is not None)
    requests = _requests(fact)
    if len(requests) == 1 and requests[0].status == span.status:
        only = requests[0]
        return _above(replace(span, usage=only.usage, spent=only.spent, note=span.note or only.note), inner)
    return _above(span, [*requests, *inner])


def _step(fact: StepFact, *, is_over: bool) -> Span:
    started, ended = fact.started, fact.ended
    status: SpanStatus = "completed"
    note = "" if isinstance(started, StepClaimed) else started.resolved.get("model", "")
    if isinstance(ended, StepClaimed):
        status = "claimed"
        note = f"from attempt {ended.from_attempt}"
    elif isinstance(ended, StepFailed):
        status, note = "in doubt" if ended.in_doubt else "failed", failure_note(ended.failure)
    elif ended is None:
        status = "running" if not is_over else "in doubt" if _may_have_acted(fact) else "lost"
    if fact.tries:
        note = f"try {fact.tries + 1}{note and ': '}{note}"
    return Span(
        kind="step",
        name=started.callee,
        callee="" if isinstance(started, StepClaimed) else started.callee_kind,
        status=status,
        started_at=started.at,
        seconds=None if ended is None or status == "claimed" else ended.at - started.at,
        note=note,
    )


def _may_have_acted(fact: StepFact) -> bool:
    """Whether a call that is over must not be repeated, and nobody knows how it ended."""
    if isinstance(fact.started, StepClaimed) or not fact.started.once:
        return False
    return fact.ended is None or (isinstance(fact.ended, StepFailed) and fact.ended.in_doubt)


def _requests(fact: StepFact) -> list[Span]:
    """The requests of a step, those that the model's circuit refused among them."""
    refused = [_refused(event) for event in fact.circuit if event.did == "refused"]
    sent = [_request(request, fact.circuit) for request in fact.requests]
    return sorted([*refused, *sent], key=lambda span: span.started_at) if refused else sent


def _refused(event: CircuitActed) -> Span:
    until = "" if event.until is None else f" before {_clock(event.until)}"
    return Span(
        kind="request",
        name=f"request {event.request}",
        status="failed",
        started_at=event.at,
        seconds=0.0,
        note=f"{event.model}: not sent, {event.failures} in a row had failed; not asked{until}",
    )


_ACTED: Final = {
    "probed": "let through to find out",
    "opened": "the model is left alone from here on",
    "closed": "the model is asked again",
}


def _clock(at: float) -> str:
    """A moment as a time of day, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def _request(fact: RequestFact, circuit: Iterable[CircuitActed]) -> Span:
    held, settled = fact.held, fact.settled
    acted = [_ACTED[event.did] for event in circuit if event.request == held.request and event.did in _ACTED]
    note = "; ".join([f"{held.model}, a second request" if held.hedge else held.model, *acted])
    if settled is not None and settled.error:
        note = f"{note}: {settled.error}"
    if settled is not None and settled.over:
        note = f"{note} (more than was held)"
    return Span(
        kind="request",
        name=f"request {held.request}",
        status=settled.outcome if settled else "running",
        started_at=settled.started_at if settled else held.at,
        seconds=settled.at - settled.started_at if settled else None,
        note=note,
        usage=fact.usage,
        spent=fact.charged,
    )


def _question(fact: QuestionFact) -> Span:
    asked, ended = fact.asked, fact.answered or fact.withdrawn
    status: SpanStatus = "waiting" if ended is None else "completed" if fact.answered else "withdrawn"
    who = f"answered by {fact.answered.by}" if fact.answered else f"to {asked.to}"
    return Span(
        kind="question",
        name=asked.question,
        status=status,
        started_at=asked.at,
        seconds=ended.at - asked.at if ended else None,
        note=f"{who}: {asked.prompt.partition(chr(10))[0]}",
    )
