"""``McpServer``: the tools of an MCP server, over stdio or streamable HTTP.

Speaks the protocol through the official SDK: 2026-07-28 where the server does, else the handshake
of 2025-11-25 and before.  Requests of the server to us (sampling, elicitation, roots) are not
offered, so a server that needs them answers with an error.
"""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, TYPE_CHECKING, Final, TextIO, cast
from urllib.parse import urlsplit

import anyio

from treadle.errors import ConfigurationError, ToolUnavailable, TreadleError
from treadle.forms import schema_complaint
from treadle.interfaces import ListedTool, ToolSession
from treadle.mcp.session import McpSession, broken, innermost

if TYPE_CHECKING:
    import mcp_types

    import mcp

PAGES: Final = 100
"""Pages of a list of tools that are read at most: a list without end must not hang a plan."""


class McpServer:
    """An MCP server, as it is declared.  Implements ``ToolServer``.

    Args:
        target: A URL (streamable HTTP), or a command and its arguments (stdio).
        name: What it is called in plans and messages.
        env: Variables of the command, besides a few harmless ones that it inherits (``PATH``,
            ``HOME``, ...); nothing else of our environment reaches it.
        cwd: The directory the command runs in.
        headers: Sent with every HTTP request, such as ``{"Authorization": "Bearer ..."}``; they stand
            in no plan and in no history.
        timeout: Seconds for starting, connecting and listing.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.target = target if isinstance(target, str) else tuple(target)
        self._name = name
        self._env = dict(env or {})
        self._cwd = cwd
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._lock = threading.Lock()
        self._listed: tuple[ListedTool, ...] | None = None

    @property
    def name(self) -> str:
        """What it is called in plans and messages."""
        return self._name

    def listed(self) -> tuple[ListedTool, ...]:
        """Give its tools; asked once for each process, on a thread with an event loop of its own.

        Raises:
            ConfigurationError: The SDK is not installed, the server cannot be reached, or a schema of
                its cannot be used.
        """
        with self._lock:
            if self._listed is None:
                with ThreadPoolExecutor(1) as thread:
                    self._listed = thread.submit(anyio.run, self._list_once).result()
            return self._listed

    async def _list_once(self) -> tuple[ListedTool, ...]:
        try:
            async with self._connected() as client:
                tools = await self._tools(client)
        except ToolUnavailable as error:
            raise ConfigurationError(f"no plan without its tools: {error}") from error
        if isinstance(tools, TreadleError):
            raise tools
        return tools

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ToolSession]:
        """Connect, and close the connection at the end; a started command is ended within seconds.

        Raises:
            ToolUnavailable: It cannot be reached, or lists no tools that can be used any more.
        """
        async with self._connected() as client:
            tools = await self._tools(client)
            if not isinstance(tools, TreadleError):
                session = McpSession(client, self._name, {tool.name: tool for tool in tools})
                try:
                    yield session
                finally:
                    session.is_lost = True
                return
        raise ToolUnavailable(str(tools), server=self._name, tool="") from tools

    async def _tools(self, client: mcp.Client) -> tuple[ListedTool, ...] | TreadleError:
        """What it lists, or why not: an error raised inside a connection comes out in pieces."""
        try:
            return await _list(client, self._name)
        except ConfigurationError as error:
            return error
        except broken() as error:
            why = f"MCP server {self._name!r} does not list its tools: {innermost(error)}"
            return ConfigurationError(why)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[mcp.Client]:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            async with self._started(said) as client:
                yield client

    @asynccontextmanager
    async def _started(self, said: IO[str]) -> AsyncGenerator[mcp.Client]:
        """Hold a connection; what breaks while it opens is told, what breaks while it closes is over."""
        sdk, is_open = _sdk(self._name), False
        with anyio.CancelScope(deadline=anyio.current_time() + self._timeout) as starting:
            try:
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(await self._client(sdk, stack, said))
                    starting.deadline, is_open = math.inf, True
                    yield client
            except broken() as error:
                if not is_open:
                    raise self._unavailable(str(innermost(error)), said) from error
        if starting.cancelled_caught:
            raise self._unavailable(f"it did not answer within {self._timeout:g} s", said)

    async def _client(self, sdk: type[mcp.Client], stack: AsyncExitStack, said: IO[str]) -> mcp.Client:
        if isinstance(self.target, str):
            import httpx2  # noqa: PLC0415 - loads on first use
            from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - the same

            timeout = httpx2.Timeout(self._timeout, read=None)  # a tool may take long; nodes have timeouts
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=self._headers, timeout=timeout))
            return sdk(streamable_http_client(self.target, http_client=http))
        from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: PLC0415 - loads on first use

        command, *arguments = self.target
        started = StdioServerParameters(command=command, args=arguments, env=self._env, cwd=self._cwd)
        return sdk(stdio_client(started, errlog=cast("TextIO", said)))

    def _unavailable(self, why: str, said: IO[str]) -> ToolUnavailable:
        """The error of a server that cannot be reached, with the last it said on its standard error."""
        said.seek(0)
        last = said.read()[-500:].strip()
        tail = f"; it said: {last}" if last else ""
        return ToolUnavailable(
            f"MCP server {self._name!r} ({_shown(self.target)}) cannot be reached: {why}{tail}; "
            "see that it starts by hand",
            server=self._name,
            tool="",
        )


def _shown(target: str | Sequence[str]) -> str:
    """Where a server is, without what may be secret: passwords, queries, the arguments of a command."""
    if not isinstance(target, str):
        return target[0]
    where = urlsplit(target)
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"


def _sdk(server: str) -> type[mcp.Client]:
    try:
        from mcp import Client  # noqa: PLC0415 - 1.8 s of CPU that only its users pay
    except ImportError as error:
        raise ConfigurationError(
            f"MCP server {server!r} needs the package 'mcp'; write: pip install 'treadle[mcp]'"
        ) from error
    return Client


async def _list(client: mcp.Client, server: str) -> tuple[ListedTool, ...]:
    found: list[ListedTool] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        found += [_listed(tool, server) for tool in page.tools]
        cursor = page.next_cursor
        if not cursor:
            return tuple(found)
    raise ConfigurationError(f"MCP server {server!r} lists its tools on more than {PAGES} pages")


def _listed(tool: mcp_types.Tool, server: str) -> ListedTool:
    for what, schema in (("arguments", tool.input_schema), ("result", tool.output_schema)):
        complaint = "" if schema is None else schema_complaint(schema)
        if complaint:
            raise ConfigurationError(
                f"tool {tool.name!r} of MCP server {server!r} cannot be used: the schema of its {what}: "
                f"{complaint}; leave it out with without({tool.name!r}), or have the server mended"
            )
    hints = tool.annotations
    harmless = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    return ListedTool(
        name=tool.name,
        description=tool.description or tool.title or "",
        parameters=tool.input_schema,
        result=tool.output_schema,
        effect="repeatable" if harmless else "once",
    )
