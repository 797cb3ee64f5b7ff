"""What a program that offers tools must be for us: a list of them, and a session to call them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Report = Callable[[str, float | None], None]
"""Told how far a call is: words, and a fraction between 0 and 1 where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as the program that has it describes it.

    Attributes:
        name: As that program calls it.
        parameters: JSON Schema of an object.
        result: JSON Schema of what it gives, or ``None`` where it gives text.
        effect: What its annotations say of calling it twice; ``"once"`` where they say nothing.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    result: dict[str, Any] | None = None
    effect: Literal["repeatable", "once"] = "once"


class ToolSession(Protocol):
    """A connection to such a program, while it is open."""

    @property
    def is_lost(self) -> bool:
        """Whether it broke, so that another one must be opened."""
        ...

    async def call(
        self, tool: ListedTool, arguments: Mapping[str, Any], *, key: str, report: Report
    ) -> object:
        """Call a tool, and give its text, or JSON data where it declares a schema of its result.

        Cancelling the caller cancels the call over there, as far as that program listens.

        Args:
            tool: As it was listed when the graph was wired.
            arguments: JSON data.
            key: The call's idempotency key, for programs that know such keys.
            report: Told of progress.

        Raises:
            ToolFailed: It answered that the call failed, or the tool is not what it was any more.
            ToolUnavailable: It was not reached: nothing was done.
            ToolLost: The connection broke after the call was sent.
        """
        ...


class ToolServer(Protocol):
    """A program that offers tools, as it is declared; nothing is opened by declaring it."""

    @property
    def name(self) -> str:
        """What it is called in plans and messages; part of what its tools are."""
        ...

    def listed(self) -> tuple[ListedTool, ...]:
        """Give its tools, in its order; asked once for each process, at the first use of a plan.

        It blocks while it asks.

        Raises:
            ConfigurationError: It cannot be reached, or its list cannot be used.
        """
        ...

    def open(self) -> AbstractAsyncContextManager[ToolSession]:
        """Connect, and close the connection at the end.

        Raises:
            ToolUnavailable: It cannot be reached.
        """
        ...
