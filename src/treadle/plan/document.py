"""The plan as a JSON document: its form is described in ``docs/reference/plan.md``.

The document holds what decides how a graph runs, and nothing of one process: no addresses, no line
numbers, no code.  Equal graphs give equal bytes everywhere, so the digest names the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final, TypeVar, cast, get_args

from treadle.budget import Budget
from treadle.errors import PlanError
from treadle.ids import NodeId
from treadle.plan.parts import (
    DEFAULT,
    Argument,
    Binding,
    Case,
    Constant,
    Definition,
    Group,
    NodeKind,
    Planned,
    PlanNode,
    Policies,
    Read,
    Scope,
    Wire,
    wires,
)
from treadle.retry import Retry, Wait
from treadle.values import Payload, canonical, parse

_P = TypeVar("_P")

VERSION: Final = 1
"""The newest version of the document that this release reads, and the one it writes."""


def to_payload(plan: Planned) -> Payload:
    """Write a plan; the bytes are canonical, so their digest is the plan's."""
    return Payload(data=canonical({"treadle_plan": VERSION, **_plan(plan)}))


def _plan(plan: Planned) -> dict[str, Any]:
    return {
        "name": plan.name,
        "nodes": [_node(node) for node in plan.nodes],
        "result": _binding(plan.result),
        "on_failure": plan.on_failure,
        **_given("scopes", [_scope(scope) for scope in plan.scopes]),
        **_given("policies", _policies(plan.policies)),
    }


def _given(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


def _node(node: PlanNode) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": node.kind,
        **_given("scope", node.scope),
        **_given("definition", _definition(node.definition)),
        **_given("arguments", [{"name": one.name, "value": _binding(one.binding)} for one in node.arguments]),
        **_given("operation", node.operation),
        **_given("path", [{"key": read.key, "field": read.field} for read in node.path]),
        **_given("subject", None if node.subject is None else _binding(node.subject)),
        **_given("cases", [_case(case) for case in node.cases]),
        **_given("on", list(node.on)),
        **_given("policies", _policies(node.policies)),
        **_given("settings", dict(node.settings)),
        **_given("body", None if node.body is None else _plan(node.body)),
    }


def _definition(definition: Definition | None) -> dict[str, Any]:
    if definition is None:
        return {}
    return {field.name: getattr(definition, field.name) for field in fields(definition)}


def _binding(binding: Binding) -> dict[str, Any]:
    if isinstance(binding, Wire):
        return {"wire": binding.node}
    if isinstance(binding, Constant):
        return {"constant": binding.payload.json()}
    items = [_binding(item) for item in binding.items]
    return {binding.kind: items, **_given("keys", list(binding.keys))}


def _case(case: Case) -> dict[str, Any]:
    label = {} if case.test == "otherwise" else {"label": case.label}
    return {"test": case.test, **label, "value": _binding(case.binding)}


def _scope(scope: Scope) -> dict[str, Any]:
    return {
        "id": scope.id,
        "graph": scope.graph,
        **_given("parent", scope.parent),
        **_given("policies", _policies(scope.policies)),
    }


def _policies(policies: Policies) -> dict[str, Any]:
    if policies is DEFAULT:
        return {}
    found: dict[str, Any] = {}
    for field in fields(policies):
        value = getattr(policies, field.name)
        if value != getattr(DEFAULT, field.name):
            found[field.name] = _WRITE[type(value)](value) if type(value) in _WRITE else value
    return found


def _write_retry(retry: Retry) -> dict[str, Any]:
    wait = {field.name: getattr(retry.wait, field.name) for field in fields(retry.wait)}
    return {"attempts": retry.attempts, "on": list(retry.on), "wait": wait}


def _write_budget(budget: Budget) -> dict[str, Any]:
    found = {field.name: getattr(budget, field.name) for field in fields(budget)}
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in found.items()
        if value is not None
    }


_WRITE: Final[dict[type, Callable[[Any], Any]]] = {Retry: _write_retry, Budget: _write_budget}


