"""Random graphs of items, rounds and runners in each other, whose values no order of completion changes.

A recipe is plain data.  ``wire`` makes a graph of it, ``by_hand`` computes what that must come to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyio.lowlevel import checkpoint
from hypothesis import strategies as st

from treadle import Ask, Failure, do, each, fallback, graph, human, loop, node, race, when
from treadle.nodes.graph import Graph

Recipe = tuple[Any, ...]
MODULUS = 7

_NUMBER = st.integers(0, 6)
_LEAVES = st.one_of(st.tuples(st.just("work"), _NUMBER), st.tuples(st.just("person"), _NUMBER))


def _extended(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    return st.one_of(
        st.tuples(st.just("each"), inner, st.integers(1, 3), st.sampled_from(["stop", "collect", "drop"])),
        st.tuples(st.just("loop"), inner, _NUMBER, st.integers(1, 3)),
        st.tuples(st.just("race"), inner, _NUMBER),
        st.tuples(st.just("shared"), inner, inner),
        st.tuples(st.just("fallback"), inner, _NUMBER),
        st.tuples(st.just("when"), inner, inner),
        st.tuples(st.just("then"), inner, inner),
    )


RECIPES = st.recursive(_LEAVES, _extended, max_leaves=8)


class Broken(Exception):
    """What the bodies fail with."""


@dataclass
class Made:
    """A graph of a recipe, and what its bodies did.

    Attributes:
        calls: What ``work`` was called with.
    """

    graph: Graph[[int], int]
    calls: list[tuple[int, int]]


def outcome(x: int, key: int) -> int:
    """What ``work`` gives; every fifth time it fails."""
    if (x + key) % 5 == 4:
        raise Broken(f"{x} and {key}")
    return (3 * x + key) % MODULUS


def wire(recipe: Recipe) -> Made:
    """Make a graph of a recipe."""
    calls: list[tuple[int, int]] = []

    @node
    async def work(x: int, key: int) -> int:
        calls.append((x, key))
        for _ in range((x + key) % 3):
            await checkpoint()
        return outcome(x, key)

    @node
    async def late(x: int, key: int) -> int:
        for _ in range(key):
            await checkpoint()
        raise Broken("late")

    @human(to="somebody")
    async def person(x: int, key: int) -> Ask[int]:
        return Ask(f"{x} {key}")

    @node
    async def numbers(x: int) -> list[int]:
        return list(range(x % 5))

    @node
    async def total(found: list[int | Failure]) -> int:
        return sum(one if isinstance(one, int) else 1 for one in found) % MODULUS

    kit = _Kit(work, late, person, numbers, total)

    @graph
    def made(x: int) -> int:
        return do(x, kit.wired(recipe, x))

    return Made(made, calls)


@dataclass
class _Kit:
    """The nodes that recipes are wired from."""

    work: Any
    late: Any
    person: Any
    numbers: Any
    total: Any

    def wired(self, recipe: Recipe, x: Any) -> Any:
        kind, *parts = recipe
        return getattr(self, f"_{kind}")(x, *parts)

    def _body(self, inner: Recipe) -> Graph[[int], int]:
        @graph
        def inside(x: int) -> int:
            return do(x, self.wired(inner, x))

        return inside

    def _work(self, x: Any, key: int) -> Any:
        return self.work(x, key)

    def _person(self, x: Any, key: int) -> Any:
        return self.person(x, key)

    def _each(self, x: Any, inner: Recipe, at_once: int, on_error: Any) -> Any:
        found: Any = each(at_once=at_once, on_error=on_error)(self._body(inner), self.numbers(x))
        return self.total(found)

    def _loop(self, x: Any, inner: Recipe, limit: int, at_most: int) -> Any:
        return loop(self._body(inner), x, until=lambda value: value >= limit, at_most=at_most)

    def _race(self, x: Any, inner: Recipe, passes: int) -> Any:
        return race(self.wired(inner, x), self.late(x, passes))

    def _shared(self, x: Any, inner: Recipe, other: Recipe) -> Any:
        value = self.wired(inner, x)
        return do(value, race(value, self.wired(other, value)))

    def _fallback(self, x: Any, inner: Recipe, instead: int) -> Any:
        return fallback(self.wired(inner, x), instead)

    def _when(self, x: Any, inner: Recipe, other: Recipe) -> Any:
        return when(x > 2, self.wired(inner, x), self.wired(other, x))

    def _then(self, x: Any, inner: Recipe, other: Recipe) -> Any:
        return self.wired(other, self.wired(inner, x))


Given = Callable[[], int]


def by_hand(recipe: Recipe, given: Given) -> int:
    """What a recipe comes to; what it is given is asked for where it is needed, and may fail there.

    Raises:
        Broken: It fails.
    """
    kind, first, *rest = recipe
    if kind == "work":
        return outcome(given(), first)
    if kind == "person":
        return answer(given(), first)
    if kind == "each":
        return _items(first, rest[1], given())
    if kind == "loop":
        return _rounds(first, rest[0], rest[1], given())
    if kind == "when":
        return by_hand(first if given() > 2 else rest[0], given)
    if kind == "then":
        return by_hand(rest[0], lambda: by_hand(first, given))
    try:
        return by_hand(first, given)
    except Broken:
        if kind != "fallback":
            raise
        return int(rest[0])


def answer(x: int, key: int) -> int:
    """What a person says."""
    return (x + key) % MODULUS


def _items(inner: Recipe, on_error: str, x: int) -> int:
    result = 0
    for item in range(x % 5):
        try:
            result += by_hand(inner, lambda item=item: item)
        except Broken:
            if on_error == "stop":
                raise
            result += on_error == "collect"
    return result % MODULUS


def _rounds(inner: Recipe, limit: int, at_most: int, x: int) -> int:
    for _ in range(at_most):
        x = by_hand(inner, lambda x=x: x)
        if x >= limit:
            return x
    raise Broken("the limit")
