"""Looking values up without recursion: control words pass on what others came to, at any depth, and rounds
what those before them did."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

P = TypeVar("P")

Lookup = Generator[P, Any, Any]
"""A value on its way: yields the places whose values it needs, is sent them, and returns its own."""


def looked_up(lookup: Lookup[P], find: Callable[[P], Lookup[P]], keep: Callable[[P, Any], None]) -> Any:
    """Carry a look-up through.

    Args:
        lookup: What is wanted.
        find: How the value of a place comes about.
        keep: Notes the value of a place, so that it is found once.
    """
    stack: list[tuple[Lookup[P], list[P]]] = [(lookup, [])]
    value: Any = None
    while stack:
        lookup, places = stack[-1]
        try:
            needed = lookup.send(value)
        except StopIteration as found:
            value = found.value
            stack.pop()
            for place in places:
                keep(place, value)
        else:
            value = None
            stack.append((find(needed), [needed]))
    return value
