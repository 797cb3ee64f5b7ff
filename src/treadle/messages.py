"""What models read and write: messages of parts, tools they may call, requests and responses.

One vocabulary for every provider; each adapter translates to its wire format and back.  All of it is
JSON through pydantic, so conversations are stored in the history as they are.
"""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Field

from treadle.budget import Usage
from treadle.errors import ConfigurationError, nearest
from treadle.ids import NodeId, StepId


def _is_nothing(value: object) -> bool:
    return value is None


Extra = Annotated[dict[str, Any] | None, Field(exclude_if=_is_nothing)]
"""Fields that a provider sent beside a part and that have no place here, by wire format: they go back
to that format alone, as they came.  ``None`` where there were none, and then nothing is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words."""

    text: str
    kind: Literal["text"] = "text"
    extra: Extra = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture for a model that can see; ``image(...)`` makes one.

    Attributes:
        media_type: Such as ``"image/png"``; may be empty beside a ``url``.
        data: The bytes, as base64.
        url: Where the provider fetches it instead; ``""`` where ``data`` is given.
        tokens: The most it can be counted as, from the provider's documentation.  Without it the
            picture has no bound, and a budget of money or tokens refuses the request.
    """

    media_type: str = ""
    data: str = field(default="", repr=False)
    url: str = ""
    tokens: int | None = None
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document for a model to read: a PDF, or plain text; ``document(...)`` makes one.

    Attributes:
        media_type: ``"application/pdf"`` or ``"text/plain"``.
        data: The bytes, as base64.
        url: Where the provider fetches it instead; ``""`` where ``data`` is given.
        name: Such as ``"contract.pdf"``: the model is shown it.
        tokens: As for an ``Image``; plain text is bounded by its bytes.
    """

    media_type: str = "application/pdf"
    data: str = field(default="", repr=False)
    url: str = ""
    name: str = ""
    tokens: int | None = None
    kind: Literal["document"] = "document"

    @property
    def text(self) -> str:
        """The words of a plain text; ``""`` for anything else."""
        if self.media_type != "text/plain":
            return ""
        return base64.b64decode(self.data).decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePoint:
    """Everything before it comes again in later requests: a provider that caches on demand marks it.

    Anthropic does; for others it says nothing.
    """

    kind: Literal["cache_point"] = "cache_point"


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
    extra: Extra = None


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
class Reasoning:
    """What a model thought on its way to the answer.

    Attributes:
        text: What people may read of it; often a summary, often nothing.
        provider: The wire format it came in; it is sent back to that format alone.
        data: What that format wants back, signatures and encrypted content among it.
    """

    text: str
    provider: str
    data: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    kind: Literal["reasoning"] = "reasoning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A part this release does not know, kept as the provider sent it.

    Attributes:
        provider: The wire format it came in: it is sent back to that format, and left out for others.
    """

    provider: str
    content: dict[str, Any]
    kind: Literal["opaque"] = "opaque"


Part = Annotated[
    Text | Image | Document | CachePoint | ToolCall | ToolResult | Refusal | Reasoning | Opaque,
    Field(discriminator="kind"),
]


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
        temperature: ``None`` leaves it to the provider; Anthropic's interface has none and is sent none.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of an answer while it is written: for those who listen, never recorded.

    Attributes:
        text: The next characters; of a tool call, of its arguments.
        index: Which piece of the answer they belong to: those with one index and kind, joined, are it.
        name: The tool's name, with the first piece of a call.
    """

    kind: Literal["text", "reasoning", "tool_call", "refusal"]
    text: str
    index: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of an answer, and whose it is: what ``handle.events(pieces=True)`` gives between the events.

    Attributes:
        node, attempt, step, request: As in the ``MoneyHeld`` and ``MoneySettled`` that it comes between.
            Where a request fails after some pieces, those of the next have another ``request``.
    """

    node: NodeId
    attempt: int
    step: StepId
    request: int
    delta: Delta


Attachment = Image | Document | CachePoint
"""What may stand beside the words of a prompt."""


def system(text: str) -> Message:
    """A message of instructions."""
    return Message(role="system", parts=(Text(text=text),))


def user(text: str, *attached: Attachment) -> Message:
    """A message from the user; pictures and documents stand before the words."""
    return Message(role="user", parts=(*attached, Text(text=text)))


def image(source: bytes | Path | str, *, media_type: str = "", tokens: int | None = None) -> Image:
    """Make a picture of bytes, a file, or the address of one.

    Args:
        source: A text is a URL.
        media_type: Found out from the content or the name where it is left out.
        tokens: See ``Image``.

    Raises:
        ConfigurationError: It is none of these, the text is no URL, or it is not known what the bytes are.

    Example:
        >>> image("https://example.com/cat.png").url
        'https://example.com/cat.png'
    """
    if isinstance(source, str):
        return Image(url=_url(source), media_type=media_type, tokens=tokens)
    data, guessed = _content(source)
    kind = media_type or _picture(data) or guessed
    if not kind.startswith("image/"):
        raise ConfigurationError(
            f"image(...): these bytes are no known kind of picture ({kind or 'nothing'}); "
            "say media_type='image/png'"
        )
    return Image(data=base64.b64encode(data).decode(), media_type=kind, tokens=tokens)


def document(
    source: bytes | Path | str, *, media_type: str = "", name: str = "", tokens: int | None = None
) -> Document:
    """Make a document of bytes, a file, or the address of one: PDF or plain text.

    Args:
        source: A text is a URL.
        media_type: Found out from the content or the name where it is left out.
        name: That of the file where it is left out.
        tokens: See ``Document``.

    Raises:
        ConfigurationError: It is none of these, the text is no URL, the bytes are neither PDF nor text, or
            a plain text is not UTF-8.
    """
    if isinstance(source, str):
        return Document(
            url=_url(source), media_type=media_type or "application/pdf", name=name, tokens=tokens
        )
    data, guessed = _content(source)
    kind = media_type or ("application/pdf" if data.startswith(b"%PDF-") else guessed)
    if kind.startswith("text/"):
        kind = "text/plain"
    if kind not in {"application/pdf", "text/plain"}:
        raise ConfigurationError(
            f"document(...): {kind or 'these bytes'} is not sent as a document; "
            "pass a PDF, or media_type='text/plain'"
        )
    if kind == "text/plain":
        _check_utf8(data)
    named = name or (source.name if isinstance(source, Path) else "")
    return Document(data=base64.b64encode(data).decode(), media_type=kind, name=named, tokens=tokens)


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"document(...): this text is not UTF-8 at byte {error.start}: a model would read it damaged; "
            "decode it as what it is, and pass text.encode()"
        ) from error


def _url(source: str) -> str:
    if not source.startswith(("http://", "https://")):
        raise ConfigurationError(f"{source!r} is not a URL; for a file pass pathlib.Path({source!r})")
    return source


def _content(source: bytes | Path) -> tuple[bytes, str]:
    """The bytes, and what the name of the file says they are."""
    if isinstance(source, bytes):
        return source, ""
    if not isinstance(cast("object", source), Path):
        raise ConfigurationError(
            f"{source!r} cannot be attached; pass bytes, a pathlib.Path, or the text of a URL"
        )
    return source.read_bytes(), mimetypes.guess_type(source.name)[0] or ""


def _picture(data: bytes) -> str:
    """The media type that the first bytes of a picture say, or ``""``."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")


