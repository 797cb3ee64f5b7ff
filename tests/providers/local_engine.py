"""An engine of its own process, with a local model that has answered once; tests kill it.

It prints the ids of the process that serves, and of a forked copy of itself where one is asked for,
and then waits for ever.
"""

from __future__ import annotations

import os
import signal
import sys

import anyio

from treadle.messages import ModelRequest, user
from treadle.models import LocalModel
from treadle.providers import local_process


async def main(path: str, *, forks: bool) -> None:
    model = LocalModel(path)
    await model.complete(ModelRequest(messages=(user("hello"),), max_output_tokens=4))
    (supervisor,) = local_process.running()
    copy = os.fork() if forks else -1
    if copy == 0:
        supervisor.end()  # which is not its own to end
        signal.pause()
    print(supervisor.pid, copy, flush=True)
    signal.pause()


anyio.run(lambda: main(sys.argv[1], forks=sys.argv[2] == "forks"))
