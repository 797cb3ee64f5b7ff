"""What a plan is made of: nodes, bindings, cases and scopes, all plain data.

A plan is a flat, acyclic list.  A graph used inside a graph leaves no node behind, only a ``Scope``
that its nodes name: it counts in names, policies, budgets and spans, and is no barrier.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Protocol

from treadle.budget import Budget
from treadle.ids import NodeId, PartId
from treadle.interfaces import Context
from treadle.retry import Retry
from treadle.values import Codec, Payload, canonical, digest

WorkKind = Literal["node", "tool", "agent", "human", "retriever"]
ControlKind = Literal["when", "match", "and", "or", "fallback", "do", "race", "each", "loop"]
NodeKind = Literal[
    "input", "expression", "node", "tool", "agent", "human", "retriever",
    "when", "match", "and", "or", "fallback", "do", "race", "each", "loop",
]  # fmt: skip

WORK: Final = frozenset({"node", "tool", "agent", "human", "retriever"})
"""Kinds whose body is run by an attempt."""

CHOICE: Final = frozenset({"when", "match", "and", "or"})
"""Kinds that need their subject first, and one case of several after."""

REPEATED: Final = frozenset({"each", "loop"})
"""Kinds that hold a sub-plan, which is gone through once for each item or round."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Needs the result of a node."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Constant:
    """A value known while wiring."""

    payload: Payload


@dataclass(frozen=True, slots=True)
class Group:
    """A list, tuple or dict with wires somewhere inside; ``keys`` only for a dict."""

    kind: Literal["list", "tuple", "dict"]
    items: tuple[Binding, ...]
    keys: tuple[str, ...] = ()


Binding = Wire | Constant | Group
"""Where a value comes from."""


