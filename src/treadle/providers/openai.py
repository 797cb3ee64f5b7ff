"""``OpenAIModel``: OpenAI's Chat Completions, and every server that speaks them, by the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic_core import to_json

from treadle import durations
from treadle.budget import Price, Usage
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.providers import bounds, names, openai_client, openai_wire
from treadle.providers.openai_stream import ChatStream
from treadle.providers.prices import FREE, listed_price
from treadle.providers.service import TIMEOUT, checked_options, merged

LimitParameter = Literal["max_completion_tokens", "max_tokens"]

_PATH: Final = "/chat/completions"
_OURS: Final = frozenset(
    {"model", "messages", "tools", "functions", "response_format", "max_tokens", "max_completion_tokens", "n",
     "stream", "stream_options", "temperature"}
)  # fmt: skip
_PER_TOOL: Final = 32
_PER_REQUEST: Final = 32
_PER_REQUEST_ELSEWHERE: Final = 1024


class OpenAIModel:
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
        self.name: Final = name
        self.provider: Final = provider
        self._service = openai_client.service(
            name, base_url=base_url, api_key=api_key, timeout=durations.seconds(timeout), provider=provider
        )
        self.base_url: Final = self._service.asked.address
        self._price = price
        is_own = names.is_openai(self.base_url) or names.is_azure(self.base_url)
        self._limit_as = limit_as or ("max_completion_tokens" if is_own else "max_tokens")
        self._per_request = _PER_REQUEST if is_own else _PER_REQUEST_ELSEWHERE
        self._options = checked_options(options, ours=_OURS)

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, base_url={self.base_url!r})"

    @property
    def price(self) -> Price | None:
        """The given price, nothing for a server on this machine, or the listed one of its provider."""
        if self._price is not None:
            return self._price
        if names.is_loopback(self.base_url):
            return FREE
        return listed_price("openai" if names.is_openai(self.base_url) else self.base_url, self.name)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request, once.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        data = await self._service.post(_PATH, self._body(request))
        return openai_wire.read_response(data, worst=lambda: self._worst(request))

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, once, and give its pieces as they come.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        answer = ChatStream(each)
        body = self._body(request, stream=True)
        whole = await self._service.stream(_PATH, body, answer.take, done=answer.is_done)
        data = answer.completion() if whole is None else whole.data
        return openai_wire.read_response(data, worst=lambda: self._worst(request))

    def _body(self, request: ModelRequest, *, stream: bool = False) -> dict[str, Any]:
        body = openai_wire.request_body(request, model=self.name, limit_as=self._limit_as, stream=stream)
        return merged(body, self._options)

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes, plus what OpenAI's cookbook documents for frames around them, rounded up.

        Source: "How to count tokens with tiktoken" (OpenAI cookbook): 3 tokens a message, 1 a name, 3
        to prime the answer; up to 12 a tool.  Compatible servers put texts of their own around tools:
        1,024 tokens are allowed for that.
        """
        bound = bounds.total(messages)
        if bound is None or len(messages) != len(request.messages):
            return bound
        bound += self._per_request
        for tool in request.tools:
            bound += _PER_TOOL + len(to_json(openai_wire.tool_body(tool)))
        if request.output is not None:
            bound += _PER_TOOL + len(to_json(request.output.schema)) + len(request.output.name)
        return bound

    def _worst(self, request: ModelRequest) -> Usage:
        """The most it can have used; nothing where there is no bound, so that the hold is charged."""
        bound = self.input_bound(request.messages, request)
        return (
            Usage() if bound is None else Usage(input_tokens=bound, output_tokens=request.max_output_tokens)
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop, once the requests under way on them have ended."""
        await self._service.aclose()
