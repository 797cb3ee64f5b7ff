"""``AnthropicModel``: Anthropic's Messages, and every server that speaks them, by the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from treadle import given
from treadle.budget import Price
from treadle.messages import ModelRequest
from treadle.providers import anthropic_wire, names
from treadle.providers.anthropic_stream import MessageStream
from treadle.providers.exchange import HttpModel, Interface
from treadle.providers.sdk import Sdk
from treadle.providers.service import TIMEOUT


def _load() -> tuple[Any, Callable[..., Any]]:
    import anthropic  # noqa: PLC0415 - seconds of CPU

    return anthropic, anthropic.AsyncAnthropic


ANTHROPIC: Final = Sdk(
    provider="anthropic",
    variables="ANTHROPIC",
    url=names.ANTHROPIC_URL,
    example="http://127.0.0.1:8080",
    is_own=names.is_anthropic,
    load=_load,
    ending="/v1",
)

MESSAGES: Final = Interface(
    path="/v1/messages",
    ours=frozenset({"model", "messages", "system", "tools", "max_tokens", "stream", "cache_control"}),
    read=anthropic_wire.read_response,
    gather=lambda each, _: MessageStream(each),
    tool_body=anthropic_wire.tool_body,
    form_bound=anthropic_wire.form_bound,
    per_tool=64,
    per_request=1024,
)
"""Anthropic adds system prompts itself: up to some 700 tokens where there are tools, and a text for the
form of an answer.  Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview,
"Pricing"."""


class AnthropicModel(HttpModel):
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

    @given.told("AnthropicModel")
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
        super().__init__(
            name,
            interface=MESSAGES,
            sdk=ANTHROPIC,
            base_url=base_url,
            api_key=api_key,
            price=price,
            timeout=timeout,
            options=options,
        )
        self._cache = cache if cache is None else given.yes_or_no("AnthropicModel", "cache", cache)
        self._native_output = given.yes_or_no("AnthropicModel", "native_output", native_output)

    def _body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        return anthropic_wire.request_body(
            request,
            model=self.name,
            cache=bool(request.tools) if self._cache is None else self._cache,
            native_output=self._native_output,
            stream=stream,
        )
