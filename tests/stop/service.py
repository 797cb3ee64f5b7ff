"""A process with an engine of its own: ``python service.py BACKEND DATABASE GRACE [VERB]``.

It prints what it does, a line each.  ``errand`` makes a mark, works until a line comes in, and makes
another mark.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from treadle import Engine, each, graph, node, tool
from treadle.engine.handle import RunHandle
from treadle.errors import TreadleError


def say(words: object) -> None:
    print(words, flush=True)


def leave(word: str) -> str:
    """Leave a line in a file, so that whoever looks can count."""
    with Path(os.environ["MARKS"]).open("a") as file:
        file.write(f"{word}\n")
    return word


@node
async def mark(word: str) -> str:
    return leave(word)


@node
async def work(word: str) -> str:
    """Be at work until a line comes in; clean up where it is cancelled."""
    leave("begun")
    say("working")
    try:
        await anyio.wait_readable(sys.stdin)
        sys.stdin.readline()
    except BaseException:
        say("cleaned up")
        raise
    return leave("worked")


@node
async def finish(first: str, worked: str, last: str) -> str:
    return f"{first} {worked} {last}"


@graph
def errand(word: str) -> str:
    """A mark, work, and a mark after it."""
    first = mark.named("first")("first")
    worked = work(first)
    return finish(first, worked, mark.named("last")(worked))


@graph
def single(word: str) -> str:
    return work(word)


@node
async def block(word: str) -> str:
    """Hold the event loop up."""
    say("blocking")
    time.sleep(600)  # noqa: ASYNC251 - what a careless body does
    return word


@graph
def careless(word: str) -> str:
    return block(word)


@node
async def hold(word: str) -> str:
    """Hold the interpreter itself as it is cancelled: a call into C lets no thread and no handler run."""
    say("working")
    try:
        await anyio.sleep_forever()
    finally:
        sum(range(10**13))
    return word


@graph
def holding(word: str) -> str:
    return hold(word)


@tool(effect="once", in_doubt="retry")
async def kill(word: str) -> str:
    """End the process, as a fault in a C library would; all before it is safely recorded by then."""
    leave("killed")
    if os.environ.get("HARMLESS"):
        return word
    os._exit(9)


@graph
def deadly(word: str) -> str:
    """A mark, and then the end of the process."""
    return kill(mark.named("first")(word))


@node
async def crumble(word: str) -> str:
    """End the process at once; nothing before it waits until it is safely recorded."""
    leave("crumbled")
    os._exit(9)


@graph
def fragile(word: str) -> str:
    return crumble(word)


@node
async def linger(word: str) -> str:
    await anyio.sleep_forever()
    return word


@graph
def endless(word: str) -> str:
    return linger(word)


@graph
def deadly_items(words: list[str]) -> list[str]:
    return each(kill, words)


GRAPHS = (errand, single, careless, holding, deadly, deadly_items, fragile, endless)


async def serve(database: str, grace: str) -> int:
    async with Engine(database, graphs=GRAPHS) as engine:
        handle = await engine.start(errand, "x", run_id="r")
        number = await engine.serve(grace=float(grace))
        say(f"{handle.status} {len(engine.loops)}")
    say("closed")
    return 128 + number


async def recover(database: str, _grace: str) -> int:
    """Take up what an earlier process left, as a service does when it starts."""
    async with Engine(database, graphs=GRAPHS, recoveries=2) as engine:
        if await engine.store.runs():
            handles = [await engine.resume(run.id) for run in await engine.store.runs(status="pending")]
        else:
            handles = [await engine.start(deadly, "first", run_id="r")]
        return await tell(handles)


async def items(database: str, _grace: str) -> int:
    """Start or take up a run over several items, each of which kills its worker."""
    async with Engine(database, graphs=GRAPHS, recoveries=1) as engine:
        return await tell([await engine.start(deadly_items, ["a", "b"], run_id="r")])


async def again(database: str, _grace: str) -> int:
    """Start or take up a run whose worker dies before anything has time to be recorded."""
    async with Engine(database, graphs=GRAPHS, recoveries=2) as engine:
        return await tell([await engine.start(fragile, "a", run_id="r")])


async def order(database: str, _grace: str) -> int:
    """Resume the run, whatever stands in the way."""
    async with Engine(database, graphs=GRAPHS, recoveries=2) as engine:
        return await tell([await engine.resume("r")])


async def tell(handles: list[RunHandle[Any]]) -> int:
    for handle in handles:
        try:
            say(await handle.result())
        except TreadleError as error:
            say(f"{type(error).__name__}: {error}")
    return 0


VERBS = {"serve": serve, "recover": recover, "items": items, "again": again, "order": order}

if __name__ == "__main__":
    backend, database, grace, verb = sys.argv[1:]
    sys.exit(anyio.run(VERBS[verb], database, grace, backend=backend))
