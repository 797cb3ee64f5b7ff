"""The plans of the examples: what is asked in what order, before anything runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from treadle import Plan
from treadle.ids import NodeId

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> Any:
    """Load an example anew, so that it reads the environment of this very test."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("module", "graph"), [("support", "support"), ("approval", "claim"), ("first", "first")]
)
def test_every_example_has_a_plan_that_comes_back_from_json(module: str, graph: str) -> None:
    plan: Plan = getattr(load(module), graph).plan
    assert Plan.from_json(plan.to_json()).digest == plan.digest


def test_each_difficulty_leads_to_its_node() -> None:
    plan: Plan = load("support").support.plan
    choice = plan.by_id[NodeId("match")]
    assert {str(case.label): case.binding.node for case in choice.cases} == {  # type: ignore[union-attr]
        "easy": "quick",
        "hard": "fallback",
        "person": "desk.2",
    }


def test_nothing_is_read_or_written_by_loading_the_example(tmp_path: Path) -> None:
    load("support").support.plan.to_json()
    assert list(tmp_path.iterdir()) == []


def test_the_changing_tools_are_never_silently_repeated() -> None:
    support = load("support")
    assert {tool.policies.effect for tool in (support.refund, support.replace_card)} == {"once"}
    assert {tool.policies.effect for tool in (support.find_account, support.find_payments)} == {"repeatable"}
