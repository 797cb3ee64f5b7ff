"""``ModelServer``: any model behind real loopback HTTP, in the formats of OpenAI and Anthropic.

A rehearsal is served by it, and tests build on it in ``treadle.testing``.  It listens on 127.0.0.1
alone, and answers whoever asks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self, cast

import anyio

from treadle.errors import MalformedResponse, ProviderError
from treadle.interfaces import Model
from treadle.messages import ModelRequest, ModelResponse
from treadle.providers import serving_anthropic, serving_responses, serving_wire

_log: Final = logging.getLogger("treadle.serving")

_PATIENCE: Final = 20.0  # seconds that a reply is held back at most

Answer = Callable[[ModelRequest], ModelResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back over the wire.

    Attributes:
        body: Text as it is, anything else as JSON.
        chunks: Text to send piece by piece instead, as it comes: server-sent events, or an answer that
            trickles where the iterable takes its time.
        hold: Nothing is sent before it is set, or before 20 seconds have gone.
        drop: The connection is closed without a word.
        cut: The connection is closed after what is sent, as if there was more to come.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    chunks: Iterable[str] | None = None
    hold: threading.Event | None = None
    drop: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One wire format, from the server's side."""

    read: Callable[[Mapping[str, Any]], ModelRequest]
    write: Callable[..., dict[str, Any]]
    stream: Callable[[Mapping[str, Any]], Iterable[str]]
    error: Callable[[int, str, str], dict[str, Any]]
    status_of: Callable[[ProviderError], tuple[int, str]]


FORMATS: Final[Mapping[str, Format]] = {
    "/chat/completions": Format(
        serving_wire.read_request,
        serving_wire.response_body,
        serving_wire.stream_events,
        serving_wire.error_body,
        serving_wire.error_status,
    ),
    "/responses": Format(
        serving_responses.read_request,
        serving_responses.response_body,
        serving_responses.stream_events,
        serving_wire.error_body,
        serving_wire.error_status,
    ),
    "/messages": Format(
        serving_anthropic.read_request,
        serving_anthropic.response_body,
        serving_anthropic.stream_events,
        serving_anthropic.error_body,
        serving_anthropic.error_status,
    ),
}
"""The formats that are served, by the end of the path."""


def format_of(path: str) -> Format | None:
    """The wire format of a path, or ``None`` where none is served there."""
    plain = path.partition("?")[0]
    return next((found for end, found in FORMATS.items() if plain.endswith(end)), None)


class ModelServer:
    """Serves a model, or a function of the request, in a thread: ``with ModelServer(model) as server``.

    Attributes:
        url: The ``base_url`` for clients; known once started.
        count: Requests for completions that arrived, answered or not.
        connections: Connections that were made.

    Args:
        model: What answers; its ``ProviderError``s become the statuses that a client reads as them.
        port: 0 takes a free one.
    """

    def __init__(self, model: Model | Answer, *, port: int = 0) -> None:
        self.model_name: Final = getattr(model, "name", "scripted")
        self._answer = _answer_of(model)
        self._port = port
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.count = 0
        self.connections = 0
        self.url = ""

    def start(self) -> Self:
        """Listen and serve until ``stop``, or until the process ends."""
        self._http = _Http(("127.0.0.1", self._port), self)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True, name="treadle model server"
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection.  Safe to call twice."""
        http, self._http = self._http, None
        if http is not None and self._thread is not None:
            http.shutdown()
            http.server_close()
            http.close_connections()
            self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def reply(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Answer one request; ``GET`` has an empty body.  Called in many threads at once."""
        del headers
        if path.endswith("/models"):
            model = {"id": self.model_name, "object": "model", "created": 0, "owned_by": "treadle"}
            return Reply(body={"object": "list", "data": [model]})
        wire = format_of(path)
        if wire is None:
            return error_reply(404, f"nothing is served at {path}", "not_found")
        with self._lock:
            self.count += 1
        return self.complete(body, wire)

    def complete(self, body: bytes, form: Format) -> Reply:
        """Answer the body of one request for a completion, streamed where it asks for that."""
        try:
            wire: Any = json.loads(body)
            if not isinstance(wire, dict):
                raise ValueError("the body is not a JSON object")
            given = cast("dict[str, Any]", wire)
            request = form.read(given)
        except ValueError as error:
            return error_reply(400, str(error), "invalid_request_error", form)
        name = str(given.get("model", self.model_name))
        try:
            response = self._answer(request)
        except MalformedResponse:
            return Reply(body="this is not what the interface promises")
        except ProviderError as error:
            return _failed(error, form)
        asked = {name: value for name, value in given.items() if name not in {"stream", "stream_options"}}
        written = form.write(response, model=name, key=json.dumps(asked).encode())
        if not given.get("stream"):
            return Reply(body=written)
        return Reply(headers={"content-type": "text/event-stream"}, chunks=form.stream(written))


def _answer_of(model: Model | Answer) -> Answer:
    respond: Any = getattr(model, "respond", None)
    if callable(respond):  # a scripted model: it needs no event loop
        return cast("Answer", respond)
    if isinstance(model, Model):
        served = model
        return lambda request: anyio.run(served.complete, request)
    return model


def error_reply(status: int, message: str, code: str, form: Format = FORMATS["/chat/completions"]) -> Reply:
    """An error the way the provider of a format writes one."""
    return Reply(status=status, body=form.error(status, message, code))


def _failed(error: ProviderError, form: Format) -> Reply:
    status, code = form.status_of(error)
    headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:g}"}
    return Reply(status=status, body=form.error(status, str(error), code), headers=headers)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: ModelServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection before its thread starts, so that ``stop`` can close it."""
        with self._guard:
            self._open.add(request)
            self.owner.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Cut off clients that keep their connections alive."""
        with self._guard:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):  # the client may be quicker
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Answer for a script that raised; called by ``socketserver`` while the exception is handled."""
        del client_address
        error = sys.exception()
        if isinstance(error, ConnectionError):
            _log.debug("a client went away while it was answered", exc_info=True)
            return
        _log.error("the script of the served model raised", exc_info=True)
        reply = error_reply(500, f"the script raised {type(error).__name__}", "server_error")
        body = json.dumps(reply.body).encode()
        head = f"HTTP/1.1 500 Script Failed\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        with contextlib.suppress(OSError):  # the client may be gone as well
            request.sendall(f"{head}\r\nconnection: close\r\n\r\n".encode() + body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http  # pyright: ignore[reportIncompatibleVariableOverride] - only ever made by it

    def do_GET(self) -> None:
        """Answer ``/v1/models``."""
        self._send(self.server.owner.reply(self.path, b"", dict(self.headers)))

    def do_POST(self) -> None:
        """Answer a request for a completion."""
        length = int(self.headers.get("content-length") or 0)
        self._send(self.server.owner.reply(self.path, self.rfile.read(length), dict(self.headers)))

    def _send(self, reply: Reply) -> None:
        if reply.hold is not None:
            reply.hold.wait(_PATIENCE)
        if reply.drop or reply.cut:
            self.close_connection = True
        if reply.drop:
            return
        self.send_response_only(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if reply.chunks is None:
            self._send_whole(reply)
        else:
            self._send_pieces(reply, reply.chunks)
        self.wfile.flush()

    def _send_whole(self, reply: Reply) -> None:
        raw = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        body = raw.encode()
        self.send_header("content-length", str(len(body) + (1 if reply.cut else 0)))
        self.end_headers()
        self.wfile.write(body)

    def _send_pieces(self, reply: Reply, chunks: Iterable[str]) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in chunks:
            data = piece.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if not reply.cut:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Requests are counted, not printed."""
