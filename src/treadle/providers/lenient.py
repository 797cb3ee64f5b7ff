"""JSON that others wrote, read leniently: what is not of the form it should have says nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from treadle.providers import http_errors


def text(value: object) -> str:
    """A text, or none."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """A number of things, or 0."""
    return max(0, value) if isinstance(value, int) else 0


def details(value: object) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def mapping(value: object, what: str, *, provider: str) -> Mapping[str, Any]:
    """An object that must be there.

    Raises:
        MalformedResponse: It is not.
    """
    if not isinstance(value, dict):
        raise http_errors.malformed(f"{what} is not a JSON object", provider=provider)
    return cast("dict[str, Any]", value)


def unknown(fields: Mapping[str, Any], known: Collection[str], interface: str) -> dict[str, Any] | None:
    """The fields that have no place in a part, as its ``extra``: kept for the interface they came by."""
    rest = {name: value for name, value in fields.items() if name not in known and value}
    return {interface: rest} if rest else None
