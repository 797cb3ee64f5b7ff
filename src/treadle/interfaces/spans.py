"""What a trace must offer: spans whose times and parents are given by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from treadle.budget import Amounts, Price
from treadle.ids import RunId
from treadle.interfaces.outside import Model
from treadle.messages import ModelRequest, ModelResponse


class Span(Protocol):
    """A timed operation in a trace.  Times are given by the caller, in seconds since 1970."""

    @property
    def traceparent(self) -> str:
        """W3C trace context under which other spans, of other processes too, belong to this one."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Around a body: spans that the user's own code opens belong to this one."""
        ...

    def step(self, *, kind: str, name: str, step: str, at: float) -> Span:
        """Open the span of a call inside this one's body; ``kind`` is the callee's."""
        ...

    def model(self, *, model: Model, request: ModelRequest, number: int, at: float) -> ModelSpan:
        """Open the span of one request to a model; ``number`` counts those of its step, from 1."""
        ...

    def end(self, *, at: float, error: str = "", status: str = "") -> None:
        """Close it.

        Args:
            at: When it ended.
            error: Qualified name of the error's class; ``""`` where there is none: a pause is none.
            status: How it ended in one word, such as ``"waiting"`` or ``"cancelled"``.
        """
        ...


class ModelSpan(Span, Protocol):
    """The span of one request to a model: the only one that carries usage and cost."""

    def settled(
        self, *, charged: Amounts, price: Price | None, response: ModelResponse | None = None
    ) -> None:
        """Note what it cost, and what came back where something did.

        Without a response, or with one that tells no usage, ``charged`` is what was held.
        """
        ...


class RunSpan(Span, Protocol):
    """The span of a run, or of the part of it between two pauses."""

    def node(self, *, node: str, kind: str, name: str, attempt: int, at: float, scope: str = "") -> Span:
        """Open the span of an attempt; the spans of the subgraphs around it open with the first."""
        ...

    def leave(self, scope: str) -> None:
        """Close the spans of an item or a round that is over, and of the subgraphs in it."""
        ...


class Tracer(Protocol):
    """Makes spans.  Where nobody reads traces there is none, and asking costs a check for ``None``."""

    def run(
        self,
        *,
        run_id: RunId,
        graph: str,
        digest: str,
        at: float,
        scopes: Mapping[str, tuple[str, str]],
        traceparent: str = "",
    ) -> RunSpan:
        """Open the span of a run.

        Args:
            run_id, graph, digest: The run, its graph's name and its plan's digest.
            at: When it starts.
            scopes: For each subgraph's id its graph's name and the id of the subgraph around it.
            traceparent: As recorded in ``RunStarted`` where the run was started earlier; ``""``
                begins it, below whatever span is current.
        """
        ...
