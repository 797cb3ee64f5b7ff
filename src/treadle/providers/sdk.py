"""``Sdk``: where an official SDK finds its server and its key, and how its client is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.errors import ConfigurationError
from treadle.providers import names
from treadle.providers.http_errors import Asked
from treadle.providers.service import Service, checked_key, checked_url

if TYPE_CHECKING:
    import httpx2

Load = Callable[[], tuple[Any, Callable[..., Any]]]
"""Imports an SDK: its module, with the errors it raises, and the class of its client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """An official SDK, its provider's own service, and the variables that say otherwise.

    Attributes:
        provider: Whose it is, such as ``"openai"``; genai-prices knows it by this id.
        variables: What ``..._BASE_URL`` and ``..._API_KEY`` begin with.
        url: Of the provider's own service.
        example: Another URL, for an error's text.
        is_own: Whether a URL is the provider's own service.
        ending: What the client puts behind every URL itself.
    """

    provider: str
    variables: str
    url: str
    example: str
    is_own: Callable[[str], bool]
    load: Load
    ending: str = ""

    def service(
        self, model: str, *, base_url: str | None, api_key: str | None, timeout: float, provider: str
    ) -> Service:
        """Make what sends a model's requests.

        Raises:
            ConfigurationError: The URL or key cannot be one.
        """
        given = base_url or os.environ.get(f"{self.variables}_BASE_URL") or self.url
        address = checked_url(given, example=self.example).removesuffix(self.ending)
        key = checked_key(self.default_key(base_url) if api_key is None else api_key)
        variable, told = f"{self.variables}_API_KEY", names.without_password(address)
        asked = Asked(provider=provider, address=told, model=model, key=variable)

        def connect(http: httpx2.AsyncClient) -> tuple[Any, Any]:
            if not key:
                raise ConfigurationError(
                    f"model {model!r} at {told} needs a key; set {variable}, or pass api_key="
                )
            module, client = self.load()
            return module, client(
                api_key=key, base_url=address, max_retries=0, timeout=timeout, http_client=http
            )

        return Service(asked, connect, timeout=timeout)

    def default_key(self, base_url: str | None) -> str:
        """The key for a server where none is given: the variable's never goes to one given by its URL."""
        if base_url is None or self.is_own(base_url):
            found = os.environ.get(f"{self.variables}_API_KEY", "")
            if found or base_url is not None or not os.environ.get(f"{self.variables}_BASE_URL"):
                return found
        return "none"  # local servers want no key, and the SDKs want some
