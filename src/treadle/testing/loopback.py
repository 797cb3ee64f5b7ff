"""A model server for tests: real loopback HTTP, in the thread or as a process of its own.

``python -m treadle.testing.loopback FILE:NAME --count FILE`` serves the model or function ``NAME`` of
a Python file.  Each request is one line in the count file, written before it is answered, so the
count survives the death of whoever asked, and of the server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from treadle import given
from treadle.interfaces import Model
from treadle.providers import serving
from treadle.providers.serving import Reply
from treadle.testing.judging import Check, openapi_check
from treadle.values import digest

_PATIENCE: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived; ``body`` is the parsed JSON, or ``None``."""

    path: str
    headers: Mapping[str, str]
    body: Any


class ModelServer(serving.ModelServer):
    """Serves a model over loopback HTTP, remembers requests, and misbehaves on demand.

    Args:
        model: What answers: a ``ScriptedModel``, any other model, or a function of the request.
        faults: Replies by number of the request (from 1), sent in place of an answer; or a function
            of that number that gives one, or ``None``.
        check: Judges each request; a bad one gets status 400, and leaving the ``with`` block fails.
            Where it depends on the interface, one for each end of a path: ``"/chat/completions"``,
            ``"/responses"``, ``"/messages"``.
        count_file: Gets one JSON line for each request: its number, its path, the digest of its body,
            and what ``check`` said of it.
        port: 0 takes a free one.

    Raises:
        ConfigurationError: An option is not what is wanted.

    Attributes:
        received: The requests for completions, in the order they arrived.
        complaints: What ``check`` said of bad ones.

    Example:
        >>> from treadle.testing import ModelServer, ScriptedModel
        >>> with ModelServer(ScriptedModel(["hello"])) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    @given.told("ModelServer")
    def __init__(
        self,
        model: Model | serving.Answer,
        *,
        faults: Mapping[int, Reply] | Callable[[int], Reply | None] | None = None,
        check: Check | Mapping[str, Check] | None = None,
        count_file: Path | None = None,
        port: int = 0,
    ) -> None:
        if not (callable(model) or callable(getattr(model, "complete", None))):
            raise given.wrong("ModelServer", "model", model, "a model or a function of the request", "...")
        if not (faults is None or callable(faults) or isinstance(cast("object", faults), Mapping)):
            wanted = "a dict of replies by number of the request, or a function of it"
            raise given.wrong("ModelServer", "faults", faults, wanted, "{1: Reply(status=503)}")
        given.whole("ModelServer", "port", port, least=0, example="0")
        super().__init__(model, port=port)
        self._fault = faults if callable(faults) else (faults or {}).get
        self._check = check
        self._count_file = count_file
        self._arrived = 0
        self.received: Final[list[Received]] = []
        self.complaints: Final[list[str]] = []

    def reply(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Count and judge a request, then misbehave or answer."""
        form = serving.format_of(path)
        if form is None:
            return super().reply(path, body, headers)
        complaint = self._judge(path, body)
        number = self._note(path, body, headers, complaint)
        if complaint:
            return serving.error_reply(400, complaint, "invalid_request_error", form)
        fault = self._fault(number)
        if fault is not None:
            with self._lock:
                self.count += 1
            return fault
        return super().reply(path, body, headers)

    def _note(self, path: str, body: bytes, headers: Mapping[str, str], complaint: str) -> int:
        with self._lock:
            self._arrived += 1
            self.received.append(Received(path=path, headers=headers, body=_parsed(body)))
            if complaint:
                self.complaints.append(f"request {self._arrived}: {complaint}")
            if self._count_file is not None:
                noted = {"request": self._arrived, "path": path, "digest": digest(body)}
                line = json.dumps({**noted, "complaint": complaint} if complaint else noted)
                with self._count_file.open("a") as file:
                    file.write(f"{line}\n")
            return self._arrived

    def _judge(self, path: str, body: bytes) -> str:
        check = self._check_of(path)
        if check is None:
            return ""
        parsed = _parsed(body)
        if not isinstance(parsed, dict):
            return "the body is not a JSON object"
        return check(cast("dict[str, Any]", parsed))

    def _check_of(self, path: str) -> Check | None:
        if self._check is None or callable(self._check):
            return self._check
        plain = path.partition("?")[0]
        return next((check for end, check in self._check.items() if plain.endswith(end)), None)

    def __exit__(self, *exc: object) -> None:
        """Stop; fails where a request was bad."""
        super().__exit__(*exc)
        if self.complaints and exc[0] is None:
            raise AssertionError("requests that the schema forbids: " + "; ".join(self.complaints))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A model server in a process of its own.

    Attributes:
        url: The ``base_url`` for clients.
        count_file: Its requests, one JSON line each: ``request``, ``path``, ``digest``, and
            ``complaint`` for a bad one.
    """

    url: str
    pid: int
    count_file: Path

    def digests(self, *, below: str = "") -> list[str]:
        """The digest of each request's body that has arrived so far, in order.

        Args:
            below: Only of those whose path begins so: the server answers under any path, so each of
                many clients can have requests of its own counted.
        """
        return [line["digest"] for line in self._lines() if line["path"].startswith(below)]

    @property
    def complaints(self) -> list[str]:
        """What was wrong with bad requests."""
        bad = [line for line in self._lines() if "complaint" in line]
        return [f"request {line['request']}: {line['complaint']}" for line in bad]

    def _lines(self) -> list[dict[str, Any]]:
        if not self.count_file.exists():
            return []
        return [json.loads(line) for line in self.count_file.read_text().splitlines()]

    @property
    def count(self) -> int:
        """How many requests have arrived."""
        return len(self.digests())


@given.told("server_process")
@contextlib.contextmanager
def server_process(
    target: str, *, count_file: Path, port: int = 0, schema: Path | None = None
) -> Generator[ServerProcess]:
    """Run a model server as a process of its own, until the block is left or this process dies.

    Leaving the block fails where a request was bad.

    Args:
        target: ``"path/to/file.py:NAME"`` of a model or a function of the request.
        count_file: Kept over restarts: a new server goes on where the last one stopped.
        port: 0 takes a free one.
        schema: OpenAI's published description, that every request to its interfaces is checked against.
    """
    command = [sys.executable, "-m", "treadle.testing.loopback", target, "--port", str(port)]
    command += ["--count", str(count_file), *(["--schema", str(schema)] if schema is not None else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            server = ServerProcess(url=_first_line(process), pid=process.pid, count_file=count_file)
            yield server
        finally:
            process.kill()
    if server.complaints:
        raise AssertionError("requests that the schema forbids: " + "; ".join(server.complaints))


def _first_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise AssertionError("the server's output is piped")
    ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
    line = process.stdout.readline().strip() if ready else ""
    if not line:
        raise RuntimeError(f"the model server did not start within {_PATIENCE:g} s: {process.args!r}")
    return line


def load(target: str) -> Model | serving.Answer:
    """Give the object ``NAME`` of ``FILE:NAME``.

    Raises:
        ValueError: There is no such file or name.
    """
    path, _, name = target.rpartition(":")
    spec = importlib.util.spec_from_file_location("served", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{target!r}: there is no Python file {path!r}; write FILE:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules["served"] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise ValueError(f"{target!r}: {path} has no {name!r}")
    return cast("Model | serving.Answer", getattr(module, name))


def _checks(document: Path) -> Mapping[str, Check]:
    return {
        "/chat/completions": openapi_check(document),
        "/responses": openapi_check(document, "CreateResponse"),
    }


def main() -> None:
    """Serve until standard input closes: when whoever started it has died, too."""
    parser = argparse.ArgumentParser(prog="python -m treadle.testing.loopback", description=__doc__)
    parser.add_argument("target", metavar="FILE:NAME")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count", type=Path, default=None)
    parser.add_argument("--schema", type=Path, default=None, help="OpenAPI description of good requests")
    options = parser.parse_args()
    check = None if options.schema is None else _checks(options.schema)
    model = load(options.target)
    with ModelServer(model, check=check, count_file=options.count, port=options.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        while os.read(0, 4096):
            continue


if __name__ == "__main__":
    main()
