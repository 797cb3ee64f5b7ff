"""Results are not mutated: the switch for tests that shows who does it all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from tests.engine.conftest import Place

from treadle import Engine, do, fallback, graph, node
from treadle.engine import engine
from treadle.engine.services import EngineServices

pytestmark = pytest.mark.anyio


class Basket(BaseModel):
    items: list[str]


@node
async def fill(first: str) -> Basket:
    return Basket(items=[first])


@node
async def spoil(basket: Basket) -> int:
    basket.items.append("spoilt")
    return len(basket.items)


@node
async def count(basket: Basket) -> int:
    return len(basket.items)


@node
async def spoil_list(items: list[str]) -> int:
    items.append("spoilt")
    return len(items)


async def fresh(declared: Any, *args: Any) -> Any:
    async with Engine("memory:", fresh_copies=True) as opened:
        return await (await opened.start(declared, *args)).result()


@pytest.fixture
def fresh_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine of the test gives copies."""

    def services(*args: Any, **options: Any) -> EngineServices:
        return EngineServices(*args, **{**options, "fresh_copies": True})

    monkeypatch.setattr(engine, "EngineServices", services)


@graph
def shared(first: str) -> list[int]:
    basket = fill(first)
    return [spoil(basket), do(spoil.named("again")(basket), count(basket))]


@graph
def an_input(basket: Basket) -> list[int]:
    return [spoil(basket), spoil.named("again")(basket)]


@graph
def a_constant(first: str) -> list[int]:
    return [spoil_list(["a"]), spoil_list(["a"])]


@graph
def a_read(first: str) -> list[int]:
    basket = fill(first)
    return [spoil_list(basket.items), spoil_list(basket.items)]


@graph
def a_control_word(first: str) -> list[int]:
    basket = fallback(fill(first), fill("b"))
    return [spoil(basket), spoil(basket)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: fresh(shared, "a"), [2, 1]),
        (lambda: fresh(an_input, Basket(items=["a"])), [2, 2]),
        (lambda: fresh(a_constant, "a"), [2, 2]),
        (lambda: fresh(a_read, "a"), [2, 2]),
        (lambda: fresh(a_control_word, "a"), [2, 2]),
    ],
)
async def test_nobody_sees_what_another_body_changed(make: Callable[[], object], expected: list[int]) -> None:
    for _ in range(2):
        assert await make() == expected  # type: ignore[misc]


async def test_the_callers_own_input_is_not_changed() -> None:
    mine = Basket(items=["a"])
    await fresh(an_input, mine)
    assert mine.items == ["a"]


@pytest.mark.usefixtures("fresh_copies")
async def test_a_resumed_run_with_fresh_copies_gives_the_same(place: Place) -> None:
    reached = anyio.Event()
    hangs = [True]

    @node
    async def last(a: int, basket: Basket) -> int:
        reached.set()
        if hangs[0]:
            await anyio.sleep_forever()
        return a + len(basket.items)

    @graph
    def only(first: str) -> int:
        basket = fill(first)
        return last(spoil(basket), basket)

    await place.crash(only, "a", dies=reached)
    hangs[0] = False
    assert await place.resume(only) == 3
