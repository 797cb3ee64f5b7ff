"""A server made with the official SDK, for streamable HTTP."""

from __future__ import annotations

import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("sdk", log_level="INFO")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(structured_output=False)
def token(ctx: Context) -> str:
    """Say the header that was sent."""
    return str((ctx.headers or {}).get("x-token"))


@server.tool(structured_output=False)
def protocol(ctx: Context) -> str:
    """Say which protocol is spoken."""
    return str(ctx.request_context.protocol_version)


@server.tool(structured_output=False)
def refuse() -> str:
    """Fail."""
    raise ToolError("out of paper")


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
