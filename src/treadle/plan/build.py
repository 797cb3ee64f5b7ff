"""From a graph function to its plan: call it once, check everything, keep what demand can reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from pydantic import ValidationError

from treadle.errors import PlanError, WiringError
from treadle.plan import binding
from treadle.plan.cheapest import check_budgets
from treadle.plan.declared import Blueprint
from treadle.plan.fits import fits
from treadle.plan.parts import Binding, PlanNode, Wire
from treadle.plan.plan import Plan
from treadle.plan.ref import Ref, StandIn, ref_of
from treadle.plan.shapes import title
from treadle.plan.validate import check_handed_down, check_races, kept, sorted_faults
from treadle.plan.where import defined_at, raised_at
from treadle.plan.wiring import Frame, Reporter, Wiring

SHOWN = 20
"""So many faults stand in the message of a ``PlanError``; all are in its ``faults``."""


def build(graph: Blueprint, on_failure: Literal["drain", "cancel"] = "drain") -> Plan:
    """Wire a graph.

    Raises:
        WiringError: The function used a stand-in as if it were a value.
        PlanError: The wiring is wrong; it lists all faults.
    """
    wiring = Wiring()
    frame = Frame(wiring, graph)
    for fault in graph.faults:
        wiring.fault(f"graph {graph.name!r}", defined_at(graph.function), fault)
    if wiring.faults:
        raise _error(graph, wiring)
    inputs = {
        parameter.name: input_of(wiring, frame, parameter.name, parameter.codec)
        for parameter in graph.parameters
    }
    frame.look_at_source(inputs)
    value = frame.run(lambda: called(graph, inputs))
    result = frame.run(lambda: result_of(frame, graph, value))
    nodes = kept(wiring, result)
    check_budgets(wiring, result, graph)
    check_races(wiring, result)
    check_handed_down(wiring, graph)
    if wiring.faults:
        raise _error(graph, wiring)
    return Plan(
        name=graph.name,
        nodes=nodes,
        result=result,
        scopes=tuple(wiring.scopes),
        policies=graph.policies,
        on_failure=on_failure,
        codec=graph.result,
    )


def input_of(wiring: Wiring, frame: Frame, name: str, codec: Any) -> StandIn:
    """Record an input of a plan, and give the stand-in for it."""
    node = PlanNode(id=wiring.new_id(name), kind="input", codec=codec)
    return StandIn(Ref(frame, wiring.add(node), (), codec.type))


def called(graph: Blueprint, inputs: Mapping[str, StandIn]) -> object:
    """Call a graph function with stand-ins.

    Raises:
        WiringError: It used one as if it were a value.
    """
    call = cast("Callable[..., object]", graph.function)
    try:
        return call(**inputs)
    except WiringError:
        raise
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            if type(item["input"]) is StandIn:
                raise WiringError(_built_from(error, item["input"])) from error
        raise
    except TypeError as error:
        if StandIn.__name__ not in str(error):
            raise
        raise WiringError(_given_to_python(error)) from error


def _built_from(error: ValidationError, found: StandIn) -> str:
    return (
        f"{raised_at(error)}: a {error.title} was built from the stand-in {ref_of(found).text!r}, which has "
        "no value while the graph is wired; build it in a node: async def build(x: ...) -> ..."
    )


def _given_to_python(error: TypeError) -> str:
    """For what Python's own types say themselves, such as ``"".join([x])``: they ask a stand-in nothing."""
    return (
        f"{raised_at(error)}: a stand-in has no value and no text while the graph is wired, and Python says "
        f"{str(error)!r}; pass it to a node and compute or make the text there: async def make(x: ...) -> ..."
    )


def result_of(frame: Frame, graph: Blueprint, value: object) -> Binding:
    """Bind what a graph function returned, and tell where it is not what the graph declares."""
    report = Reporter(frame.wiring, f"graph {graph.name!r}", defined_at(graph.function))
    report.parameter = "result"
    bound = binding.bind(frame, value, graph.result, report)
    if type(value) is StandIn and isinstance(bound, Wire):
        declared = ref_of(value).declared
        wanted = graph.result.type
        if fits(declared, wanted) and not fits(declared, wanted, exact=True):
            report(
                f"{ref_of(value).text!r} is {title(declared)}, which does not come back equal when it is "
                f"stored as {title(wanted)}; declare -> {title(declared)}"
            )
    return bound


def _error(graph: Blueprint, wiring: Wiring) -> PlanError:
    faults = sorted_faults(wiring.faults)
    shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return PlanError(f"graph {graph.name!r} has {count}; nothing has run:\n{shown}{more}", faults)
