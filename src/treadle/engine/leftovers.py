"""Effects that were done under earlier plans of a run, and that no call has taken.

Where the place of such an effect does something else now, or a function that is called otherwise is given
the very same, nobody but a person knows whether that is to be done as well: it is not, until told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, Protocol

import anyio

from treadle.engine.records import NODE, Identity, Spot, StepRecord
from treadle.engine.uncertain import FRESH, path_of
from treadle.ids import NodeId, StepId
from treadle.plan.parts import Definition
from treadle.plan.sketch import local_name

PATIENCE: Final = 1.0
"""Seconds for which nothing more is claimed before a new effect is refused."""


class Site(Protocol):
    """What stands where in the edited plan."""

    def definition(self, node: NodeId) -> str | None:
        """The digest of the definition of one of its work nodes; ``None`` where it has no such node."""
        ...

    def declared(self, node: NodeId) -> Definition | None:
        """What one of its work nodes is; ``None`` where it has no such node."""
        ...

    def acts(self, node: NodeId) -> bool:
        """Whether one of its nodes must not be repeated."""
        ...

    def identity(self, node: NodeId) -> Identity | None:
        """The identity of one of its nodes, as soon as all that it is given is known."""
        ...

    def spot(self, node: NodeId) -> Spot:
        """Where a node stands, whatever stands before it in its lists."""
        ...


class Pool(Protocol):
    """The records on offer, and what was told of them."""

    @property
    def site(self) -> Site | None: ...
    @property
    def told(self) -> Mapping[str, str]: ...

    def is_offered(self, record: StepRecord) -> bool: ...
    def is_promised(self, record: StepRecord) -> bool: ...
    def is_kept(self, record: StepRecord) -> bool: ...
    def is_free(self, record: StepRecord) -> bool: ...
    def around(self, record: StepRecord) -> Iterator[StepRecord]: ...
    def refuse(
        self, found: Sequence[StepRecord], rivals: Sequence[NodeId], node: NodeId, step: StepId, why: str
    ) -> None: ...


class Leftovers:
    """The effects of earlier plans, by where they were done and by what they were given."""

    __slots__ = ("_bodies", "_changed", "_given", "_here", "_inside")

    def __init__(self) -> None:
        self._here: defaultdict[Spot, list[StepRecord]] = defaultdict(list)
        self._inside: defaultdict[Spot, list[StepRecord]] = defaultdict(list)
        self._given: defaultdict[str, list[StepRecord]] = defaultdict(list)
        self._bodies: defaultdict[str, list[StepRecord]] = defaultdict(list)
        self._changed: anyio.Event | None = None

    def add(self, record: StepRecord) -> None:
        """Note a record that was put on offer, where it is of an effect."""
        if not record.plan or not record.once or record.taken:
            return
        if not record.step:
            self._here[record.spot].append(record)
        if record.result is not None or record.is_open or record.is_done:
            self._given[record.identity.inputs].append(record)
            if record.step:
                self._inside[record.spot].append(record)
                if record.owner is not None:
                    self._bodies[record.owner.inputs].append(record)

    def taken(self) -> None:
        """Note that some record was taken."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def check_node(self, pool: Pool, node: NodeId) -> None:
        """Report an effect that was done as this very node, given or declared otherwise, or as one of
        another name, and is left over.

        Raises:
            AmbiguousHistory: It was, and nobody said that the node is to act anew.
        """
        site = pool.site
        if site is None or pool.told.get(node) == FRESH:
            return
        definition = site.definition(node)
        for record in _left(pool, self._here.get(site.spot(node), ())):
            if not pool.is_kept(record):
                changed = "inputs" if record.identity.definition == definition else "definition"
                why = f"it was done here already, and its {changed} changed since"
                pool.refuse([record], (), node, NODE, why)
                return
        declared, identity = site.declared(node), site.identity(node)
        if declared is None or identity is None or not site.acts(node):
            return
        inside = self._left_inside(pool, site, node)
        if inside is not None:
            pool.refuse(
                [inside], (), node, NODE, "it was done here already, inside of what was declared before"
            )
            return
        self._check_renamed(pool, declared, identity, node, NODE)

    async def check_step(
        self, pool: Pool, declared: Definition, identity: Identity, node: NodeId, step: StepId
    ) -> None:
        """Report an effect that the body of this very node has done, or that was done by a function of
        another name, and is left over once nothing more is claimed.

        Raises:
            AmbiguousHistory: There is one, and nobody said that the call is to act anew.
        """
        site = pool.site
        if site is None or FRESH in (pool.told.get(node), pool.told.get(path_of(node, step))):
            return
        while (left := self._left_inside(pool, site, node)) is not None:
            changed = self._changed = self._changed or anyio.Event()
            with anyio.move_on_after(PATIENCE) as waiting:
                await changed.wait()
            if waiting.cancelled_caught:
                why = (
                    f"it was done in node {left.node!r} already, and this body has not called it again by now"
                )
                pool.refuse([left], (), node, step, why)
                return
        self._check_renamed(pool, declared, identity, node, step)

    def _left_inside(self, pool: Pool, site: Site, node: NodeId) -> StepRecord | None:
        """An effect left over of the body that stood here, or of this body where it stood before."""
        here: Sequence[StepRecord] = self._inside.get(site.spot(node), ())
        for record in chain(_left(pool, here), self._moved(pool, site, node)):
            if not any(pool.is_kept(one) for one in pool.around(record)):
                return record
        return None

    def _moved(self, pool: Pool, site: Site, node: NodeId) -> Iterator[StepRecord]:
        """What was done by this body under another name of its node, or of its function."""
        identity, declared = site.identity(node), site.declared(node)
        if identity is None or declared is None:
            return
        for record in _left(pool, self._bodies.get(identity.inputs, ())):
            name = local_name(record.node).partition(".")[0]
            is_it = record.owner == identity or (
                record.owner is not None and replace(declared, name=name).digest == record.owner.definition
            )
            if is_it and pool.is_free(record):
                yield record

    def _check_renamed(
        self, pool: Pool, declared: Definition, identity: Identity, node: NodeId, step: StepId
    ) -> None:
        for record in _left(pool, self._given.get(identity.inputs, ())):
            if record.callee == declared.name or not pool.is_free(record):
                continue
            if replace(declared, name=record.callee).digest == record.identity.definition:
                why = f"it was done by {record.callee!r}, which was given the same and is called no more"
                pool.refuse([record], (), node, step, why)
                return


def _left(pool: Pool, records: Iterable[StepRecord]) -> Iterator[StepRecord]:
    """Those that nobody has taken, and that nobody said another call takes."""
    return (record for record in records if pool.is_offered(record) and not pool.is_promised(record))
