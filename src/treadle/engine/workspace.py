"""The values of a run in memory: results as they arrive, and what control words came to."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, cast

from pydantic import ValidationError

from treadle.engine.looking_up import Lookup, looked_up
from treadle.errors import HistoryMismatch, InternalError, LoopLimit, ReadFailed
from treadle.events import Failure
from treadle.nodes.tool_schema import complaints
from treadle.plan.classes import askable
from treadle.plan.parts import REPEATED, WORK, Binding, Case, Constant, Group, Planned, PlanNode, Read, Wire
from treadle.scheduler.part import Part
from treadle.scheduler.program import RESULT, Program
from treadle.values import JSON, Payload, codec

UNSET: Final = object()
_NONE: Final = cast("dict[Any, Any]", MappingProxyType({}))
"""What most workspaces have of most things: shared, because thousands of runs are under way at once."""


def made_anew(call: str) -> str:
    """How to have a recorded call made anew, for a message."""
    return (
        f"have it made anew with engine.resume(run_id, claims={{{call!r}: None}}) or "
        f"`treadle resume RUN FILE --fresh {call}`, "
    )


KEPT: Final = WORK | {"input"}
"""Kinds of nodes with a value of their own: all else is computed from theirs."""


class _Written(list[Any]):
    """The values of a workspace that hands out fresh copies: setting one writes it down instead."""

    __slots__ = ("_write",)

    def __init__(self, unset: list[Any], write: Callable[[int, Any], None]) -> None:
        super().__init__(unset)
        self._write = write

    def __setitem__(self, index: Any, value: Any) -> None:
        self._write(index, value)


class Workspace:
    """Gives the value of any node that is done, decoding what was read from a store on first use.

    ``values`` is indexed as the program's vertices; the engine's fast path reads and writes it
    directly.  A control word has no value of its own: it is looked up through the case it took.

    Args:
        part: What its choices came to.
        inputs: What the plan was given, by name, decoded when somebody asks for it.
        fresh_copies: Whether everybody who asks for a value is given a copy of their own, read from
            what is recorded, so that tests see who counts on changing what others hold.
        around: Of an item or a round: the workspace that its ``each`` or ``loop`` stands in, the vertex
            of that, and which item or round it is.
    """

    __slots__ = (
        "_around", "_fresh_copies", "_inputs", "_outcomes", "_part", "_payloads", "_plan", "_program",
        "values",
    )  # fmt: skip

    def __init__(
        self,
        plan: Planned,
        program: Program,
        part: Part,
        *,
        inputs: Mapping[str, Payload] = _NONE,
        fresh_copies: bool = False,
        around: tuple[Workspace, int, int] | None = None,
    ) -> None:
        self._plan = plan
        self._program = program
        self._part = part
        self._inputs = inputs
        self._payloads: dict[int, Payload] = _NONE
        self._outcomes: dict[int, dict[int, Any]] = _NONE
        self._around = around
        self._fresh_copies = fresh_copies
        unset = [UNSET] * len(program.ids)
        self.values: list[Any] = _Written(unset, self.write) if fresh_copies else unset

    def recall(self, index: int, payload: Payload) -> None:
        """Take in a recorded result; it is decoded when somebody asks for it."""
        if self._payloads is _NONE:
            self._payloads = {}
        self._payloads[index] = Payload(data=payload.data) if self._fresh_copies else payload

    def write(self, index: int, value: Any) -> None:
        """Keep what a value was written as, in place of the value; what is computed is not kept."""
        node = self._plan.nodes[index] if index < len(self._plan.nodes) else None
        if node is not None and node.codec is not None and node.kind in KEPT:
            self.recall(index, Payload(data=node.codec.encode(value)))

    def value(self, index: int) -> Any:
        """The value of a vertex that is done."""
        value = self.values[index]
        if value is not UNSET:
            return value
        if index == self._program.result:
            value = self.values[index] = self.resolve(self._plan.result)
            return value
        node = self._plan.nodes[index]
        payload = self._payload(index, node)
        if payload is None:
            return _looked_up(self._ask(index))
        value = self.values[index] = _decoded(node, payload)
        return value

    def _payload(self, index: int, node: PlanNode) -> Payload | None:
        """What is recorded of a vertex, or was given for it."""
        return self._payloads.get(index) or self._inputs.get(node.id)

    def _ask(self, index: int) -> _Lookup:
        """Look a vertex up, unless it has been already."""
        value = self.values[index]
        return (yield self, index) if value is UNSET else value

    def find(self, index: int) -> _Lookup:
        """How the value of a vertex comes about, which nobody has asked for yet."""
        if index == self._program.result:
            return (yield from self._resolve(self._plan.result))
        node = self._plan.nodes[index]
        payload = self._payload(index, node)
        if payload is not None:
            return _decoded(node, payload)
        if node.kind == "expression":
            operands: list[Any] = []
            for argument in node.arguments:
                operands.append((yield from self._resolve(argument.binding)))  # noqa: PERF401 - a comprehension cannot yield
            return evaluate(node, operands)
        if node.kind == "do":
            return (yield from self._resolve(node.cases[-1].binding))
        if node.cases:
            return (yield from self._resolve(node.cases[self._part.chosen[index]].binding))
        if node.kind in REPEATED:
            return (yield from self._assembled(index, node))
        if node.kind == "input" and self._around is not None:
            around, vertex, number = self._around
            return (yield from around.handed(vertex, number, str(node.id)))
        raise InternalError(f"the value of node {node.id!r} was read before it was there; please report this")

    # -- items and rounds ------------------------------------------------------------------------------

    def keep(self, index: int, number: int, outcome: Workspace | Failure, *, is_needed: bool) -> None:
        """Keep what an item or a round came to: of a loop, the newest alone, once it is looked up.

        Args:
            index: The vertex of the ``each`` or ``loop``.
            number: Which item or round.
            outcome: The workspace that gives its result, or why it failed.
            is_needed: Whether the result is looked up now, so that the workspace can be forgotten.
        """
        if self._outcomes is _NONE:
            self._outcomes = {}
        kept = self._outcomes.setdefault(index, {})
        kept[number] = outcome
        if is_needed:
            _looked_up(self._outcome(index, number))

    def handed(self, index: int, number: int, name: str) -> _Lookup:
        """What an item or a round is given: the item, or the value of the round before, or what all are."""
        node = self._plan.nodes[index]
        first = node.arguments[0]
        if name != first.name:
            binding = next(one.binding for one in node.arguments if one.name == name)
            return (yield from self._resolve(binding))
        if node.kind == "each" and isinstance(first.binding, Group):  # putting it together anew is quadratic
            return (yield from self._resolve(first.binding.items[number]))
        if node.kind == "loop" and number > 1:
            return (yield from self._outcome(index, number - 1))[0]
        given = yield from self._resolve(first.binding)
        return given[number] if node.kind == "each" else given

    def _outcome(self, index: int, number: int) -> _Lookup:
        outcomes = self._outcomes[index]
        kept = outcomes[number]
        if not isinstance(kept, Workspace):
            return kept
        result = yield from kept._ask(kept._result)  # noqa: SLF001 - a round may give what it was given: what the rounds before came to
        if self._fresh_copies:
            return result
        if self._plan.nodes[index].kind == "loop":
            outcomes.clear()
        outcomes[number] = result
        return result

    def _assembled(self, index: int, node: PlanNode) -> _Lookup:
        """What an ``each`` or a ``loop`` came to as a whole."""
        outcomes = self._outcomes.get(index, {})
        if node.kind == "loop":
            return (yield from self._outcome(index, max(outcomes)))[0]
        drops, found = node.settings["on_error"] == "drop", list[Any]()
        for number in sorted(outcomes):
            if not (drops and isinstance(outcomes[number], Failure)):
                found.append((yield from self._outcome(index, number)))
        return found

    def _count(self, node: PlanNode) -> int:
        """How many items an ``each`` has."""
        items = self.resolve(node.arguments[0].binding)
        if isinstance(items, Sequence) and not isinstance(items, str | bytes):
            return len(cast("Sequence[object]", items))
        raise ReadFailed(
            f"{node.id!r} (wired at {node.where}) goes through a list, and was given a "
            f"{type(items).__name__}; give it a list",
            node=node.id,
        )

    def _is_last(self, index: int, node: PlanNode) -> bool:
        """Whether a loop is done with its newest round."""
        number = max(self._outcomes[index])
        value, is_reached = _looked_up(self._outcome(index, number))
        if not is_reached and number == node.settings["at_most"]:
            raise LoopLimit(
                f"{node.id!r} (wired at {node.where}) went through all its {number} rounds and was not done; "
                "raise at_most, or take what is there with fallback(loop(...), ...)",
                node=node.id,
                rounds=number,
                last=codec(type(value)).encode(value).decode(),
            )
        return bool(is_reached)

    # -- looking up ------------------------------------------------------------------------------------

    def resolve(self, binding: Binding) -> Any:
        """Give the value of a binding whose nodes are done; lists, tuples and dicts are new."""
        if isinstance(binding, Wire):
            return self.value(self._program.index[binding.node])
        if isinstance(binding, Constant):
            value = constant(binding)
            return copy.deepcopy(value) if self._fresh_copies else value
        return group(binding, [self.resolve(item) for item in binding.items])

    def _resolve(self, binding: Binding) -> _Lookup:
        """Do what ``resolve`` does, on the way to another value."""
        if isinstance(binding, Wire):
            return (yield from self._ask(self._program.index[binding.node]))
        if isinstance(binding, Constant):
            return self.resolve(binding)
        items: list[Any] = []
        for item in binding.items:
            items.append((yield from self._resolve(item)))  # noqa: PERF401 - a comprehension cannot yield
        return group(binding, items)

    def arguments(self, node: PlanNode) -> dict[str, Any]:
        """What a work node's body is called with, by parameter."""
        return {argument.name: self.resolve(argument.binding) for argument in node.arguments}

    def choose(self, index: int) -> int:
        """Compute which case a choice takes, that an expression can be computed (0), how many items an
        ``each`` has, or whether a ``loop`` is done (1).

        Raises:
            ReadFailed: No case fits, or a read found nothing.
            LoopLimit: The last round that a loop may have was not good enough either.
        """
        node = self._plan.nodes[index]
        if node.kind == "each":
            return self._count(node)
        if node.kind == "loop":
            return int(self._is_last(index, node))
        if node.kind == "expression":
            self.values[index] = evaluate(
                node, [self.resolve(argument.binding) for argument in node.arguments]
            )
            return 0
        if node.subject is None:
            raise InternalError(f"node {node.id!r} has nothing to decide on; please report this")
        subject = self.resolve(node.subject)
        if node.kind != "match":
            return 0 if subject else 1
        for number, case in enumerate(node.cases):
            if _fits(case, subject):
                return number
        raise ReadFailed(
            f"{node.id!r} (wired at {node.where}) has no case for the {type(subject).__name__} it was given: "
            f"its cases are {[case.label for case in node.cases]}; add one, or otherwise=",
            node=node.id,
        )

    def result(self) -> Any:
        """The value of the whole graph."""
        return self.value(self._result)

    @property
    def _result(self) -> int:
        return self._program.index.get(RESULT, self._program.result)


