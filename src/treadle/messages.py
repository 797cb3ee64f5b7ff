"""What models read and write: messages of parts, tools they may call, requests and responses.

One vocabulary for every provider; each adapter translates to its wire format and back.  All of it is
JSON through pydantic, so conversations are stored in the history as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from treadle.budget import Usage
from treadle.errors import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's request for one tool.

    Attributes:
        id: The provider's id of the call; the result is sent back under it.
        arguments: The JSON text as the model wrote it, valid or not.
    """

    id: str
    name: str
    arguments: str
    kind: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gave, or why it gave nothing, on its way back to the model."""

    call_id: str
    name: str
    content: str
    is_error: bool = False
    kind: Literal["tool_result"] = "tool_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The model declined, in its own words."""

    text: str
    kind: Literal["refusal"] = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A part this release does not know, kept as the provider sent it."""

    provider: str
    content: dict[str, Any]
    kind: Literal["opaque"] = "opaque"


Part = Annotated[Text | ToolCall | ToolResult | Refusal | Opaque, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The words of its text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls in it, in the model's order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it; ``parameters`` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """The form the final answer must have; ``schema`` is a JSON Schema of an object."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request to a model.

    Attributes:
        messages: The whole conversation, oldest first.
        tools: In a fixed order, so that provider caches hit.
        output: The form of the answer, or ``None`` for free text.
        max_output_tokens: The wall a budget relies on; never ``None``.
        temperature: ``None`` leaves it to the provider.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    output: OutputSpec | None = None
    max_output_tokens: int = 4096
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """A model's answer.

    Attributes:
        model: The name the provider says it used.
        stop: Why it stopped: ``"end"``, ``"tools"``, ``"length"``, ``"refusal"`` or ``"filter"``.
        response_id: The provider's own id, to quote to its support.
    """

    message: Message
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    stop: Literal["end", "tools", "length", "refusal", "filter"] = "end"
    response_id: str = ""


def system(text: str) -> Message:
    """A message of instructions."""
    return Message(role="system", parts=(Text(text=text),))


def user(text: str) -> Message:
    """A message from the user."""
    return Message(role="user", parts=(Text(text=text),))


AUTOMATIC: Final = ("auto", "auto:small")
"""The names of models that leave the choice to what is configured."""


def model_complaint(name: str) -> str:
    """Say what is wrong with the form of a model's name, or nothing; nothing is looked up or sent."""
    if name in AUTOMATIC:
        return ""
    provider, colon, model = name.partition(":")
    if provider == "openai" and model:
        return ""
    if provider == "anthropic":
        return (
            f"model {name!r}: this release speaks to OpenAI and compatible servers; write 'openai:NAME', "
            "'auto', or OpenAIModel(NAME, base_url=...)"
        )
    known = (*AUTOMATIC, f"openai:{model if colon and provider != 'auto' else name}")
    hint = nearest(name, known) if name != "openai:" else ""
    return f"no model {name!r}{hint}; write 'openai:NAME', 'auto' or 'auto:small', or pass a Model object"
