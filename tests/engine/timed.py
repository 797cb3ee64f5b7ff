"""For tests of limits: a model that takes its time by the engine's clock, a server that sees who is there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from anyio.lowlevel import checkpoint

from treadle.budget import Price
from treadle.interfaces import Clock
from treadle.messages import Message, ModelRequest, ModelResponse
from treadle.testing import ScriptedModel

ANSWER: Any = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}

FREE = ScriptedModel(["x"]).price


class Timed:
    """Answers, or raises, after so many seconds of a clock.

    Args:
        clock: The engine's.
        day: Given the number of a request, from 1, and how many are under way with it: the seconds it
            takes, or the error it ends in.
        fails_after: Seconds before an error.

    Attributes:
        sent: When each request came.
        most: How many were under way at once.
        cut: How many were cut off.
    """

    name, provider = "timed", "fake"
    price: Price | None = FREE

    def __init__(
        self,
        clock: Clock,
        day: Callable[[int, int], float | Exception] | None = None,
        *,
        fails_after: float = 1.0,
    ) -> None:
        self.clock = clock
        self.fails_after = fails_after
        self.day = day or always(1.0)
        self.sent: list[float] = []
        self.under_way = self.most = self.cut = 0

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.sent.append(self.clock.now())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        outcome = self.day(len(self.sent), self.under_way)
        ended = False
        try:
            await checkpoint()
            seconds = self.fails_after if isinstance(outcome, Exception) else outcome
            if seconds:
                await self.clock.sleep_until(self.clock.now() + seconds)
            ended = True
        finally:
            self.under_way -= 1
            self.cut += not ended
        if isinstance(outcome, Exception):
            raise outcome
        return ScriptedModel(["done"]).respond(request)

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int:
        return 100


def always(outcome: float | Exception) -> Callable[[int, int], float | Exception]:
    """A day on which every request ends so."""

    def day(number: int, under_way: int) -> float | Exception:
        del number, under_way
        return outcome

    return day


class _Handler(BaseHTTPRequestHandler):
    server: WatchingServer  # pyright: ignore[reportIncompatibleVariableOverride] - there is no other
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        number, is_too_much = self.server.arrive(self.connection)
        if not is_too_much:
            self.server.wait(number)
        self.server.leave(self.connection)
        text = json.dumps({"error": {"message": "busy"}} if is_too_much else ANSWER).encode()
        self.send_response(429 if is_too_much else 200)
        if is_too_much:
            self.send_header("retry-after-ms", "20")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class WatchingServer(ThreadingHTTPServer):
    """Answers each request after a moment; at each arrival it looks whose connection is still open.

    Args:
        hold: Numbers of requests that are answered only when the server stops.
        at_most: With more under way at once the last is answered with 429.

    Attributes:
        refused: How many were.
        most: The most requests that were under way at once, those of clients that had gone left out.
    """

    daemon_threads = True
    request_queue_size = 128  # who comes while all are busy is not turned away

    def __init__(self, *, takes: float = 0.004, hold: Sequence[int] = (), at_most: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.most = self.count = self.refused = 0
        self._at_most = at_most
        self._takes = takes
        self._hold = hold
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._watch = threading.Lock()

    def arrive(self, connection: socket.socket) -> tuple[int, bool]:
        """Count a request, and tell its number and whether it is one too many."""
        with self._watch:
            self._open = [one for one in self._open if not _is_gone(one)] + [connection]
            self.most = max(self.most, len(self._open))
            self.count += 1
            is_too_much = len(self._open) > self._at_most
            self.refused += is_too_much
            return self.count, is_too_much

    def wait(self, number: int) -> None:
        self._stop.wait(None if number in self._hold else self._takes)

    def leave(self, connection: socket.socket) -> None:
        with self._watch:
            self._open = [one for one in self._open if one is not connection]

    @property
    def still_there(self) -> int:
        """How many clients wait for an answer."""
        with self._watch:
            return sum(not _is_gone(one) for one in self._open)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nobody's fault."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self.shutdown()
        self.server_close()


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
