"""Nodes that were between two tries when the graph was edited: the count and the backoff hold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

from treadle.engine.records import Identity, Spot
from treadle.events import Failure
from treadle.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A node whose last try has failed, and which is to be tried again.

    Attributes:
        attempt: The number of that try.
        tries: How many tries count against the policy.
        not_before: When the next one begins, in seconds since 1970.
        seq: The place in the history of the event that says how the last one failed.
    """

    attempt: int
    tries: int
    not_before: float
    failure: Failure
    seq: int


class Site(Protocol):
    """The edited plan."""

    def identity(self, node: NodeId) -> Identity | None: ...

    def spot(self, node: NodeId) -> Spot: ...

    def at(self, spot: Spot) -> NodeId | None: ...


class Tries:
    """What was tried under earlier plans, and nobody has gone on with since."""

    def __init__(self) -> None:
        self._of: defaultdict[Identity, dict[Spot, Tried]] = defaultdict(dict)

    def note(self, identity: Identity, spot: Spot, tried: Tried) -> None:
        """Note what was left between two tries."""
        self._of[identity][spot] = tried

    def forget_seq(self, seq: int) -> None:
        """Forget what a node has gone on with."""
        for known in self._of.values():
            for spot in [spot for spot, tried in known.items() if tried.seq == seq]:
                del known[spot]

    def take(self, site: Site, node: NodeId) -> Tried | None:
        """Give what a node goes on with: its own tries, or those of one like it that is gone."""
        identity = site.identity(node)
        known = None if identity is None else self._of.get(identity)
        if not known:
            return None
        spots = [site.spot(node), *known]
        mine = next((s for n, s in enumerate(spots) if s in known and (not n or _is_gone(site, s))), None)
        return None if mine is None else known.pop(mine)


def _is_gone(site: Site, spot: Spot) -> bool:
    try:
        return site.at(spot) is None
    except LookupError:
        return False
