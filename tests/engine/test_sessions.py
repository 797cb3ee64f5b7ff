"""Sessions with whatever offers tools: the engine knows the socket alone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from treadle import NodeTimeout, PlanError, Retry, do, each, graph, run
from treadle.errors import ToolFailed, ToolUnavailable
from treadle.tools import ListedTool, RemoteTools, ToolSession

pytestmark = pytest.mark.anyio

ECHO = ListedTool(name="echo", description="Say it.", parameters={"type": "object"}, effect="repeatable")


class Bench:
    """Offers one tool, and does on the way what a test asks for."""

    name = "bench"

    def __init__(self, *, opening: Any = None, calling: Any = None, closing: Any = None) -> None:
        self.opening, self.calling, self.closing = opening, calling, closing
        self.notes: list[str] = []
        self.is_lost = False
        self.given: dict[str, Any] = {}

    def listed(self) -> tuple[ListedTool, ...]:
        return (ECHO,)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ToolSession]:
        self.notes.append("opens")
        await self._do(self.opening)
        try:
            yield self
        finally:
            self.notes.append("closes")
            await self._do(self.closing)

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any], *, key: str, report: Any) -> str:
        self.notes.append("calls")
        self.given = dict(arguments)
        await self._do(self.calling)
        return "done"

    async def _do(self, what: Any) -> None:
        if isinstance(what, Exception):
            raise what
        if callable(what):
            await what()


def calling(*benches: Bench, **policies: Any) -> Any:
    @graph
    def main() -> object:
        tools = [
            RemoteTools(bench).using(**policies)["echo"].named(f"t{i}") for i, bench in enumerate(benches)
        ]
        return do(*(tool() for tool in tools)) if len(tools) > 1 else tools[0]()

    return main


async def test_anything_that_fills_the_socket_is_a_server_of_tools() -> None:
    bench = Bench()
    assert await run(calling(bench)) == "done"
    assert bench.notes == ["opens", "calls", "closes"]


async def test_two_servers_have_a_session_each_and_both_are_closed() -> None:
    benches = [Bench(), Bench()]
    await run(calling(*benches))
    assert [bench.notes for bench in benches] == [["opens", "calls", "closes"]] * 2


async def test_an_error_of_any_kind_while_it_opens_is_told_as_unavailable() -> None:
    bench = Bench(opening=KeyError("password"))
    with pytest.raises(
        ToolUnavailable, match="opening a session with 'bench' failed with KeyError: 'password'"
    ):
        await run(calling(bench))


async def test_what_failed_to_open_is_opened_anew_by_the_next_try() -> None:
    bench = Bench(opening=OSError("busy"))

    async def once() -> None:
        bench.opening = None
        raise OSError("busy")

    bench.opening = once
    assert await run(calling(bench, retry=Retry(attempts=2, wait=0))) == "done"
    assert bench.notes == ["opens", "opens", "calls", "closes"]


async def test_an_error_while_it_closes_changes_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="treadle.engine.sessions"):
        assert await run(calling(Bench(closing=OSError("gone")))) == "done"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["the session with 'bench' did not close well: OSError"]  # not what it quotes


async def test_a_failing_call_leaves_the_session_to_be_closed() -> None:
    bench = Bench(calling=ToolFailed("no", server="bench", tool="echo"))
    with pytest.raises(ToolFailed):
        await run(calling(bench))
    assert bench.notes == ["opens", "calls", "closes"]


async def test_who_waits_for_an_opening_without_end_is_timed_out_and_nothing_is_left() -> None:
    bench = Bench(opening=anyio.sleep_forever)
    with pytest.raises(NodeTimeout):
        await run(calling(bench, timeout="50ms"))
    assert bench.notes == ["opens"]


class Parcel(BaseModel):
    weight: Decimal
    sent: date


MANY = {
    "type": "object",
    "properties": {
        "parcel": {"type": "object", "properties": {"weight": {"type": "string"}}},
        "count": {"type": "integer", "default": 1},
        "note": {"type": "string"},
    },
    "required": ["parcel"],
}


def sending(bench: Bench, **given: Any) -> Any:
    bench.listed = lambda: (ListedTool(name="echo", description="", parameters=MANY, effect="repeatable"),)  # type: ignore[method-assign]  # another tool

    @graph
    def main(parcel: Parcel) -> object:
        return RemoteTools(bench)["echo"](parcel=parcel, **given)

    return main


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"count": 1}, {}),
        ({"count": 2, "note": "fragile"}, {"count": 2, "note": "fragile"}),
        ({"note": None}, {}),
    ],
)
async def test_what_is_sent_is_json_data_without_what_the_server_fills_in(given: Any, sent: Any) -> None:
    bench = Bench()
    parcel = Parcel(weight=Decimal("1.50"), sent=date(2026, 1, 31))
    assert await run(sending(bench, **given), parcel) == "done"
    assert bench.given == {"parcel": {"weight": "1.50", "sent": "2026-01-31"}, **sent}


async def test_a_truth_is_no_number_even_where_the_number_is_the_default() -> None:
    bench = Bench()
    with pytest.raises(ToolFailed, match="arguments.count: True is not of type 'integer'"):
        await run(sending(bench, count=True), Parcel(weight=Decimal(1), sent=date(2026, 1, 31)))
    assert "calls" not in bench.notes


async def test_the_only_argument_that_is_needed_may_be_given_by_position() -> None:
    bench = Bench()
    text = {"type": "object", "properties": {"n": {}, "text": {"type": "string"}}, "required": ["text"]}
    bench.listed = lambda: (ListedTool(name="echo", description="", parameters=text),)  # type: ignore[method-assign]  # another tool

    @graph
    def main(texts: list[str]) -> list[object]:
        return each(RemoteTools(bench)["echo"], texts, n=1)

    assert await run(main, ["a", "b"]) == ["done", "done"]
    assert bench.given["n"] == 1


async def test_two_arguments_that_are_needed_are_given_by_name() -> None:
    bench = Bench()
    both = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}
    bench.listed = lambda: (ListedTool(name="echo", description="", parameters=both),)  # type: ignore[method-assign]  # another tool

    @graph
    def main() -> object:
        return RemoteTools(bench)["echo"](1, 2)

    with pytest.raises(PlanError, match="takes 0 positional arguments, not 2"):
        await run(main)
