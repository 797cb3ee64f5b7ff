"""The patterns: each runs without a key, says what its page says, and looks like its picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from treadle import Engine
from treadle.events import StepStarted
from treadle.plan.draw import draw

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "patterns").glob("*.py"))
NAMES = [file.stem for file in FILES]
PAGE = ROOT / "docs" / "how-to" / "patterns.md"

GRAPHS = {
    "agent_as_tool": "paragraph",
    "debate": "debate",
    "evaluator": "polished",
    "handoff": "help_desk",
    "orchestrator": "research",
    "prompt_chain": "article",
    "routing": "reply",
}
SAID = {
    "agent_as_tool": "Pedals: Around 1200. They free the hands.",
    "debate": "answer=True reason='4 speeches were heard.'",
    "evaluator": "score=9 advice='Again.' text='weave weave weave '",
    "handoff": "You paid 42.50 twice; one of them comes back.",
    "orchestrator": "From 2 findings: both are threads.",
    "prompt_chain": "Webstühle haben Pedale.",
    "routing": "You repair looms. So here is what to do.",
}
ASKED: Mapping[str, str] = {"routing": "My loom is broken."}


def load(name: str) -> Any:
    """Load a pattern as a module of its own, whose name nothing else has."""
    file = ROOT / "examples" / "patterns" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pattern_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "TREADLE_LOCAL_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_every_pattern_is_tested() -> None:
    assert list(GRAPHS) == list(SAID) == NAMES


@pytest.mark.parametrize("name", NAMES)
async def test_a_pattern_runs_without_a_key(name: str) -> None:
    module = load(name)
    found = getattr(module, GRAPHS[name])
    async with Engine("memory:", graphs=[found]) as engine:
        handle = await engine.start(found, ASKED.get(name, "looms"))
        assert str(await handle.result()) == SAID[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_takes_fewer_than_60_lines(name: str) -> None:
    lines = (ROOT / "examples" / "patterns" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_the_command_draws_today(name: str) -> None:
    picture = ROOT / "docs" / "images" / "patterns" / f"{name}.svg"
    drawn = draw(getattr(load(name), GRAPHS[name]).plan, "svg")
    assert drawn == picture.read_text(encoding="utf-8"), (
        "the picture is old; draw it anew: "
        f"treadle graph examples/patterns/{name}.py --format svg -o {picture.relative_to(ROOT)}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_picture_and_names_the_file(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"(../images/patterns/{name}.svg)" in page
    assert f"examples/patterns/{name}.py" in page


async def test_the_one_that_takes_over_calls_its_own_tools() -> None:
    module = load("handoff")
    async with Engine("memory:", graphs=[module.help_desk]) as engine:
        handle = await engine.start(module.help_desk, "twice!")
        await handle.result()
        events = [entry.event for entry in await handle.history()]
    steps = [event.callee for event in events if isinstance(event, StepStarted)]
    assert steps == ["auto:small", "billing", "auto", "find_payments", "auto"]
