"""What the handles of a run are told: by the work on it here, or of what another process did."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final
from weakref import WeakValueDictionary

from treadle.engine.failures import ended_error, ended_with, said
from treadle.engine.handle import Home, RunHandle
from treadle.engine.loop import RunLoop
from treadle.engine.tracked import FINAL, Status, Tracked
from treadle.errors import RunError, TreadleError
from treadle.events import CancelRequested, RunEnded
from treadle.ids import NodeId, RunId
from treadle.nodes.graph import Graph

NAMED: Final = 5
"""How many other nodes that failed are named in the error of a run."""


class Handles:
    """The handles that somebody holds, by run; what is known of a run goes with the last of them.

    Args:
        home: The engine.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._tracked: WeakValueDictionary[RunId, Tracked] = WeakValueDictionary()

    def make(self, run_id: RunId, graph: Graph[..., Any], status: Status) -> tuple[RunHandle[Any], Tracked]:
        """Make a handle; the status is that of a run which nobody holds one of yet."""
        tracked = self._tracked.get(run_id)
        if tracked is None:
            tracked = self._tracked[run_id] = Tracked(run_id, graph.name, status)
        return RunHandle(self._home, tracked), tracked

    def make_ended(
        self, run_id: RunId, graph: Graph[..., Any], ended: RunEnded, cancel: CancelRequested | None
    ) -> RunHandle[Any]:
        """Make a handle of a run that is over, and tell those there are."""
        handle, tracked = self.make(run_id, graph, ended.status)
        value, error = ended_with(run_id, ended, graph.result, cancel)
        tracked.become(ended.status, value=value, error=error)
        return handle

    def lose(self, run_id: RunId, error: TreadleError) -> None:
        """Say that the run cannot go on here, and why."""
        tracked = self._tracked.get(run_id)
        if tracked is not None:
            tracked.become(tracked.status, error=error, is_lost=True)

    def at_rest(self, under_way: Container[RunId]) -> dict[RunId, Tracked]:
        """The unfinished runs that somebody holds a handle of, and that are not under way here."""
        return {
            run_id: tracked
            for run_id, tracked in self._tracked.items()
            if run_id not in under_way and tracked.status not in FINAL and not tracked.is_lost
        }


def tell(loop: RunLoop, tracked: Tracked, error: TreadleError | None) -> None:
    """Say how a run ended here, that it waits for people, or why this process lost it.

    Args:
        error: What stopped the work on it, where something did.
    """
    ended = loop.ended
    loop.close_span(ended)
    if error is not None or (ended is None and not loop.is_parked):
        lost = error or RunError(
            f"the engine closed while run {loop.run_id!r} was under way; resume it", run_id=loop.run_id
        )
        tracked.become(tracked.status, error=lost, is_lost=True)
    elif ended is None:
        tracked.become("waiting", questions=tuple(loop.questions.open))
    else:
        cause = None if ended.failure is None else loop.errors.get(ended.failure.node)
        value = loop.workspace.result() if ended.status == "completed" else None
        told = ended_error(loop.run_id, ended, cause, loop.scheduler.cancelled_by)
        if told is not None and ended.failure is not None:
            _name_others(told, loop, ended.failure.node)
        tracked.become(ended.status, value=value, error=told)


def _name_others(error: BaseException, loop: RunLoop, node: NodeId) -> None:
    """Note on the error of a run which nodes failed beside the one it is the error of."""
    others = sorted(loop.scheduler.blamed - {node})
    for other in others[:NAMED]:
        failed = loop.errors.get(other)
        with_what = "" if failed is None else f", with {type(failed).__name__}: {said(failed)}"
        error.add_note(f"node {other!r} failed as well{with_what}".partition("\n")[0])
    if len(others) > NAMED:
        error.add_note(f"and {len(others) - NAMED} more nodes; `treadle show {loop.run_id}` has them all")
