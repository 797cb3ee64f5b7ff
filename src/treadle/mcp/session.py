"""One open connection to an MCP server: calls, and what their answers and failures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from pydantic import ValidationError

from treadle.errors import ToolFailed, ToolLost
from treadle.interfaces import ListedTool, Report

if TYPE_CHECKING:
    import mcp_types

    import mcp

KEY: Final = "treadle/idempotency-key"
"""Under this name in ``_meta`` a server finds the call's idempotency key."""

_CLOSED: Final = -32000
"""What the SDK says of a connection that was closed, and some servers of any error: either way nobody
knows what became of the call (``mcp_types.CONNECTION_CLOSED``, release 2.3)."""


def broken() -> tuple[type[Exception], ...]:
    """The errors by which the SDK tells that a connection cannot be made, or has broken."""
    import httpx2  # noqa: PLC0415 - loads on first use

    import mcp  # noqa: PLC0415 - the same

    return (
        mcp.MCPError, httpx2.HTTPError, OSError, ValueError, RuntimeError, anyio.ClosedResourceError,
        anyio.BrokenResourceError, anyio.EndOfStream, ExceptionGroup,
    )  # fmt: skip


def innermost(error: BaseException) -> BaseException:
    """The first single error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


class McpSession:
    """An open connection.  Implements ``ToolSession``.

    Args:
        client: The SDK's, connected.
        server: The server's name, for messages.
        tools: What it lists now.
    """

    def __init__(self, client: mcp.Client, server: str, tools: Mapping[str, ListedTool]) -> None:
        self.is_lost = False
        self._client = client
        self._server = server
        self._tools = tools
        # What does not fit its schema is refused where it is recorded: the SDK would drop the answer.
        sdk_session: Any = client.session
        sdk_session.validate_tool_result = _unchecked

    async def call(
        self, tool: ListedTool, arguments: Mapping[str, Any], *, key: str, report: Report
    ) -> object:
        """Call a tool, and give its text, or JSON data where it declares a schema of its result.

        Raises:
            ToolFailed: It answered that the call failed, or the tool is not what it was any more.
            ToolLost: The connection broke after the call was sent.
        """
        self._check_same(tool)
        progress = _Progress(report)
        meta: Any = {KEY: key}
        try:
            result = await self._client.call_tool(
                tool.name, dict(arguments), progress_callback=progress, meta=meta
            )
        except broken() as error:
            raise self._failed(tool, innermost(error)) from error
        if result.is_error:
            said = _text(result.content) or "it gave no reason"
            raise ToolFailed(said, server=self._server, tool=tool.name)
        return _text(result.content) if tool.result is None else result.structured_content

    def _check_same(self, tool: ListedTool) -> None:
        now = self._tools.get(tool.name)
        if now is None or (now.parameters, now.result) != (tool.parameters, tool.result):
            raise ToolFailed(
                f"MCP server {self._server!r} {'declares' if now else 'has no'} tool {tool.name!r}"
                f"{' otherwise' if now else ' any more'} since the graph was wired; the call was not made; "
                "start the program again, and it is wired with what the server says now",
                server=self._server,
                tool=tool.name,
            )

    def _failed(self, tool: ListedTool, error: BaseException) -> ToolFailed | ToolLost:
        code = getattr(error, "code", None)
        if isinstance(code, int) and code != _CLOSED:
            return ToolFailed(str(error), server=self._server, tool=tool.name)
        self.is_lost = not isinstance(error, ValidationError)
        if self.is_lost:
            what = f"the connection to MCP server {self._server!r} broke while {tool.name!r} was called"
        else:
            what = f"MCP server {self._server!r} answered {tool.name!r} as the protocol does not allow"
        return ToolLost(
            f"{what} ({type(error).__name__}: {error}); whether it did its work is not known",
            server=self._server,
            tool=tool.name,
        )


async def _unchecked(name: str, result: object) -> None:
    """Stands in for the SDK's check of a result."""
    del name, result


class _Progress:
    """Passes progress on: a whole per cent at a time, so that a chatty server fills no history."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last: tuple[str, int | None] | None = None

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        fraction = min(1.0, max(0.0, progress / total)) if total else None
        now = (message or "", None if fraction is None else int(fraction * 100))
        if now != self._last:
            self._last = now
            self._report(message or "", fraction)


def _text(parts: Sequence[mcp_types.ContentBlock]) -> str:
    """What a model can read of an answer: its text, and a line for each part that is none."""
    return "\n".join(_in_words(part) for part in parts)


def _in_words(part: mcp_types.ContentBlock) -> str:
    if part.type == "text":
        return part.text
    if part.type == "resource":
        text = getattr(part.resource, "text", None)
        return text if isinstance(text, str) else f"[{part.resource.uri}: not text, left out]"
    if part.type == "resource_link":
        return f"[{part.uri}: {part.title or part.name}]"
    return f"[{part.type} {part.mime_type}, {len(part.data) * 3 // 4:,} bytes: left out]"
