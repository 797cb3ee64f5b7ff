"""``Service``: a provider's address, as its official SDK speaks to it; one call is one request.

The SDKs of OpenAI and Anthropic are made by one generator and have one shape, so what is done around
them stands here once: connections for each event loop, one deadline for the whole request, errors
translated, streams read to their end.  The SDK itself is imported by whoever makes the service.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.lowlevel
from pydantic_core import from_json

from treadle.errors import ConfigurationError, ProviderError
from treadle.providers import http_errors, names
from treadle.providers.http_errors import Asked
from treadle.providers.sse import EventReader

if TYPE_CHECKING:
    import httpx2

TIMEOUT: Final = 600.0
"""Seconds for one request, as in the SDKs: answers of reasoning models take minutes."""

_CLOSING: Final = 1.0  # seconds that closing connections may take while a cancellation waits

Connect = Callable[[Any], tuple[Any, Any]]
"""Given an ``httpx2.AsyncClient``, gives the SDK's module and a client of it that never retries."""

Take = Callable[[Mapping[str, Any]], None]
"""Is given each event of a stream, parsed; may raise a ``ProviderError``."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The JSON of an answer that came at once, where a stream was asked for."""

    data: object


class Service:
    """Sends requests, each once.

    Connections are opened at the first request, kept for the next ones, and closed by ``aclose()``;
    a service can be used again afterwards, and in several event loops (asyncio or trio), each with
    connections of its own.

    Args:
        asked: Whom it speaks to.
        connect: Makes a client.
        timeout: Seconds from the beginning of a request to the end of its answer.
    """

    def __init__(self, asked: Asked, connect: Connect, *, timeout: float) -> None:
        self.asked: Final = asked
        self._connect = connect
        self._timeout = timeout
        self._lines: dict[object, _Line] = {}

    async def post(self, path: str, body: dict[str, Any]) -> object:
        """Send a request and give the JSON of its answer.

        Raises:
            ProviderError: No answer came; see ``treadle.providers.http_errors``.
        """
        import httpx2  # noqa: PLC0415 - 125 ms of CPU

        async with self._line() as line:
            response = await line.client.post(path, body=body, cast_to=httpx2.Response)
        return self._parsed(response.content, response.headers)

    async def stream(
        self, path: str, body: dict[str, Any], take: Take, *, done: Callable[[], bool]
    ) -> Whole | None:
        """Send a request and hand on the events of its answer as they come.

        Args:
            path, body: The request; the body asks for a stream.
            take: Is given each event.
            done: Whether the answer is whole; what breaks after that is of no account.

        Returns:
            ``None``, or the whole answer where the server did not stream it.

        Raises:
            ProviderError: No whole answer came.
        """
        try:
            async with self._line() as line:
                whole = await self._read(line, path, body, take, done)
        except ProviderError:
            if done():
                return None
            raise
        if whole is None and not done():
            raise http_errors.unreachable(self.asked)
        return whole

    async def _read(
        self, line: _Line, path: str, body: dict[str, Any], take: Take, done: Callable[[], bool]
    ) -> Whole | None:
        import httpx2  # noqa: PLC0415 - loaded by now

        response: httpx2.Response = await line.client.post(
            path, body=body, cast_to=httpx2.Response, stream=True, stream_cls=line.sdk.AsyncStream
        )
        try:
            if "json" in response.headers.get("content-type", ""):
                return Whole(self._parsed(await response.aread(), response.headers))
            await self._hand_on(response, take, done)
        finally:
            with anyio.move_on_after(_CLOSING, shield=True):
                await response.aclose()
        return None

    async def _hand_on(self, response: httpx2.Response, take: Take, done: Callable[[], bool]) -> None:
        """Hand events on to the end, or until one is refused.

        It leaves early by cancelling itself: that unwinds the generators below, which would stay open.
        """
        reader, refused = EventReader(), None
        with anyio.CancelScope() as scope:
            async for chunk in response.aiter_bytes():
                refused = refused or self._taken(reader, chunk, take)
                if refused is not None:
                    scope.cancel()
                elif done():  # nothing of account comes any more
                    scope.deadline = min(scope.deadline, anyio.current_time() + _CLOSING)
        if refused is not None:
            raise refused

    def _taken(self, reader: EventReader, chunk: bytes, take: Take) -> ProviderError | None:
        """Hand on the events of a chunk; gives why one is refused."""
        try:
            for data in reader.feed(chunk):
                if data != "[DONE]":
                    take(self._event(data))
        except ProviderError as error:
            return error
        except UnicodeDecodeError:
            return http_errors.malformed("the stream is not UTF-8", provider=self.asked.provider)
        return None

    def _event(self, data: str) -> Mapping[str, Any]:
        try:
            event: object = from_json(data)
        except ValueError as error:
            text = "an event of the stream is not JSON"
            raise http_errors.malformed(text, provider=self.asked.provider) from error
        if not isinstance(event, dict):
            raise http_errors.malformed("an event of the stream is no object", provider=self.asked.provider)
        known = cast("dict[str, Any]", event)
        if known.get("error"):
            raise http_errors.from_status(200, {}, known, asked=self.asked)
        return known

    def _parsed(self, content: bytes, headers: Mapping[str, str]) -> object:
        try:
            data: object = from_json(content)
        except ValueError as error:
            raise http_errors.malformed("the response is not JSON", provider=self.asked.provider) from error
        if isinstance(data, dict) and cast("dict[str, Any]", data).get("error"):
            raise http_errors.from_status(200, headers, cast("object", data), asked=self.asked)
        return data  # pyright: ignore[reportUnknownVariableType] - narrowed to a dict of anything

    @asynccontextmanager
    async def _line(self) -> AsyncGenerator[_Line]:
        """Around one request: its connections, its deadline, its errors as ours."""
        line = self._line_here()
        line.users += 1
        try:
            with anyio.move_on_after(self._timeout) as late, _translated(line.sdk, self.asked, self._timeout):
                yield line
            if late.cancelled_caught:
                raise http_errors.timed_out(self.asked, self._timeout)
        finally:
            line.users -= 1
            if line.is_closing and not line.users:
                with anyio.move_on_after(_CLOSING, shield=True):
                    await line.client.close()

    def _line_here(self) -> _Line:
        token = anyio.lowlevel.current_token()
        line = self._lines.get(token)
        if line is None:
            line = self._lines[token] = _Line(*self._connect(_http(self.asked.address, self._timeout)))
        return line

    async def aclose(self) -> None:
        """Close the connections of this event loop, once the requests under way on them have ended."""
        line = self._lines.pop(anyio.lowlevel.current_token(), None)
        if line is None:
            return
        line.is_closing = True
        if not line.users:
            await line.client.close()


