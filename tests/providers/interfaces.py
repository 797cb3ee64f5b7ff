"""The three interfaces, each with and without streaming: what every one of them must do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from treadle.interfaces import StreamingModel
from treadle.messages import Delta, ModelRequest, ModelResponse, user
from treadle.models import AnthropicModel, OpenAIModel, OpenAIResponsesModel
from treadle.testing import ModelServer

Serve = Callable[..., ModelServer]


@dataclass(frozen=True)
class Interface:
    """One wire format, asked for whole answers or for streams."""

    name: str
    path: str
    open: Callable[..., StreamingModel]
    streamed: bool

    def __str__(self) -> str:
        return f"{self.name}{'-streamed' if self.streamed else ''}"

    def model(self, server: ModelServer, **options: Any) -> Any:
        """A model of it at a server."""
        return self.open("test-model", base_url=server.url, **options)

    async def ask(self, model: Any, request: ModelRequest, told: list[Delta] | None = None) -> ModelResponse:
        """Ask in the way this interface is asked."""
        if not self.streamed:
            return await model.complete(request)  # type: ignore[no-any-return]  # of three classes
        return await model.stream(request, (told if told is not None else []).append)  # type: ignore[no-any-return]


KINDS: dict[str, tuple[str, Callable[..., Any]]] = {
    "openai": ("/chat/completions", OpenAIModel),
    "openai-responses": ("/responses", OpenAIResponsesModel),
    "anthropic": ("/messages", AnthropicModel),
}
ALL = [
    Interface(name, path, kind, streamed)
    for name, (path, kind) in KINDS.items()
    for streamed in (False, True)
]


def ask(text: str = "hello", **options: Any) -> ModelRequest:
    """A request of one question."""
    return ModelRequest(messages=(user(text),), **options)
