"""Models as objects: where a name such as ``"auto"`` does not say enough."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from treadle.budget import Price, Usage
from treadle.interfaces import Model
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    OutputSpec,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    system,
    user,
)

if TYPE_CHECKING:
    from treadle.providers.openai import OpenAIModel

__all__ = [
    "OpenAIModel",
    "Model",
    "Price",
    "Usage",
    "ModelRequest",
    "ModelResponse",
    "Message",
    "Text",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "OutputSpec",
    "Refusal",
    "system",
    "user",
]

_LAZY: Final = {"OpenAIModel": "treadle.providers.openai"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
