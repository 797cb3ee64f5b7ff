"""``OpenAIModel``: OpenAI's Chat Completions, and every server that speaks them, by the official SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from treadle import given
from treadle.budget import Price
from treadle.messages import ModelRequest
from treadle.providers import names, openai_wire
from treadle.providers.exchange import HttpModel, Interface
from treadle.providers.openai_client import OPENAI
from treadle.providers.openai_stream import ChatStream
from treadle.providers.service import TIMEOUT

LimitParameter = Literal["max_completion_tokens", "max_tokens"]

_MOST_ID: Final = 40
"""Characters that OpenAI takes as the id of a call ("string too long. Expected a string with maximum length
40"); compatible servers write longer ones, which some of their models need back as they are."""

_PER_REQUEST_ELSEWHERE: Final = 1024
"""Compatible servers put texts of their own around tools."""

CHAT_COMPLETIONS: Final = Interface(
    path="/chat/completions",
    ours=frozenset(
        {"model", "messages", "tools", "functions", "response_format", "max_tokens", "max_completion_tokens",
         "n", "stream", "stream_options", "temperature"}
    ),
    read=openai_wire.read_response,
    gather=lambda each, _: ChatStream(each),
    tool_body=openai_wire.tool_body,
    form_bound=openai_wire.form_bound,
    per_tool=openai_wire.PER_TOOL,
    per_request=32,
)  # fmt: skip
"""What stands around the words is rounded up from "How to count tokens with tiktoken" (OpenAI cookbook):
3 tokens a message, 1 a name, 3 to prime the answer; up to 12 a tool."""


class OpenAIModel(HttpModel):
    """A model at OpenAI, or at any server with a compatible ``/chat/completions``.

    The SDK's retries are off: each ``complete`` is one request.  Connections are opened at the first
    request, kept for the next ones, and closed by ``aclose()``; a model can be used again afterwards,
    and in several event loops (asyncio or trio), each with connections of its own.

    Args:
        name: The provider's name for the model, such as ``"gpt-6-luna"``.
        base_url: Such as ``"http://127.0.0.1:11434/v1"``; by default ``OPENAI_BASE_URL``, else OpenAI.
        api_key: By default ``OPENAI_API_KEY``, but never for a ``base_url`` given here, so that the
            key does not go to a server it is not for.
        price: By default looked up in genai-prices; a server on this machine costs nothing.
        timeout: From the beginning of a request to the end of its answer, streamed or not; seconds,
            or text such as ``"90s"``.
        limit_as: The parameter that carries the output limit.  OpenAI wants ``max_completion_tokens``;
            most compatible servers know only the older ``max_tokens``, the default for them.
        options: Further fields of every request, as the provider documents them, such as
            ``{"reasoning_effort": "low"}``.
        provider: Who serves it, in the history, spans and errors.

    Raises:
        ConfigurationError: The URL or key cannot be one, or an option is Treadle's own to write.

    Example:
        >>> model = OpenAIModel("qwen3", base_url="http://127.0.0.1:11434/v1")
        >>> model.price.basis
        'local'
    """

    @given.told("OpenAIModel")
    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float | str = TIMEOUT,
        limit_as: LimitParameter | None = None,
        options: Mapping[str, Any] | None = None,
        provider: str = "openai",
    ) -> None:
        super().__init__(
            name,
            interface=CHAT_COMPLETIONS,
            sdk=OPENAI,
            base_url=base_url,
            api_key=api_key,
            price=price,
            timeout=timeout,
            options=options,
            provider=provider,
        )
        self._is_own = names.is_openai(self.base_url) or names.is_azure(self.base_url)
        if limit_as is not None:
            given.one_of("OpenAIModel", "limit_as", limit_as, get_args(LimitParameter))
        self._limit_as = limit_as or ("max_completion_tokens" if self._is_own else "max_tokens")

    def _body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        return openai_wire.request_body(
            request,
            model=self.name,
            limit_as=self._limit_as,
            stream=stream,
            id_limit=_MOST_ID if self._is_own else None,
        )

    @property
    def _per_request(self) -> int:
        return CHAT_COMPLETIONS.per_request if self._is_own else _PER_REQUEST_ELSEWHERE
