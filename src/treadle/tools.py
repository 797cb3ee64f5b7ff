"""Tools that are more than a function: those of MCP servers, and others to pass a conversation on to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from treadle import given
from treadle.errors import ConfigurationError
from treadle.interfaces import ListedTool, ToolServer, ToolSession
from treadle.mcp.client import McpServer
from treadle.nodes.handoff import Handoff, handoff
from treadle.nodes.remote import RemoteTool, RemoteTools
from treadle.nodes.tool import Effect, Settlement

__all__ = [
    "handoff",
    "Handoff",
    "mcp_tools",
    "RemoteTools",
    "RemoteTool",
    "ToolServer",
    "ToolSession",
    "ListedTool",
]


@given.told("mcp_tools")
def mcp_tools(
    server: str | Sequence[str],
    *,
    name: str | None = None,
    prefix: str = "",
    effects: Mapping[str, Effect] | None = None,
    in_doubt: Settlement = "ask",
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | str = 30.0,
) -> RemoteTools:
    """Take the tools of an MCP server for tools of ours; needs the extra ``mcp``.

    Nothing is started or asked before a plan is made that needs the tools: then they are listed, once
    for each process.  A run opens a session when it first calls one, and closes it when it ends or
    waits for a person.

    Args:
        server: A URL (streamable HTTP), or a command and its arguments as a list (stdio).
        name: What the server is called in plans and messages, and part of what its tools are: results
            recorded under one name are not found under another.  By default the host of the URL, or
            the command.
        prefix: Put before the tools' names, so that those of two servers can be told apart.
        effects: ``"once"`` or ``"repeatable"``, by tool.  Where nothing is said a tool is repeatable
            if its annotations say that it only reads or may be repeated, else once.
        in_doubt: What settles a call of a ``once`` tool that broke off.
        env: Variables for the command: of our own environment it gets a few harmless ones alone.
        cwd: The directory the command runs in.
        headers: Sent with each HTTP request; they stand in no plan and in no history.
        timeout: Of starting, connecting and listing, in seconds or as ``"30s"``; calls have the
            timeout of their node.

    Example::

        files = mcp_tools(["mcp-server-filesystem", "/srv/handbook"]).only("read_text_file", "search_files")

        @agent(tools=[files.using(max_calls=20)])
        async def librarian(question: str) -> Prompt[str]:
            return Prompt(question)

    Raises:
        ConfigurationError: It is neither a URL nor a command.
    """
    target = _target(server)
    made = McpServer(
        target,
        name=name or _name(target),
        env=env,
        cwd=None if cwd is None else str(cwd),
        headers=headers,
        timeout=given.seconds("mcp_tools", "timeout", timeout),
    )
    return RemoteTools(made, prefix=prefix, effects=effects, in_doubt=in_doubt)


def _target(server: str | Sequence[str]) -> str | tuple[str, ...]:
    if not isinstance(cast("object", server), str | list | tuple):
        raise ConfigurationError(
            f"mcp_tools({server!r}) is neither a URL nor a command; write mcp_tools(['mcp-server-...', ...]) "
            "or mcp_tools('http://127.0.0.1:8000/mcp')"
        )
    if not isinstance(server, str):
        if server:
            return tuple(server)
        raise ConfigurationError("mcp_tools([]) names no command; write mcp_tools(['mcp-server-...', ...])")
    if urlsplit(server).scheme in {"http", "https"} and urlsplit(server).hostname:
        return server
    raise ConfigurationError(
        f"mcp_tools({server!r}) is no URL; write mcp_tools({server.split()!r}) to start a command, "
        "or mcp_tools('http://127.0.0.1:8000/mcp')"
    )


def _name(target: str | tuple[str, ...]) -> str:
    return Path(target[0]).name if isinstance(target, tuple) else urlsplit(target).hostname or target
