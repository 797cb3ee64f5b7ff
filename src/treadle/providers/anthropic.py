"""``AnthropicModel``: Anthropic's Messages, and every server that speaks them, by the official SDK."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from treadle import durations
from treadle.budget import Price, Usage
from treadle.errors import ConfigurationError
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.providers import anthropic_wire, bounds, names
from treadle.providers.anthropic_stream import MessageStream
from treadle.providers.http_errors import Asked
from treadle.providers.prices import FREE, listed_price
from treadle.providers.service import TIMEOUT, Service, checked_key, checked_options, checked_url, merged

if TYPE_CHECKING:
    import httpx2

_PATH: Final = "/v1/messages"
_OURS: Final = frozenset({"model", "messages", "system", "tools", "max_tokens", "stream", "cache_control"})
_PER_TOOL: Final = 64
_PER_REQUEST: Final = 1024


class AnthropicModel:
    """A model at Anthropic, or at any server with a compatible ``/v1/messages``.

    The SDK's retries are off: each ``complete`` is one request.  Connections are opened at the first
    request, kept for the next ones, and closed by ``aclose()``; a model can be used again afterwards,
    and in several event loops (asyncio or trio), each with connections of its own.

    Args:
        name: The provider's name for the model, such as ``"claude-haiku-5-5"``.
        base_url: Such as ``"http://127.0.0.1:8080"``; by default ``ANTHROPIC_BASE_URL``, else Anthropic.
        api_key: By default ``ANTHROPIC_API_KEY``, but never for a ``base_url`` given here, so that
            the key does not go to a server it is not for.
        price: By default looked up in genai-prices; a server on this machine costs nothing.
        timeout: From the beginning of a request to the end of its answer, streamed or not; seconds,
            or text such as ``"90s"``.
        cache: Whether the end of each request is marked for the provider's cache, so that the next
            one reads what is before it at a tenth of the price; writing costs a quarter more.  By
            default where the agent has tools, whose results make a next request.
        native_output: Whether the form of an answer goes out as structured output; without it, it is
            said in words, for models and servers that know none.
        options: Further fields of every request, as the provider documents them, such as
            ``{"thinking": {"type": "adaptive"}}``.

    Raises:
        ConfigurationError: The URL or key cannot be one, or an option is Treadle's own to write.

    Example:
        >>> AnthropicModel("claude-haiku-5-5", api_key="sk-ant-...").price.basis
        'genai-prices'
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float | str = TIMEOUT,
        cache: bool | None = None,
        native_output: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name: Final = name
        self.provider: Final = "anthropic"
        self._service = _service(name, base_url, api_key, durations.seconds(timeout))
        self.base_url: Final = self._service.asked.address
        self._price = price
        self._cache = cache
        self._native_output = native_output
        self._options = checked_options(options, ours=_OURS)

    def __repr__(self) -> str:
        return f"AnthropicModel({self.name!r}, base_url={self.base_url!r})"

    @property
    def price(self) -> Price | None:
        """The given price, nothing for a server on this machine, or the listed one of its provider."""
        if self._price is not None:
            return self._price
        if names.is_loopback(self.base_url):
            return FREE
        return listed_price("anthropic" if names.is_anthropic(self.base_url) else self.base_url, self.name)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request, once.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        data = await self._service.post(_PATH, self._body(request))
        return anthropic_wire.read_response(data, worst=lambda: self._worst(request))

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, once, and give its pieces as they come.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        answer = MessageStream(each)
        body = self._body(request, stream=True)
        whole = await self._service.stream(_PATH, body, answer.take, done=answer.is_done)
        data = answer.message() if whole is None else whole.data
        return anthropic_wire.read_response(data, worst=lambda: self._worst(request))

    def _body(self, request: ModelRequest, *, stream: bool = False) -> dict[str, Any]:
        body = anthropic_wire.request_body(
            request,
            model=self.name,
            cache=bool(request.tools) if self._cache is None else self._cache,
            native_output=self._native_output,
            stream=stream,
        )
        return merged(body, self._options)

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes, plus the system prompts that Anthropic adds itself, rounded up.

        Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview, "Pricing": up to
        some 700 tokens where there are tools; the form of an answer adds a text of its own.  1,024 are
        allowed for both.
        """
        bound = bounds.total(messages)
        if bound is None or len(messages) != len(request.messages):
            return bound
        bound += _PER_REQUEST
        for tool in request.tools:
            bound += _PER_TOOL + len(to_json(anthropic_wire.tool_body(tool)))
        if request.output is not None:
            bound += 2 * len(to_json(request.output.schema)) + len(anthropic_wire.instruction(request.output))
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


def _service(model: str, base_url: str | None, api_key: str | None, timeout: float) -> Service:
    address = checked_url(
        base_url or os.environ.get("ANTHROPIC_BASE_URL") or names.ANTHROPIC_URL,
        example="http://127.0.0.1:8080",
    ).removesuffix("/v1")  # the SDK adds it
    key = checked_key(default_key(base_url) if api_key is None else api_key)
    told = names.without_password(address)
    asked = Asked(provider="anthropic", address=told, model=model, key="ANTHROPIC_API_KEY")

    def connect(http: httpx2.AsyncClient) -> tuple[Any, Any]:
        import anthropic  # noqa: PLC0415 - seconds of CPU

        if not key:
            raise ConfigurationError(
                f"model {model!r} at {told} needs a key; set ANTHROPIC_API_KEY, or pass api_key="
            )
        client = anthropic.AsyncAnthropic(
            api_key=key, base_url=address, max_retries=0, timeout=timeout, http_client=http
        )
        return anthropic, client

    return Service(asked, connect, timeout=timeout)


def default_key(base_url: str | None) -> str:
    """The key for a server where none is given: ``ANTHROPIC_API_KEY`` never goes to one given by its URL."""
    if base_url is None or names.is_anthropic(base_url):
        found = os.environ.get("ANTHROPIC_API_KEY", "")
        if found or base_url is not None or not os.environ.get("ANTHROPIC_BASE_URL"):
            return found
    return "none"  # local servers want no key, and the SDK wants some
