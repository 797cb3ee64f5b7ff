"""``Retriever``: a node that searches an index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from treadle.budget import Budget
from treadle.interfaces import Context, Index, Passage
from treadle.nodes.node import Node, policies_of
from treadle.nodes.options import check_name
from treadle.nodes.signature import Signature
from treadle.plan.parts import WorkKind
from treadle.plan.ref import refuse, told
from treadle.retry import Retry


class Retriever(Node[..., list[Passage]]):
    """A node that answers a query with passages of documents, best first.

    Args:
        name: What it is called in plans; part of the identity of its results.
        index: A path (opened once for each engine), or an object with ``search``.
        retry: What is tried again, and how often.
        timeout: Of one search, in seconds or as ``"30s"``.
        budget: What one search may consume.

    Raises:
        WiringError: An option is not what is wanted.

    Example::

        handbook = Retriever("handbook", index="handbook.sqlite")

        @graph
        def passages(question: str) -> list[Passage]:
            return handbook(question, k=4)
    """

    @told("Retriever")
    def __init__(
        self,
        name: str,
        index: str | Index,
        *,
        retry: Retry | None = None,
        timeout: float | str | None = None,
        budget: Budget | None = None,
    ) -> None:
        check_name("retriever", name)
        if not isinstance(index, str) and not callable(getattr(index, "search", None)):
            written = f'index="{index}"' if isinstance(index, os.PathLike) else 'index="handbook.sqlite"'
            refuse(f"index={index!r} is no index", f"write {written}, or give an object with `search`")
        policies = policies_of(retry=retry, timeout=timeout, budget=budget)
        super().__init__(self.search, Signature(self.search), policies, name)
        self.index = index

    def __call__(self, query: str, k: int = 4) -> list[Passage]:
        """Record a search in the graph that is being wired.

        Raises:
            WiringError: Called anywhere else.
        """
        return super().__call__(query, k)

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "retriever"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it searches, if that is a path."""
        return {"index": self.index} if isinstance(self.index, str) else {}

    async def search(self, ctx: Context, query: str, k: int = 4) -> list[Passage]:
        """Search: give at most ``k`` passages, best first."""
        index = await ctx.index(self.index)
        return await index.search(query, k=k)

    async def evaluate(self, ctx: Context, arguments: Mapping[str, Any]) -> list[Passage]:
        """Search the index."""
        return await self.search(ctx, **cast("dict[str, Any]", arguments))
