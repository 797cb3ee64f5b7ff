"""The line that a failure is told with: one of the user's code, or none."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from treadle import Engine, Prompt, agent, graph, node
from treadle.events import RunEnded
from treadle.models import OpenAIModel
from treadle.testing import ModelServer, Reply, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

INSTALLED = """
async def installed(text: str) -> str:
    return {}[text]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function of a package that stands where pip puts packages."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "installed_shop.py").write_text(INSTALLED)
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("installed_shop").installed
    monkeypatch.delitem(sys.modules, "installed_shop")


async def line_of(only: Any) -> str:
    """Where a run of a graph on a text is recorded to have failed."""
    async with Engine(graphs=[only]) as engine:
        handle = await engine.start(only, "luck")
        assert await handle.settled() == "failed"
        ended = (await engine.store.read(handle.id))[-1].event
    assert isinstance(ended, RunEnded)
    assert ended.failure is not None
    return ended.failure.where


async def test_a_line_of_the_standard_library_gives_way_to_the_one_that_called_it() -> None:
    @node
    async def reads(text: str) -> int:
        return json.loads(text)

    @graph
    def only(text: str) -> int:
        return reads(text)

    body: Any = reads.function
    assert await line_of(only) == f"{__file__}:{body.__code__.co_firstlineno + 2}"


async def test_a_line_of_an_installed_package_gives_way_to_the_one_that_called_it(installed: Any) -> None:
    @node
    async def calls(text: str) -> str:
        return str(await installed(text))

    @graph
    def only(text: str) -> str:
        return calls(text)

    body: Any = calls.function
    assert await line_of(only) == f"{__file__}:{body.__code__.co_firstlineno + 2}"


async def test_a_node_of_an_installed_package_is_told_with_its_own_line(installed: Any) -> None:
    shipped = node(installed)

    @graph
    def only(text: str) -> str:
        return shipped(text)

    assert Path(await line_of(only)).name == "installed_shop.py:3"


async def test_a_refused_request_of_an_agent_has_no_line_because_no_code_of_the_user_made_it() -> None:
    with ModelServer(ScriptedModel([]), faults={1: Reply(status=400, body={})}) as server:
        model = OpenAIModel("m", base_url=server.url, api_key="k")

        @agent(model=model)
        async def asks(text: str) -> Prompt[str]:
            return Prompt(text)

        @graph
        def only(text: str) -> str:
            return asks(text)

        assert await line_of(only) == ""
        await model.aclose()
