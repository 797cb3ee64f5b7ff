"""Calls of MCP servers under crashes: what was recorded is not called again, what was begun keeps its key."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_servers import RawServer

from treadle import Prompt, agent, graph
from treadle.messages import ModelRequest, ToolResult
from treadle.testing import ScriptedModel, call, crash_everywhere

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: many servers are started."""
    return "asyncio"


def answer(request: ModelRequest) -> Any:
    """Reads, then writes what it read, then says so."""
    said = [part.content for part in request.messages[-1].parts if isinstance(part, ToolResult)]
    if not said:
        return call("echo", text="a")
    return "written" if said[0].startswith("write") else call("write", text=said[0])


@pytest.mark.timeout(300)
async def test_an_effect_over_there_happens_once_whatever_crashes(raw: RawServer, long_form: bool) -> None:
    @agent(model=ScriptedModel(answer), tools=[raw.tools().only("echo", "write")])
    async def helper(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def main() -> str:
        return helper("help")

    seen = 0

    def written() -> int:
        """How many writes under different keys came since this was last asked."""
        nonlocal seen
        calls, before = raw.calls, seen
        seen = len(calls)
        return len(
            {one["_meta"]["treadle/idempotency-key"] for one in calls[before:] if one["name"] == "write"}
        )

    report = await crash_everywhere(main, effects=written, at_most=None if long_form else 2)
    assert report.struck > 5
    assert report.doubts > 0
