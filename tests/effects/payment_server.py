"""A service that takes payments over HTTP and counts them: ``python payment_server.py [--ignores-keys]``.

It prints its port.  A payment under a key it knows is not taken again, unless it ignores keys.  A payment
that names a process kills that process when it has been taken, and never answers it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any, ClassVar


class Payments(BaseHTTPRequestHandler):
    """``POST /payments`` takes one, ``GET /payments/ORDER`` lists those of an order."""

    ignores_keys: ClassVar[bool] = False
    taken: ClassVar[dict[str, list[str]]] = {}
    lock: ClassVar[Lock] = Lock()

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        order, key = wanted["order"], wanted["key"]
        with self.lock:
            keys = self.taken.setdefault(order, [])
            if self.ignores_keys or key not in keys:
                keys.append(key)
        if wanted["kill"]:
            os.kill(wanted["kill"], signal.SIGKILL)
        else:
            self._answer(f"{order} is paid")

    def do_GET(self) -> None:
        with self.lock:
            self._answer(list(self.taken.get(self.path.removeprefix("/payments/"), [])))

    def _answer(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Payments.ignores_keys = "--ignores-keys" in sys.argv
    server = ThreadingHTTPServer(("127.0.0.1", 0), Payments)
    print(server.server_address[1], flush=True)
    server.serve_forever()
