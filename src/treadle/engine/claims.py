"""Which recorded call answers which call of a run: the one identity rule for nodes and for steps.

A record is a finished call, or a ``once`` call in doubt.  Its identity is the callee's definition and
the digest of its arguments, whether it was made as a node of the plan or as a step of a body.  Among
equal records a call takes, in this order:

1. what a person said it takes (``told``);
2. the one of its own place: the same name, or the same step of what was the same node;
3. the oldest whose place the plan no longer has.

What lies inside of a record that is kept is kept with it, and answers nobody else.  For records that
are dear, ``once`` calls and answers of people, the third rule must leave one way only; where it does
not, nothing is chosen, and the doubt is reported.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from treadle.engine import leftovers
from treadle.engine.former import FormerQuestions
from treadle.engine.leftovers import Leftovers
from treadle.engine.records import NODE, AttemptRecords, Identity, Origin, Spot, StepRecord
from treadle.engine.tries import Tries
from treadle.engine.uncertain import FRESH, path_of, refuse, why_uncertain
from treadle.errors import Ambiguity
from treadle.events import StepClaimed, StepStarted
from treadle.ids import NodeId, StepId
from treadle.plan.parts import Definition
from treadle.values import digest


class Site(leftovers.Site, Protocol):
    """The edited plan whose calls claim."""

    def at(self, spot: Spot) -> NodeId | None:
        """The node that stands at a spot now, if any; raises ``LookupError`` where that is not known yet."""
        ...

    def pending(self, definition: str) -> Sequence[NodeId | None]:
        """Its nodes of a definition that may take a record yet: neither done nor begun; ``None`` for items
        and rounds that may begin."""
        ...

    def unfinished(self, definition: str) -> Sequence[NodeId]:
        """Its nodes of a definition that have not been completed, begun or not."""
        ...


_Place = tuple[int, NodeId, str]
"""The plan (counted from 1; 0 the present one), node and step of a record."""


class Claims:
    """Records that nobody has claimed yet.

    Args:
        is_gone: Tells whether the plan no longer has the node of a path.

    Attributes:
        site: The edited plan that claims; ``None`` where the plan was never edited.
        told: What a person said: for the path of a call that of the record it takes, or ``FRESH``.
        report: Told of each call that cannot be told apart; by default it raises.
    """

    def __init__(self, is_gone: Callable[[NodeId], bool]) -> None:
        self._is_gone = is_gone
        self.site: Site | None = None
        self.told: Mapping[str, str] = {}
        self.report: Callable[[Ambiguity], None] = refuse
        self._pool: dict[Identity, list[StepRecord]] = {}
        self._at: defaultdict[_Place, list[StepRecord]] = defaultdict(list)
        self._below: defaultdict[_Place, dict[str, None]] = defaultdict(dict)
        self._by_seq: dict[int, StepRecord] = {}
        self._keys: set[str] = set()
        self._origins: defaultdict[Identity, dict[Spot, Origin]] = defaultdict(dict)
        self._doubts: defaultdict[NodeId, list[StepRecord]] = defaultdict(list)

    # -- what most runs do without: made by the first who asks ----------------------------------------------

    @functools.cached_property
    def tries(self) -> Tries:
        """Nodes that were between two tries when a plan was left."""
        return Tries()

    @functools.cached_property
    def left(self) -> Leftovers:
        """The effects that were done under earlier plans."""
        return Leftovers()

    @functools.cached_property
    def former(self) -> FormerQuestions:
        """What people were asked under plans that are left."""
        return FormerQuestions()

    # -- what is on offer ------------------------------------------------------------------------------

    def add_attempt(self, attempt: AttemptRecords) -> None:
        """Put in what a later attempt may claim of one that has failed, was cut short or replaced; once."""
        if attempt.is_offered:
            return
        attempt.is_offered = True
        self.add(attempt.claimable())
        self.add(record for record in attempt.steps.values() if record.is_open)

    def add(self, records: Iterable[StepRecord]) -> None:
        """Put records in, the oldest first."""
        for record in records:
            self._pool.setdefault(record.identity, []).append(record)
            self._at[_place(record)].append(record)
            if record.is_open:
                self._doubts[record.node].append(record)
            self.left.add(record)
            plan, node, step = _place(record)
            while step:
                around = step.rpartition("/")[0]
                self._below[plan, node, around][step] = None
                step = around

    def note_origin(self, identity: Identity, spot: Spot, now: Origin) -> None:
        """Note what the body of a node has seen under a plan that is left; what it had seen before stays."""
        known = self._origins[identity]
        earlier = [place for place, seen in known.items() if seen.plan < now.plan]
        if spot not in known and len(earlier) == 1:
            known[spot] = known.pop(earlier[0])
        before = known.get(spot)
        if before is not None and now.attempt == 1:
            now = Origin(before.node, before.attempt, {**before.notes, **now.notes}, now.plan)
        known[spot] = now

    def origin(self, node: NodeId) -> Origin | None:
        """What the body of a node has seen under earlier plans; ``None`` where that is not certain."""
        identity = None if self.site is None else self.site.identity(node)
        if self.site is None or identity is None or identity not in self._origins:
            return None
        known, spot = self._origins[identity], self.site.spot(node)
        if spot in known:
            return known[spot]
        left = [seen for place, seen in known.items() if self._is_left(self.site, place, identity)]
        return left[0] if len(left) == 1 else None

    def is_left(self, spot: Spot, then: Identity) -> bool:
        """Whether what stood at a spot under an earlier plan stands there no more."""
        return self.site is not None and self._is_left(self.site, spot, then)

    def _is_left(self, site: Site, spot: Spot, then: Identity) -> bool:
        try:
            node = site.at(spot)
        except LookupError:
            return False
        return node is None or self._has_changed(site, node, then)

    def close_key(self, record: StepRecord) -> None:
        """Note the idempotency key of an effect that was done under an earlier plan: the outside world takes
        a call under the same key for that very effect."""
        if record.once and record.result is not None and record.idempotency_key:
            self._keys.add(record.idempotency_key)

    def new_key(self, key: str) -> str:
        """Give another key in place of one under which something else was done; ``""`` where it is free.

        Names shift under an edited plan, and a person may have a finished call made anew.
        """
        found, count = key, 0
        while found in self._keys:
            count += 1
            found = digest(f"{key}:{count}".encode())[:32]
        return found if count else ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever on offer."""
        return not self._pool

    def offers(self, identity: Identity) -> bool:
        """Whether the outcome of a call like this one is on offer."""
        return any(not record.is_open for record in self._pool.get(identity, ()))

    def unclaimed(self) -> Iterator[StepRecord]:
        """All that is on offer."""
        for equal in self._pool.values():
            yield from equal

    def has_doubt(self, node: NodeId) -> bool:
        """Whether an earlier attempt at a node made a call that never learned how it ended."""
        return any(record.is_open and self.is_offered(record) for record in self._doubts.get(node, ()))

    def began_again(self, event: StepStarted) -> None:
        """Take out the doubt that a call recorded later took over: it acts under the same key."""
        equal = self._pool.get(Identity(event.definition, event.input_digest), [])
        for record in [one for one in equal if one.is_open and one.idempotency_key == event.idempotency_key]:
            self._remove(record)

    def forget(self, event: StepClaimed) -> None:
        """Take a record out that was claimed before."""
        source = (event.from_node, event.from_attempt, event.from_step)
        equal = self._pool.get(Identity(event.definition, event.input_digest), [])
        found = next((r for r in equal if (r.node, r.attempt, r.step) == source), None)
        if found is not None:
            self._consume(found)

    def forget_seq(self, seq: int) -> None:
        """Take a record out that a node has claimed, by the event that made it."""
        self.tries.forget_seq(seq)
        if seq not in self._by_seq:
            self._by_seq = {record.seq: record for record in self.unclaimed()}
        found = self._by_seq.get(seq)
        if found is not None:
            self._consume(found)

    # -- claiming --------------------------------------------------------------------------------------

    def take(self, identity: Identity, node: NodeId, step: StepId) -> StepRecord | None:
        """Claim a record for a call, or give ``None``; a record is claimed once.

        It is what the call came to; or open: the same call, made by an earlier attempt that never learned
        how it ended.

        Raises:
            AmbiguousHistory: Which call a dear record belongs to cannot be told.
        """
        record = self.find(identity, node, step)
        if record is None:
            return None
        if record.is_open:
            self._remove(record)  # what it had finished inside is for its next try
            return record
        return self.taken(record)

    def taken(self, record: StepRecord) -> StepRecord:
        """Take out a record that was found, with all that lies inside of it."""
        self._consume(record)
        return record

    def find(self, identity: Identity, node: NodeId, step: StepId) -> StepRecord | None:
        """Give the record that a call takes, without taking it.

        Raises:
            AmbiguousHistory: As ``take``.
        """
        equal = self._pool.get(identity, ())
        if not equal and not self.told:
            return None
        own = self._own(equal, node, step)
        if own is not None and not own.plan:
            return own
        call = path_of(node, step)
        if call in self.told:
            if self.told[call] == FRESH:
                return None
            named = self.named(self.told[call], identity)
            if named is not None:
                return named
        if own is not None:
            return own
        left = [record for record in equal if not self.is_promised(record)]
        return self._carried(left, node, step) or self._moved(left, identity, node, step)

    def is_promised(self, record: StepRecord) -> bool:
        """Whether a person said that another call takes it."""
        return any(label in (record.path, f"{record.path}@{record.seq}") for label in self.told.values())

    def moment(self, identity: Identity, node: NodeId) -> int:
        """When what a node may take was recorded: its place among all that was; 0 where there is nothing."""
        equal = self._pool.get(identity, ())
        own = self._own(equal, node, NODE) if equal else None
        record = own or next(iter(equal), None)
        return 0 if record is None else record.since

    async def check_step(self, declared: Definition, identity: Identity, node: NodeId, step: StepId) -> None:
        """Let no effect be done in a body in whose place another one was done under an earlier plan.

        Raises:
            AmbiguousHistory: One is left over, and nobody said that the call is to act anew.
        """
        if self.site is not None and step:  # what a node does itself was looked at before it began
            await self.left.check_step(self, declared, identity, node, step)

    def is_offered(self, record: StepRecord) -> bool:
        """Whether nobody has taken it."""
        return record in self._pool[record.identity]

    def named(self, label: str, identity: Identity | None = None) -> StepRecord | None:
        """Give the record of an earlier plan that a person named by its path: an equal one first, else the
        newest.  ``path@seq`` names the one that the event of this place recorded."""
        found = [r for r in self.unclaimed() if r.plan and label in (r.path, f"{r.path}@{r.seq}")]
        equal = [record for record in found if record.identity == identity]
        return max(equal or found, key=lambda record: record.seq, default=None)

    def label(self, record: StepRecord) -> str:
        """What ``named`` finds a record by."""
        twins = [one for one in self.unclaimed() if one.path == record.path]
        return record.path if len(twins) == 1 else f"{record.path}@{record.seq}"

    def _own(self, equal: Sequence[StepRecord], node: NodeId, step: StepId) -> StepRecord | None:
        found = (record for record in equal if record.step == step)
        if self.site is None:
            return next((record for record in found if record.node == node), None)
        spot = self.site.spot(node)
        for record in found:
            is_here = record.spot == spot if record.plan else record.node == node
            if is_here and self._is_still(record, node):
                return record
        return None

    def _is_still(self, record: StepRecord, node: NodeId) -> bool:
        """Whether the node that a step was made in is what it was."""
        if not record.step or not record.plan or self.site is None:
            return True
        return record.owner is not None and record.owner == self.site.identity(node)

    def _carried(self, equal: Sequence[StepRecord], node: NodeId, step: StepId) -> StepRecord | None:
        """The same step of the same node under its earlier name."""
        if self.site is None or not step:
            return None
        mine = self.site.identity(node)
        found = [r for r in equal if r.step == step and mine and r.owner == mine and self.is_free(r)]
        if len({record.node for record in found}) > 1 and found[0].is_dear:
            self.refuse(found, (), node, step, "several nodes of earlier plans had this very step")
            return None
        rivals = self._equal_bodies(self.site, mine, node, step) if found and found[0].is_dear else ()
        if rivals:
            self.refuse(found[:1], rivals, node, step, why_uncertain(found[:1], rivals, ()))
            return None
        return found[0] if found else None

    def _equal_bodies(
        self, site: Site, mine: Identity | None, node: NodeId, step: StepId
    ) -> tuple[NodeId, ...]:
        """Other nodes that are what this one is, whose bodies may make the same call, and have not run in
        their place before."""
        if mine is None:
            return ()
        seen = self._origins.get(mine, {})
        return tuple(
            other
            for other in site.unfinished(mine.definition)
            if other != node
            and site.identity(other) == mine
            and site.spot(other) not in seen
            and FRESH not in (self.told.get(other), self.told.get(path_of(other, step)))
        )

    def _moved(
        self, equal: Sequence[StepRecord], identity: Identity, node: NodeId, step: StepId
    ) -> StepRecord | None:
        """The oldest record whose place is gone; a dear one only where no other reading is possible."""
        free = [record for record in equal if self.is_free(record)]
        if self.site is None or not any(record.is_dear for record in equal):
            return free[0] if free else None
        unsure = [record for record in equal if record not in free and self._is_unsure(record)]
        found = [*free, *unsure]
        rivals = self._rivals(equal, identity, node) if found else ()
        if len(found) > 1 or rivals or unsure:
            self.refuse(found, rivals, node, step, why_uncertain(found, rivals, unsure))
            return None
        return free[0] if free else None

    def refuse(
        self, found: Sequence[StepRecord], rivals: Sequence[NodeId], node: NodeId, step: StepId, why: str
    ) -> None:
        """Report that a call could be some of these records."""
        labels = tuple(map(self.label, found))
        self.report(Ambiguity(path_of(node, step), labels, tuple(rivals), why))

    def _rivals(self, equal: Sequence[StepRecord], identity: Identity, node: NodeId) -> tuple[NodeId, ...]:
        """Other nodes of the plan that make the same call, and have no record of their own place."""
        site = self.site
        if site is None:
            return ()
        served = {record.spot for record in equal if not record.step}
        told = {name for name, label in self.told.items() if label == FRESH}
        return tuple(
            other
            for other in site.pending(identity.definition)
            if other is not None
            and other != node
            and other not in told
            and site.identity(other) == identity
            and site.spot(other) not in served
        )

    # -- whose place is gone ---------------------------------------------------------------------------

    def is_free(self, record: StepRecord) -> bool:
        """Whether nothing of the plan stands any more where a record was made."""
        if not record.plan:
            return False
        if any(self._may_be_kept(around) for around in self.around(record)):
            return False
        if self.site is None:
            return self._is_gone(record.node)
        place = record.place
        return (
            self._is_left(self.site, record.spot, place) if place is not None else self._is_gone(record.node)
        )

    def _has_changed(self, site: Site, node: NodeId, then: Identity | None) -> bool:
        """Whether the node of a name is sure to be another than the one it was."""
        definition = site.definition(node)
        if definition is None or then is None:
            return definition is None
        if definition != then.definition:
            return True
        now = site.identity(node)
        return now is not None and now != then

    def _is_unsure(self, record: StepRecord) -> bool:
        """Whether a record, whose place may or may not be what it was, could be claimed there yet."""
        if not record.plan or self.site is None:
            return False
        keepers = [around for around in self.around(record) if self._may_be_kept(around)]
        if keepers:
            return not any(self.is_kept(around) for around in keepers)
        return bool(record.step) or self._now(self.site, record) is None

    def _now(self, site: Site, record: StepRecord) -> Identity | None:
        """What stands where a record was made, as far as it is known."""
        try:
            node = site.at(record.spot)
        except LookupError:
            return None
        return None if node is None else site.identity(node)

    def around(self, record: StepRecord) -> Iterator[StepRecord]:
        """The finished calls on offer that a record lies inside of."""
        plan, node, step = _place(record)
        while step:
            step = step.rpartition("/")[0]
            yield from (one for one in self._at.get((plan, node, step), ()) if not one.is_open)

    def is_kept(self, record: StepRecord) -> bool:
        """Whether a node of the plan is sure to claim it."""
        site = self.site
        if site is None or record.step:
            return False
        pending = site.pending(record.identity.definition)
        return any(node is not None and site.identity(node) == record.identity for node in pending)

    def _may_be_kept(self, record: StepRecord) -> bool:
        """Whether a node of the plan may claim a finished call as a whole, with all that is inside."""
        site = self.site
        if site is None:
            return False
        pending = site.pending(record.identity.definition)
        return any(node is None or site.identity(node) in (None, record.identity) for node in pending)

    # -- taking out ------------------------------------------------------------------------------------

    def _consume(self, record: StepRecord) -> None:
        """Take a record out, and all that was called inside of it; what a call that failed had done inside
        is left to whoever makes it again."""
        self._remove(record)
        if record.result is None and not record.taken:
            return
        stack = [_place(record)]
        while stack:
            place = stack.pop()
            for step in self._below.pop(place, ()):
                inside = (place[0], place[1], step)
                for one in list(self._at.get(inside, ())):
                    self._remove(one)
                stack.append(inside)

    def _remove(self, record: StepRecord) -> None:
        self._pool[record.identity].remove(record)
        self.left.taken()
        self._at[_place(record)].remove(record)


def _place(record: StepRecord) -> _Place:
    return record.plan, record.node, record.step
