"""``Circuit``: whether a model is asked at all.  A pure state machine: times are told, nothing waits.

======  ==========================  =========================================================
state   a request that comes        what ends it
======  ==========================  =========================================================
closed  goes                        so many failures in a row: open
open    is refused                  the pause is over, and a request comes: probing
probing the one that came goes,     that one succeeds: closed; it fails: open; it was never
        all others are refused      sent, or cut off: open, and the next that comes goes
======  ==========================  =========================================================

A permit says in which era it was given; how a request of an earlier era ended is of no account, so a
late failure does not open what a probe has closed, and a late success closes nothing.
"""

from __future__ import annotations

from typing import Final, Literal

from treadle.limits import Breaker

State = Literal["closed", "open", "probing"]
Turn = Literal["", "opened", "closed"]
"""What the end of a request did."""

REFUSED: Final = -1
"""What is given in place of an era where a request is refused."""


class Circuit:
    """One model's breaker.

    Args:
        breaker: When it opens, and for how long; ``None`` never.

    Attributes:
        state: See the table above.
        failures: How many requests failed in a row.
        until: When it lets a request through again, where it is open; seconds since 1970.
        why: What the last failure said.
    """

    __slots__ = ("_era", "_failures_allowed", "_pause", "failures", "state", "until", "why")

    def __init__(self, breaker: Breaker | None) -> None:
        self._failures_allowed = 0 if breaker is None else breaker.failures
        self._pause = 0.0 if breaker is None else breaker.pause
        self._era = 0
        self.state: State = "closed"
        self.failures = 0
        self.until = 0.0
        self.why = ""

    def refuses(self, at: float) -> bool:
        """Whether a request would be refused now."""
        return self.state == "probing" or (self.state == "open" and at < self.until)

    def ask(self, at: float) -> int:
        """Let a request go: its era, or ``REFUSED``."""
        if self.state != "closed":
            if self.refuses(at):
                return REFUSED
            self._turn("probing")
        return self._era

    def is_probe(self, era: int) -> bool:
        """Whether the request of a permit is the one that finds out."""
        return self.state == "probing" and era == self._era

    def succeeded(self, era: int) -> Turn:
        """Note that the provider gave an answer, if only one that refuses."""
        if era != self._era:
            return ""
        self.failures = 0
        if self.state == "closed":
            return ""
        self._turn("closed")
        return "closed"

    def failed(self, era: int, at: float, why: str) -> Turn:
        """Note that the provider could not serve a request."""
        if era != self._era or not self._failures_allowed:
            return ""
        self.failures += 1
        self.why = why
        if self.state == "closed" and self.failures < self._failures_allowed:
            return ""
        self._turn("open")
        self.until = at + self._pause
        return "opened"

    def abandoned(self, era: int) -> None:
        """Note that a request was never sent, or cut off: nobody knows any more than before."""
        if self.is_probe(era):
            self._turn("open")

    def wait(self, at: float) -> float:
        """Seconds after which a request that is refused now is best made again."""
        return self._pause if self.state == "probing" else max(0.0, self.until - at)

    def _turn(self, state: State) -> None:
        self.state = state
        self._era += 1
