"""600 definitions of functions that others wrote for models, and the right calls of them.

Each is a tool in two ways: as a typed function, and as a tool that another program lists by a schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal

import jsonschema
import pytest
from bfcl_cases import Case, Definition, cases

from treadle.forms import schema_complaint
from treadle.nodes.agent_tools import read_arguments
from treadle.nodes.tool import Tool
from treadle.nodes.tool_schema import tool_spec

Way = Literal["declared", "listed"]

WRONG: Final[dict[str, tuple[object, ...]]] = {
    "string": (7, 1.5, True, ["x"], {"x": 1}),
    "integer": ("7", "seven", 1.5, True, [7], {"x": 7}),
    "float": ("1.5", "x", True, [1.5], {"x": 1.5}),
    "boolean": ("true", "x", 1, 0, 1.5, [True], {"x": True}),
    "array": ("x", 7, True, {"x": 1}),
    "tuple": ("x", 7, True, {"x": 1}),
    "dict": ("x", 7, True, ["x"]),
    "any": (),
}
"""What is not of a type."""


def of(case: Case, way: Way) -> Tool[..., Any]:
    return case.declared if way == "declared" else case.listed


def mutants(case: Case, arguments: Definition) -> Iterator[Definition]:
    """The same call with one thing wrong."""
    for name, value in arguments.items():
        for wrong in wrong_values(case.parameters[name], value):
            yield {**arguments, name: wrong}
    for name in case.required:
        yield {known: value for known, value in arguments.items() if known != name}
        if case.parameters[name]["type"] != "any":
            yield {**arguments, name: None}
    yield {**arguments, "no_such_parameter": 1}


def wrong_values(one: Definition, value: Any) -> Iterator[object]:
    """What a parameter must refuse: wholly wrong, or wrong in one place inside."""
    yield from WRONG[one["type"]]
    if "enum" in one:
        yield "none of these"
    if isinstance(value, list) and "items" in one:
        for wrong in WRONG[one["items"]["type"]]:
            yield [*value, wrong]
    if isinstance(value, dict):
        for name, inner in one.get("properties", {}).items():
            for wrong in WRONG[inner["type"]]:
                yield {**value, name: wrong}


def is_refused(made: Tool[..., Any], arguments: Definition) -> bool:
    try:
        read_arguments(made, json.dumps(arguments))
    except ValueError as error:
        return bool(str(error))
    return False


@pytest.mark.parametrize("way", ["declared", "listed"])
def test_every_definition_is_a_tool_with_a_valid_schema(way: Way) -> None:
    for case in cases():
        made = of(case, way)
        assert made.faults == (), case
        spec = tool_spec(made)
        assert schema_complaint(spec.parameters) == "", case
        assert set(spec.parameters["properties"]) == set(case.parameters), case
        assert set(spec.parameters["required"]) == case.required, case
        assert spec.description.strip() == case.definition["description"].strip(), case
    assert len(cases()) == 600


@pytest.mark.parametrize("way", ["declared", "listed"])
def test_every_right_call_binds_and_fits_the_schema_that_is_shown(way: Way) -> None:
    count = 0
    for case in cases():
        made = of(case, way)
        schema = jsonschema.Draft202012Validator(tool_spec(made).parameters)
        for arguments in case.arguments():
            assert read_arguments(made, json.dumps(arguments)).keys() == arguments.keys(), case
            assert schema.is_valid(arguments), case
            count += 1
    assert count == 940


@pytest.mark.parametrize("way", ["declared", "listed"])
def test_a_call_with_one_thing_wrong_is_refused(way: Way) -> None:
    taken, count = list[str](), 0
    for case in cases():
        made = of(case, way)
        for arguments in case.arguments():
            for mutant in mutants(case, arguments):
                count += 1
                if not is_refused(made, mutant):
                    taken.append(f"{case}: {mutant}")
    assert taken == []
    assert count == 19457


@pytest.mark.parametrize("way", ["declared", "listed"])
def test_descriptions_of_parameters_are_shown(way: Way) -> None:
    for case in cases():
        shown = tool_spec(of(case, way)).parameters["properties"]
        for name, one in case.parameters.items():
            assert shown[name].get("description", "").split() == one.get("description", "").split(), case
