"""What the scheduler costs: compiling a plan, and handling the events of a whole run.

python benchmarks/scheduler.py [--nodes 100000] [--check]

No event loop, no store, no values: each command is answered with the event it asks for, first come
first served.  Every shape runs at three sizes, the quickest of several rounds counts, and the garbage
collector rests meanwhile.  ``growth`` is what one event costs in the largest plan over what it costs
in the smallest; ``--check`` fails where it is above 2 (caches alone make it more than 1).
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from treadle.events import AttemptFailed, Decided, Event, Failure, NodeCompleted, RunStarted
from treadle.ids import NodeId, RunId
from treadle.plan.parts import Argument, Binding, Case, Constant, Group, PlanNode, Wire
from treadle.plan.plan import Plan
from treadle.scheduler.commands import Decide, StartAttempt
from treadle.scheduler.program import Program, compile_plan
from treadle.scheduler.scheduler import Mode, Scheduler
from treadle.values import JSON

NOTHING = JSON.pack(None)
FAILURE = Failure(types=("X",), message="it failed")
FAILS = "fails"
BAR = 2.0


def work(name: str, *needs: str) -> PlanNode:
    arguments = tuple(Argument(f"a{i}", Wire(NodeId(need))) for i, need in enumerate(needs))
    return PlanNode(id=NodeId(name), kind="node", arguments=arguments)


def choice(name: str, subject: str, *branches: str) -> PlanNode:
    cases = tuple(Case(binding=Wire(NodeId(branch))) for branch in branches)
    return PlanNode(id=NodeId(name), kind="match", subject=Wire(NodeId(subject)), cases=cases)


def group(names: Iterable[str]) -> Group:
    return Group("list", tuple(Wire(NodeId(name)) for name in names))


def plan(nodes: list[PlanNode], result: Binding | None = None) -> Plan:
    return Plan(name="bench", nodes=tuple(nodes), result=result or Wire(nodes[-1].id))


def chain(n: int) -> Plan:
    """Each node takes the result of the one before."""
    return plan([work("n0"), *(work(f"n{i}", f"n{i - 1}") for i in range(1, n))])


def fan(n: int) -> Plan:
    """One node is taken by all others, and the result takes them all."""
    leaves = [work(f"n{i}", "source") for i in range(n - 1)]
    return plan([work("source"), *leaves], group(leaf.id for leaf in leaves))


def layers(n: int) -> Plan:
    """Layers of 100 nodes, of which each takes three of the layer before."""
    nodes = [work(f"n{i}") for i in range(100)]
    for i in range(100, n):
        row, column = divmod(i, 100)
        nodes.append(work(f"n{i}", *(f"n{(row - 1) * 100 + (column + k) % 100}" for k in (0, 1, 7))))
    return plan(nodes, group(node.id for node in nodes[-100:]))


def nested_choices(n: int) -> Plan:
    """A choice in the branch of a choice, and so on; each has a subject and another branch of its own."""
    nodes = [work("inner")]
    for i in range(n // 3):
        inner = nodes[-1].id
        nodes += [work(f"s{i}"), work(f"b{i}", f"s{i}"), choice(f"c{i}", f"s{i}", inner, f"b{i}")]
    return plan(nodes)


def shared_rungs(n: int) -> Plan:
    """Fallbacks whose first rung is one slow node they share and one that fails."""
    nodes = [work("slow"), work(FAILS)]
    cases = (Case(binding=group(["slow", FAILS])), Case(binding=Constant(NOTHING)))
    nodes += [PlanNode(id=NodeId(f"f{i}"), kind="fallback", cases=cases) for i in range(n)]
    return plan(nodes, group(["slow", *(node.id for node in nodes[2:])]))


SHAPES: dict[str, Callable[[int], Plan]] = {
    "chain": chain,
    "fan": fan,
    "layers": layers,
    "nested choices": nested_choices,
    "shared rungs": shared_rungs,
}


def drive(program: Program) -> tuple[int, float]:
    """Run a program to its end; give the number of events and the seconds spent in ``handle``."""
    scheduler = Scheduler(program, seed="seed")
    handle = scheduler.handle
    first = RunStarted(at=1.0, run_id=RunId("r"), graph="bench", plan=NOTHING, inputs={}, seed="seed")
    waiting: deque[Event] = deque([first])
    events, spent = 0, 0.0
    while waiting:
        batch = list(waiting)
        waiting.clear()
        started = time.thread_time()
        commands = [command for event in batch for command in handle(event)]
        spent += time.thread_time() - started
        events += len(batch)
        for command in commands:
            if isinstance(command, StartAttempt):
                waiting.append(_outcome(command))
            elif isinstance(command, Decide):
                waiting.append(Decided(at=1.0, node=command.node, choice=0))
    if scheduler.mode is not Mode.FINISHING:
        raise SystemExit(f"the run did not end: {scheduler.story()}")
    return events, spent


def _outcome(command: StartAttempt) -> Event:
    if command.node == FAILS:
        return AttemptFailed(
            at=1.0, node=command.node, attempt=command.attempt, started_at=1.0, failure=FAILURE
        )
    return NodeCompleted(at=1.0, node=command.node, attempt=command.attempt, started_at=1.0, result=NOTHING)


def measure(shape: Callable[[int], Plan], nodes: int) -> tuple[float, float]:
    """Microseconds for compiling one node, and for handling what one node leads to."""
    made = shape(nodes)
    compiling, handling = [], []
    for _ in range(max(3, min(30, 100_000 // nodes))):
        started = time.thread_time()
        program = compile_plan(made)
        compiling.append(time.thread_time() - started)
        handling.append(drive(program)[1])
    per_node = 1e6 / len(made.nodes)
    return min(compiling) * per_node, min(handling) * per_node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nodes", type=int, default=100_000, help="nodes of the largest plan of each shape")
    parser.add_argument(
        "--check", action="store_true", help=f"fail where an event's cost grows over {BAR:g} times"
    )
    options = parser.parse_args()
    sizes = [max(300, options.nodes // 100), max(300, options.nodes // 10), options.nodes]
    gc.disable()
    print(f"us CPU a node        {'compile':>{10 * len(sizes)}}{'handle':>{10 * len(sizes) + 4}}    growth")
    print(
        " " * 20
        + "".join(f"{size:>10,}" for size in sizes)
        + "    "
        + "".join(f"{size:>10,}" for size in sizes)
    )
    missed = False
    for name, shape in SHAPES.items():
        found = [measure(shape, size) for size in sizes]
        growth = found[-1][1] / found[0][1]
        compiled = "".join(f"{compiling:>10.2f}" for compiling, _ in found)
        handled = "".join(f"{handling:>10.2f}" for _, handling in found)
        print(f"{name:<20}{compiled}    {handled}{growth:>10.2f}")
        missed = missed or growth > BAR
        gc.collect()
    if options.check and missed:
        sys.exit("the cost of an event grows with the plan")


if __name__ == "__main__":
    main()
