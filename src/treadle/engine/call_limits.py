"""How long a call may take: its timeout, its idle, and the seconds of budgets above it alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from treadle.engine.body import Body, Call
from treadle.engine.live import Live
from treadle.engine.money import Account, out_of_time, seconds_left, timed
from treadle.engine.stopwatch import CLOCKS_DIFFER, Limits
from treadle.errors import BudgetExceeded, NodeTimeout


def limited(call: Call, inner: Body) -> bool:
    """Whether anything limits the time of a call: most pay for nothing of this."""
    policies = call.callee.policies
    if policies.timeout is not None or policies.idle is not None:
        return True
    return len(inner.accounts) > len(call.body.accounts) and bool(_added(call, inner))


def _added(call: Call, inner: Body) -> tuple[Account, ...]:
    """The accounts with a limit of seconds that stand above a call, and not above the body that makes it."""
    around = call.body.accounts
    return tuple(one for one in timed(inner.accounts) if one not in around)


class CallLimits:
    """The limits of one try at a call.

    A call that only waits, for people, for money or between two requests, takes no time.

    Args:
        live: The run.
        call: The call.
        inner: Its body; the accounts that it adds to those of the body around are its own.
    """

    def __init__(self, live: Live, call: Call, inner: Body) -> None:
        self._accounts = _added(call, inner)
        self._live = live
        self._call = call
        self._inner = inner
        policies = call.callee.policies
        self._limits = Limits(
            live.services.time,
            timeout=policies.timeout,
            idle=policies.idle,
            left=lambda: seconds_left(self._accounts, live.now()),
        )

    @contextmanager
    def running(self) -> Generator[None]:
        """Around the body: counts its seconds, and cuts it off when a limit is passed.

        Raises:
            BudgetExceeded: There are no seconds left to begin with.
        """
        spent = out_of_time(self._accounts, self._live.now())
        if spent is not None:
            raise spent
        activity = self._inner.activity
        with self._limits.running(), activity.told(self._changed, self._limits.stir):
            self._count(waits=False)
            try:
                yield
            finally:
                if not activity.is_waiting:
                    self._count(waits=True)

    def _changed(self, waits: bool) -> None:
        self._limits.pause(waits)
        self._count(waits=waits)

    def _count(self, *, waits: bool) -> None:
        at = self._live.services.clock.now()
        for account in self._accounts:
            (account.meter.stopped if waits else account.meter.started)(at)

    def passed(self, node: str, attempt: int) -> BudgetExceeded | NodeTimeout | None:
        """What to say where a limit was passed; a ``once`` call that returned all the same is done."""
        callee, limits = self._call.callee, self._limits
        if not limits.caught and (not limits.broken or callee.policies.effect == "once"):
            return None
        if limits.is_cut and limits.broken != "idle":
            spent = out_of_time(self._accounts, self._live.now(), within=CLOCKS_DIFFER)
            if spent is not None:
                return spent
        return NodeTimeout(
            f"{callee.name!r}, called in node {node!r}, {limits.in_words()}",
            run_id=self._live.run_id,
            node=node,
            attempt=attempt,
        )
