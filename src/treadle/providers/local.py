"""``LocalModel``: a GGUF file, served by a process of this machine that lives as long as it is needed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
from anyio import to_thread

from treadle import given, weights
from treadle.budget import Price
from treadle.errors import ProviderUnavailable, RequestRejected
from treadle.messages import Delta, Message, ModelRequest, ModelResponse
from treadle.providers import local_process
from treadle.providers.exchange import check_asking
from treadle.providers.local_process import Address, Settings, Supervisor
from treadle.providers.openai import OpenAIModel
from treadle.providers.service import TIMEOUT

START_TIMEOUT: Final = 300.0
"""Seconds: 40 GB from a disk that gives 150 MB a second."""

_NOWHERE: Final = "http://127.0.0.1:9/v1"  # of the model that only counts and prices
_NOTICING: Final = 1.0  # seconds between the end of a connection and that of the process behind it
_ENDING: Final = 10.0  # seconds that closing may take while a cancellation waits


class LocalModel:
    """A model from a file of this machine, by llama.cpp (the extra ``local``); it costs nothing.

    The first request starts a process that loads the file and answers on a loopback port of its own,
    with a key of its own; requests with the same file and settings share it, whatever run or engine
    they come from.  One that died is started again by the next request, once.  It ends with
    ``aclose()`` of the last who used it, which an engine calls when it closes, and whenever this
    interpreter does, killed or not.  Whatever it says while it loads goes to the log of this module.

    Args:
        path: Of a GGUF file; ``~`` is the home.
        threads: How many compute.  More are slower where other work keeps the processors busy.
        context: The most tokens of a conversation, answer included; 0 for all that the model was
            made for.  Memory is taken for it at once.
        at_once: How many requests are computed at the same time, each with a context; more wait.
        price: By default it costs nothing, and is recorded so.
        timeout: From the beginning of a request to the end of its answer, waiting for others included;
            seconds, or text such as ``"90s"``.
        start_timeout: How long loading may take.
        options: Further fields of every request, such as ``{"seed": 1, "top_k": 1}``.

    Raises:
        ConfigurationError: An option is not what is wanted.  That there is no such file, that it is no
            GGUF, or that xllamacpp is not installed, is a fault of the plan instead (see ``complaint``).

    Example:
        >>> LocalModel("/models/none.gguf").complaint
        "the model file '/models/none.gguf' cannot be read ...
    """

    @given.told("LocalModel")
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        context: int = 8192,
        at_once: int = 1,
        price: Price | None = None,
        timeout: float | str = TIMEOUT,
        start_timeout: float | str = START_TIMEOUT,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(cast("object", path), str | os.PathLike) or not os.fspath(path):
            raise given.wrong("LocalModel", "path", path, "the path of a GGUF file", "'model.gguf'")
        self.name: Final = os.fspath(path)
        self.provider: Final = "local"
        self._settings: Final = Settings(
            path=weights.found_at(self.name),
            name=self.name,
            threads=given.whole("LocalModel", "threads", threads, least=1, example="4"),
            context=given.whole("LocalModel", "context", context, least=0, example="8192"),
            at_once=given.whole("LocalModel", "at_once", at_once, least=1, example="2"),
        )
        self._start_timeout: Final = given.seconds("LocalModel", "start_timeout", start_timeout)
        check_asking("LocalModel", price=price, options=options)
        given.seconds("LocalModel", "timeout", timeout)
        self._asking: Final[dict[str, Any]] = {"price": price, "timeout": timeout, "options": options}
        self._counting: Final = self._spoken_at(Address(_NOWHERE, "none"))
        self._lines: dict[object, _Line] = {}

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    @property
    def complaint(self) -> str:
        """Why the file cannot be served on this machine, or nothing; a fault of plans that ask the model."""
        return weights.complaint(self.name)

    @property
    def price(self) -> Price | None:
        """The given price, or nothing."""
        return self._counting.price

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes, and what a template writes around them; see ``OpenAIModel.input_bound``."""
        return self._counting.input_bound(messages, request)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request, once, to a running process; it is started where there is none.

        Raises:
            ProviderUnavailable: The process could not be started (which will not pass), or ended
                while it answered (which may).
            RateLimited, RequestRejected, MalformedResponse: See there.
        """
        async with self._served() as model:
            return await model.complete(request)

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Send one request, once, and give its pieces as they come.

        Raises:
            ProviderUnavailable, RateLimited, RequestRejected, MalformedResponse: As ``complete``.
        """
        async with self._served() as model:
            return await model.stream(request, each)

    @asynccontextmanager
    async def _served(self) -> AsyncGenerator[OpenAIModel]:
        """Around one request: a running process, and an error that tells what became of it."""
        line = self._line_here()
        line.users += 1
        try:
            yield await self._ready(line)
        except RequestRejected as error:
            if getattr(error.__cause__, "type", "") == "exceed_context_size_error":
                raise _too_long(error, self._settings.context) from error
            raise
        except ProviderUnavailable as error:
            if error.sent and error.status is None:
                await self._require_alive(line, error)
            raise
        finally:
            line.users -= 1
            if line.is_closing and not line.users:
                await line.close()

    async def _require_alive(self, line: _Line, error: ProviderUnavailable) -> None:
        """Say that the process ended, where that is why a request broke off."""
        ended = await to_thread.run_sync(line.supervisor.how_it_ended, _NOTICING)
        if ended:
            raise local_process.unavailable(
                f"the server of {self._settings.path!r} {ended} while it answered; the next request starts "
                "it again; if it goes on, there may be too little memory: use a smaller model or context=",
                retryable=True,
                sent=True,
            ) from error

    def _line_here(self) -> _Line:
        token = anyio.lowlevel.current_token()
        if token not in self._lines:
            self._lines[token] = _Line(local_process.take(self._settings))
        return self._lines[token]

    async def _ready(self, line: _Line) -> OpenAIModel:
        """The model as the running process serves it; that of one that died is closed."""
        address = line.supervisor.address or await line.start(self._start_timeout)
        if line.model is not None and line.address == address:
            return line.model
        before, made = line.model, self._spoken_at(address)
        line.model, line.address = made, address
        if before is not None:
            await before.aclose()
        return made

    def _spoken_at(self, address: Address) -> OpenAIModel:
        return OpenAIModel(
            self.name, base_url=address.url, api_key=address.key, provider=self.provider, **self._asking
        )

    async def aclose(self) -> None:
        """Let go of the process, once the requests of this event loop have ended; the last one ends it."""
        line = self._lines.pop(anyio.lowlevel.current_token(), None)
        if line is None:
            return
        line.is_closing = True
        if not line.users:
            await line.close()