class _Line:
    """The connections of one event loop, and how many requests are under way on them."""

    __slots__ = ("client", "is_closing", "sdk", "users")

    def __init__(self, sdk: Any, client: Any) -> None:
        self.sdk = sdk
        self.client = client
        self.users = 0
        self.is_closing = False


def _http(address: str, timeout: float) -> httpx2.AsyncClient:
    import httpx2  # noqa: PLC0415 - 125 ms of CPU

    # No proxy and no certificates for this machine: loading those alone is 100 ms of CPU.
    is_local = names.is_loopback(address) and address.startswith("http:")
    return httpx2.AsyncClient(
        trust_env=not is_local,
        verify=not is_local,
        follow_redirects=False,
        timeout=timeout,
        limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
    )


@contextmanager
def _translated(sdk: Any, asked: Asked, timeout: float) -> Generator[None]:
    """Around the SDK: its errors, and those of HTTP that it lets through, as ours."""
    import httpx2  # noqa: PLC0415 - loaded by now

    try:
        yield
    except (sdk.APITimeoutError, httpx2.TimeoutException) as error:
        raise http_errors.timed_out(asked, timeout) from error
    except (sdk.APIConnectionError, httpx2.RequestError) as error:
        raise http_errors.unreachable(asked) from error
    except sdk.APIStatusError as error:
        status, headers = error.status_code, error.response.headers
        raise http_errors.from_status(status, headers, error.body, asked=asked) from error


def checked_key(key: str) -> str:
    """Give a key that can be one, without white space around it.

    Raises:
        ConfigurationError: It holds characters that no key has; they are not shown.
    """
    if not isinstance(cast("object", key), str):
        raise ConfigurationError(f"api_key= is text, not a value of type {type(key).__name__}")
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("the API key holds characters that no key has; copy it again")
    return key


def checked_url(url: str, *, example: str) -> str:
    """Give a base URL without its last slash.

    Raises:
        ConfigurationError: It is no address.
    """
    if not isinstance(cast("object", url), str):
        raise ConfigurationError(f"base_url={url!r} is no text; write for example {example!r}")
    url = url.strip().rstrip("/")
    if not url.startswith(("http://", "https://")) or not names.host(url) or not names.has_port(url):
        told = names.without_password(url)
        raise ConfigurationError(f"base_url {told!r} is not an address; write for example {example!r}")
    return url


def checked_options(options: Mapping[str, Any] | None, *, ours: frozenset[str]) -> dict[str, Any]:
    """Give further fields of a request, none of which Treadle writes itself.

    Raises:
        ConfigurationError: One is ours: a budget and the history rely on what it says.
    """
    taken = sorted(ours & set(options or {}))
    if taken:
        raise ConfigurationError(
            f"options={{{taken[0]!r}: ...}}: Treadle writes {taken[0]!r} itself, from what the agent declares"
        )
    return dict(options or {})


def merged(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A body with further fields; an object in both, such as ``text``, holds what either says."""
    result = {**options, **body}
    for name in body.keys() & options.keys():
        if isinstance(options[name], dict) and isinstance(body[name], dict):
            result[name] = {**options[name], **body[name]}
    return result