_MAGIC: Final = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


AUTOMATIC: Final = ("auto", "auto:small")
"""The names of models that leave the choice to what is configured."""


INTERFACES: Final = ("openai", "openai-responses", "anthropic", "local")
"""What may stand before the colon in a model's name: whose interface is spoken, or where it is."""


def model_complaint(name: object) -> str:
    """Say what is wrong with a model, or the form of its name, or nothing; nothing is looked up or sent."""
    if not isinstance(name, str):
        return "" if _is_model(name) else f"{name!r} is no model; {_MODELS}"
    if name in AUTOMATIC:
        return ""
    interface, colon, model = name.partition(":")
    if interface in INTERFACES and model:
        return ""
    bare = model if colon and interface != "auto" else name
    known = (*AUTOMATIC, *(f"{each}:{bare}" for each in _likely(bare)))
    hint = nearest(name, known) if bare else ""
    return f"no model {name!r}{hint}; {_MODELS}"


_MODELS: Final = (
    "write 'openai:NAME', 'openai-responses:NAME', 'anthropic:NAME', 'local:PATH', 'auto' or 'auto:small', "
    "or pass a Model object"
)


def _is_model(thing: object) -> bool:
    """Whether something can be asked as a model; its price is not looked up for that."""
    names = (getattr(thing, "name", None), getattr(thing, "provider", None))
    return callable(getattr(thing, "complete", None)) and all(isinstance(one, str) for one in names)


def _likely(bare: str) -> tuple[str, ...]:
    """What probably was meant to stand before a name."""
    if bare.endswith(".gguf"):
        return ("local",)
    return ("anthropic",) if bare.startswith("claude") else ("openai", "openai-responses", "anthropic")