class _Line:
    """What one event loop has of a process: the connections, and who waits for its start."""

    __slots__ = ("_starting", "address", "is_closing", "model", "supervisor", "users")

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.model: OpenAIModel | None = None
        self.address: Address | None = None
        self.users = 0
        self.is_closing = False
        self._starting: _Starting | None = None

    async def start(self, within: float) -> Address:
        """Start the process, or wait for who is about it: that costs one thread, however many wait.

        Cancelling it lets the start go on, for who needs it next.

        Raises:
            ProviderUnavailable: It could not be started.
        """
        while (starting := self._starting) is not None:
            await starting.over.wait()
            if starting.failure:
                raise local_process.unavailable(starting.failure)
            if self.supervisor.address is not None:
                return self.supervisor.address
        starting = self._starting = _Starting()
        try:
            return await to_thread.run_sync(self.supervisor.start, within, abandon_on_cancel=True)
        except ProviderUnavailable as error:
            starting.failure = str(error)
            raise
        finally:
            self._starting = None
            starting.over.set()

    async def close(self) -> None:
        """Close the connections and give the process back, even while being cancelled."""
        with anyio.move_on_after(_ENDING, shield=True):
            if self.model is not None:
                await self.model.aclose()
            await to_thread.run_sync(local_process.give_back, self.supervisor)


class _Starting:
    """A start under way; all who wait for it fail with it."""

    __slots__ = ("failure", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.failure = ""


def _too_long(error: RequestRejected, context: int) -> RequestRejected:
    """The same refusal, which says how long a conversation may be here."""
    told = f"{error}; or raise context={context} of its LocalModel, as far as the model was made for"
    return RequestRejected(told, provider=error.provider, status=error.status)
