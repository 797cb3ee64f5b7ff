"""``Compact``: how an agent's conversation is kept within what its model can read.

Until the limit is near nothing is touched: each request begins with the one before it, byte for byte, so
provider caches hit.  What is cut then depends on recorded counts and messages alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from treadle import given
from treadle.errors import ConfigurationError
from treadle.interfaces import Context, Model
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    Part,
    Text,
    ToolResult,
    model_complaint,
    system,
    user,
)

BYTES_A_TOKEN: Final = 4
"""What text that no provider has counted yet is taken for; about what tokenizers make of English."""

Step = Callable[[ModelRequest], ModelResponse]


@given.told_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """When a conversation is made shorter, and how: ``@agent(compact=Compact(limit=128_000))``.

    Before each request after the first, the input tokens that the provider counted last, its answer and
    a token for every four bytes of what is new are added up.  Where that passes ``share`` of ``limit``,
    everything between the prompt and the last ``keep`` turns is made shorter: results of tools are cut
    to a note, or a model writes a summary, which is a recorded and paid step like any other.  The prompt,
    the tools and the last turns stay as they are.

    Attributes:
        limit: Input tokens that the model can read, or that you want to pay for at a time.
        share: The part of the limit that may be used before something is done.
        keep: How many of the last turns are never touched.
        summary: The model that writes the summary, by name or as an object; ``None`` cuts instead.
        max_summary: Output tokens the summary may take.

    Example:
        >>> Compact(limit=128_000, share=0.5).above
        64000

    Raises:
        ConfigurationError: An option is not what is wanted; the text says what to write.
    """

    limit: int
    share: float = 0.75
    keep: int = 3
    summary: str | Model | None = None
    max_summary: int = 1024

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        given.whole("Compact", "limit", self.limit, least=1, example="128_000")
        given.share("Compact", "share", self.share, example="0.75")
        given.whole("Compact", "keep", self.keep, least=1, example="3")
        given.whole("Compact", "max_summary", self.max_summary, least=1, example="1024")
        complaint = "" if self.summary is None else model_complaint(self.summary)
        if complaint and not isinstance(self.summary, str):  # a name is looked at with the plan
            raise ConfigurationError(f"Compact(summary=...): {complaint}")

    @property
    def above(self) -> int:
        """The input tokens above which something is done."""
        return int(self.limit * self.share)

    @property
    def settings(self) -> dict[str, Any]:
        """It as JSON data, for the plan."""
        named = self.summary is None or isinstance(self.summary, str)
        summary = self.summary if named else f"{self.summary.provider}:{self.summary.name}"  # type: ignore[union-attr]  # a model
        cut = {"limit": self.limit, "share": self.share, "keep": self.keep}
        return cut if summary is None else {**cut, "summary": summary, "max_summary": self.max_summary}


def counted(request: ModelRequest, response: ModelResponse, new: Message) -> int:
    """About how many input tokens the next request has: what was counted, and an estimate of what was not."""
    usage = response.usage
    if usage.total_tokens:
        return usage.total_tokens + _tokens([new])
    return _tokens([*request.messages, response.message, new])


def _tokens(messages: Sequence[Message]) -> int:
    size = sum(len(_words(part).encode()) for message in messages for part in message.parts)
    return -(-size // BYTES_A_TOKEN)


async def compacted(
    ctx: Context, policy: Compact, summarize: Step | None, request: ModelRequest, *, head: int
) -> ModelRequest:
    """Make a conversation shorter, as far as that can be done.

    Args:
        ctx: Where the request for a summary becomes a recorded step.
        policy: What is done.
        summarize: The step that asks for a summary, where one is wanted.
        request: The next request.
        head: How many of its messages are the prompt.

    Raises:
        BudgetExceeded, ProviderError: No summary could be had.
    """
    kept = max(head, len(request.messages) - 2 * policy.keep)
    first, older, last = request.messages[:head], request.messages[head:kept], request.messages[kept:]
    if not any(message.role == "tool" for message in older):
        return request
    if summarize is None:
        return replace(request, messages=(*first, *map(_cut, older), *last))
    asked = ModelRequest(
        messages=(system(_SUMMARIZE), user(transcript(older))), max_output_tokens=policy.max_summary
    )
    summary = (await ctx.step(summarize, asked)).message.text.strip()
    if not summary:
        return replace(request, messages=(*first, *map(_cut, older), *last))
    return replace(request, messages=(*first, user(f"{_SUMMARY}\n\n{summary}"), *last))


_SUMMARIZE: Final = (
    "You are given the older part of a conversation between an assistant and its tools. Write down, briefly "
    "and exactly, what the assistant needs to go on: what it did, what it found (numbers, names and "
    "identifiers word for word), what failed, and what is still open. Invent nothing."
)
_SUMMARY: Final = "What you have done so far, in short:"


def _cut(message: Message) -> Message:
    """A message without the long results in it."""
    if message.role != "tool":
        return message
    return replace(message, parts=tuple(map(_noted, message.parts)))


def _noted(part: Part) -> Part:
    if not isinstance(part, ToolResult):
        return part
    # Not "call it again": what was called may be an order or a payment.
    note = f"[cut: the {len(part.content):,} characters that {part.name} gave; what it did is done]"
    return part if len(part.content) <= 2 * len(note) else replace(part, content=note)


def transcript(messages: Sequence[Message]) -> str:
    """A conversation in words, for a model that was not part of it; instructions are left out."""
    return "\n".join(
        f"{message.role}: {words}"
        for message in messages
        if message.role != "system"
        if (words := "\n".join(filter(None, map(_words, message.parts))))
    )


def _words(part: Part) -> str:
    if isinstance(part, Text):
        return part.text
    if part.kind == "tool_call":
        return f"[called {part.name} with {part.arguments}]"
    if isinstance(part, ToolResult):
        return f"[{part.name} {'failed' if part.is_error else 'gave'}: {part.content}]"
    return ""
