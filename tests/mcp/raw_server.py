"""An MCP server without the SDK, for what no well-behaved server does: it dies, hangs, lies and changes.

Speaks stdio and the handshake of 2025-11-25.  Every message it gets is a line of the log; its tools
stand in a file, so that a test can change them.  It refuses what the protocol forbids: a request
before the handshake, and arguments that its schema does not allow.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

LOG, TOOLS = Path(sys.argv[1]), Path(sys.argv[2])
STATE = {"ready": False}


def note(message: object) -> None:
    with LOG.open("a") as log:
        log.write(json.dumps({"pid": os.getpid(), "message": message}) + "\n")


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **more}


def progress(request: dict[str, Any], done: int) -> None:
    token = request["params"].get("_meta", {}).get("progressToken")
    params = {"progressToken": token, "progress": done, "total": 2, "message": "sorting"}
    send(method="notifications/progress", params=params)


def call(request: dict[str, Any]) -> dict[str, Any] | None:
    name, given = request["params"]["name"], request["params"].get("arguments", {})
    if name == "die" or (name == "die_once" and not LOG.with_suffix(".died").exists()):
        LOG.with_suffix(".died").touch()
        os._exit(3)
    if name == "hang":
        progress(request, 1)
        return None
    if name == "fail":
        return text("there is no paper", isError=True)
    if name == "shape":
        return text("shaped", structuredContent=given.get("value"))
    if name == "environment":
        return text(" ".join(sorted(os.environ)))
    if name == "step":
        for done in (1, 1, 2):
            progress(request, done)
    return text(f"{name}: {json.dumps(given)}")


def answer(request: dict[str, Any]) -> None:
    method, number = request.get("method"), request.get("id")
    if method == "initialize":
        STATE["ready"] = True
        capabilities = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        send(id=number, result={**capabilities, "serverInfo": {"name": "raw", "version": "1"}})
    elif method == "tools/list" and STATE["ready"]:
        send(id=number, result={"tools": json.loads(TOOLS.read_text())})
    elif method == "tools/call" and STATE["ready"]:
        result = call(request)
        if result is not None:
            send(id=number, result=result)
    elif number is not None:
        send(id=number, error={"code": -32601, "message": f"no {method}"})


note("started")
for line in sys.stdin:
    received = json.loads(line)
    note(received)
    answer(received)
note("ended")
