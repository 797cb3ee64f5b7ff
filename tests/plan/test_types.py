"""Which declared types fit which, and which values can be stored."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, TypeVar

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType, TypedDict

from treadle.plan import shapes
from treadle.plan.fits import fits
from treadle.plan.storable import complaint

T = TypeVar("T")


class Base(BaseModel):
    x: int


class Sub(Base):
    y: int = 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Small(TypedDict):
    a: int


class Large(TypedDict):
    a: int
    b: NotRequired[str]


UserId = NewType("UserId", str)
Text = TypeAliasType("Text", str)

FIT = [
    (int, int),
    (bool, int),
    (int, float),
    (int, int | None),
    (None, int | None),
    (Sub, Base),
    (list[Sub], list[Base]),
    (list[int], Sequence[int]),
    (list, list[int]),
    (list[int], list),
    (dict[str, int], Mapping[str, float]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, int], Sequence[int]),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a"], str),
    (bool, Literal[True, False]),
    (Colour, Literal[Colour.RED, Colour.BLUE]),
    (Literal[Colour.RED], Colour),
    (int | str, str | int | None),
    (Any, int),
    (int, Any),
    (int, object),
    (UserId, str),
    (str, UserId),
    (Text, str),
    (Annotated[int, Field(gt=0)], int),
    (Small, Large),
    (Small, Mapping[str, Any]),
]

UNFIT = [
    (str, int),
    (float, int),
    (int | None, int),
    (Base, Sub),
    (list[str], list[int]),
    (list[int], tuple[int, ...]),
    (dict[str, str], dict[str, int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int], tuple[int, int]),
    (str, Literal["a"]),
    (Literal["a", "c"], Literal["a", "b"]),
    (Literal[1], Literal[True]),
    (Literal["red"], Colour),
    (int | str, int),
    (int, Small),
    (Base, Small),
]


@pytest.mark.parametrize(("produced", "wanted"), FIT)
def test_types_that_fit(produced: Any, wanted: Any) -> None:
    assert fits(produced, wanted)


@pytest.mark.parametrize(("produced", "wanted"), UNFIT)
def test_types_that_do_not_fit(produced: Any, wanted: Any) -> None:
    assert not fits(produced, wanted)


@pytest.mark.parametrize(
    ("produced", "wanted"), [(Sub, Base), (int, float), (bool, int), (list[Sub], list[Base])]
)
def test_what_would_not_come_back_equal_does_not_fit_exactly(produced: Any, wanted: Any) -> None:
    assert not fits(produced, wanted, exact=True)


@pytest.mark.parametrize(
    ("produced", "wanted"),
    [(Sub, Sub | Base), (list[int], Sequence[int]), (Literal["a"], str), (None, int | None)],
)
def test_what_comes_back_equal_fits_exactly(produced: Any, wanted: Any) -> None:
    assert fits(produced, wanted, exact=True)


@dataclass
class Both:
    a: int
    when: str | datetime.datetime


class Deep(BaseModel):
    items: list[dict[str, Both]]


class Strict(enum.StrEnum):
    A = "a"


class Box(BaseModel, Generic[T]):
    item: T


class Tree(BaseModel):
    children: list[Tree]


@pytest.mark.parametrize(
    "declared",
    [
        int,
        None,
        int | str,
        int | float,
        bool | int | None,
        str | Literal["a"],  # noqa: PYI051 - the point of the test
        list[int] | list[str],
        Base | Sub,
        decimal.Decimal,
        datetime.datetime | None,
        uuid.UUID | int,
        Colour | int,
        Box[int],
        Tree,
        dict[str, list[tuple[int, str]]],
        Annotated[int | str, Field(description="either")],
        Any,
    ],
)
def test_types_that_can_be_stored(declared: Any) -> None:
    assert complaint(declared) == ""


@pytest.mark.parametrize(
    "declared",
    [
        int | str | decimal.Decimal,
        str | datetime.datetime,
        str | bytes,
        str | uuid.UUID,
        str | pathlib.Path,
        str | Colour,
        str | Strict,
        list[int] | set[int],
        Both,
        Deep,
        Box[str | datetime.date],
        type,
        type("Opaque", (), {}),
    ],
)
def test_types_that_cannot_be_stored(declared: Any) -> None:
    assert complaint(declared)


def test_the_complaint_says_what_would_be_read_back() -> None:
    text = complaint(str | datetime.date)
    assert text.startswith("of str | date the ")
    assert "would be read back as" in text


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (None, "None"),
        (int | None, "int | None"),
        (list[Base], "list[Base]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Literal["a"], "Literal['a']"),
        (Annotated[int, "x"], "int"),
    ],
)
def test_types_are_written_the_way_people_write_them(declared: Any, text: str) -> None:
    assert shapes.title(declared) == text
