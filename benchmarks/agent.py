"""An agent's turns against the bare SDK doing the same requests.

    python benchmarks/agent.py [--rounds 15] [--json]
    python benchmarks/agent.py --profile memory      # where the CPU time of our side goes

An agent makes 20 tool calls, one after another, and answers: 21 requests to a server on loopback that
answers at once, in a process of its own.  The bare side sends the very same 21 requests with the official
client, and reads the answers with it; it calls no tool, and keeps nothing.  That client checks the whole
conversation against its types each time, which is most of its time and which Treadle leaves out; so what
the client takes for sending ready bodies and reading the JSON is given too ("sent alone").  Every figure is
CPU time of this process, threads included.  All take turns; a ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import openai

from treadle import Engine, Prompt, agent, graph, tool
from treadle.models import ModelRequest, OpenAIModel
from treadle.testing import ModelServer, ScriptedModel, call
from treadle.testing.loopback import server_process

CALLS = 20
BAR = 1.1
ROUNDS = 15
QUESTION = "Where are my orders?"


def respond(request: ModelRequest) -> object:
    """What the server's model answers: one call after another, then a sentence."""
    made = sum(len(message.tool_calls) for message in request.messages)
    return call("find_order", number=f"A-{made}") if made < CALLS else "All of them are on their way to you."


served = ScriptedModel(respond)


@tool
async def find_order(number: str) -> str:
    """Look up an order by its number."""
    return f"{number}: on its way since Monday"


def pipeline(url: str) -> Any:
    """A graph of one agent whose model is at the server."""
    model = OpenAIModel("m", base_url=url)

    @agent(model=model, tools=[find_order], max_turns=CALLS + 1, instructions="You are brief.")
    async def clerk(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def desk(question: str) -> str:
        return clerk(question)

    return desk


async def ours(engine: Engine, desk: Any, *, listen: bool) -> None:
    """One run of the agent."""
    handle = await engine.start(desk, QUESTION)
    if listen:
        async for _ in handle.events(pieces=True):
            pass
    await handle.result()


async def bare(client: openai.AsyncOpenAI, requests: list[dict[str, Any]], *, stream: bool) -> None:
    """The same requests, with the client alone."""
    for request in requests:
        if not stream:
            answer = await client.chat.completions.create(**request)
            assert answer.choices[0].message
            continue
        async for _ in await client.chat.completions.create(
            **request, stream=True, stream_options={"include_usage": True}
        ):
            pass


async def sent_alone(client: openai.AsyncOpenAI, requests: list[dict[str, Any]]) -> None:
    """The same requests as ready bodies: what HTTP and JSON cost, without the SDK's types."""
    for request in requests:
        answer = await client.post("/chat/completions", body=request, cast_to=httpx2.Response)
        assert answer.json()["choices"]


async def recorded() -> list[dict[str, Any]]:
    """The bodies of the requests that a run sends."""
    with ModelServer(served) as server:
        desk = pipeline(server.url)
        async with Engine("memory:", graphs=[desk]) as engine:
            await ours(engine, desk, listen=False)
        bodies = [received.body for received in server.received]
    assert len(bodies) == CALLS + 1
    return bodies


async def cpu_of(action: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds a request."""
    gc.collect()
    before = time.process_time_ns()
    await action()
    return (time.process_time_ns() - before) / 1000 / (CALLS + 1)


async def compared(url: str, store: str, *, stream: bool, rounds: int) -> dict[str, Any]:
    """Both sides, taking turns."""
    requests, desk = await recorded(), pipeline(url)
    client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
    us: list[float] = []
    theirs: list[float] = []
    floor: list[float] = []
    async with Engine(store, graphs=[desk]) as engine, client:
        for number in range(rounds + 2):
            one = await cpu_of(lambda: ours(engine, desk, listen=stream))
            other = await cpu_of(lambda: bare(client, requests, stream=stream))
            least = await cpu_of(lambda: sent_alone(client, requests))
            if number >= 2:  # the first open connections and fill caches
                floor.append(least)
                us.append(one)
                theirs.append(other)
    mine, its = statistics.median(us), statistics.median(theirs)
    return {
        "ratio": round(mine / its, 3),
        "us_per_turn": round(mine, 1),
        "bare_us_per_turn": round(its, 1),
        "sent_alone_us_per_turn": round(statistics.median(floor), 1),
        "bar": BAR if store == "memory:" else None,
    }


async def measured(url: str, rounds: int) -> dict[str, dict[str, Any]]:
    """All rows of the table."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for where, store in (("memory", "memory:"), ("SQLite", f"sqlite:///{Path(folder) / 'agent.db'}")):
            for how in (False, True):
                name = f"{where}, {'streaming' if how else 'whole answers'}"
                found[name] = await compared(url, store, stream=how, rounds=rounds)
    return found


async def profiled(url: str, store: str, rounds: int) -> None:
    """Print where the time of our side goes."""
    desk, profile = pipeline(url), cProfile.Profile()
    async with Engine(store, graphs=[desk]) as engine:
        await ours(engine, desk, listen=False)
        profile.enable()
        for _ in range(rounds):
            await ours(engine, desk, listen=False)
        profile.disable()
    pstats.Stats(profile).sort_stats("cumtime").print_stats("treadle", 60)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", choices=["memory", "sqlite"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = Path(folder) / "count.jsonl"
        with server_process(f"{__file__}:served", count_file=count) as server:
            if options.profile:
                store = "memory:" if options.profile == "memory" else f"sqlite:///{folder}/agent.db"
                asyncio.run(profiled(server.url, store, options.rounds))
                return
            rows = asyncio.run(measured(server.url, options.rounds))
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        return
    print(f"{'an agent turn, CPU':<28}{'ours us':>10}{'bare us':>10}{'ratio':>8}{'sent alone us':>16}")
    for name, row in rows.items():
        figures = f"{row['us_per_turn']:>10.0f}{row['bare_us_per_turn']:>10.0f}{row['ratio']:>8.2f}"
        print(f"{name:<28}{figures}{row['sent_alone_us_per_turn']:>16.0f}")


if __name__ == "__main__":
    main()
