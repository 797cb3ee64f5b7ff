"""A plan with its policies compiled into one runner for each work node, once for all runs.

A node that declares no timeout, context or effect, without a tracer or a limit of seconds, is run by
``attempt.plain_runner``, which pays for none of them; all else goes through ``attempt.run_attempt``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from treadle.engine.attempt import Task, plain_runner, run_attempt
from treadle.engine.requests import bind
from treadle.engine.slot import Slot
from treadle.engine.workspace import UNSET, Workspace
from treadle.errors import PlanError
from treadle.plan.parts import WORK, Callee, Planned, PlanNode, Wire
from treadle.scheduler.commands import StartAttempt
from treadle.scheduler.program import Program, compile_plan

if TYPE_CHECKING:
    from treadle.engine.live import Live

Runner = Callable[["Live", Workspace, StartAttempt, Slot], Awaitable[None]]
_INDIRECT: Final = frozenset({"when", "match", "and", "or", "fallback", "do", "race"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What an engine keeps of a plan: its program, and a runner for each vertex that is work.

    Attributes:
        bodies: The plans of items and rounds, by the vertex of their ``each`` or ``loop``.
    """

    plan: Planned
    program: Program
    runners: tuple[Runner | None, ...]
    bodies: dict[int, Compiled]


def compile_runners(plan: Planned, *, traced: bool = False, timed: bool = False) -> Compiled:
    """Compile a plan, or give what it was compiled to before.

    Args:
        plan: The plan.
        traced: Whether every attempt has a span.
        timed: Whether a limit of seconds stands above the plan: the run's own, or its tenant's.
    """
    memo = f"engine.{traced:d}{timed:d}"
    found: Compiled | None = plan.memo.get(memo)
    if found is None:
        found = plan.memo[memo] = _compiled(plan, compile_plan(plan), traced=traced, timed=timed)
    return found


def _compiled(plan: Planned, program: Program, *, traced: bool, timed: bool) -> Compiled:
    budgets = [plan.policies.budget, *(scope.policies.budget for scope in plan.scopes)]
    is_timed = timed or any(budget is not None and budget.seconds is not None for budget in budgets)
    runners = (_runner(plan, program, node, traced=traced, timed=is_timed) for node in plan.nodes)
    bodies = {
        vertex: _compiled(body, repeat.program, traced=traced, timed=is_timed)
        for vertex, repeat in program.repeats.items()
        if (body := plan.nodes[vertex].body) is not None
    }
    return Compiled(plan=plan, program=program, runners=(*runners, None), bodies=bodies)


def _runner(plan: Planned, program: Program, node: PlanNode, *, traced: bool, timed: bool) -> Runner | None:
    if node.kind not in WORK:
        return None
    callee = node.callee
    if callee is None:
        raise PlanError(
            f"node {node.id!r} has no code: a plan read from a document cannot run; use its graph"
        )
    index = program.index[node.id]
    is_limited = timed or _has_limits(node)
    if not (traced or is_limited) and callee.plain is not None and node.policies.effect == "repeatable":
        function = _positional(callee.plain, [argument.name for argument in node.arguments])
        return plain_runner(index, function, _gatherer(plan, program, node), callee)
    gather = _gatherer(plan, program, node)
    task = Task(
        index=index,
        node=node,
        callee=callee,
        arguments=_by_name(gather, node, callee),
        is_limited=is_limited,
    )
    return functools.partial(run_attempt, task)


def _has_limits(node: PlanNode) -> bool:
    """Whether its own policies limit its time."""
    policies = node.policies
    is_timed = policies.budget is not None and policies.budget.seconds is not None
    return is_timed or policies.timeout is not None or policies.idle is not None


def _positional(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """A function that takes the arguments of these names by position."""
    parameters = inspect.signature(function).parameters
    takes = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if takes[: len(names)] == list(names):
        return function

    def by_name(*values: Any) -> Any:
        return function(**dict(zip(names, values, strict=True)))

    return by_name


def _by_name(
    gather: Callable[[Workspace], Sequence[Any]], node: PlanNode, callee: Callee
) -> Callable[[Workspace], dict[str, Any]]:
    """Give a function from a workspace to all arguments of a node, by parameter."""
    names = [argument.name for argument in node.arguments]
    bound = bind(callee, (), dict.fromkeys(names))  # as a step of a body is bound: with the defaults

    def arguments(workspace: Workspace) -> dict[str, Any]:
        return bound | dict(zip(names, gather(workspace), strict=True))

    return arguments


def _gatherer(plan: Planned, program: Program, node: PlanNode) -> Callable[[Workspace], Sequence[Any]]:
    """Give a function from a workspace to a node's arguments, in order."""
    bindings = [argument.binding for argument in node.arguments]
    indices = [
        program.index[b.node]
        for b in bindings
        if isinstance(b, Wire) and plan.by_id[b.node].kind not in _INDIRECT
    ]
    if len(indices) < len(bindings):
        return lambda workspace: [workspace.resolve(binding) for binding in bindings]
    if len(indices) == 1:
        only = indices[0]

        def single(workspace: Workspace) -> Sequence[Any]:
            value = workspace.values[only]
            return (value if value is not UNSET else workspace.value(only),)

        return single

    def direct(workspace: Workspace) -> Sequence[Any]:
        values = workspace.values
        return [v if (v := values[i]) is not UNSET else workspace.value(i) for i in indices]

    return direct
