"""The official ``openai`` SDK's client, for both of OpenAI's interfaces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from treadle.errors import ConfigurationError
from treadle.providers import names
from treadle.providers.http_errors import Asked
from treadle.providers.service import Service, checked_key, checked_url

if TYPE_CHECKING:
    import httpx2


def service(
    model: str, *, base_url: str | None, api_key: str | None, timeout: float, provider: str = "openai"
) -> Service:
    """Make what sends a model's requests.

    Raises:
        ConfigurationError: The URL or key cannot be one.
    """
    address = checked_url(
        base_url or os.environ.get("OPENAI_BASE_URL") or names.OPENAI_URL, example="http://127.0.0.1:11434/v1"
    )
    key = checked_key(default_key(base_url) if api_key is None else api_key)
    asked = Asked(
        provider=provider, address=names.without_password(address), model=model, key="OPENAI_API_KEY"
    )

    def connect(http: httpx2.AsyncClient) -> tuple[Any, Any]:
        import openai  # noqa: PLC0415 - 500 ms of CPU

        if not key:
            raise ConfigurationError(
                f"model {model!r} at {asked.address} needs a key; set OPENAI_API_KEY, or pass api_key="
            )
        client = openai.AsyncOpenAI(
            api_key=key, base_url=address, max_retries=0, timeout=timeout, http_client=http
        )
        return openai, client

    return Service(asked, connect, timeout=timeout)


def default_key(base_url: str | None) -> str:
    """The key for a server where none is given: ``OPENAI_API_KEY`` never goes to one given by its URL."""
    if base_url is None or names.is_openai(base_url):
        found = os.environ.get("OPENAI_API_KEY", "")
        if found or base_url is not None or not os.environ.get("OPENAI_BASE_URL"):
            return found
    return "none"  # local servers want no key, and the SDK wants some
