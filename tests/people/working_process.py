"""A process that works on runs: ``python working_process.py DATABASE VERB [RUN [FILE]]``.

It prints what it does, a line each; ``hold`` goes on when a line comes in.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from treadle import Ask, Engine, graph, human, node
from treadle.engine.handle import RunHandle
from treadle.errors import TreadleError


@node
async def mark(path: str, word: str) -> str:
    """Leave a line in a file, so that whoever looks can count."""
    with Path(path).open("a") as file:  # noqa: ASYNC230 - a line, and nobody else to hold up
        file.write(f"{word}\n")
    return word


@node
async def hold(path: str) -> str:
    """Be at work until somebody says go."""
    await mark.function(path, "hold")
    print("holding", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return "held"


@human(to="boss")
async def agree(path: str) -> Ask[bool]:
    return Ask("Do you agree?", show=path)


@node
async def finish(first: str, held: str, agreed: bool) -> str:
    return f"{first} {held} {agreed}"


@graph
def errand(path: str) -> str:
    """A mark, some work, and a person, all at once."""
    return finish(mark(path, "first"), hold(path), agree(path))


@graph
def favour(path: str) -> str:
    """A mark, and then a person."""
    return finish(mark(path, "first"), mark(path, "second"), agree(path))


GRAPHS = {"errand": errand, "favour": favour}


def say(words: object) -> None:
    print(words, flush=True)


async def tell(handle: RunHandle[str]) -> None:
    say(f"{handle.status} {handle.id}")
    try:
        say(await handle.result())
    except TreadleError as error:
        say(f"{type(error).__name__}: {error}")


async def main(url: str, verb: str, run: str = "", path: str = "") -> None:
    async with Engine(url, graphs=GRAPHS.values()) as engine:
        say("open")
        await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        try:
            if verb == "resume":
                await tell(await engine.resume(run))
            elif verb in GRAPHS:
                await tell(await engine.start(GRAPHS[verb], path, run_id=run))
        except TreadleError as error:
            say(f"{type(error).__name__}: {error}")
        if verb == "serve":
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
