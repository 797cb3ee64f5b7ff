"""What a value that cannot be recorded is told, on one line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from treadle.errors import ResultRefused
from treadle.values import Payload, codec


class Order(BaseModel):
    number: int


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        (
            str,
            5,
            "5 (int) cannot be stored as str, the declared type: give a value of that type, or declare int",
        ),
        (
            str,
            None,
            "as str, the declared type: give a value of that type, or declare str | None",
        ),
        (
            None,
            3,
            "3 (int) cannot be stored as None, the declared type: give a value of that type, or declare int",
        ),
        (Order, {"number": 1}, "or declare dict"),
        (list[int], ["a"], "input_value='a'"),
        (int | str, 0.5, "0.5 (float) cannot be stored as int | str, the declared type: "),
    ],
)
def test_a_value_of_another_type_is_told_on_one_line(declared: Any, value: Any, text: str) -> None:
    with pytest.raises(ResultRefused) as caught:
        codec(declared).pack(value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Pydantic" not in str(caught.value)


def test_the_order_of_a_union_is_kept_whichever_was_declared_first() -> None:
    first, second = codec(list[bytes | int]), codec(list[int | bytes])
    assert first.schema() == {
        "items": {"anyOf": [{"format": "binary", "type": "string"}, {"type": "integer"}]},
        "type": "array",
    }
    assert second.schema() != first.schema()


class Careless(BaseModel):
    name: str

    @model_validator(mode="before")
    @classmethod
    def look(cls, data: dict[str, Any]) -> dict[str, Any]:
        data["kind"]
        return data


def test_whatever_a_validator_raises_means_that_the_value_does_not_fit() -> None:
    careless = codec(Careless)
    with pytest.raises(ValidationError, match="KeyError: 'kind'"):
        careless.unpack(Payload(data=b'{"name": "a"}'))
    with pytest.raises(ResultRefused, match="KeyError: 'kind'"):
        careless.pack(Careless.model_construct(name="a"))
