"""Which node of an edited plan is which recorded one: by definition and inputs, not by name.

Inputs are compared as JSON data, so that records can be read without the types they were made with.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from treadle.engine.records import Claims, Identity, StepRecord
from treadle.engine.requests import definition_digest
from treadle.errors import InternalError
from treadle.events import Event, NodeCompleted, RunResumed, RunStarted, StepStarted
from treadle.ids import NodeId, StepId
from treadle.plan.parts import WORK, Argument, Binding, Constant, PlanNode, Wire
from treadle.plan.plan import Plan
from treadle.scheduler.program import compile_plan
from treadle.scheduler.replay import replay
from treadle.values import Payload, canonical, digest

NODE: Final = StepId("")
"""Under this step a node's own result is offered."""

_OPERATORS: Final[Mapping[str, Callable[..., Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "not": operator.not_,
    "is_none": functools.partial(operator.is_, None),
}


class Inputs:
    """What the nodes of a plan were given, as JSON data.

    Args:
        plan: The plan; its document is enough.
        chosen: For a control word, the case it took.
        results: Payloads of the inputs and of the nodes that are done.
    """

    def __init__(
        self, plan: Plan, chosen: Callable[[NodeId], int], results: Mapping[NodeId, Payload]
    ) -> None:
        self._plan = plan
        self._chosen = chosen
        self._results = results
        self._data: dict[NodeId, Any] = {}

    def identity(self, node: PlanNode) -> Identity:
        """The identity of a work node whose inputs are done."""
        if node.definition is None:
            raise InternalError(f"node {node.id!r} is work without a definition; please report this")
        given = {argument.name: self._value(argument.binding) for argument in node.arguments}
        return Identity(definition_digest(node.definition), digest(canonical(given)))

    def known(self, node: PlanNode) -> Identity | None:
        """The identity of a node, where it is work and all it is given is known by now."""
        if node.definition is None:
            return None
        try:
            return self.identity(node)
        except LookupError:  # an input is not done, or a choice not made
            return None

    def _value(self, binding: Binding) -> Any:
        if isinstance(binding, Wire):
            if binding.node not in self._data:
                self._data[binding.node] = self._find(self._plan.by_id[binding.node])
            return self._data[binding.node]
        if isinstance(binding, Constant):
            return binding.payload.json()
        items = [self._value(item) for item in binding.items]
        return dict(zip(binding.keys, items, strict=True)) if binding.kind == "dict" else items

    def _find(self, node: PlanNode) -> Any:
        if node.id in self._results:
            return self._results[node.id].json()
        if node.kind == "expression":
            return _evaluate(node, self._operands(node.arguments))
        if node.kind == "do":
            return self._value(node.cases[-1].binding)
        return self._value(node.cases[self._chosen(node.id)].binding)

    def _operands(self, arguments: Iterable[Argument]) -> list[Any]:
        return [self._value(argument.binding) for argument in arguments]


class _Formula(dict[str, Any]):
    """What JSON data alone cannot tell, such as whether ``"10"`` is less than ``"9"``: how it is computed
    stands in for the value, so that only what was computed in the same way of the same data is equal."""


def _evaluate(node: PlanNode, operands: Sequence[Any]) -> Any:
    if node.operation == "read":
        return _read(node, operands[0])
    if node.operation in ("some", "narrow"):
        return operands[0]
    surely = _SURELY.get(node.operation)
    if surely is not None and surely(operands):
        return _OPERATORS[node.operation](*operands)
    return _Formula({node.operation: list(operands)})


def _read(node: PlanNode, value: Any) -> Any:
    for read in node.path:
        try:
            if isinstance(value, _Formula):
                raise LookupError(read.key)
            value = value[read.key]
        except (LookupError, TypeError):  # a property, or a field that has another name in JSON
            value = _Formula({"read": [read.key, read.field], "of": value})
    return value


def _are_numbers(operands: Sequence[Any]) -> bool:
    return all(isinstance(operand, int | float) for operand in operands)


def _is_plain(operands: Sequence[Any]) -> bool:
    operand = operands[0]
    return operand is None or operand == "" or isinstance(operand, int | float | list)


def _are_equal_or_plain(operands: Sequence[Any]) -> bool:
    return all(operand is None or isinstance(operand, int | float) for operand in operands) or (
        _is_known(operands) and operands[0] == operands[1]
    )


def _is_known(operands: Sequence[Any]) -> bool:
    return not any(isinstance(operand, _Formula) for operand in operands)


_SURELY: Final[Mapping[str, Callable[[Sequence[Any]], bool]]] = {
    "==": _are_equal_or_plain,
    "!=": _are_equal_or_plain,
    **dict.fromkeys(("<", "<=", ">", ">="), _are_numbers),
    "not": _is_plain,
    "is_none": _is_known,
}
"""Where an operator gives on JSON data what it gives on the values: decimals, dates and times are text."""


Owners = Mapping[NodeId, Identity]
"""What the nodes that made calls under one plan were."""


def offer_results(claims: Claims, events: Sequence[Event]) -> list[Owners]:
    """Offer the results that a history holds, whatever plans it went through, by identity.

    A result that was claimed under a later plan is offered once, under its newest path.

    Returns:
        For each plan, in order, what the nodes were whose bodies made calls.
    """
    owners: list[Owners] = []
    for number, epoch in enumerate(_epochs(events)):
        plan, inputs = _inputs(epoch)
        for record in _records(epoch, plan, inputs):
            if record.order and number:
                claims.take(record.identity, record.node, NODE)
            claims.add([record])
        callers = dict.fromkeys(event.node for event in epoch if isinstance(event, StepStarted))
        known = {node: inputs.known(plan.by_id[node]) for node in callers}
        owners.append({node: identity for node, identity in known.items() if identity is not None})
    return owners


def _epochs(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Cut a history where it went on under another plan; ``RunStarted`` leads each piece."""
    piece: list[Event] = []
    for event in events:
        if isinstance(event, RunResumed) and event.plan is not None:
            yield piece
            piece = [events[0]]
        piece.append(event)
    yield piece


def _inputs(epoch: Sequence[Event]) -> tuple[Plan, Inputs]:
    """The plan that a piece of a history went by, and what its nodes were given."""
    started, document = epoch[0], _document(epoch)
    if not isinstance(started, RunStarted):
        raise InternalError("a history does not begin with RunStarted; please report this")
    plan = Plan.from_json(document.data)
    program = compile_plan(plan)
    scheduler, _ = replay(epoch, lambda _: program)
    results: dict[NodeId, Payload] = {NodeId(name): payload for name, payload in started.inputs.items()}
    results.update((event.node, event.result) for event in epoch if isinstance(event, NodeCompleted))
    return plan, Inputs(plan, lambda node: scheduler.chosen[program.index[node]], results)


def _records(epoch: Sequence[Event], plan: Plan, inputs: Inputs) -> Iterator[StepRecord]:
    for event in epoch:
        if not isinstance(event, NodeCompleted):
            continue
        node = plan.by_id[event.node]
        if node.kind in WORK:
            yield StepRecord(
                node=event.node,
                attempt=event.attempt,
                step=NODE,
                callee=node.id,
                kind=node.kind,
                identity=inputs.identity(node),
                started_at=event.started_at,
                result=event.result,
                order=int(event.claimed),
            )


def _document(epoch: Sequence[Event]) -> Payload:
    """The plan document that a piece of a history went by."""
    started = epoch[0]
    second = epoch[1] if len(epoch) > 1 else None
    if isinstance(second, RunResumed) and second.plan is not None:
        return second.plan
    if not isinstance(started, RunStarted):
        raise InternalError("a history does not begin with RunStarted; please report this")
    return started.plan


class Claimer:
    """Answers the attempts of a run under an edited plan from its records.

    Args:
        plan: The plan the run has now.
        chosen: For a control word of it, the case it took.
        inputs: The run's inputs.
        claims: The records on offer.
    """

    def __init__(
        self,
        plan: Plan,
        chosen: Callable[[NodeId], int],
        inputs: Mapping[str, Payload],
        claims: Claims,
    ) -> None:
        self._plan = plan
        self._claims = claims
        self._results: dict[NodeId, Payload] = {NodeId(name): payload for name, payload in inputs.items()}
        self._inputs = Inputs(plan, chosen, self._results)
        self._known: dict[NodeId, Identity] = {}
        claims.has_moved = self._has_moved

    def see(self, event: Event) -> None:
        """Note what a node came to under this plan."""
        if isinstance(event, NodeCompleted):
            self._results[event.node] = event.result

    def claim(self, node: NodeId) -> Payload | None:
        """Give the recorded result of a node that is about to start, or ``None``."""
        identity = self._inputs.identity(self._plan.by_id[node])
        record = self._claims.take(identity, node, NODE)
        return None if record is None else record.result

    def _has_moved(self, record: StepRecord) -> bool:
        """Whether the node that has a record's name now is sure to be another than the one it had."""
        then = record.identity if record.step == NODE else record.owner
        if then is None:
            return False
        now = self._known.get(record.node)
        if now is None:
            now = self._inputs.known(self._plan.by_id[record.node])
            if now is None:
                return False
            self._known[record.node] = now
        return now != then
