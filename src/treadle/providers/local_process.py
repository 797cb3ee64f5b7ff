"""The process that serves a model file: one for each file and settings, shared, watched, ended.

Whoever uses a file takes the ``Supervisor`` of its settings, and gives it back; the process is started
at the first request and ended when nobody has it any more, at the exit of the interpreter at the
latest.  Dies the interpreter itself, the process notices (see ``local_server``).  All of this blocks, and is
called in threads: several event loops may share one process.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from treadle import weights
from treadle.errors import ProviderUnavailable

_log: Final = logging.getLogger(__name__)

_SCRIPT: Final = Path(__file__).with_name("local_server.py")
_KEPT: Final = 200  # lines of what a process says
_QUOTED: Final = 6  # of those that stand in an error
_ERROR: Final = re.compile(r"[\d.]+ E (.*)")  # llama.cpp's: a time, a level, words
_LAST_WORDS: Final = "exiting due to"  # of llama.cpp, when it cannot load
_TOLD_EVERY: Final = 10.0  # seconds between two lines about a model that is still loading
_SAYING: Final = 2.0  # seconds that llama.cpp may take to say why it cannot load
_ENDING: Final = 5.0  # seconds that the system may take to end a killed process


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is served, and how; see ``LocalModel``.

    Attributes:
        path: Absolute.
        name: What the model is called in requests.
    """

    path: str
    name: str
    threads: int
    context: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process answers, and the key it wants, which no ``repr`` shows."""

    url: str
    key: str = field(repr=False)


def unavailable(text: str, *, retryable: bool = False, sent: bool = False) -> ProviderUnavailable:
    """The error where a process gives no answer; by default one that has been asked nothing."""
    return ProviderUnavailable(text, provider="local", retryable=retryable, sent=sent)


class Supervisor:
    """The process of one file, as often as it has to be started.

    Attributes:
        holders: How many have it; written by ``take`` and ``give_back`` alone.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self.holders = 0
        self._starting = threading.Lock()
        self._changing = threading.Lock()
        self._process: ServerProcess | None = None
        self._is_over = False

    @property
    def address(self) -> Address | None:
        """Where the process answers, or ``None`` where it has to be started."""
        process = self._process
        return None if process is None or process.has_ended else process.address

    @property
    def pid(self) -> int | None:
        """The process, for those who look at it from outside."""
        return None if self._process is None else self._process.pid

    def start(self, within: float) -> Address:
        """Start the process if none is running, and wait until it answers.

        Args:
            within: Seconds it may take to load.

        Raises:
            ProviderUnavailable: It ended, did not answer in time, or everybody has gone meanwhile.
        """
        with self._starting:
            address = self.address
            if address is not None:
                return address
            process = self._next()
            try:
                return process.wait_ready(within)
            except BaseException:
                process.end()
                raise

    def _next(self) -> ServerProcess:
        complaint = weights.complaint(self.settings.path)  # the file may have gone since it was looked at
        if complaint:
            raise unavailable(complaint)
        with self._changing:
            if self._is_over:
                raise unavailable(f"the server of {self.settings.path!r} was closed; use an open engine")
            if self._process is not None:
                self._process.end()
            try:
                self._process = ServerProcess(self.settings)
            except OSError as error:
                raise unavailable(
                    f"no process could be started to serve {self.settings.path!r} ({error.strerror}); the "
                    "machine has no more processes, files or memory to give",
                    retryable=True,
                ) from error
            return self._process

    def how_it_ended(self, within: float) -> str:
        """How the process ended, such as ``"was ended by SIGKILL"``; ``""`` where it has not."""
        process = self._process
        return "" if process is None else process.how_it_ended(within)

    def end(self) -> None:
        """End the process, for good."""
        with self._changing:
            self._is_over = True
            if self._process is not None:
                self._process.end()


_supervisors: Final[dict[Settings, Supervisor]] = {}
_taking: Final = threading.Lock()


def take(settings: Settings) -> Supervisor:
    """Give the supervisor of some settings; nothing is started."""
    with _taking:
        supervisor = _supervisors.get(settings)
        if supervisor is None:
            supervisor = _supervisors[settings] = Supervisor(settings)
        supervisor.holders += 1
        return supervisor


def give_back(supervisor: Supervisor) -> None:
    """Have it no more; the last one ends the process, and waits until it is gone."""
    with _taking:
        supervisor.holders -= 1
        if supervisor.holders:
            return
        if _supervisors.get(supervisor.settings) is supervisor:
            del _supervisors[supervisor.settings]
    supervisor.end()


def running() -> list[Supervisor]:
    """The supervisors that somebody has, in the order they were first taken."""
    with _taking:
        return list(_supervisors.values())


@atexit.register
def _end_all() -> None:
    for supervisor in running():
        supervisor.end()


