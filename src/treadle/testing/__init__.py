"""What tests of pipelines are written with: scripted models, and servers that speak for them.

Nothing here is imported by the rest of the package.  A fake here replaces a service, never a part of
Treadle.
"""

from __future__ import annotations

from treadle.providers.serving import Reply
from treadle.testing.loopback import ModelServer, ServerProcess, openapi_check, server_process
from treadle.testing.scripted import ScriptedModel, call

__all__ = [
    "ScriptedModel",
    "call",
    "ModelServer",
    "Reply",
    "ServerProcess",
    "server_process",
    "openapi_check",
]
