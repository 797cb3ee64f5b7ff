"""How much may be asked of a model: pure arithmetic of rates and of concurrency; nothing waits here."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from treadle.limits import MINUTE

_LEAST_SHARE: Final = 1 / 64
_GROWTH: Final = 1 / 64


class Entry:
    """One request in a ``Window``.

    Attributes:
        amount: What it counts.
        leaves_at: When it counts no more; ``inf`` before it is sent.
    """

    __slots__ = ("amount", "leaves_at")

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.leaves_at = math.inf


class Window:
    """At most so much is sent in any 60 seconds.

    What was let in and is not sent yet counts, too; so whenever requests are sent, no stretch of 60
    seconds has more than the limit (but for a single request that is larger by itself).  Times that
    go backwards, as a machine's clock may, are taken as standing still.

    Args:
        limit: The most in 60 seconds.
    """

    __slots__ = ("_now", "_pending", "_sent", "_total", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._now = -math.inf
        self._total = 0
        self._pending: dict[Entry, None] = {}
        self._sent: deque[Entry] = deque()

    def used(self, at: float) -> int:
        """What counts at a moment."""
        self._pass(at)
        return self._total

    def fits(self, amount: int, at: float, *, share: float = 1.0) -> bool:
        """Whether a request can be let in, where only a share of the limit is to be used."""
        self._pass(at)
        return self._total == 0 or self._total + amount <= self._allowed(share)

    def fits_at(self, amount: int, at: float, *, share: float = 1.0) -> float:
        """When one can be let in that does not fit now, if nothing else changes.

        ``inf`` where that takes a request that is let in to be sent, or taken back.
        """
        self._pass(at)
        left, allowed = self._total, self._allowed(share)
        for entry in self._sent:
            left -= entry.amount
            if left == 0 or left + amount <= allowed:
                return entry.leaves_at
        return math.inf

    def take(self, amount: int) -> Entry:
        """Let a request in."""
        entry = Entry(amount)
        self._pending[entry] = None
        self._total += amount
        return entry

    def sent(self, entry: Entry, at: float) -> None:
        """Note that it is sent now: from here on it counts for 60 seconds."""
        self._pass(at)
        del self._pending[entry]
        entry.leaves_at = self._now + MINUTE
        self._sent.append(entry)

    def correct(self, entry: Entry, amount: int) -> None:
        """Let it count as something else, now that it is known what it took."""
        if entry in self._pending or entry.leaves_at > self._now:
            self._total += amount - entry.amount
        entry.amount = amount

    def drop(self, entry: Entry) -> None:
        """Take one back that was never sent."""
        if entry in self._pending:
            del self._pending[entry]
            self._total -= entry.amount

    def _allowed(self, share: float) -> int:
        return max(1, int(self.limit * share))

    def _pass(self, at: float) -> None:
        self._now = max(self._now, at)
        while self._sent and self._sent[0].leaves_at <= self._now:
            self._total -= self._sent.popleft().amount


class Congestion:
    """What is asked for at once, halved when the provider says that it is too much, and slowly more again.

    Additive increase, multiplicative decrease, as TCP does it (Jacobson and Karels, "Congestion
    avoidance and control", 1988): a 429 halves how many requests are under way at once and the share
    of the rates that is used; each answer lets the one grow by a part of one, so by one for a round
    of them, and the other by 1/64.  Requests that were on their way when it was halved tell nothing
    new, so a storm of 429 halves once.

    Args:
        most: Requests under way at once; ``inf`` for any number.
        adaptive: Whether anything is ever halved.

    Attributes:
        limit: How many may be under way at once, now; a fraction counts once it is whole.
        share: The part of the limits per minute that is used, above 0 and at most 1.
        round: Counts how often it was halved.
    """

    __slots__ = ("_adaptive", "_most", "limit", "round", "share")

    def __init__(self, most: float = math.inf, *, adaptive: bool = True) -> None:
        self._most = most
        self._adaptive = adaptive
        self.limit = most
        self.share = 1.0
        self.round = 0

    def allows(self, under_way: int) -> bool:
        """Whether one more request may be under way."""
        return under_way + 1 <= self.limit

    def answered(self, under_way: int) -> None:
        """Note an answer, with so many under way, it included; only what was used up grows."""
        if self.share < 1.0:
            self.share = min(1.0, self.share + _GROWTH)
        if self.limit < self._most and under_way + 1 > self.limit:
            self.limit = min(self._most, self.limit + 1 / self.limit)

    def refused(self, round_: int, under_way: int) -> None:
        """Note a 429 of a request that was let go in some round, with so many under way, it included."""
        if not self._adaptive or round_ != self.round:
            return
        self.round += 1
        self.limit = max(1.0, float(min(self.limit, under_way) // 2))
        self.share = max(_LEAST_SHARE, self.share / 2)
