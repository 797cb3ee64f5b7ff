"""What tests of pipelines are written with: scripted models, and servers that speak for them.

Nothing here is imported by the rest of the package.  A fake here replaces a service, never a part of
Treadle.  Each name loads its file on first use, so that a rehearsal does not load what tests need,
and so that files here can be run with ``python -m``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from treadle.providers.serving import Reply
    from treadle.testing.clock import JumpingClock
    from treadle.testing.crash_report import Crash, CrashReport
    from treadle.testing.everywhere import crash_everywhere
    from treadle.testing.judging import messages_check, openapi_check
    from treadle.testing.loopback import ModelServer, ServerProcess, server_process
    from treadle.testing.scripted import ScriptedModel, call

__all__ = [
    "ScriptedModel",
    "call",
    "JumpingClock",
    "ModelServer",
    "Reply",
    "ServerProcess",
    "server_process",
    "openapi_check",
    "messages_check",
    "crash_everywhere",
    "Crash",
    "CrashReport",
]

_HOMES: Final = {
    "ScriptedModel": "treadle.testing.scripted",
    "call": "treadle.testing.scripted",
    "JumpingClock": "treadle.testing.clock",
    "ModelServer": "treadle.testing.loopback",
    "Reply": "treadle.providers.serving",
    "ServerProcess": "treadle.testing.loopback",
    "server_process": "treadle.testing.loopback",
    "openapi_check": "treadle.testing.judging",
    "messages_check": "treadle.testing.judging",
    "crash_everywhere": "treadle.testing.everywhere",
    "Crash": "treadle.testing.crash_report",
    "CrashReport": "treadle.testing.crash_report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
