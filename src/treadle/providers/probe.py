"""Looks for model servers: asks ``GET /v1/models``, which every OpenAI-compatible server answers."""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from treadle.errors import ConfigurationError
from treadle.providers.names import LOOPBACK_PORTS, is_loopback, without_password

PATIENCE: Final = 0.2
"""Seconds a local server has to list its models."""

_MOST: Final = 1_000_000  # bytes of a listing; whatever sends more is no model server


def first_model(base_url: str, *, api_key: str = "", timeout: float = PATIENCE) -> str:
    """Give the id of the first model a server lists, or ``""`` where none answers in that form.

    Args:
        base_url: Such as ``"http://127.0.0.1:11434/v1"``.
        api_key: Sent as a bearer token where there is one, and the URL holds no name and password.
        timeout: Seconds for each wait on the network.
    """
    address = without_password(base_url).rstrip("/")
    request = urllib.request.Request(f"{address}/models", headers=_who_asks(base_url, api_key))  # noqa: S310
    proxies = urllib.request.ProxyHandler({} if is_loopback(base_url) else None)
    try:
        with urllib.request.build_opener(proxies, _Staying).open(request, timeout=timeout) as response:
            listing = json.loads(response.read(_MOST))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""  # nothing there, or no model server: that is what was asked
    return _first_id(listing)


def _who_asks(base_url: str, api_key: str) -> dict[str, str]:
    """Name and password of the URL where it has them, as the SDKs' client sends them; else the key."""
    where = urlsplit(base_url)
    if where.username is None:
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}
    known = f"{unquote(where.username)}:{unquote(where.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go with it, to whatever server it names."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        """Give nothing to go on with: that ends in an error of HTTP."""
        del args, named


def _first_id(listing: object) -> str:
    models: Any = cast("dict[str, Any]", listing).get("data") if isinstance(listing, dict) else listing
    if not isinstance(models, list) or not models:
        return ""
    first: Any = cast("Sequence[Any]", models)[0]
    found = cast("dict[str, Any]", first).get("id") if isinstance(first, dict) else None
    return found if isinstance(found, str) else ""


def local_ports() -> tuple[int, ...]:
    """The ports to look at: ``TREADLE_LOCAL_PORTS`` (``"8080,9000"``; empty for none), or the usual ones.

    Raises:
        ConfigurationError: The variable holds something else.
    """
    given = os.environ.get("TREADLE_LOCAL_PORTS")
    if given is None:
        return LOOPBACK_PORTS
    pieces = [piece.strip() for piece in given.split(",") if piece.strip()]
    if not all(piece.isdecimal() and 0 < int(piece) < 65536 for piece in pieces):
        raise ConfigurationError(f"TREADLE_LOCAL_PORTS={given!r} is not a list of ports; write '8080,9000'")
    return tuple(int(piece) for piece in pieces)


def local_server(ports: Sequence[int], *, patience: float = PATIENCE) -> tuple[str, str] | None:
    """Give base URL and first model of a server on this machine, or ``None``.

    All ports are asked at once; the earliest port that answers in time wins.  It blocks for at most
    ``patience`` seconds.
    """
    found: dict[int, str] = {}

    def ask(port: int) -> None:
        found[port] = first_model(f"http://127.0.0.1:{port}/v1", timeout=patience)

    threads = [threading.Thread(target=ask, args=(port,), daemon=True) for port in ports]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    known = dict(found)
    return next(((f"http://127.0.0.1:{port}/v1", known[port]) for port in ports if known.get(port)), None)
