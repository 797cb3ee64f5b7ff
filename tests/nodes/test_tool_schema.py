"""Tools and answers as JSON Schemas."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from treadle.nodes.tool import tool
from treadle.nodes.tool_schema import answer_form, tool_spec
from treadle.values import codec


class Item(BaseModel):
    name: str


def _other_item() -> type[BaseModel]:
    class Item(BaseModel):
        weight: int

    return Item


Other = _other_item()


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Branch(BaseModel):
    children: list[Branch]


@tool
async def order(
    item: Item, others: list[Other], size: Size = Size.SMALL, price: Decimal = Decimal("1.5")
) -> str:  # type: ignore[valid-type]  # a class made by a function
    """Order an item.

    It is sent at once.

    Args:
        item: What to order.
        others: More of it,
            on two lines.

    Returns:
        A number.
    """
    return ""


def test_a_docstring_describes_the_tool_and_its_parameters() -> None:
    spec = tool_spec(order)
    assert (spec.name, spec.description) == ("order", "Order an item.\n\nIt is sent at once.")
    properties = spec.parameters["properties"]
    assert properties["item"]["description"] == "What to order."
    assert properties["others"]["description"].split() == ["More", "of", "it,", "on", "two", "lines."]


def test_required_parameters_and_defaults_are_told_apart() -> None:
    parameters = tool_spec(order).parameters
    assert parameters["required"] == ["item", "others"]
    assert parameters["properties"]["size"]["default"] == "small"
    assert parameters["properties"]["price"]["default"] == "1.5"
    assert parameters["additionalProperties"] is False


def test_a_default_that_is_no_value_of_its_type_is_not_shown() -> None:
    absent: Any = object()

    @tool
    async def search(words: str, limit: int = absent, exact: bool = "no") -> str:  # type: ignore[assignment]
        """Search."""
        return ""

    parameters = tool_spec(search).parameters
    assert parameters["required"] == ["words"]
    assert not any("default" in shown for shown in parameters["properties"].values())


def test_types_of_one_name_are_kept_apart() -> None:
    parameters = tool_spec(order).parameters
    jsonschema.Draft202012Validator.check_schema(parameters)
    jsonschema.validate({"item": {"name": "a"}, "others": [{"weight": 1}]}, parameters)
    for wrong in ({"item": {"weight": 1}, "others": []}, {"item": {"name": "a"}, "others": [{"name": "a"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, parameters)


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    @tool
    async def ping() -> str:
        """Ping."""
        return ""

    assert tool_spec(ping).parameters == {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False
    }  # fmt: skip


def test_a_name_that_no_provider_takes_is_made_one() -> None:
    assert tool_spec(order.named("order now!")).name == "order_now_"


def test_text_has_no_form_and_an_object_its_own() -> None:
    assert answer_form(codec(str)).spec is None
    form = answer_form(codec(Item))
    assert form.spec is not None
    assert (form.spec.name, form.is_wrapped) == ("Item", False)


def test_what_is_no_object_is_asked_for_under_answer() -> None:
    form = answer_form(codec(list[Item]))
    assert form.spec is not None
    jsonschema.validate({"answer": [{"name": "a"}]}, form.spec.schema)
    assert form.read('{"answer": [{"name": "a"}]}') == [Item(name="a")]
    with pytest.raises(ValueError, match="with the key 'answer'"):
        form.read('[{"name": "a"}]')


def test_a_recursive_answer_is_an_object_at_its_root() -> None:
    form = answer_form(codec(Branch))
    assert form.spec is not None
    assert form.spec.schema["type"] == "object"
    jsonschema.validate({"children": [{"children": []}]}, form.spec.schema)


def test_schemas_are_the_same_every_time() -> None:
    assert str(tool_spec(order)) == str(tool_spec(order))