class ServerProcess:
    """One process: what it is told, what it says, how it ends.

    Attributes:
        address: Where it answers, once it does.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = secrets.token_urlsafe(32)
        self._owner = os.getpid()
        self._began_at = time.monotonic()
        self._said: deque[str] = deque(maxlen=_KEPT)
        self._told = b""
        self._is_told = threading.Event()
        self._has_said_why = threading.Event()
        self.address: Address | None = None
        # -P: this room's openai.py is not the package of that name.  The path is there for `ps` alone.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), settings.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._hear)]
        for thread in self._threads:
            thread.start()
        self._tell({**asdict(settings), "key": self._key, "parent": self._owner})

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def _tell(self, what: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `wait_ready` says how
            cast("IO[bytes]", self._process.stdin).write(json.dumps(what).encode() + b"\n")

    def _listen(self) -> None:
        """Take the line that says where it answers; there is none where it ends before."""
        descriptor = cast("IO[bytes]", self._process.stdout).fileno()
        while piece := os.read(descriptor, 4096):
            self._told += piece
        self._is_told.set()

    def _hear(self) -> None:
        """Keep the last of what it says, so that it can go on saying it."""
        descriptor, rest = cast("IO[bytes]", self._process.stderr).fileno(), b""
        while piece := os.read(descriptor, 4096):
            *lines, rest = (rest + piece).split(b"\n")
            self._said.extend(line.decode(errors="replace") for line in lines)
            if any(_LAST_WORDS.encode() in line for line in lines):
                self._has_said_why.set()
        self._said.append(rest.decode(errors="replace"))
        self._has_said_why.set()

    def wait_ready(self, within: float) -> Address:
        """Wait until it answers, and say so in the log.

        Raises:
            ProviderUnavailable: It ended, or did not answer in time.
        """
        path, size = self._settings.path, Path(self._settings.path).stat().st_size / 1e9
        _log.info("loading %r (%.2f GB)", path, size)
        while not self._is_told.wait(min(_TOLD_EVERY, max(0.0, self._left(within)))):
            if self._left(within) <= 0:
                raise self._late(within)
            _log.info(
                "still loading %r (%.2f GB) after %.0f s", path, size, time.monotonic() - self._began_at
            )
        if not self._told:
            raise self._unready(f"{self.how_it_ended(_ENDING)} before it could answer")
        address = json.loads(self._told).get("address", "")
        if not address:
            raise self._unready("could not load it")
        self._require_health(address, within)
        _log.info("%r answers, after %.1f s", path, time.monotonic() - self._began_at)
        self.address = Address(f"{address}/v1", self._key)
        return self.address

    def _left(self, within: float) -> float:
        return self._began_at + within - time.monotonic()

    def _require_health(self, address: str, within: float) -> None:
        """Ask it how it is, once: it says where it answers when it can."""
        host = address.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=max(0.001, self._left(within)))
        try:
            connection.request("GET", "/health")
            with connection.getresponse() as response:
                healthy = response.status == 200
        except (OSError, http.client.HTTPException) as error:
            raise self._late(within) from error
        finally:
            connection.close()
        if not healthy:
            raise self._late(within)

    def _late(self, within: float) -> ProviderUnavailable:
        return unavailable(
            f"the server of {self._settings.path!r} did not answer within {within:g} s, and was stopped; "
            f"raise start_timeout= of its LocalModel, or use a smaller model{self._in_its_words()}"
        )

    def _unready(self, how: str) -> ProviderUnavailable:
        self._has_said_why.wait(_SAYING)
        return unavailable(
            f"the server of {self._settings.path!r} {how}; see that the file is whole, that this release of "
            "xllamacpp knows its kind of model, and that there is memory for it (a smaller context= needs "
            f"less){self._in_its_words()}"
        )

    def _in_its_words(self) -> str:
        """The first of its errors, else the last it said.  It has been asked nothing yet, so nothing of
        a conversation is among that."""
        lines = [line.strip() for line in self._said.copy() if line.strip()]
        errors = dict.fromkeys(found[1] for line in lines if (found := _ERROR.search(line)))
        quoted = list(errors)[:_QUOTED] or lines[-_QUOTED:]
        return f"; it said: {' | '.join(quoted)}" if quoted else ""

    def how_it_ended(self, within: float) -> str:
        """How it ended, within some seconds from now; ``""`` where it has not."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return ""
        if code >= 0:
            return f"ended with status {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"

    def end(self) -> None:
        """End it, and wait until it is gone; it has nothing to save.  A forked copy ends nothing."""
        if os.getpid() != self._owner:
            return
        self._process.kill()
        if not self.how_it_ended(_ENDING):
            _log.warning("process %d was killed, and the system has not ended it yet", self.pid)
        for thread in self._threads:
            thread.join(_ENDING)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            cast("IO[bytes]", pipe).close()
