"""Schemas in OpenAI's strict form, and those that have none."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from treadle.providers.strict_schema import strictly


class Inner(BaseModel):
    amount: Decimal = Decimal(1)
    note: Annotated[str, Field(min_length=2, description="short")] | None = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Outer(BaseModel):
    inner: Inner = Field(description="the inside")
    many: list[Inner] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    level: Literal["low", "high"] = "low"


class Tree(BaseModel):
    children: list[Tree]


def keywords(schema: Any) -> set[str]:
    """Every keyword of a schema, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    rest = [value for key, value in schema.items() if key not in {"properties", "$defs"}]
    return set(schema).union(*map(keywords, [*inner, *rest]))


def test_every_object_is_closed_and_asks_for_all_its_properties() -> None:
    strict = strictly(Outer.model_json_schema())
    assert strict is not None
    for schema in (strict, *strict["$defs"].values()):
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])


def test_only_known_keywords_are_left() -> None:
    found = keywords(strictly(Outer.model_json_schema()))
    assert not found & {"oneOf", "discriminator", "default", "minLength"}
    assert {"anyOf", "enum", "const", "$ref"} <= found


def test_a_reference_stands_alone() -> None:
    strict = strictly(Outer.model_json_schema())
    assert strict is not None
    assert strict["properties"]["inner"] == {"$ref": "#/$defs/Inner"}


def test_patterns_that_look_around_are_left_out() -> None:
    strict = strictly(Inner.model_json_schema())
    assert strict is not None
    assert "pattern" not in keywords(strict)


def test_a_recursive_model_keeps_its_definitions() -> None:
    strict = strictly(Tree.model_json_schema())
    assert strict is not None
    assert strict["$defs"]["Tree"]["additionalProperties"] is False


@pytest.mark.parametrize("declared", [dict[str, int], tuple[int, str], Any, list[Any], dict[str, Inner]])
def test_what_has_no_strict_form_is_said_to_have_none(declared: Any) -> None:
    schema = {"type": "object", "properties": {"x": TypeAdapter(declared).json_schema()}}
    assert strictly(schema) is None


def test_the_given_schema_is_not_changed() -> None:
    schema = Outer.model_json_schema()
    strictly(schema)
    assert schema == Outer.model_json_schema()
