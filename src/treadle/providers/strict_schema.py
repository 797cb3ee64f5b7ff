"""A pydantic schema as OpenAI's strict structured outputs want it, where it can be so written.

Source: https://platform.openai.com/docs/guides/structured-outputs, "Supported schemas" (read in
November 2026): every object lists all its properties as required and allows no others, and only some
keywords are known.  Keywords that merely narrow a value are left out: pydantic checks them on the
answer all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

_KEPT: Final = frozenset(
    {"type", "enum", "const", "description", "title", "format", "pattern", "multipleOf", "minimum",
     "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
)  # fmt: skip
_DROPPED: Final = frozenset(
    {"default", "examples", "example", "deprecated", "readOnly", "writeOnly", "minLength", "maxLength",
     "uniqueItems", "discriminator", "contentEncoding", "contentMediaType", "$comment"}
)  # fmt: skip
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_LOOK_AROUND: Final = ("(?=", "(?!", "(?<")  # not in the regular expressions OpenAI reads


class _NotStrict(Exception):
    """The schema says something the strict form has no words for."""


def strictly(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rewrite a schema in the strict form, or give ``None`` where that would change its meaning.

    A property with a default becomes required: the model always writes it.  Mappings with free keys,
    tuples, ``allOf`` and anything unknown have no strict form.
    """
    try:
        return _strict(schema)
    except _NotStrict:
        return None


def is_recursive(schema: Mapping[str, Any]) -> bool:
    """Whether a definition in it holds itself, at any depth."""
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    holds = {name: _references(inner) for name, inner in definitions.items()}
    for _ in holds:
        holds = {name: inner.union(*(holds.get(n, set()) for n in inner)) for name, inner in holds.items()}
    return any(name in inner for name, inner in holds.items())


def _references(schema: Any) -> set[str]:
    """The definitions that a schema refers to."""
    if isinstance(schema, Mapping):
        given = cast("Mapping[str, Any]", schema)
        own = {str(given["$ref"]).rpartition("/")[2]} if "$ref" in given else set[str]()
        return own.union(*map(_references, given.values()))
    if not isinstance(schema, list):
        return set()
    return set[str]().union(*map(_references, cast("Sequence[Any]", schema)))


def _strict(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or not schema:
        raise _NotStrict  # `true`, or {}: anything at all
    given = cast("Mapping[str, Any]", schema)
    if "$ref" in given:  # the strict form allows nothing beside it
        shared = {"$defs": _each(given["$defs"])} if "$defs" in given else {}
        return {"$ref": given["$ref"], **shared}
    result: dict[str, Any] = {}
    for key, value in given.items():
        _rewrite(result, key, value)
    if given.get("type") == "object":
        _close(result, given)
    elif not {"type", "anyOf", "enum", "const"} & result.keys():
        raise _NotStrict
    return result


def _rewrite(result: dict[str, Any], key: str, value: Any) -> None:
    if key in {"anyOf", "oneOf"}:  # pydantic writes a union with a discriminator as oneOf
        result["anyOf"] = [_strict(variant) for variant in value]
    elif key in {"properties", "$defs"}:
        result[key] = _each(value)
    elif key == "items":
        result[key] = _strict(value)
    elif (key == "format" and value not in _FORMATS) or (
        key == "pattern" and any(mark in value for mark in _LOOK_AROUND)
    ):
        return
    elif key in _KEPT:
        result[key] = value
    elif key not in _DROPPED | {"required", "additionalProperties"}:
        raise _NotStrict


def _each(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _strict(schema) for name, schema in schemas.items()}


def _close(result: dict[str, Any], given: Mapping[str, Any]) -> None:
    if given.get("additionalProperties", False) is not False or "properties" not in result:
        raise _NotStrict
    result["required"] = list(result["properties"])
    result["additionalProperties"] = False