_Lookup = Lookup[tuple[Workspace, int]]


def _looked_up(lookup: _Lookup) -> Any:
    return looked_up(lookup, _find, _keep)


def _find(place: tuple[Workspace, int]) -> _Lookup:
    return place[0].find(place[1])


def _keep(place: tuple[Workspace, int], value: Any) -> None:
    place[0].values[place[1]] = value


def _decoded(node: PlanNode, payload: Payload) -> Any:
    """The value of a node, as it is recorded or was given."""
    try:
        return (node.codec or JSON).unpack(payload)
    except ValidationError as error:
        anew = "" if node.kind == "input" else made_anew(node.id)
        raise HistoryMismatch(
            f"the recorded result of node {node.id!r} does not fit its type any more: "
            f"{complaints(error)}; undo the edit, {anew}or start a new run",
            node=node.id,
        ) from error


def constant(binding: Constant) -> Any:
    """The value of a constant: the live one, or plain JSON data where only the document is there."""
    payload = binding.payload
    return payload.value if payload.is_alive else payload.json()


def group(binding: Group, items: list[Any]) -> Any:
    """Put resolved items into a new list, tuple or dict."""
    if binding.kind == "dict":
        return dict(zip(binding.keys, items, strict=True))
    return items if binding.kind == "list" else tuple(items)


