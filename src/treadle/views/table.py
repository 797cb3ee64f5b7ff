"""One run on one line: what came in, which way it went, what came out, what it took, who is waited for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from treadle.events import AttemptFailed, Failure, NodeCompleted, Recorded
from treadle.ids import NodeId
from treadle.plan.parts import REPEATED, WORK, Binding, Case, PlanNode, Wire, wires
from treadle.plan.plan import Plan
from treadle.plan.sketch import case_label, local_name
from treadle.values import Payload
from treadle.views.cost import total_cost
from treadle.views.doubts import doubts
from treadle.views.facts import QuestionFact, RunFacts, read_facts
from treadle.views.timeline import SpanStatus, failure_note, timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run, for a table.

    Attributes:
        message: The first input in words: its longest text.
        route: The choices of ``when`` and ``match`` from the result inwards, and the node that gave
            the result or is to give it: ``"hard → expert"``.
        answer: The result in words, why it failed, or ``""``.
        models: Names of the models that were asked, in order of first use.
        tokens: Input and output together.
        seconds: Time in which at least one attempt was at work; waiting for people is not.
        waits: Ids of the open questions, each with who is asked.
        doubts: Names of the calls whose effects are in doubt, where the run is over.
    """

    run_id: str
    status: SpanStatus
    message: str
    route: str
    answer: str
    models: tuple[str, ...]
    tokens: int
    cost_usd: Decimal
    seconds: float
    waits: Mapping[str, str]
    doubts: tuple[str, ...] = ()


def summarise(history: Sequence[Recorded]) -> Row:
    """Read a history as one line of a table.

    Raises:
        FormatMismatch: It does not begin with the start of a run.
    """
    facts = read_facts(history)
    cost = total_cost(history)
    models = [request.held.model for attempt in facts.attempts for request in attempt.requests]
    return Row(
        run_id=facts.started.run_id,
        status=timeline(history).status,
        message=next((in_words(payload) for payload in facts.started.inputs.values()), ""),
        route=_route(facts),
        answer=_answer(facts),
        models=tuple(dict.fromkeys(models)),
        tokens=cost.usage.total_tokens,
        cost_usd=cost.usd,
        seconds=union_length(stretch for attempt in facts.attempts for stretch in attempt.worked),
        waits={fact.asked.question: fact.asked.to for fact in _open(facts)},
        doubts=doubts(history),
    )


def _open(facts: RunFacts) -> Iterable[QuestionFact]:
    return (fact for fact in facts.questions if fact.is_open and facts.ended is None)


def _answer(facts: RunFacts) -> str:
    if facts.ended is None:
        return ""
    if facts.ended.failure is not None:
        return _failed(facts.ended.failure)
    return in_words(facts.ended.result) if facts.ended.result is not None else ""


def _failed(failure: Failure) -> str:
    """Why a run failed, and in which attempt, unless the words name that node already."""
    note = failure_note(failure)
    if not failure.attempt or repr(failure.node) in note:
        return note
    return f"node {failure.node!r} (attempt {failure.attempt}): {note}"


_ERASED: Final = "(erased)"


def in_words(payload: Payload) -> str:
    """A value for a table: a text as it is, of an object its longest text, else its JSON."""
    if payload.is_erased:
        return _ERASED
    data = payload.json()
    texts = _texts(data)
    return " ".join(max(texts, key=len).split()) if texts else json.dumps(data, ensure_ascii=False)


def _texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [value for value in cast("dict[str, Any]", data).values() if isinstance(value, str)]
    return []


