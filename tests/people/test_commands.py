"""The commands of a person: what waits for them, answering, cancelling, while another process works."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from asking import article, asked_once
from set_clock import SetClock

from treadle import Engine
from treadle.errors import RunCancelled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
TREADLE = str(Path(sys.executable).with_name("treadle"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def treadle(database: str, *arguments: str) -> tuple[int, str]:
    """Run a command in a process of its own; give its exit code and what it said."""
    done = await anyio.run_process([TREADLE, *arguments, "--store", database], check=False)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


async def inbox(database: str, *arguments: str) -> list[dict[str, Any]]:
    _, said = await treadle(database, "inbox", "--json", *arguments)
    return [json.loads(line) for line in said.splitlines()]


async def test_an_answer_by_command_reaches_a_running_engine(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        value = ("--value", '{"ok": true}', "--as", "maria")
        code, said = await treadle(database, "answer", handle.questions[0], *value)
        assert (code, "answered by maria" in said) == (0, True)
        with anyio.fail_after(2):
            assert await handle.result() == "on tea: True"


async def test_an_answer_of_another_form_is_refused_by_the_command(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        value = ("--value", '{"ok": "perhaps"}', "--as", "maria")
        code, said = await treadle(database, "answer", handle.questions[0], *value)
        assert (code, "was not recorded" in said) == (2, True)
        assert await engine.store.requests() == []


async def test_the_inbox_shows_the_complaint_about_the_last_answer(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        await engine.answer(handle.questions[0], {"ok": True, "why": "because"}, by="maria")
        assert await handle.settled() == "waiting"
        [asked] = await inbox(database)
        assert (asked["state"], asked["opening"], asked["to"]) == ("open", 2, "editors")
        assert "say more than 'because'" in asked["complaint"]
        assert "the last answer was refused" in (await treadle(database, "inbox"))[1]


async def test_the_inbox_shows_the_deadline_and_the_state(database: str, clock: SetClock) -> None:
    async with Engine(database, clock=clock) as engine:
        handle = await engine.start(asked_once, "Which?")
        await handle.settled()
        [asked] = await inbox(database)
        assert asked["deadline"] == clock.now() + 3600
        assert "due 2027-01-15 09:00" in (await treadle(database, "inbox"))[1]
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert await inbox(database) == []
        assert [asked["state"] for asked in await inbox(database, "--all")] == ["withdrawn"]


async def test_a_waiting_run_is_cancelled_by_command(database: str) -> None:
    async with Engine(database) as engine:
        handle = await engine.start(article, "tea")
        await handle.settled()
        code, _ = await treadle(database, "cancel", handle.id, "--as", "maria")
        assert code == 0
        with anyio.fail_after(2), pytest.raises(RunCancelled):
            await handle.result()
        code, said = await treadle(database, "cancel", handle.id)
        assert (code, "over already: cancelled" in said) == (2, True)
