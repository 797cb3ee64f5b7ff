"""What a model writes as a tool's arguments is read as its schema says, and not made to fit."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from treadle.nodes.agent_tools import read_arguments
from treadle.nodes.tool import tool


class Size(Enum):
    SMALL = "small"


class Parcel(BaseModel):
    weight: int
    price: Decimal


@tool
async def send(
    count: int = 1,
    share: float = 1.0,
    fast: bool = False,
    name: str = "",
    size: Size = Size.SMALL,
    day: date = date(2026, 1, 1),
    price: Decimal = Decimal(0),
    to: Literal["home", "work"] = "home",
    parcels: list[Parcel] = [],  # noqa: B006
    pair: tuple[int, str] = (1, ""),
    anything: Any = None,
) -> str:
    """Send something."""
    return ""


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("count", 7, 7),
        ("count", 7.0, 7),
        ("share", 7, 7.0),
        ("size", "small", Size.SMALL),
        ("day", "2026-11-22", date(2026, 11, 22)),
        ("price", "1.50", Decimal("1.50")),
        ("price", 1.5, Decimal("1.5")),
        ("parcels", [{"weight": 2.0, "price": "1"}], [Parcel(weight=2, price=Decimal(1))]),
        ("pair", [1, "a"], (1, "a")),
        ("anything", 5.0, 5.0),
    ],
)
def test_what_the_schema_allows_is_read(name: str, written: object, read: object) -> None:
    found = read_arguments(send, json.dumps({name: written}))[name]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("count", "7"),
        ("count", True),
        ("count", 7.5),
        ("share", "0.5"),
        ("share", True),
        ("fast", 1),
        ("fast", "true"),
        ("name", 7),
        ("size", 1),
        ("day", 20000),
        ("to", "away"),
        ("parcels", [{"weight": "2", "price": "1"}]),
        ("parcels", {"weight": 2, "price": "1"}),
        ("pair", [1.5, "a"]),
    ],
)
def test_what_the_schema_forbids_is_refused_and_the_argument_named(name: str, written: object) -> None:
    with pytest.raises(ValueError, match=f"^'{name}': "):
        read_arguments(send, json.dumps({name: written}))
