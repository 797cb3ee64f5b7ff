"""Models as objects: where a name such as ``"auto"`` does not say enough."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from treadle.budget import Price, Usage
from treadle.interfaces import Model, StreamingModel
from treadle.limits import Breaker, Limit
from treadle.messages import (
    CachePoint,
    Delta,
    Document,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    OutputSpec,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    document,
    image,
    system,
    user,
)
from treadle.nodes.compact import Compact
from treadle.retry import RetryBudget

if TYPE_CHECKING:
    from treadle.providers.anthropic import AnthropicModel
    from treadle.providers.hedged import hedge
    from treadle.providers.local import LocalModel
    from treadle.providers.openai import OpenAIModel
    from treadle.providers.openai_responses import OpenAIResponsesModel

__all__ = [
    "OpenAIModel",
    "OpenAIResponsesModel",
    "AnthropicModel",
    "LocalModel",
    "Model",
    "StreamingModel",
    "Compact",
    "hedge",
    "Limit",
    "Breaker",
    "RetryBudget",
    "Price",
    "Usage",
    "ModelRequest",
    "ModelResponse",
    "Message",
    "Delta",
    "Piece",
    "Text",
    "Image",
    "Document",
    "CachePoint",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "OutputSpec",
    "Refusal",
    "Reasoning",
    "Opaque",
    "system",
    "user",
    "image",
    "document",
]

_LAZY: Final = {
    "hedge": "treadle.providers.hedged",
    "OpenAIModel": "treadle.providers.openai",
    "OpenAIResponsesModel": "treadle.providers.openai_responses",
    "AnthropicModel": "treadle.providers.anthropic",
    "LocalModel": "treadle.providers.local",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
