"""The process that serves one GGUF file over loopback HTTP; ``local_process`` starts it, as a script.

It imports nothing of Treadle, so that it is up in the time llama.cpp takes.  On its standard input
comes one line of JSON: the settings, and the key that requests must carry, which so stands neither in
its arguments nor in its environment, where others could read it.  When it can answer it writes one
line of JSON on its standard output: ``{"address": "http://127.0.0.1:PORT"}``, or ``{"error": ...}`` where
the file cannot be loaded.  Everything else that it says goes to standard error.

It ends when its standard input does, which is when whoever started it closes it or dies, however that
happens.  Signals that a terminal or an init system sends to everybody at once (SIGINT, SIGTERM, SIGHUP)
are ignored: an engine that drains still needs its answers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import threading
from typing import Any, Final

_OVER: Final = 0
_CACHE_MIB: Final = 512  # for the beginnings of conversations that have left their slot; 8 GiB by default
_WARNINGS: Final = 2  # llama.cpp's level; the next one up tells of each request
_HTTP_THREADS: Final = 64  # each open connection keeps one; they sleep


def main() -> None:
    """Serve until the one who started it is gone."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with contextlib.suppress(AttributeError):  # not every system has each of them
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    settings = json.loads(_line())
    told = os.dup(1)
    os.dup2(2, 1)  # whatever llama.cpp prints, what is told stands alone
    end_when_input_ends()
    threading.Thread(target=_watch, args=(settings["parent"],), daemon=True).start()
    try:
        server = _serve(settings)
    except RuntimeError as error:  # llama.cpp says why on standard error, by a thread that takes its time
        answer = {"error": str(error)}
    else:
        answer = {"address": server.listening_address}
    os.write(told, json.dumps(answer).encode() + b"\n")
    os.close(told)
    threading.Event().wait()


def _line() -> bytes:
    """The first line of standard input; not a byte more is read."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            sys.exit(_OVER)
        line += piece
    return line


def end_when_input_ends() -> None:
    """Have the kernel end this process when standard input ends.

    Loading holds the interpreter's lock for as long as it takes, so no thread could notice.  SIGIO
    is sent when a pipe's last writer has gone (``O_ASYNC``, open(2)), and ends a process by default.
    Where a system has none of this, the thread below notices after loading.
    """
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # not of every kind of pipe, on every system
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it ended before that
        sys.exit(_OVER)


def _watch(parent: int) -> None:
    """End the process when standard input ends, or who started it is dead though a copy of it (a
    forked child) still holds the other end."""
    ended = threading.Event()
    threading.Thread(target=_read_to_end, args=(ended,), daemon=True).start()
    while not ended.wait(1.0):
        if os.name == "posix" and os.getppid() != parent:
            break
    os._exit(_OVER)


def _read_to_end(ended: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ended.set()


def _serve(settings: dict[str, Any]) -> Any:
    """Load the model and listen; it returns when requests can be answered.

    Raises:
        RuntimeError: It could not be loaded.
    """
    xllamacpp: Any = importlib.import_module("xllamacpp")  # optional, and without types
    params: Any = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames, params.port = ["127.0.0.1"], 0  # a free one
    params.api_keys = [settings["key"]]
    params.n_parallel = settings["at_once"]
    params.n_ctx = settings["context"] * settings["at_once"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.n_threads_http = _HTTP_THREADS
    params.cache_ram_mib = _CACHE_MIB
    params.verbosity = _WARNINGS
    params.use_jinja = True  # the template of the file itself, tools included
    params.ui = params.endpoint_slots = False  # the slots would show what others ask
    params.offline = True
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
