"""What an engine has for all its runs: time, models, indexes, resources, spans."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar, cast

import anyio
from anyio import to_thread

from treadle import compose
from treadle.engine.gate import Gates
from treadle.engine.listening import Pieces
from treadle.engine.stopwatch import time_of
from treadle.errors import ConfigurationError, InternalError
from treadle.ids import QuestionId, RunId
from treadle.interfaces import Clock, Index, Model, Tracer
from treadle.limits import Limit, check_limits
from treadle.retry import RetryBudget
from treadle.scheduler.commands import Command

T = TypeVar("T")


def _no_deadlines(run_id: RunId, question: QuestionId, at: float) -> None:
    raise InternalError(f"a deadline of run {run_id!r} ({question}, {at}) came before the engine was open")


class EngineServices:
    """Opens each thing once, on first use.  Implements ``Services``.

    Args:
        clock: The time.
        tracer: Where spans go, or ``None``.
        resources: Objects that bodies ask for by their type.
        fresh_copies: Whether everybody who asks for a value gets a copy of their own.

    Attributes:
        gates: Where requests to models wait their turn.
        retry_budget: What each run may send again.
        watch_command: Told of every command about to be obeyed, where a test stops runs at them.
    """

    def __init__(
        self,
        clock: Clock,
        tracer: Tracer | None,
        resources: Iterable[object],
        *,
        fresh_copies: bool = False,
    ) -> None:
        self.fresh_copies = fresh_copies
        self.gates = Gates({}, clock)
        self.retry_budget = RetryBudget()
        self.clock = clock
        self.time = time_of(clock)
        self.tracer = tracer
        self.pieces = Pieces()
        self.rehearsals: dict[str, object] = {}
        self.choices: dict[str, compose.ModelChoice] = {}
        self._models: dict[tuple[str, int], compose.ModelChoice] = {}
        self._given: dict[int, Model] = {}
        self._indexes: dict[str, Index] = {}
        self._resources = list(resources)
        self._lock = anyio.Lock()
        self.watch_deadline: Callable[[RunId, QuestionId, float], None] = _no_deadlines
        self.watch_command: Callable[[Command], None] | None = None

    def limit(
        self,
        limits: Mapping[str, Limit] | None,
        retry_budget: RetryBudget | None,
        providers: Collection[str] = (),
    ) -> None:
        """Set what may be asked of models, by name, and what each run may send again.

        Args:
            limits: By ``PROVIDER:NAME``, ``PROVIDER:*`` or ``*``.
            retry_budget: ``None`` takes the usual one.
            providers: Those of the model objects in the engine's graphs.

        Raises:
            ConfigurationError: A limit names no model, or one of them is something else.
        """
        if not isinstance(retry_budget, RetryBudget | None):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped users
            raise ConfigurationError(
                f"retry_budget= is RetryBudget(...) of treadle.models, not {retry_budget!r}"
            )
        self.gates = Gates(check_limits(limits, providers), self.clock)
        self.retry_budget = retry_budget or RetryBudget()

    async def model(self, declared: str | Model, graph: str) -> Model:
        """The live model behind a declared one; names are looked up once, in a thread.

        Raises:
            ConfigurationError: The name leads nowhere, or nothing is configured.
        """
        if not isinstance(declared, str):
            self._given[id(declared)] = declared
            return declared
        rehearsal = self.rehearsals.get(graph)
        key = (declared, id(rehearsal))
        if key not in self._models:
            async with self._lock:
                if key not in self._models:
                    self._models[key] = await to_thread.run_sync(
                        lambda: compose.choose_model(declared, rehearsal=rehearsal)
                    )
        self.choices[declared] = self._models[key]
        return self._models[key].model

    def index(self, declared: str | Index) -> Index:
        """The index behind a path, opened once; an object is given back as it is."""
        if not isinstance(declared, str):
            return declared
        if declared not in self._indexes:
            self._indexes[declared] = compose.open_index(declared)
        return self._indexes[declared]

    def resource(self, kind: type[T]) -> T:
        """Give the first resource of a type.

        Raises:
            ConfigurationError: The engine was given none.
        """
        for resource in self._resources:
            if isinstance(resource, kind):
                return resource
        known = ", ".join(type(resource).__name__ for resource in self._resources) or "none"
        raise ConfigurationError(
            f"no resource of type {kind.__name__}; pass one: Engine(..., resources=[...]) (given: {known})"
        )

    async def aclose(self) -> None:
        """Close the connections of the models and indexes that were used; used again, they reopen."""
        opened: list[Any] = [*(choice.model for choice in self._models.values()), *self._given.values()]
        for thing in (*opened, *self._indexes.values()):
            close = getattr(thing, "aclose", None)
            if close is not None:
                await close()
        self._models.clear()
        self._given.clear()
        self._indexes.clear()

    @property
    def chosen(self) -> Mapping[str, compose.ModelChoice]:
        """What the names used so far came to."""
        return cast("Mapping[str, compose.ModelChoice]", self.choices)