def wires(binding: Binding | None) -> Iterator[NodeId]:
    """Give the nodes a binding needs, in order of appearance, repeated ones too."""
    if isinstance(binding, Wire):
        yield binding.node
    elif isinstance(binding, Group):
        for item in binding.items:
            yield from wires(item)


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a body, or an operand of an expression, and where its value comes from."""

    name: str
    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way a control word can go.

    Attributes:
        test: ``"equal"`` compares the subject with ``label``, ``"instance"`` asks for its class,
            ``"otherwise"`` always fits.  The cases of ``fallback`` and ``do`` are all ``"otherwise"``.
        label: JSON data of the value compared with, or the class's name.
        live: The value or class itself; not part of the document.
    """

    binding: Binding
    test: Literal["equal", "instance", "otherwise"] = "otherwise"
    label: object = None
    live: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Read:
    """One attribute (``field`` true) or item read on a value."""

    key: str | int
    field: bool


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a node is, whatever it is called and wired to: half of the identity of its results.

    Attributes:
        name: The function's name.
        parameters, result: Digests of the JSON Schemas.
        model: The declared model of an agent, ``""`` otherwise.
    """

    kind: str
    name: str
    parameters: str = ""
    result: str = ""
    model: str = ""

    @cached_property
    def digest(self) -> str:
        """Identifies the definition across processes and releases of the user's code."""
        return digest(canonical([self.kind, self.name, self.parameters, self.result, self.model]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a node is run, as data; ``None`` leaves it to the scope around it, or to the default.

    Attributes:
        timeout: Seconds for one attempt.
        idle: Seconds in which an attempt must give a sign of life: progress, or a call that begins or ends.
        effect: ``"once"``: never silently repeated.
        in_doubt: What settles an effect in doubt: ``"ask"``, ``"retry"``, ``"fail"``, or the name of
            the function that finds out.
        model: The model of an agent by name, overriding the declared one.
        max_turns: Requests an agent may make before it must have answered.
        max_output, min_output: Output tokens asked for, and the least a tight budget may lower it to.
        max_calls: How often an agent may call it in one conversation.
        max_result: Characters of its result that a model is shown.
    """

    retry: Retry | None = None
    timeout: float | None = None
    budget: Budget | None = None
    effect: Literal["repeatable", "once"] = "repeatable"
    in_doubt: str = "ask"
    model: str | None = None
    max_turns: int | None = None
    max_output: int | None = None
    min_output: int | None = None
    max_calls: int | None = None
    max_result: int | None = None
    idle: float | None = None


DEFAULT: Final = Policies()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a body that wires can be drawn to (``ctx`` is not one)."""

    name: str
    codec: Codec[Any]
    required: bool = True
    default: object = None
    keyword_only: bool = False


class Callee(Protocol):
    """What stands behind a work node or a step: the object made by ``@node``, ``@tool`` and so on."""

    @property
    def name(self) -> str: ...

    @property
    def definition(self) -> Definition: ...

    @property
    def policies(self) -> Policies: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    @property
    def result(self) -> Codec[Any]: ...

    @property
    def plain(self) -> Any | None:
        """The async function itself where calling it with the arguments is all there is to do
        (no context, no loop around it); the engine's fast path."""
        ...

    def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run the body with everything around it that belongs to its kind."""
        ...


class Planned(Protocol):
    """A plan as its own nodes see it: what the body of ``each`` and ``loop`` is made of."""

    @property
    def name(self) -> str: ...

    @property
    def nodes(self) -> tuple[PlanNode, ...]: ...

    @property
    def result(self) -> Binding: ...

    @property
    def scopes(self) -> tuple[Scope, ...]: ...

    @property
    def policies(self) -> Policies: ...

    @property
    def on_failure(self) -> Literal["drain", "cancel"]: ...

    @property
    def codec(self) -> Codec[Any] | None: ...

    @property
    def by_id(self) -> dict[NodeId, PlanNode]: ...

    @property
    def memo(self) -> dict[str, Any]: ...

    @property
    def payload(self) -> Payload: ...

    @property
    def digest(self) -> str: ...

    def find(self, node: NodeId) -> PlanNode | None: ...

    def body_of(self, part: PartId) -> Planned | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One node of a plan.

    Attributes:
        scope: Id of the subgraph it stands in, ``""`` for the outermost graph.
        definition: Of work nodes only.
        arguments: What a work node's body takes, by parameter; the operands of an expression; for
            ``each`` and ``loop`` what their body takes, the list or the start first; else empty.
        operation: Of an expression: ``"read"``, ``"=="``, ``"!="``, ``"<"``, ``"<="``, ``">"``,
            ``">="``, ``"not"``, ``"is_none"``, ``"some"``, ``"narrow"``.
        path: Of a ``"read"``: the attributes and items, outermost first.
        subject: Of ``when``, ``match``, ``and``, ``or``: what is looked at.
        cases: Of control words; for ``when``: true then false.
        on: Of ``fallback``: qualified names of the error classes it takes; empty for all takeable ones.
        settings: What else the kind declares, as JSON data (tools of an agent, ``to`` of a person,
            ``at_once`` and ``on_error`` of an ``each``, ``at_most`` of a ``loop``).
        body: Of ``each`` and ``loop``: the plan of one item or round; its inputs bear the names of the
            arguments.  A round's result is a pair: the value, and whether ``until`` is reached.
        callee, codec, live: The live objects: the node behind it, the type of its result, the class
            of ``narrow``.  Not part of the document.
        where: ``file:line`` where it was wired, for messages; not part of the digest.
    """

    id: NodeId
    kind: NodeKind
    scope: str = ""
    definition: Definition | None = None
    arguments: tuple[Argument, ...] = ()
    operation: str = ""
    path: tuple[Read, ...] = ()
    subject: Binding | None = None
    cases: tuple[Case, ...] = ()
    on: tuple[str, ...] = ()
    policies: Policies = DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: Planned | None = None
    where: str = field(default="", compare=False)
    callee: Callee | None = field(default=None, compare=False, repr=False)
    codec: Codec[Any] | None = field(default=None, compare=False, repr=False)
    live: object = field(default=None, compare=False, repr=False)

    @property
    def needs(self) -> tuple[NodeId, ...]:
        """Every node it may ever need, without repetition, in order of appearance."""
        found: dict[NodeId, None] = {}
        for argument in self.arguments:
            found.update(dict.fromkeys(wires(argument.binding)))
        found.update(dict.fromkeys(wires(self.subject)))
        for case in self.cases:
            found.update(dict.fromkeys(wires(case.binding)))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A graph used inside a graph: its name, and the policies of what stands in it.

    Attributes:
        id: Path of names: ``"support"``, ``"support/inner.2"``.
        parent: Id of the scope around it, ``""`` for the outermost graph.
    """

    id: str
    graph: str
    parent: str = ""
    policies: Policies = DEFAULT
    where: str = field(default="", compare=False)