def from_json(text: str | bytes, make: Callable[..., _P]) -> _P:
    """Read a plan document.

    Raises:
        PlanError: It is none, or from a newer release.
    """
    try:
        document = parse(text)
    except ValueError as error:
        raise PlanError(f"this is no plan document: it is not JSON ({error})") from error
    version = cast("dict[str, Any]", document).get("treadle_plan") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise PlanError(
            "this is no plan document: it has no number under 'treadle_plan'; plan.to_json() writes one"
        )
    if version > VERSION:
        raise PlanError(
            f"this plan document has version {version}, and this release reads up to {VERSION}; "
            "install a newer Treadle"
        )
    try:
        return _read_plan(cast("dict[str, Any]", document), make)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"this plan document is damaged: {type(error).__name__} {error}") from error


def _read_plan(document: Mapping[str, Any], make: Callable[..., _P]) -> _P:
    nodes = tuple(_read_node(node, make) for node in document["nodes"])
    seen: set[NodeId] = set()
    for node in nodes:
        missing = [need for need in node.needs if need not in seen]
        if missing:
            raise PlanError(
                f"this plan document is damaged: node {node.id!r} needs {missing[0]!r}, "
                "which is not before it"
            )
        seen.add(node.id)
    if len(seen) < len(nodes):
        raise PlanError("this plan document is damaged: two nodes have one id")
    result = _read_binding(document["result"])
    unknown = [need for need in wires(result) if need not in seen]
    if unknown:
        raise PlanError(
            f"this plan document is damaged: its result needs {unknown[0]!r}, which is no node of it"
        )
    return make(
        name=document["name"],
        nodes=nodes,
        result=result,
        scopes=tuple(_read_scope(scope) for scope in document.get("scopes", ())),
        policies=_read_policies(document.get("policies")),
        on_failure=document["on_failure"],
    )


def _read_node(data: Mapping[str, Any], make: Callable[..., Any]) -> PlanNode:
    definition = data.get("definition")
    if data["kind"] not in get_args(NodeKind):
        raise PlanError(
            f"this plan document is damaged: node {data['id']!r} is of the unknown kind {data['kind']!r}"
        )
    return PlanNode(
        id=NodeId(data["id"]),
        kind=data["kind"],
        scope=data.get("scope", ""),
        definition=None if definition is None else Definition(**definition),
        arguments=tuple(
            Argument(one["name"], _read_binding(one["value"])) for one in data.get("arguments", ())
        ),
        operation=data.get("operation", ""),
        path=tuple(Read(**read) for read in data.get("path", ())),
        subject=_read_binding(data["subject"]) if "subject" in data else None,
        cases=tuple(map(_read_case, data.get("cases", ()))),
        on=tuple(data.get("on", ())),
        policies=_read_policies(data.get("policies")),
        settings=data.get("settings", {}),
        body=_read_plan(data["body"], make) if "body" in data else None,
    )


def _read_binding(data: Mapping[str, Any]) -> Binding:
    if "wire" in data:
        return Wire(NodeId(data["wire"]))
    if "constant" in data:
        return Constant(Payload(data=canonical(data["constant"])))
    for kind in ("list", "tuple", "dict"):
        if kind in data:
            return Group(kind, tuple(map(_read_binding, data[kind])), tuple(data.get("keys", ())))
    raise ValueError(f"{dict(data)!r} is no binding")


def _read_case(data: Mapping[str, Any]) -> Case:
    return Case(binding=_read_binding(data["value"]), test=data["test"], label=data.get("label"))


def _read_scope(data: Mapping[str, Any]) -> Scope:
    return Scope(
        id=data["id"],
        graph=data["graph"],
        parent=data.get("parent", ""),
        policies=_read_policies(data.get("policies")),
    )


def _read_policies(data: Mapping[str, Any] | None) -> Policies:
    if not data:
        return DEFAULT
    found = dict(data)
    if "retry" in found:
        retry = found["retry"]
        found["retry"] = Retry(attempts=retry["attempts"], on=tuple(retry["on"]), wait=Wait(**retry["wait"]))
    if "budget" in found:
        found["budget"] = Budget(**found["budget"])
    return Policies(**found)
