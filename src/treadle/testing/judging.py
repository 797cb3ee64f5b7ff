"""Judges the bodies of requests by the providers' published schemas, as a strict server would."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from treadle.errors import ConfigurationError

Check = Callable[[dict[str, Any]], str]
"""Looks at the body of a request and says what is wrong with it, or ``""``."""

MOST_MARKS: Final = 4


def openapi_check(document: Path, schema: str = "CreateChatCompletionRequest") -> Check:
    """Make a check from a published OpenAPI 3.1 description (JSON, gzip or not).

    Args:
        document: The file.
        schema: Name of the request's schema under ``components``.
    """
    described = _with_any_of(_read(document))
    return _check({"$ref": f"#/components/schemas/{schema}", "components": described["components"]})


def messages_check(document: Path) -> Check:
    """Make a check of requests for Anthropic's Messages, from their JSON schemas (JSON, gzip or not).

    A field that the schemas do not name is refused, as is what they cannot say and the service refuses:
    results of tools that do not follow their calls, empty texts, too many cache marks.

    Args:
        document: An object with the schemas ``request_nonstreaming`` and ``request_streaming``.
    """
    schemas = _read(document)
    whole = _check(_closed(schemas["request_nonstreaming"]))
    streamed = _check(_closed(schemas["request_streaming"]))

    def check(body: dict[str, Any]) -> str:
        complaint = streamed(body) if body.get("stream") else whole(body)
        return complaint or next(_broken_rules(body), "")

    return check


def _read(document: Path) -> dict[str, Any]:
    if not isinstance(cast("object", document), Path):
        raise ConfigurationError(f"{document!r} is no pathlib.Path; write Path({str(document)!r})")
    raw = document.read_bytes()
    return cast("dict[str, Any]", json.loads(gzip.decompress(raw) if document.suffix == ".gz" else raw))


def _with_any_of(schema: Any) -> Any:
    """Let a union with a field that tells its members apart be met by several: they overlap without it."""
    if isinstance(schema, list):
        return [_with_any_of(item) for item in cast("Sequence[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    renamed = {"oneOf": "anyOf"} if "discriminator" in given else {}
    return {renamed.get(name, name): _with_any_of(inner) for name, inner in given.items()}


def _check(schema: Mapping[str, Any]) -> Check:
    import jsonschema.exceptions  # noqa: PLC0415 - only where requests are judged

    best: Any = jsonschema.exceptions.best_match  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
    validator: Any = jsonschema.Draft202012Validator(schema)

    def check(body: dict[str, Any]) -> str:
        error: Any = best(validator.iter_errors(body))
        return f"{error.json_path}: {error.message[:300]}" if error is not None else ""

    return check


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose objects allow no field that they do not name; those of tools are the user's own."""
    shared = {
        name: inner if name == "InputSchemaTyped" or "properties" not in inner else _without_more(inner)
        for name, inner in schema["$defs"].items()
    }
    return {**_without_more(schema), "$defs": shared}


def _without_more(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "additionalProperties": False}


def _broken_rules(body: Mapping[str, Any]) -> Iterator[str]:
    turns = [(turn["role"], _blocks(turn["content"])) for turn in body["messages"]]
    if not turns or turns[0][0] != "user":
        yield "messages: the first turn must be the user's"
    if body["max_tokens"] < 1:
        yield "max_tokens: at least 1"
    everything = [*_blocks(body.get("system") or []), *(block for _, blocks in turns for block in blocks)]
    if any(block["type"] == "text" and not block["text"].strip() for block in everything):
        yield "messages: text content blocks must be non-empty"
    if sum("cache_control" in block for block in everything) > MOST_MARKS:
        yield f"cache_control: at most {MOST_MARKS} blocks may have it"
    for number, (_, blocks) in enumerate(turns):
        called = [block["id"] for block in blocks if block["type"] == "tool_use"]
        after = turns[number + 1][1] if number + 1 < len(turns) else []
        if called and [block.get("tool_use_id") for block in after[: len(called)]] != called:
            yield f"messages.{number}: tool_use ids without tool_result blocks immediately after: {called}"
    known = {block["id"] for block in everything if block["type"] == "tool_use"}
    stray = [
        b["tool_use_id"] for b in everything if b["type"] == "tool_result" and b["tool_use_id"] not in known
    ]
    if stray:
        yield f"messages: unexpected tool_use_id in tool_result blocks: {stray}"


def _blocks(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return cast("list[dict[str, Any]]", content)
