"""``HttpModel``: what every model behind an HTTP interface does alike, once.

A request is written, sent, read and counted; a price is looked up; connections are closed.  What is an
interface's own stands in its ``Interface``, a table, and in the wire file that the table names.  So a new
provider is one class with its arguments, and its wire.  It is a base class, and no part, because its
methods are those of the ``Model`` that users hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from pydantic_core import to_json

from treadle import given
from treadle.budget import Price, Usage
from treadle.messages import Delta, Message, ModelRequest, ModelResponse, OutputSpec, ToolSpec
from treadle.providers import bounds, names
from treadle.providers.http_errors import Asked
from treadle.providers.prices import FREE, listed_price
from treadle.providers.sdk import Sdk
from treadle.providers.service import checked_options, merged


class Gathering(Protocol):
    """Takes the events of a stream, and puts the answer together."""

    def take(self, event: Mapping[str, Any], /) -> None:
        """Take one event.

        Raises:
            ProviderError: It says that no answer will come, or is no event.
        """
        ...

    def is_done(self) -> bool:
        """Whether the answer is whole."""
        ...

    def whole(self) -> dict[str, Any]:
        """What came, in the form of an answer that came at once."""
        ...


class Read(Protocol):
    """Reads the JSON of an answer; ``worst`` gives what is taken for the usage where none is reported."""

    def __call__(self, data: object, *, worst: Callable[[], Usage]) -> ModelResponse: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What is one interface's own.

    Attributes:
        path: Behind the base URL.
        ours: The fields of a request that no option may write.
        read: Reads an answer.
        gather: Given who is told each piece and who was asked, puts a streamed answer together.
        tool_body: A tool as it is written, which is counted.
        form_bound: The most tokens that the form of an answer is counted as.
        per_tool, per_request: Tokens allowed for what stands around each tool, and around everything.
    """

    path: str
    ours: frozenset[str]
    read: Read
    gather: Callable[[Callable[[Delta], None], Asked], Gathering]
    tool_body: Callable[[ToolSpec], Mapping[str, Any]]
    form_bound: Callable[[OutputSpec], int]
    per_tool: int
    per_request: int


def check_asking(owner: str, *, price: object, options: object) -> None:
    """Make sure that a price is a ``Price``, and further fields of requests a mapping by name.

    Raises:
        ConfigurationError: One of them is something else.
    """
    if price is not None and not isinstance(price, Price):
        example = "Price(input_mtok=Decimal('0.25'), output_mtok=Decimal('2'))"
        raise given.wrong(owner, "price", price, "a Price of treadle.models", example)
    if options is None:
        return
    known = cast("Mapping[object, object]", options)
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in known):
        raise given.wrong(owner, "options", known, "a dict of further fields by name", "{'seed': 1}")


class HttpModel(ABC):
    """A model behind an interface.  Implements ``StreamingModel``.

    Each ``complete`` and each ``stream`` is one request: the SDK's retries are off.  Connections are
    opened at the first request, kept for the next ones, and closed by ``aclose()``; a model can be used
    again afterwards, and in several event loops (asyncio or trio), each with connections of its own.

    Args:
        name: The provider's name for the model.
        interface: What is spoken.
        sdk: By which client.
        base_url, api_key, price, timeout, options: As the classes of models say.
        provider: Who serves it, in the history, spans and errors; by default whose the SDK is.

    Raises:
        ConfigurationError: The URL or key cannot be one, an option is Treadle's own to write, or
            something is not what is wanted.
    """

    def __init__(
        self,
        name: str,
        *,
        interface: Interface,
        sdk: Sdk,
        base_url: str | None,
        api_key: str | None,
        price: Price | None,
        timeout: float | str,
        options: Mapping[str, Any] | None,
        provider: str = "",
    ) -> None:
        owner = type(self).__name__
        check_asking(owner, price=price, options=options)
        self.name: Final = given.text(owner, "name", name, example="'gpt-6-luna'")
        self.provider: Final = given.text(owner, "provider", provider or sdk.provider, example="'openai'")
        self._service = sdk.service(
            name,
            base_url=base_url,
            api_key=api_key,
            timeout=given.seconds(owner, "timeout", timeout),
            provider=self.provider,
        )
        self.base_url: Final = self._service.asked.address
        self._interface = interface
        self._sdk = sdk
        self._price = price
        self._options = checked_options(options, ours=interface.ours)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, base_url={self.base_url!r})"

    @property
    def price(self) -> Price | None:
        """The given price, nothing for a server on this machine, or the listed one of its provider."""
        if self._price is not None:
            return self._price
        if names.is_loopback(self.base_url):
            return FREE
        is_own = self._sdk.is_own(self.base_url)
        return listed_price(self._sdk.provider if is_own else self.base_url, self.name)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request, once.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        body = merged(self._body(request, stream=False), self._options)
        data = await self._service.post(self._interface.path, body)
        return self._interface.read(data, worst=lambda: self._worst(request))

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, once, and give its pieces as they come.

        Raises:
            RateLimited, ProviderUnavailable, RequestRejected, MalformedResponse: See there.
            ConfigurationError: There is no key.
        """
        answer = self._interface.gather(each, self._service.asked)
        body = merged(self._body(request, stream=True), self._options)
        whole = await self._service.stream(self._interface.path, body, answer.take, done=answer.is_done)
        data = answer.whole() if whole is None else whole.data
        return self._interface.read(data, worst=lambda: self._worst(request))

    @abstractmethod
    def _body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """Write a request, without the further fields of the options."""

    @property
    def _per_request(self) -> int:
        return self._interface.per_request

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes, plus what the provider puts around them: see ``per_tool`` and ``per_request``."""
        bound = bounds.total(messages)
        if bound is None or len(messages) != len(request.messages):
            return bound
        bound += self._per_request
        for tool in request.tools:
            bound += self._interface.per_tool + len(to_json(self._interface.tool_body(tool)))
        return bound if request.output is None else bound + self._interface.form_bound(request.output)

    def _worst(self, request: ModelRequest) -> Usage:
        """The most it can have used; nothing where there is no bound, so that the hold is charged."""
        bound = self.input_bound(request.messages, request)
        if bound is None:
            return Usage()
        return Usage(input_tokens=bound, output_tokens=request.max_output_tokens)

    async def aclose(self) -> None:
        """Close the connections of this event loop, once the requests under way on them have ended."""
        await self._service.aclose()
