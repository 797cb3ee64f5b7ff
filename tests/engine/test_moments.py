"""Deadlines are moments, and anything else is refused before a run is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from treadle import Engine, RunCancelled, graph, node

pytestmark = pytest.mark.anyio


@node
async def hangs(text: str) -> str:
    await anyio.sleep_forever()
    return text


@graph
def only(text: str) -> str:
    return hangs(text)


async def test_a_deadline_may_be_an_aware_datetime() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(only, "a", deadline=datetime.now(UTC) + timedelta(seconds=0.05))
        with anyio.fail_after(5), pytest.raises(RunCancelled):
            await handle.result()


@pytest.mark.parametrize("wrong", ["1h", datetime(2030, 1, 1), True, float("nan")])  # noqa: DTZ001
async def test_what_is_no_moment_is_refused_and_nothing_is_recorded(wrong: Any) -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(ValueError, match="is no moment: write datetime"):
            await engine.start(only, "a", deadline=wrong)
        assert await engine.store.runs() == []