def union_length(stretches: Iterable[tuple[float, float]]) -> float:
    """How long at least one of some stretches of time lasts, in seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(stretches):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


# The route


def _route(facts: RunFacts) -> str:
    if facts.plan is None:
        return ""
    steps = _steps(facts, facts.plan, facts.plan.result)
    if facts.ended is not None and facts.ended.failure is not None:
        steps = _to_failure(facts.plan, steps, facts.ended.failure.node)
    return " → ".join(dict.fromkeys(steps))


def _to_failure(plan: Plan, steps: list[str], failed: NodeId) -> list[str]:
    """A way as far as the node a run failed with, in place of the one that would have given the result."""
    planned = plan.by_id.get(failed)
    name = planned.definition.name if planned is not None and planned.definition else local_name(failed)
    if not failed or name in steps:
        return steps
    works = {one.definition.name for one in plan.nodes if one.definition}
    return [*(steps[:-1] if steps and steps[-1] in works else steps), name]


def _steps(facts: RunFacts, plan: Plan, binding: Binding) -> list[str]:
    """The choices on the way to a result, and the node it comes from."""
    nodes = [plan.by_id[node_id] for node_id in wires(binding)]
    if not isinstance(binding, Wire) or not nodes:
        return []
    node = nodes[0]
    if node.kind in WORK:
        return [node.definition.name if node.definition else local_name(node.id)]
    if node.kind == "expression":
        return _steps(facts, plan, Wire(node.needs[0])) if node.needs else []
    if node.kind in {"when", "match"}:
        return _chosen(facts, plan, node)
    if node.kind in {"fallback", "race"}:
        return _steps(facts, plan, _taken(facts, plan, node).binding)
    if node.kind in REPEATED:
        return [node.body.name if node.body is not None else local_name(node.id)]
    if node.kind == "do":
        return _steps(facts, plan, node.cases[-1].binding if node.cases else node.arguments[-1].binding)
    return []


def _chosen(facts: RunFacts, plan: Plan, node: PlanNode) -> list[str]:
    case = _choice(facts, node)
    return [] if case is None else [case_label(node, case), *_steps(facts, plan, case.binding)]


def _choice(facts: RunFacts, node: PlanNode) -> Case | None:
    """The case a ``when`` or ``match`` took, or ``None`` where it has not chosen, or failed to."""
    decided = facts.choices.get(node.id)
    return node.cases[decided.choice] if decided is not None and decided.choice >= 0 else None


def _taken(facts: RunFacts, plan: Plan, node: PlanNode) -> Case:
    """The case of a ``fallback`` that gave the result, else the last one that was tried."""
    given = [case for case in node.cases if _is_given(facts, plan, case.binding)]
    tried = [case for case in node.cases if _is_tried(facts, plan, case.binding)]
    return (given or tried[-1:] or list(node.cases))[0]


def _is_given(facts: RunFacts, plan: Plan, binding: Binding) -> bool:
    """Whether everything a binding takes from has completed."""
    return all(_has_result(facts, plan, plan.by_id[node_id]) for node_id in wires(binding))


def _has_result(facts: RunFacts, plan: Plan, node: PlanNode) -> bool:
    if node.kind in WORK:
        latest = facts.latest(node.id)
        return latest is not None and isinstance(latest.ended, NodeCompleted)
    if node.kind in REPEATED:
        return _is_repeated(facts, node)
    if node.kind in {"fallback", "race"}:
        return any(_is_given(facts, plan, case.binding) for case in node.cases)
    if node.kind in {"when", "match"}:
        case = _choice(facts, node)
        return case is not None and _is_given(facts, plan, case.binding)
    return all(_has_result(facts, plan, plan.by_id[need]) for need in node.needs)


def _is_repeated(facts: RunFacts, node: PlanNode) -> bool:
    """Whether an ``each`` or a ``loop`` has come to its end without a failure that ended it."""
    decided = facts.choices.get(node.id)
    if decided is None or decided.failure is not None:
        return False
    if node.kind == "loop":
        return decided.choice == 1
    if node.settings["on_error"] != "stop":
        return True
    inside = [attempts for name, attempts in facts.nodes.items() if name.startswith(f"{node.id}(")]
    return not any(isinstance(attempts[-1].ended, AttemptFailed) for attempts in inside)


def _is_tried(facts: RunFacts, plan: Plan, binding: Binding) -> bool:
    """Whether anything a binding takes from has begun."""
    for node_id in wires(binding):
        node = plan.by_id[node_id]
        if node_id in facts.nodes or any(_is_tried(facts, plan, Wire(need)) for need in _inner(node)):
            return True
    return False


def _inner(node: PlanNode) -> Sequence[Any]:
    """What a control word passes on from; a work node's own needs say nothing about it."""
    return () if node.kind in WORK else node.needs
