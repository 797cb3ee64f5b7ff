"""Inputs of runs from the command line: every bad line is reported before anything runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from treadle.errors import ConfigurationError
from treadle.nodes.graph import Graph
from treadle.plan.parts import Parameter

MOST_SHOWN = 20


def read_lines(graph: Graph[..., Any], source: str) -> dict[int, dict[str, Any]]:
    """Read JSON lines, one run each, and give the arguments of each run by the number of its line.

    A line holds the value of the graph's only parameter, or an object with one field for each of
    several.  Blank lines are skipped.

    Args:
        graph: The graph to be run.
        source: Path of a file, or ``"-"`` for standard input.

    Raises:
        ConfigurationError: It cannot be read, holds nothing, or lines do not fit; all at once.
    """
    arguments: dict[int, dict[str, Any]] = {}
    faults: list[str] = []
    for number, line in enumerate(_text(source).split("\n"), start=1):
        if line.strip():
            try:
                arguments[number] = _arguments(graph, _parse(line))
            except _Unfit as error:
                faults += [f"line {number}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigurationError(_refusal(graph, source, faults))
    if not arguments:
        raise ConfigurationError(f"{source} holds no messages; write one JSON value on each line")
    return arguments


def read_value(graph: Graph[..., Any], value: str) -> dict[str, Any]:
    """Give the arguments of one run from a JSON text.

    Raises:
        ConfigurationError: It is not JSON, or does not fit.
    """
    try:
        return _arguments(graph, _parse(value))
    except _Unfit as error:
        raise ConfigurationError(_refusal(graph, "--value", error.faults)) from error


def no_arguments(graph: Graph[..., Any]) -> dict[str, Any]:
    """Give the arguments of a run without input.

    Raises:
        ConfigurationError: The graph needs some.
    """
    required = [parameter.name for parameter in graph.parameters if parameter.required]
    if required:
        raise ConfigurationError(
            f"graph {graph.name!r} needs {', '.join(required)}; give --input FILE.jsonl "
            "(one JSON value a line), --input - (standard input), or --value JSON"
        )
    return {}


class _Unfit(Exception):
    """A value does not fit the parameters; ``faults`` says where."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


def _refusal(graph: Graph[..., Any], source: str, faults: list[str]) -> str:
    shown = [f"  {fault}" for fault in faults[:MOST_SHOWN]]
    if len(faults) > MOST_SHOWN:
        shown.append(f"  ... and {len(faults) - MOST_SHOWN} more")
    expected = ", ".join(f"{one.name}: {_name(one)}" for one in graph.parameters) or "nothing"
    return "\n".join(
        [
            f"{source} does not fit graph {graph.name!r}, which takes {expected}; nothing was run or spent",
            *shown,
        ]
    )


def _name(parameter: Parameter) -> str:
    declared = parameter.codec.type
    return declared.__name__ if isinstance(declared, type) else str(declared)


def _text(source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return Path(source).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"{source!r} cannot be read: {error.strerror}; name a file of JSON lines, or - for standard input"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{source!r} is not text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error


def _parse(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise _Unfit(f"not JSON: {error}") from error


def read_json(text: str) -> Any:
    """Read a JSON text, strictly: without ``NaN`` and the like.

    Raises:
        ValueError: It is none, or none that can be read.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply to be read") from error
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has too many digits to be read") from error
        raise


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _arguments(graph: Graph[..., Any], data: Any) -> dict[str, Any]:
    parameters = graph.parameters
    if len(parameters) == 1:
        return {parameters[0].name: _decode(parameters[0], data, "")}
    if not isinstance(data, dict):
        names = ", ".join(parameter.name for parameter in parameters)
        raise _Unfit(f"not an object; write one with the fields {names}")
    return _several(parameters, cast("dict[str, Any]", data))


def _several(parameters: tuple[Parameter, ...], fields: dict[str, Any]) -> dict[str, Any]:
    faults = [
        f"{name}: there is no such parameter" for name in fields.keys() - {one.name for one in parameters}
    ]
    found: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in fields:
            faults += [f"{parameter.name}: is missing"] if parameter.required else []
            continue
        try:
            found[parameter.name] = _decode(parameter, fields[parameter.name], parameter.name)
        except _Unfit as error:
            faults += error.faults
    if faults:
        raise _Unfit(*faults)
    return found


def _decode(parameter: Parameter, data: Any, path: str) -> Any:
    try:
        return parameter.codec.decode(json.dumps(data).encode())
    except ValidationError as error:
        raise _Unfit(*_complaints(error, path)) from error


def _complaints(error: Any, path: str) -> Iterator[str]:
    for item in error.errors():
        place = ".".join([*([path] if path else []), *map(str, item["loc"])])
        yield f"{place}: {item['msg']}" if place else str(item["msg"])
