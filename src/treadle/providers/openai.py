"""``OpenAIModel``: OpenAI's Chat Completions, and every server that speaks them, by the official SDK."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import anyio.lowlevel
from pydantic_core import from_json, to_json

from treadle import durations
from treadle.budget import Price, Usage
from treadle.errors import ConfigurationError, ProviderError
from treadle.messages import Message, ModelRequest, ModelResponse, Part, Refusal, Text, ToolCall, ToolResult
from treadle.providers import names, openai_errors, openai_wire
from treadle.providers.prices import FREE, listed_price

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

LimitParameter = Literal["max_completion_tokens", "max_tokens"]

TIMEOUT: Final = 600.0
"""Seconds for one request, as in the SDK: answers of reasoning models take minutes."""

_PER_MESSAGE: Final = 8
_PER_CALL: Final = 16
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
        timeout: For one request; seconds, or text such as ``"90s"``.
        limit_as: The parameter that carries the output limit.  OpenAI wants ``max_completion_tokens``;
            most compatible servers know only the older ``max_tokens``, the default for them.

    Raises:
        ConfigurationError: The URL or key cannot be one.

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
    ) -> None:
        self.name: Final = name
        self.provider: Final = "openai"
        self.base_url: Final = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or names.OPENAI_URL)
        self._api_key = _checked_key(_default_key(base_url) if api_key is None else api_key)
        self._price = price
        self._timeout = durations.seconds(timeout)
        is_own = names.is_openai(self.base_url) or names.is_azure(self.base_url)
        self._limit_as = limit_as or ("max_completion_tokens" if is_own else "max_tokens")
        self._per_request = _PER_REQUEST if is_own else _PER_REQUEST_ELSEWHERE
        self._lines: dict[object, _Line] = {}

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
        body = openai_wire.request_body(request, model=self.name, limit_as=self._limit_as)
        line = self._line()
        line.users += 1
        try:
            data = await self._send(line.client, body)
        finally:
            line.users -= 1
            if line.is_closing and not line.users:
                with anyio.move_on_after(_CLOSING, shield=True):
                    await line.client.close()
        return openai_wire.read_response(data, worst=lambda: self._worst(request))

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int:
        """UTF-8 bytes, plus what OpenAI's cookbook documents for frames around them, rounded up.

        Source: "How to count tokens with tiktoken" (OpenAI cookbook): 3 tokens a message, 1 a name, 3
        to prime the answer; up to 12 a tool.  Compatible servers put texts of their own around tools:
        1,024 tokens are allowed for that.
        """
        bound = sum(_message_bound(message) for message in messages)
        if len(messages) != len(request.messages):
            return bound
        bound += self._per_request
        for tool in request.tools:
            bound += _PER_TOOL + len(to_json(openai_wire.tool_body(tool)))
        if request.output is not None:
            bound += _PER_TOOL + len(to_json(request.output.schema)) + len(request.output.name)
        return bound

    def _worst(self, request: ModelRequest) -> Usage:
        return Usage(
            input_tokens=self.input_bound(request.messages, request), output_tokens=request.max_output_tokens
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop, once the requests under way on them have ended."""
        line = self._lines.pop(anyio.lowlevel.current_token(), None)
        if line is None:
            return
        line.is_closing = True
        if not line.users:
            await line.client.close()

    def _line(self) -> _Line:
        token = anyio.lowlevel.current_token()
        line = self._lines.get(token)
        if line is None:
            line = self._lines[token] = _Line(self._connect())
        return line

    def _connect(self) -> AsyncOpenAI:
        import httpx2  # noqa: PLC0415 - 125 ms of CPU
        import openai  # noqa: PLC0415 - 500 ms of CPU

        if not self._api_key:
            raise ConfigurationError(
                f"model {self.name!r} at {self.base_url} needs a key; set OPENAI_API_KEY, or pass api_key="
            )
        # No proxy and no certificates for this machine: loading those alone is 100 ms of CPU.
        is_local = names.is_loopback(self.base_url) and self.base_url.startswith("http:")
        http = httpx2.AsyncClient(
            trust_env=not is_local,
            verify=not is_local,
            follow_redirects=False,
            timeout=self._timeout,
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
        )
        return openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self.base_url,
            max_retries=0,
            timeout=self._timeout,
            http_client=http,
        )

    async def _send(self, client: AsyncOpenAI, body: dict[str, Any]) -> object:
        import httpx2  # noqa: PLC0415 - loaded by now
        import openai  # noqa: PLC0415 - loaded by now

        try:
            response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
        except openai.APITimeoutError as error:
            raise self._unreachable(timed_out=True) from error
        except openai.APIConnectionError as error:
            raise self._unreachable(timed_out=False) from error
        except openai.APIStatusError as error:
            raise self._failed(error.status_code, error.response.headers, error.body) from error
        return self._parsed(response)

    def _parsed(self, response: httpx2.Response) -> object:
        try:
            data: object = from_json(response.content)
        except ValueError as error:
            raise openai_wire.malformed("the response is not JSON") from error
        if _holds_error(data):
            raise self._failed(200, response.headers, data)
        return data

    def _failed(self, status: int, headers: Mapping[str, str], body: object) -> ProviderError:
        return openai_errors.from_status(status, headers, body, address=self.base_url, model=self.name)

    def _unreachable(self, *, timed_out: bool) -> ProviderError:
        return openai_errors.unreachable(
            self.base_url, model=self.name, timed_out=timed_out, timeout=self._timeout
        )


_CLOSING: Final = 1.0  # seconds that closing connections may take while a cancellation waits


class _Line:
    """The connections of one event loop, and how many requests are under way on them."""

    __slots__ = ("client", "is_closing", "users")

    def __init__(self, client: AsyncOpenAI) -> None:
        self.client = client
        self.users = 0
        self.is_closing = False


def _default_key(base_url: str | None) -> str:
    if base_url is None or names.is_openai(base_url):
        found = os.environ.get("OPENAI_API_KEY", "")
        if found or base_url is not None or not os.environ.get("OPENAI_BASE_URL"):
            return found
    return "none"  # local servers want no key, and the SDK wants some


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("the API key holds characters that no key has; copy it again")
    return key


def _checked_url(url: str) -> str:
    url = url.strip().rstrip("/")
    if not url.startswith(("http://", "https://")) or not names.host(url):
        raise ConfigurationError(
            f"base_url {url!r} is not an address; write for example 'http://127.0.0.1:11434/v1'"
        )
    return url


def _holds_error(data: object) -> bool:
    return isinstance(data, dict) and bool(cast("dict[str, Any]", data).get("error"))


def _message_bound(message: Message) -> int:
    return _PER_MESSAGE + sum(_part_bound(part) for part in message.parts)


def _part_bound(part: Part) -> int:
    if isinstance(part, Text | Refusal):
        return len(part.text.encode())
    if isinstance(part, ToolCall):
        return _PER_CALL + len(part.id) + len(part.name.encode()) + len(part.arguments.encode())
    if isinstance(part, ToolResult):
        return _PER_MESSAGE + len(part.call_id) + len(part.name.encode()) + len(part.content.encode())
    return len(to_json(part.content))