def _fits(case: Case, subject: Any) -> bool:
    if case.test == "equal":  # to Python ``True`` equals 1
        return isinstance(subject, bool) == isinstance(case.live, bool) and bool(subject == case.live)
    return case.test == "otherwise" or (isinstance(case.live, type) and isinstance(subject, case.live))


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(node: PlanNode, operands: list[Any]) -> Any:
    """Compute an expression on values.

    Raises:
        ReadFailed: An attribute or item is not there, ``some`` met ``None``, ``narrow`` another class.
    """
    operation = node.operation
    if operation == "read":
        return _read(node, operands[0])
    if operation in _OPERATORS:
        return _OPERATORS[operation](operands[0], operands[1])
    subject = operands[0]
    if operation == "not":
        return not subject
    if operation == "is_none":
        return subject is None
    if operation == "some" and subject is None:
        raise ReadFailed(f"some(...) wired at {node.where} met None", node=node.id)
    if operation == "narrow" and not isinstance(subject, _class_of(node)):
        raise ReadFailed(
            f"narrow(...) wired at {node.where} expected {node.settings['class']}, "
            f"not {type(subject).__name__}",
            node=node.id,
        )
    return subject


def _class_of(node: PlanNode) -> type:
    return askable(node.live) or object


def _read(node: PlanNode, value: Any) -> Any:
    for step in node.path:
        try:
            value = getattr(value, str(step.key)) if step.field else value[step.key]
        except (AttributeError, LookupError, TypeError) as error:
            raise ReadFailed(
                f"{_path(node.path)}{_whose(node)}, wired at {node.where}, found nothing in "
                f"{_told(value)}: {type(error).__name__}: {error}",
                node=node.id,
            ) from error
    return value


def _whose(node: PlanNode) -> str:
    """Of which node's result a read is."""
    read = node.arguments[0].binding
    return f" of {str(read.node)!r}" if isinstance(read, Wire) else ""


def _told(value: Any) -> str:
    """What a value is, without what it holds."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, str | list | tuple | dict):
        return f"a {kind} of {len(cast('Sequence[object]', value))}"
    return f"a {kind}"


def _path(path: tuple[Read, ...]) -> str:
    return "".join(f".{step.key}" if step.field else f"[{step.key!r}]" for step in path)
