"""The official ``openai`` SDK, for both of OpenAI's interfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from treadle.providers import names
from treadle.providers.sdk import Sdk


def _load() -> tuple[Any, Callable[..., Any]]:
    import openai  # noqa: PLC0415 - 500 ms of CPU

    return openai, openai.AsyncOpenAI


OPENAI: Final = Sdk(
    provider="openai",
    variables="OPENAI",
    url=names.OPENAI_URL,
    example="http://127.0.0.1:11434/v1",
    is_own=names.is_openai,
    load=_load,
)
