"""What the nodes of a run were given, as JSON data: with their definitions, what they are known by.

Inputs are compared as JSON data, so that records can be read without the types they were made with.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from treadle.engine.looking_up import Lookup, looked_up
from treadle.engine.records import Identity
from treadle.errors import FormatMismatch
from treadle.events import Failure
from treadle.ids import NodeId
from treadle.plan.parts import REPEATED, Binding, Constant, Planned, PlanNode, Wire
from treadle.scheduler.part import Part
from treadle.scheduler.states import DONE
from treadle.values import Payload, canonical, digest

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
    """What the nodes of one part of a run were given, as JSON data.

    Args:
        plan: The part's plan; its document is enough.
        part: What its choices came to; ``None`` for an item or a round that was not entered.
        around: Of an item or a round: the part that its ``each`` or ``loop`` stands in, that node, and
            which item or round it is.

    Attributes:
        results: Payloads of the inputs and of the nodes that are done.
    """

    def __init__(
        self, plan: Planned, part: Part | None, *, around: tuple[Inputs, PlanNode, int] | None = None
    ) -> None:
        self.plan = plan
        self.part = part
        self.results: dict[NodeId, Payload] = {}
        self._around = around
        self._data: dict[NodeId, Any] = {}
        self._outcomes: dict[NodeId, dict[int, Inputs | Failure]] = {}
        self._names: dict[NodeId, list[str]] = {}
        self._lists: dict[NodeId, Sequence[Any]] = {}
        self._keys: dict[NodeId, dict[str, int]] = {}

    def given(self, node: PlanNode) -> dict[str, Any]:
        """What a work node is given, by parameter; raises ``LookupError`` where it is not known yet."""
        return {argument.name: _looked_up(self._resolve(argument.binding)) for argument in node.arguments}

    def identity(self, node: PlanNode) -> Identity | None:
        """The identity of a node, where it is work and all it is given is known by now."""
        if node.definition is None:
            return None
        try:
            return Identity(node.definition.digest, digest(canonical(self.given(node))))
        except (LookupError, FormatMismatch):  # an input is not done or erased, or a choice not made
            return None

    # -- items and rounds ------------------------------------------------------------------------------

    def keep(self, node: NodeId, number: int, outcome: Inputs | Failure) -> None:
        """Keep what an item or a round came to."""
        self._outcomes.setdefault(node, {})[number] = outcome

    def keys(self, node: PlanNode) -> Mapping[str, int]:
        """What the items of an ``each`` are known by, in their order: digests, and counts among equal ones.

        Raises:
            LookupError: The list is not known yet.
        """
        if node.id not in self._keys:
            counts: Counter[str] = Counter()
            found: dict[str, int] = {}
            for number, item in enumerate(_looked_up(self._items(node))):
                name = digest(canonical(item))[:16]
                found[f"{name}:{counts[name]}"] = number
                counts[name] += 1
            self._keys[node.id] = found
        return self._keys[node.id]

    def key(self, node: PlanNode, number: int) -> str:
        """What one item of an ``each`` is known by; raises ``LookupError`` where it is not known yet."""
        if node.id not in self._names:
            self._names[node.id] = list(self.keys(node))
        return self._names[node.id][number]

    def is_open(self, node: PlanNode) -> bool:
        """Whether more items or rounds of a node may begin."""
        return self.part is None or self._state(node) != DONE

    def _items(self, node: PlanNode) -> _Lookup:
        found = self._lists.get(node.id)
        if found is None:
            items = yield from self._resolve(node.arguments[0].binding)
            if isinstance(items, _Formula):
                items = self._unseen(node, items)
            if not isinstance(items, list):
                raise LookupError(node.id)
            found = self._lists[node.id] = cast("Sequence[Any]", items)
        return found

    def _unseen(self, node: PlanNode, items: _Formula) -> Sequence[Any]:
        """Items that JSON data alone cannot tell, such as those of a property: known by their places."""
        begun = None if self.part is None else self.part.items.get(self._index(node))
        if begun is None:
            raise LookupError(node.id)
        whole = digest(canonical(items))
        return [_Formula({"item": number, "of": whole}) for number in range(begun.limit)]

    def _handed(self, name: NodeId) -> _Lookup:
        """What an item or a round is given."""
        if self._around is None:
            raise LookupError(name)
        around, node, number = self._around
        return (yield from around.handed(node, number, name))

    def handed(self, node: PlanNode, number: int, name: str) -> _Lookup:
        """What an item or a round of a node is given under the name of a parameter."""
        first = node.arguments[0]
        if name != first.name:
            binding = next(one.binding for one in node.arguments if one.name == name)
            return (yield from self._resolve(binding))
        if node.kind == "each":
            return (yield from self._items(node))[number]
        if number == 1:
            return (yield from self._resolve(first.binding))
        return (yield from self._outcome(node, number - 1))[0]

    def _outcome(self, node: PlanNode, number: int) -> _Lookup:
        kept = self._outcomes[node.id][number]
        return (yield from kept.result()) if isinstance(kept, Inputs) else from_json(to_json(kept))

    def result(self) -> _Lookup:
        """What the part came to."""
        return (yield from self._resolve(self.plan.result))

    def _assembled(self, node: PlanNode) -> _Lookup:
        if self.is_open(node):
            raise LookupError(node.id)
        outcomes = self._outcomes.get(node.id, {})
        if node.kind == "loop":
            return (yield from self._outcome(node, max(outcomes)))[0]
        drops, found = node.settings["on_error"] == "drop", list[Any]()
        for number in sorted(outcomes):
            if not (drops and isinstance(outcomes[number], Failure)):
                found.append((yield from self._outcome(node, number)))
        return found

    # -- looking up ------------------------------------------------------------------------------------

    def _index(self, node: PlanNode) -> int:
        if self.part is None:
            raise LookupError(node.id)
        return self.part.program.index[node.id]

    def _state(self, node: PlanNode) -> int:
        return DONE if self.part is None else self.part.states[self._index(node)]

    def note(self, node: NodeId, value: Any) -> None:
        """Note what a node was found to have come to."""
        self._data[node] = value

    def _resolve(self, binding: Binding) -> _Lookup:
        if isinstance(binding, Wire):
            if binding.node in self._data:
                return self._data[binding.node]
            return (yield self, binding.node)
        if isinstance(binding, Constant):
            return binding.payload.json()
        items: list[Any] = []
        for item in binding.items:
            items.append((yield from self._resolve(item)))  # noqa: PERF401 - a comprehension cannot yield
        return dict(zip(binding.keys, items, strict=True)) if binding.kind == "dict" else items

    def find(self, name: NodeId) -> _Lookup:
        """How what a node came to is found."""
        node = self.plan.by_id[name]
        if node.id in self.results:
            return self.results[node.id].json()
        if node.kind == "expression":
            operands: list[Any] = []
            for argument in node.arguments:
                operands.append((yield from self._resolve(argument.binding)))  # noqa: PERF401 - a comprehension cannot yield
            return _evaluate(node, operands)
        if node.kind == "do":
            return (yield from self._resolve(node.cases[-1].binding))
        if node.kind == "input":
            return (yield from self._handed(node.id))
        if node.kind in REPEATED:
            return (yield from self._assembled(node))
        chosen = {} if self.part is None else self.part.chosen
        return (yield from self._resolve(node.cases[chosen[self._index(node)]].binding))


_Lookup = Lookup[tuple[Inputs, NodeId]]


def _looked_up(lookup: _Lookup) -> Any:
    return looked_up(lookup, _find, _note)


def _find(place: tuple[Inputs, NodeId]) -> _Lookup:
    return place[0].find(place[1])


def _note(place: tuple[Inputs, NodeId], value: Any) -> None:
    place[0].note(place[1], value)


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
