"""The models behind ``auto``, and which addresses are OpenAI's own or this machine's."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

OPENAI: Final = {"auto": "gpt-6-sol", "auto:small": "gpt-6-luna"}
"""What the names mean at OpenAI (its Python SDK's list of chat models, read in November 2026)."""

ANTHROPIC: Final = {"auto": "claude-sonnet-5-5", "auto:small": "claude-haiku-5-5"}
"""What the names mean at Anthropic (its Python SDK's list of models, read in November 2026)."""

OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com"

LOOPBACK_PORTS: Final = (11434, 8080, 1234, 8000)
"""Where local servers usually listen: Ollama, llama.cpp, LM Studio, vLLM; the first found is taken."""


def host(url: str) -> str:
    """The host of a URL, in lower case; ``""`` where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def has_port(url: str) -> bool:
    """Whether the port that a URL says, if any, is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def is_openai(url: str) -> bool:
    """Whether a base URL is OpenAI's own service, regional ones included."""
    name = host(url)
    return name == "api.openai.com" or name.endswith(".api.openai.com")


def is_azure(url: str) -> bool:
    """Whether a base URL is OpenAI's models as Microsoft hosts them."""
    return host(url).endswith((".openai.azure.com", ".services.ai.azure.com"))


def is_anthropic(url: str) -> bool:
    """Whether a base URL is Anthropic's own service."""
    name = host(url)
    return name == "api.anthropic.com" or name.endswith(".anthropic.com")


def is_loopback(url: str) -> bool:
    """Whether a base URL is on this machine."""
    name = host(url)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False  # a name, whatever it begins with


_PASSWORD: Final = re.compile(r"//[^/]*@")


def without_password(url: str) -> str:
    """A URL as it may be told: without who asks, and by what password."""
    return _PASSWORD.sub("//", url)
