"""The bodies of ``each`` and ``loop``: plans inside a plan, wired like graphs of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from treadle.interfaces import Model
from treadle.plan import binding, shapes
from treadle.plan.arguments import bound
from treadle.plan.build import called, input_of, result_of
from treadle.plan.declared import Blueprint
from treadle.plan.fits import fits
from treadle.plan.parts import DEFAULT, Argument, Binding, Group, Parameter, Policies
from treadle.plan.plan import Plan
from treadle.plan.ref import StandIn, refuse
from treadle.plan.validate import check_races, kept
from treadle.plan.where import where
from treadle.plan.wiring import Frame, Reporter, Wiring, inner_faults
from treadle.values import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A body that is one node, in the form of a graph."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    result: Codec[Any]
    faults: tuple[str, ...] = ()
    policies: Policies = DEFAULT
    on_failure: Literal["drain", "cancel"] = "drain"
    live_model: Model | None = None


def blueprint(word: str, body: Any) -> Blueprint:
    """Give a node or a graph as what a body is wired from.

    Raises:
        WiringError: It is neither.
    """
    if not hasattr(body, "parameters") or not hasattr(body, "result"):
        refuse(
            f"{word} was given {body!r} as its body",
            f"give it a node or a graph: declare one with @node, and write {word}(it, ...)",
        )
    if hasattr(body, "live_model"):
        graph: Blueprint = body
        return graph
    return Single(name=body.name, function=body, parameters=body.parameters, result=body.result)


def arguments_of(
    frame: Frame, body: Blueprint, first: Argument, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Argument, ...]:
    """Bind what a body takes besides the item, or the value of the round before."""
    report = Reporter(frame.wiring, f"{body.name!r}", where())
    found = [first]
    for parameter, value in bound(body.parameters[1:], args, kwargs, report):
        report.parameter = parameter.name
        found.append(Argument(parameter.name, binding.bind(frame, value, parameter.codec, report)))
    return tuple(found)


def first_parameter(frame: Frame, word: str, body: Blueprint) -> Parameter | None:
    """The parameter that takes the item, or the value of the round before."""
    if not body.parameters or body.parameters[0].keyword_only:
        frame.fault(f"{word} hands {body.name!r} one value after the other, and it takes none")
        return None
    return body.parameters[0]


def wire_body(
    frame: Frame, body: Blueprint, given: Collection[str], until: Callable[[Any], Any] | None = None
) -> Plan | None:
    """Wire the plan of one item or round.

    Args:
        frame: Where the control word stands; policies around it hold inside too.
        body: The node or graph.
        given: The parameters that are given; the others keep their defaults.
        until: For a loop: wired on the value of the round; the plan's result is then a pair.
    """
    frame.refuse_itself(body)
    wiring, place = Wiring(), where()
    inner = Frame(wiring, body, "", frame)
    wiring.faults = frame.wiring.faults  # one list, also of what is refused in here and caught out there
    known = inner_faults(body)
    for text in known:
        wiring.fault(f"{body.name!r}", place, text)
    if known:
        return None
    inputs = {
        one.name: input_of(wiring, inner, one.name, one.codec) for one in body.parameters if one.name in given
    }
    inner.look_at_source(inputs)
    value = inner.run(lambda: called(body, inputs))
    result = inner.run(
        lambda: result_of(inner, body, value) if until is None else _round(inner, body, value, until)
    )
    nodes = kept(wiring, result)
    check_races(wiring, result)
    return Plan(
        name=body.name,
        nodes=nodes,
        result=result,
        scopes=tuple(wiring.scopes),
        policies=body.policies,
        codec=None if until is not None else body.result,
    )


def _round(frame: Frame, body: Blueprint, value: object, until: Callable[[Any], Any]) -> Binding:
    """Bind a round's value, and whether it is the last."""
    last = result_of(frame, body, value)
    if type(value) is StandIn:  # ``until`` reads no more than what is declared
        value = binding.move(value, frame, frame, declared=body.result.type)
    reached, declared = binding.infer(frame, until(value), frame.fault)
    if not binding.is_bool(declared):
        frame.fault(
            f"until asks whether the loop is done, and gives {shapes.title(declared)}; return a comparison, "
            "or wire a node that returns a bool"
        )
    return Group("tuple", (last, reached))


def check_round(frame: Frame, body: Blueprint, first: Parameter) -> None:
    """Tell where what one round gives does not fit what the next one takes."""
    if not fits(body.result.type, first.codec.type):
        frame.fault(
            f"loop hands what {body.name!r} gives ({shapes.title(body.result.type)}) to its next round, "
            f"which takes {shapes.title(first.codec.type)} as {first.name!r}"
        )
