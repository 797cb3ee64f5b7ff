"""Work grows as the plan does: counted in lines of the scheduler that run, not in seconds."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from treadle.plan.plan import Plan
from treadle.scheduler import states as at
from treadle.scheduler.program import compile_plan

ROOT = Path(__file__).parents[2]
SCHEDULER = str(Path(at.__file__).parent)


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scheduler_benchmark", ROOT / "benchmarks" / "scheduler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()
SHAPES: dict[str, Callable[[int], Plan]] = BENCHMARK.SHAPES


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the lines of the scheduler that run."""
    lines = [0]
    before = sys.gettrace()

    def in_frame(frame: FrameType, event: str, arg: Any) -> Any:
        lines[0] += event == "line"
        return in_frame

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        return in_frame if frame.f_code.co_filename.startswith(SCHEDULER) else None

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def work_of(plan: Plan) -> tuple[int, int]:
    """Lines run to compile a plan, and to take it from its start to its end."""
    with counted() as compiling:
        program = compile_plan(plan)
    with counted() as running:
        BENCHMARK.drive(program)
    return compiling[0], running[0]


@pytest.mark.parametrize("name", SHAPES)
def test_four_times_the_plan_is_four_times_the_work(name: str) -> None:
    small, large = SHAPES[name](300), SHAPES[name](1200)
    grown = len(large.nodes) / len(small.nodes)
    for before, after in zip(work_of(small), work_of(large), strict=True):
        assert after <= 1.1 * grown * before


@pytest.mark.attack
@pytest.mark.parametrize("name", SHAPES)
def test_tens_of_thousands_of_nodes_run_without_recursion(name: str, long_form: bool) -> None:
    size = 100_000 if long_form else 30_000
    program = compile_plan(SHAPES[name](size))
    events, _ = BENCHMARK.drive(program)
    assert events >= (3 if name == "shared rungs" else size // 3)


def test_a_case_that_ends_early_spares_walking_the_others() -> None:
    """A thousand choices, each between the end of a growing chain and a node of its own."""
    nodes = [BENCHMARK.work("n0")]
    choices = []
    for number in range(1, 1001):
        nodes += [BENCHMARK.work(f"n{number}", f"n{number - 1}"), BENCHMARK.work(f"own{number}")]
        choices.append(BENCHMARK.choice(f"c{number}", "own1", f"n{number}", f"own{number}"))
    plan = BENCHMARK.plan([*nodes, *choices], BENCHMARK.group(choice.id for choice in choices))
    with counted() as lines:
        compile_plan(plan)
    assert lines[0] < 200 * len(plan.nodes)
