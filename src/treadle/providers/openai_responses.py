"""``OpenAIResponsesModel``: OpenAI's Responses, by the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from treadle import durations
from treadle.budget import Price, Usage
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.providers import bounds, names, openai_client, openai_responses_wire
from treadle.providers.openai_responses_stream import ResponseStream
from treadle.providers.prices import FREE, listed_price
from treadle.providers.service import TIMEOUT, checked_options, merged

_PATH: Final = "/responses"
_OURS: Final = frozenset(
    {"model", "input", "tools", "max_output_tokens", "stream", "temperature", "background", "conversation",
     "previous_response_id"}
)  # fmt: skip
_PER_TOOL: Final = 32
_PER_REQUEST: Final = 1024


class OpenAIResponsesModel:
    """A model at OpenAI, or at any server with a compatible ``/responses``.

    The interface that keeps reasoning over the turns of an agent: it is sent back, encrypted, with each
    request.  Nothing is stored at the provider.  What ``OpenAIModel`` says of requests, connections,
    keys and prices holds here too.

    Args:
        name: The provider's name for the model, such as ``"gpt-6-sol"``.
        base_url: Such as ``"http://127.0.0.1:8080/v1"``; by default ``OPENAI_BASE_URL``, else OpenAI.
        api_key: By default ``OPENAI_API_KEY``, but never for a ``base_url`` given here.
        price: By default looked up in genai-prices; a server on this machine costs nothing.
        timeout: From the beginning of a request to the end of its answer, streamed or not; seconds,
            or text such as ``"90s"``.
        options: Further fields of every request, as the provider documents them, such as
            ``{"reasoning": {"effort": "low"}}``.

    Raises:
        ConfigurationError: The URL or key cannot be one, or an option is Treadle's own to write.

    Example:
        >>> OpenAIResponsesModel("gpt-6-sol", api_key="sk-...").base_url
        'https://api.openai.com/v1'
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float | str = TIMEOUT,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name: Final = name
        self.provider: Final = "openai"
        self._service = openai_client.service(
            name, base_url=base_url, api_key=api_key, timeout=durations.seconds(timeout)
        )
        self.base_url: Final = self._service.asked.address
        self._price = price
        self._options = checked_options(options, ours=_OURS)

    def __repr__(self) -> str:
        return f"OpenAIResponsesModel({self.name!r}, base_url={self.base_url!r})"

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
        body = openai_responses_wire.request_body(request, model=self.name)
        data = await self._service.post(_PATH, merged(body, self._options))
        return openai_responses_wire.read_response(data, worst=lambda: self._worst(request))

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, once, and give its pieces as they come.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        answer = ResponseStream(each, self._service.asked)
        body = openai_responses_wire.request_body(request, model=self.name, stream=True)
        sent = merged(body, self._options)
        whole = await self._service.stream(_PATH, sent, answer.take, done=answer.is_done)
        data = answer.response() if whole is None else whole.data
        return openai_responses_wire.read_response(data, worst=lambda: self._worst(request))

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes, plus what may stand around them: see ``OpenAIModel.input_bound``."""
        bound = bounds.total(messages)
        if bound is None or len(messages) != len(request.messages):
            return bound
        bound += _PER_REQUEST
        for tool in request.tools:
            bound += _PER_TOOL + len(to_json(openai_responses_wire.tool_body(tool)))
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
