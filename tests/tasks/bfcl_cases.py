"""The function-calling cases of BFCL: their definitions as tools of ours, their calls as arguments."""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, Literal, cast

from typing_extensions import NotRequired, TypedDict  # noqa: UP035 - pydantic wants these before 3.12

from treadle import tool
from treadle.interfaces import ListedTool, ToolSession
from treadle.nodes.tool import Tool
from treadle.tools import RemoteTools

DATA: Final = Path(__file__).parents[1] / "data" / "bfcl"

Definition = dict[str, Any]

_PYTHON: Final[dict[str, Any]] = {"string": str, "integer": int, "float": float, "boolean": bool, "any": Any}
_JSON_SCHEMA: Final = {"dict": "object", "float": "number", "tuple": "array"}


@dataclass(frozen=True)
class Case:
    """A definition, and the right calls."""

    id: str
    definition: Definition
    calls: tuple[dict[str, list[Any]], ...]

    def __str__(self) -> str:
        return self.id

    @property
    def parameters(self) -> Definition:
        """What is said of each parameter, by name."""
        return cast("Definition", self.definition["parameters"]["properties"])

    @property
    def required(self) -> set[str]:
        """The parameters that must be given."""
        return set(self.definition["parameters"]["required"])

    @cached_property
    def declared(self) -> Tool[..., Any]:
        """A typed function that somebody would write for it."""

        async def body(**arguments: Any) -> str:
            return json.dumps(arguments)

        types = {name: _type(one, name) for name, one in self.parameters.items()}
        optional = {name: _optional(one, types[name]) for name, one in self.parameters.items()}
        listed = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=types[name])
            if name in self.required
            else inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=optional[name],
                default=one.get("default"),
            )
            for name, one in self.parameters.items()
        ]
        body.__annotations__ = {**{one.name: one.annotation for one in listed}, "return": str}
        body.__dict__["__signature__"] = inspect.Signature(listed)
        body.__doc__ = self._docstring
        return tool(name=self.definition["name"])(body)

    @property
    def _docstring(self) -> str:
        noted = [f"    {name}: {one.get('description', '')}" for name, one in self.parameters.items()]
        return "\n".join([self.definition["description"], "", "Args:", *noted])

    @cached_property
    def listed(self) -> Tool[..., Any]:
        """The tool of another program that lists it with a JSON Schema."""
        return RemoteTools(_Program(self.definition)).offered()[0]

    def arguments(self) -> Iterator[dict[str, Any]]:
        """The arguments of each right call: of each the first value given.

        An empty text stands for an argument that may be left out; so it is, unless it is required.
        """
        for call in self.calls:
            given = {
                name: [one for one in options if one != ""] if name in self.required else options
                for name, options in call.items()
            }
            yield {name: _first(options) for name, options in given.items() if options[0] != ""}


def _type(one: Definition, name: str) -> Any:
    if "enum" in one:
        return Literal[tuple(one["enum"])]
    if one["type"] == "array":
        return list[_type(one["items"], name)]
    if one["type"] == "tuple":
        return tuple[_type(one["items"], name), ...]
    if one["type"] == "dict":
        return _mapping(one, name)
    return _PYTHON[one["type"]]


def _mapping(one: Definition, name: str) -> Any:
    if "properties" not in one:
        return dict[str, Any]
    needed = one.get("required", ())
    types = {key: _type(inner, key) for key, inner in one["properties"].items()}
    keys = {key: made if key in needed else NotRequired[made] for key, made in types.items()}
    return TypedDict(name.title(), keys)  # type: ignore[operator]  # made while the program runs


def _optional(one: Definition, made: Any) -> Any:
    return made if "default" in one else made | None


def _first(options: Any) -> Any:
    """The first of several values; keys of a mapping have several each."""
    return _plain(options[0])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _first(options) for key, options in cast("Definition", value).items()}
    return [_plain(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def json_schema(one: Any) -> Any:
    """A definition with the words that JSON Schema has for its types."""
    if isinstance(one, list):
        return [json_schema(inner) for inner in cast("list[Any]", one)]
    if not isinstance(one, dict):
        return one
    known = cast("Definition", one)
    made = {key: json_schema(inner) for key, inner in known.items()}
    kind = known.get("type")
    if isinstance(kind, str):
        made["type"] = _JSON_SCHEMA.get(kind, kind)
        if kind == "any":
            del made["type"]
    return made


class _Program:
    """Another program that has one tool."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    @property
    def name(self) -> str:
        return "bfcl"

    def listed(self) -> tuple[ListedTool, ...]:
        made = self._definition
        schema = {**json_schema(made["parameters"]), "additionalProperties": False}
        return (ListedTool(name=made["name"], description=made["description"], parameters=schema),)

    def open(self) -> AbstractAsyncContextManager[ToolSession]:
        raise AssertionError("nothing is called here")


@cache
def cases() -> tuple[Case, ...]:
    """All cases."""
    return tuple(case for name in ("simple_python", "parallel") for case in _read(name))


def _read(name: str) -> Iterator[Case]:
    for line in gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()).splitlines():
        case: Mapping[str, Any] = json.loads(line)
        [definition] = case["function"]
        calls = tuple(arguments for call in case["ground_truth"] for arguments in call.values())
        yield Case(case["id"], definition, calls)
