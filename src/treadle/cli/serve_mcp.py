"""``treadle serve-mcp``: a graph as a tool for whoever speaks the Model Context Protocol."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from treadle.cli import offer
from treadle.cli.load import Loaded, load_graph
from treadle.cli.options import DEFAULT_STORE, StoreOption, opened, run_async
from treadle.cli.served import ServedGraph
from treadle.cli.stopping import DEFAULT_GRACE, GraceOption, read_grace, until_told_to_stop
from treadle.compose import open_store
from treadle.engine.engine import Engine
from treadle.mcp import server
from treadle.mcp.server import Offer
from treadle.nodes.graph import Graph


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve-mcp")(serve_mcp)


def serve_mcp(
    file: Annotated[
        str, typer.Argument(metavar="FILE[:GRAPH]", help="The file, and the graph where it has several.")
    ],
    *,
    graph: Annotated[
        str | None, typer.Option("--graph", metavar="NAME", help="The graph, where the file has several.")
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(
            "--http", metavar="PORT", min=0, max=65535, help="Serve on 127.0.0.1 in place of standard input."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    grace: GraceOption = DEFAULT_GRACE,
) -> None:
    """Serve a graph as an MCP tool, on standard input and output, or on a port of this machine.

    A call is a run, kept in the store. One that waits for a person says so, and how to go on; one that is
    cancelled cancels its run.

    Example: treadle serve-mcp examples/support.py --http 8765
    """
    seconds = read_grace(grace)
    loaded, found = load_graph(file if graph is None else f"{file}:{graph}")
    _ = found.plan  # every fault of it, before anybody calls
    run_async(lambda: _serve(loaded, found, store, http, grace=seconds))


async def _serve(
    loaded: Loaded, graph: Graph[..., Any], store: str, port: int | None, *, grace: float
) -> None:
    listening = None if port is None else server.listen(port)
    choices = await offer.choose(graph.plan, loaded.rehearsal)
    typer.echo(f"{graph.name}: {offer.models_in_words(choices, graph.plan)}", err=True)
    histories = open_store(store)
    async with opened(histories), Engine(histories, graphs=[graph]) as engine:
        offers = ServedGraph(engine, graph, store=store).offers()
        await until_told_to_stop(engine, lambda: _offer(offers, listening), grace=grace)


async def _offer(offers: Sequence[Offer], listening: socket.socket | None) -> None:
    if listening is None:
        await server.serve_stdio("treadle", offers)
        return
    address = f"http://127.0.0.1:{listening.getsockname()[1]}{server.PATH}"
    typer.echo(f"serving at {address}; only programs of this machine reach it", err=True)
    await server.serve_http("treadle", offers, listening)
