"""Serves functions as the tools of an MCP server, over stdio or streamable HTTP on this machine.

What a tool does is given to it; this file only knows the protocol.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from treadle.errors import ConfigurationError

if TYPE_CHECKING:
    import mcp_types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

PATH: Final = "/mcp"
"""Where the server answers below its port."""

Tell = Callable[[str], Awaitable[None]]
"""Tells the caller how far a call is; does nothing where the caller did not ask to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call came to.

    Attributes:
        text: For the model that called.
        data: The same as JSON data, of the form that the tool declares.
        is_error: Whether the call failed.
    """

    text: str
    data: dict[str, Any] | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A tool that is served.

    Attributes:
        parameters, result: JSON Schemas of objects.
        call: Given the arguments as the caller sent them; it is cancelled when the caller cancels.
        only_reads: Whether it changes nothing.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    result: dict[str, Any]
    call: Callable[[dict[str, Any], Tell], Awaitable[Answer]] = field(repr=False)
    only_reads: bool = False


async def serve_stdio(name: str, offers: Sequence[Offer]) -> None:
    """Serve on standard input and output, until the input ends; what the process prints goes elsewhere.

    Raises:
        ConfigurationError: The SDK is not installed.
    """
    server = _server(name, offers)
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 - loads on first use

    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def serve_http(name: str, offers: Sequence[Offer], listening: socket.socket) -> None:
    """Serve on a socket of this machine, until it is cancelled; then calls under way have a second.

    Only requests that name this very address are answered, and of those that a web page makes only its
    own (the specification's protection against DNS rebinding).

    Args:
        name: What the server calls itself.
        offers: Its tools.
        listening: Bound to a loopback address, and listening.

    Raises:
        ConfigurationError: The SDK is not installed.
    """
    server = _server(name, offers)
    from mcp.server.transport_security import TransportSecuritySettings  # noqa: PLC0415 - on first use

    port = listening.getsockname()[1]
    hosts = [f"{host}:{port}" for host in ("127.0.0.1", "localhost")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"http://{host}" for host in hosts],
    )
    app = server.streamable_http_app(streamable_http_path=PATH, transport_security=security)
    await _serve(app, listening)


async def _serve(app: Any, listening: socket.socket) -> None:
    """Run uvicorn as a part of ours: who stops it is the task around it, and no signal."""
    import uvicorn  # noqa: PLC0415 - loads on first use

    running: Any = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    running.capture_signals = nullcontext  # they are the command's to hear

    async def until_it_has_stopped() -> None:
        with anyio.CancelScope(shield=True):  # its tasks are its own, and end with it
            await running.serve(sockets=[listening])
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(until_it_has_stopped)
        try:
            await anyio.sleep_forever()
        finally:
            running.should_exit = True


def listen(port: int) -> socket.socket:
    """Give a socket that listens on the loopback address; port 0 takes a free one.

    Raises:
        ConfigurationError: The port is taken.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"port {port} of 127.0.0.1 cannot be served on: {error}; choose another, or 0 for a free one"
        ) from error


def _server(name: str, offers: Sequence[Offer]) -> Server[Any]:
    try:
        from mcp.server.lowlevel import Server  # noqa: PLC0415 - loads on first use
    except ImportError as error:
        raise ConfigurationError(
            "serving over MCP needs the package 'mcp'; write: pip install 'treadle[mcp]'"
        ) from error
    import mcp_types as types  # noqa: PLC0415 - loads on first use

    from mcp import MCPError  # noqa: PLC0415 - the same

    by_name = {offer.name: offer for offer in offers}
    listed = types.ListToolsResult(tools=[_tool(offer) for offer in offers])

    async def list_tools(ctx: ServerRequestContext[Any], params: object) -> mcp_types.ListToolsResult:
        del ctx, params
        return listed

    async def call_tool(
        ctx: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        offer = by_name.get(params.name)
        if offer is None:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name!r}; there are {', '.join(by_name)}")
        answer = await offer.call(params.arguments or {}, _Telling(ctx))
        return types.CallToolResult(
            content=[types.TextContent(text=answer.text)],
            structured_content=answer.data,
            is_error=answer.is_error,
        )

    return Server(name, on_list_tools=list_tools, on_call_tool=call_tool)


def _tool(offer: Offer) -> mcp_types.Tool:
    import mcp_types as types  # noqa: PLC0415 - loads on first use

    return types.Tool(
        name=offer.name,
        description=offer.description,
        input_schema=offer.parameters,
        output_schema=offer.result,
        annotations=types.ToolAnnotations(read_only_hint=offer.only_reads),
    )


class _Telling:
    """Progress of one call: the number must grow each time, so it counts what was told."""

    def __init__(self, ctx: ServerRequestContext[Any]) -> None:
        self._ctx = ctx
        self._told = 0

    async def __call__(self, words: str) -> None:
        self._told += 1
        await self._ctx.session.report_progress(self._told, message=words)
