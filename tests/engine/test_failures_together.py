"""Nodes that fail beside the one a run fails with: its error names them."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from treadle import fallback, graph, node, run
from treadle.errors import NodeFailed

pytestmark = pytest.mark.anyio


def late(gone: anyio.Event) -> Any:
    """A node that fails after others have, because it has work that must not be cut off."""

    @node
    async def slow(text: str) -> str:
        with anyio.CancelScope(shield=True):
            await gone.wait()
            await anyio.lowlevel.checkpoint()
        raise ValueError(f"no room for {text}\nat all")

    return slow


def first(gone: anyio.Event) -> Any:
    @node
    async def boom(text: str) -> str:
        gone.set()
        raise KeyError(text)

    return boom


@node
async def same(text: str) -> str:
    return text


@node
async def refused(text: str) -> str:
    raise OSError("closed")


async def notes_of(only: Any) -> list[str]:
    with pytest.raises(NodeFailed, match="^node 'boom' .* failed with KeyError") as failed:
        await run(only, "x")
    return getattr(failed.value, "__notes__", [])


async def test_the_error_of_a_run_names_the_other_nodes_that_failed() -> None:
    gone = anyio.Event()
    slow, boom = late(gone), first(gone)

    @graph
    def both(text: str) -> list[str]:
        return [slow(text), slow.named("slower")(text), boom(text)]

    told = "failed as well, with ValueError: no room for x"
    assert await notes_of(both) == [f"node 'slow' {told}", f"node 'slower' {told}"]


async def test_it_names_no_node_whose_failure_was_taken_nor_one_that_was_cancelled() -> None:
    boom = first(anyio.Event())

    @graph
    def with_fallback(text: str) -> list[str]:
        return [fallback(refused(text), same(text)), boom(same(same(text)))]

    assert await notes_of(with_fallback) == []


async def test_of_very_many_it_names_some_and_counts_the_rest() -> None:
    gone = anyio.Event()
    slow, boom = late(gone), first(gone)

    @graph
    def crowd(text: str) -> list[str]:
        return [*(slow.named(f"slow{number}")(text) for number in range(8)), boom(text)]

    *named, rest = await notes_of(crowd)
    assert [note.split()[1] for note in named] == [f"'slow{number}'" for number in range(5)]
    assert rest.startswith("and 3 more nodes; `treadle show ")
