"""Where a run's values stand: in one workspace for its own plan, and in one for each item and round.

What the scheduler calls a part has its workspace here.  It is made when the part is entered; when it is
left its outcome stays with the ``each`` or ``loop`` it belongs to, and the rest is forgotten as soon as
nothing in it is under way: a loser may still be on its way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from treadle.engine.compiled import Compiled, Runner
from treadle.engine.workspace import Workspace
from treadle.errors import InternalError
from treadle.events import Event, NodeCompleted
from treadle.ids import PartId, split
from treadle.scheduler.commands import Command, Enter, Leave
from treadle.scheduler.part import Part
from treadle.scheduler.replay import retrace
from treadle.scheduler.scheduler import Scheduler
from treadle.values import Payload


class Site:
    """One part: its workspace, and what its nodes are run by."""

    __slots__ = ("compiled", "runners", "workspace")

    def __init__(self, compiled: Compiled, workspace: Workspace) -> None:
        self.compiled = compiled
        self.runners: Sequence[Runner | None] = compiled.runners
        self.workspace = workspace


class Sites:
    """The sites of one run, by part.

    Args:
        compiled: The run's plan.
        scheduler: Knows what its choices came to.
        inputs: What the run was started with, by name.
        fresh_copies: Whether everybody who asks for a value gets a copy of their own.

    Attributes:
        root: That of the run's own part.
        by_part: Those of items and rounds.
    """

    __slots__ = ("_fresh_copies", "_left", "by_part", "root", "scheduler")

    def __init__(
        self,
        compiled: Compiled,
        scheduler: Scheduler,
        inputs: Mapping[str, Payload],
        *,
        fresh_copies: bool = False,
    ) -> None:
        self.scheduler = scheduler
        self._fresh_copies = fresh_copies
        if fresh_copies:
            inputs = {name: Payload(data=payload.data) for name, payload in inputs.items()}
        plan, program, root = compiled.plan, compiled.program, scheduler.root
        workspace = Workspace(plan, program, root, inputs=inputs, fresh_copies=fresh_copies)
        self.root = Site(compiled, workspace)
        self.by_part: dict[PartId, Site] = {}
        self._left: tuple[Part, ...] = ()

    def of(self, part: PartId) -> Site:
        """The site of a part that was entered."""
        return self.by_part[part] if part else self.root

    def enter(self, command: Enter) -> None:
        """Make the workspace of an item or a round."""
        around = self.of(command.inside)
        compiled = around.compiled.bodies[command.index]
        workspace = Workspace(
            compiled.plan,
            compiled.program,
            self.scheduler.part(command.part),
            fresh_copies=self._fresh_copies,
            around=(around.workspace, command.index, command.number),
        )
        self.by_part[command.part] = Site(compiled, workspace)

    def leave(self, command: Leave, *, is_over: bool = False) -> None:
        """Keep what an item or a round came to; ``forget`` forgets the rest.

        Args:
            is_over: Whether this happened in another process: then the outcome is looked up when somebody
                asks for it.
        """
        site = self.by_part[command.part]
        outcome = site.workspace if command.failure is None else command.failure
        around = self.of(command.inside).workspace
        around.keep(command.index, command.number, outcome, is_needed=not is_over)
        self._left = (*self._left, self.scheduler.part(command.part))

    def forget(self) -> list[Part]:
        """Forget the parts that were left, with all that stands in them, and give them.

        Those in which something is under way stay until it has ended.
        """
        forgotten = [inner for part in self._left if part.is_quiet for inner in part.walk()]
        for part in forgotten:
            self.by_part.pop(part.id, None)
        self._left = tuple(part for part in self._left if not part.is_quiet)
        return forgotten

    def recall(self, event: NodeCompleted) -> None:
        """Take in a recorded result."""
        root = self.root.compiled.program.index.get(event.node)
        if root is not None:
            self.root.workspace.recall(root, event.result)
            return
        part, name = split(event.node)
        site = self.by_part.get(part)
        if site is None:
            raise InternalError(f"{event.node!r} was completed outside of any part; please report this")
        site.workspace.recall(site.compiled.program.index[name], event.result)

    def retrace(self, event: Event, commands: Sequence[Command]) -> None:
        """Take in what happened in another process."""
        if isinstance(event, NodeCompleted):
            self.recall(event)
        for command in commands:
            if isinstance(command, Enter):
                self.enter(command)
            elif isinstance(command, Leave):
                self.leave(command, is_over=True)
                self.forget()


def retraced(
    compiled: Compiled, events: Iterable[Event], inputs: Mapping[str, Payload], *, fresh_copies: bool = False
) -> Sites:
    """Bring a run to where its events left it, without acting; the scheduler with it."""
    sites: Sites | None = None
    for scheduler, event, commands in retrace(events, lambda _: compiled.program):
        if sites is None or sites.scheduler is not scheduler:
            sites = Sites(compiled, scheduler, inputs, fresh_copies=fresh_copies)
        sites.retrace(event, commands)
    if sites is None:
        raise InternalError("a history begins with RunStarted, and this one does not; please report this")
    return sites
