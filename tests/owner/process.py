"""A process that works on a run: ``python process.py DATABASE RUN VERB [MARKS]``; it says what it does.

``start`` starts the run or gets the one there is, ``resume`` resumes it, ``answer`` and ``cancel`` ask
something of it.  Each waits for a line first, so that several can begin at the same instant.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from treadle import Ask, Engine, graph, human, node, tool
from treadle.errors import TreadleError


def leave(word: str) -> str:
    """Leave a line in a file, so that whoever looks can count; one write, so that none is torn."""
    descriptor = os.open(os.environ["MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word} {os.getpid()}\n".encode())
    os.close(descriptor)
    return word


@tool(effect="once", in_doubt="fail")
async def pay(word: str) -> str:
    """Pay: what is counted."""
    return leave("paid")


@node
async def work(word: str) -> str:
    """Be at work for as long as the test wants: until a file is there."""
    leave("began")
    gate = anyio.Path(os.environ["GATE"])
    while not await gate.exists():  # noqa: ASYNC110 - another process makes it
        await anyio.sleep(0.01)
    return leave("worked")


@human(to="boss")
async def agree(word: str) -> Ask[bool]:
    return Ask("Do you agree?", show=word)


@node
async def finish(paid: str, worked: str, agreed: bool) -> str:
    return f"{paid} {worked} {agreed}"


@graph
def errand(word: str) -> str:
    """A payment, and then work and a person at once."""
    paid = pay(word)
    return finish(paid, work(paid), agree(paid))


@graph
def short(word: str) -> str:
    """A payment alone."""
    return pay(word)


GRAPHS = {"errand": errand, "short": short}


def say(words: object) -> None:
    print(words, flush=True)


async def act(engine: Engine, run: str, verb: str, argument: str) -> None:
    if verb == "start":
        handle = await engine.start(GRAPHS[argument], "x", run_id=run)
    elif verb == "resume":
        handle = await engine.resume(run)
    elif verb == "answer":
        return await engine.answer(argument, True, by="boss")
    else:
        return await engine.cancel(run, by=argument)
    say("begun")
    say(await handle.result())
    return None


async def main(database: str, run: str, verb: str, argument: str = "") -> None:
    async with Engine(database, graphs=GRAPHS.values(), recoveries=1000) as engine:  # tests kill it often
        say("open")
        await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        try:
            await act(engine, run, verb, argument)
        except TreadleError as error:
            say(f"{type(error).__name__}: {error}")
        else:
            say("done")


if __name__ == "__main__":
    Path(os.environ["MARKS"]).touch()
    anyio.run(main, *sys.argv[1:])
