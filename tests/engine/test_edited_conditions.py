"""Conditions and reads in an edited graph: no result is kept for an input that only looks the same."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel, ConfigDict, Field

from treadle import Ask, graph, human, node
from treadle.nodes.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.conftest import Place

pytestmark = pytest.mark.anyio


class Offer(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    price: Decimal
    pages: int = Field(default=3, alias="page_count")

    @property
    def label(self) -> str:
        return f"{self.pages} pages"


@node
async def make(price: str) -> Offer:
    return Offer(price=Decimal(price))


@node
async def bought(is_cheap: bool) -> str:
    return "bought" if is_cheap else "left"


@node
async def told(text: str | int) -> str:
    return f"<{text}>"


@node
async def both(first: str, second: str) -> str:
    return f"{first} {second}"


@human(to="maria")
async def desk(text: str) -> Ask[str]:
    return Ask(f"And {text}?")


async def _edit(place: Place, before: Graph[[str], str], after: Graph[[str], str]) -> str:
    """Start a run that waits for a person, answer it under an edited graph, and give its result."""
    async with place.engine() as engine:
        await (await engine.start(before, "10", run_id="r")).settled()
    async with place.engine(after) as engine:
        handle = await engine.resume("r")
        await handle.settled()
        await engine.answer(handle.questions[0], "yes", by="maria")
        result: str = await handle.result()
        return result


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [("9", "95", "bought yes"), ("95", "9", "left yes"), ("9", "8.5", "left yes")],
)
async def test_a_comparison_of_decimals_is_made_anew_when_its_limit_is_edited(
    then: str, now: str, expected: str, place: Place
) -> None:
    def below(limit: str, question: str) -> Graph[[str], str]:
        @graph(name="offers")
        def offers(price: str) -> str:
            return both(bought(make(price).price < Decimal(limit)), desk(question))

        return offers

    assert await _edit(place, below(then, "now"), below(now, "then")) == expected


def _property(offer: Offer) -> str:
    return offer.label


def _alias(offer: Offer) -> int:
    return offer.pages


@pytest.mark.parametrize(("read", "expected"), [(_property, "<3 pages> yes"), (_alias, "<3> yes")])
async def test_what_is_read_need_not_stand_in_the_json(
    read: Callable[[Offer], str | int], expected: str, place: Place
) -> None:
    def reading(question: str) -> Graph[[str], str]:
        @graph(name="offers")
        def offers(price: str) -> str:
            return both(told(read(make(price))), desk(question))

        return offers

    assert await _edit(place, reading("now"), reading("then")) == expected
