"""``Listing``: an answer that can be awaited whole or walked through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Listing(Generic[T]):
    """What a store is asked for: ``await listing`` gives a list, ``async for`` one after the other.

    Args:
        ask: Asks the store; called once for each use.
    """

    def __init__(self, ask: Callable[[], Awaitable[list[T]]]) -> None:
        self._ask = ask

    def __await__(self) -> Generator[Any, Any, list[T]]:
        return self._ask().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        for item in await self._ask():
            yield item
