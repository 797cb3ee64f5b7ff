"""Which node of an edited plan is which recorded one: by definition and inputs, not by name.

Inputs are compared as JSON data, so that records can be read without the types they were made with.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from treadle.engine.claims import Claims
from treadle.engine.failures import failure_of
from treadle.engine.records import Identity, StepRecord
from treadle.engine.requests import definition_digest
from treadle.engine.workspace import Workspace
from treadle.errors import FormatMismatch, HistoryMismatch, InternalError
from treadle.events import AttemptFailed, Event, NodeCompleted
from treadle.ids import NodeId, StepId
from treadle.plan.parts import Argument, Binding, Constant, Planned, PlanNode, Wire
from treadle.scheduler.commands import StartAttempt
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
        self, plan: Planned, chosen: Callable[[NodeId], int], results: Mapping[NodeId, Payload]
    ) -> None:
        self._plan = plan
        self._chosen = chosen
        self._results = results
        self._data: dict[NodeId, Any] = {}

    def given(self, node: PlanNode) -> dict[str, Any]:
        """What a work node is given, by parameter; raises ``LookupError`` where it is not known yet."""
        return {argument.name: self._value(argument.binding) for argument in node.arguments}

    def identity(self, node: PlanNode) -> Identity:
        """The identity of a work node whose inputs are done."""
        if node.definition is None:
            raise InternalError(f"node {node.id!r} is work without a definition; please report this")
        return Identity(definition_digest(node.definition), digest(canonical(self.given(node))))

    def known(self, node: PlanNode) -> Identity | None:
        """The identity of a node, where it is work and all it is given is known by now."""
        if node.definition is None:
            return None
        try:
            return self.identity(node)
        except (LookupError, FormatMismatch):  # an input is not done or erased, or a choice not made
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


class Claimer:
    """Answers the attempts of a run under an edited plan from its records.  Implements ``Site``.

    Args:
        plan: The plan the run has now.
        chosen: For a control word of it, the case it took.
        inputs: The run's inputs.
        claims: The records on offer.
        errors: Where to keep why a node cannot be answered.

    Attributes:
        unfit: Where set, recorded results that do not fit their types any more are noted here, and count
            as any other; else the node fails.
    """

    def __init__(
        self,
        plan: Planned,
        chosen: Callable[[NodeId], int],
        inputs: Mapping[str, Payload],
        claims: Claims,
        errors: dict[NodeId, Exception],
    ) -> None:
        self._plan = plan
        self._claims = claims
        self._errors = errors
        self.unfit: dict[NodeId, HistoryMismatch] | None = None
        self._results: dict[NodeId, Payload] = {NodeId(name): payload for name, payload in inputs.items()}
        self._inputs = Inputs(plan, chosen, self._results)
        self._known: dict[NodeId, Identity] = {}
        self._begun: set[NodeId] = set()
        claims.site = self

    @functools.cached_property
    def _by_definition(self) -> Mapping[str, Sequence[NodeId]]:
        found: dict[str, list[NodeId]] = {}
        for node in self._plan.nodes:
            if node.definition is not None:
                found.setdefault(definition_digest(node.definition), []).append(node.id)
        return found

    def see(self, event: Event) -> None:
        """Note what a node came to under this plan."""
        if isinstance(event, NodeCompleted):
            self._results[event.node] = event.result

    def answer(
        self, command: StartAttempt, workspace: Workspace, at: float
    ) -> NodeCompleted | AttemptFailed | None:
        """Complete a node that is about to start from a record, or fail it where that is not certain.

        Such a failure is taken by nobody: what is under way ends, it is paid for, and the run waits to be
        told.
        """
        node, number = command.node, command.attempt
        try:
            record = self.claim(node)
            if record is None or record.result is None:
                return None
            workspace.recall(command.index, record.result)
            self._check_type(command, workspace)
        except HistoryMismatch as error:
            self._errors[node] = error
            failure = failure_of(error, node=node, attempt=number)
            return AttemptFailed(at=at, node=node, attempt=number, started_at=at, failure=failure)
        completed = NodeCompleted(
            at=at, node=node, attempt=number, started_at=at, result=record.result, claimed=record.seq
        )
        self.see(completed)
        return completed

    def _check_type(self, command: StartAttempt, workspace: Workspace) -> None:
        try:
            workspace.value(command.index)
        except HistoryMismatch as error:
            if self.unfit is None:
                raise
            self.unfit[command.node] = error

    def claim(self, node: NodeId) -> StepRecord | None:
        """Take the record of a node that is about to start, where there is one.

        Raises:
            AmbiguousHistory: Which call a ``once`` record or a person's answer belongs to is not certain.
        """
        identity = self.identity(node)
        if identity is None:
            raise InternalError(f"node {node!r} starts before its inputs are known; please report this")
        record = self._claims.find(identity, node, NODE)
        self._begun.add(node)
        if record is None:
            self._claims.check_replaced(node)
        return None if record is None or record.result is None else self._claims.taken(record)

    def given(self, node: PlanNode) -> dict[str, Any]:
        """What a node is given; raises ``LookupError`` where that is not known yet."""
        return self._inputs.given(node)

    def _node(self, node: NodeId) -> PlanNode | None:
        return self._plan.by_id.get(node)

    # -- Site ------------------------------------------------------------------------------------------

    def definition(self, node: NodeId) -> str | None:
        """The digest of the definition of a work node; ``None`` where the plan has no such node."""
        planned = self._node(node)
        if planned is None or planned.definition is None:
            return None
        return definition_digest(planned.definition)

    def identity(self, node: NodeId) -> Identity | None:
        """The identity of a node, as soon as all that it is given is known."""
        found = self._known.get(node)
        planned = self._node(node)
        if found is None and planned is not None:
            found = self._inputs.known(planned)
            if found is not None:
                self._known[node] = found
        return found

    def pending(self, definition: str) -> Sequence[NodeId]:
        """The nodes of a definition that may take a record yet: neither done nor begun."""
        named = self._by_definition.get(definition, ())
        return [node for node in named if node not in self._results and node not in self._begun]
