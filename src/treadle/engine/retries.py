"""``Retries``: how many requests to models a run has sent again, against what it may."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.errors import ProviderError
from treadle.events import Event, MoneyHeld
from treadle.ids import NodeId, StepId
from treadle.retry import RetryBudget


class Retries:
    """The count of one run, read off its history and kept while it goes on.

    A request is sent *again* where its step has sent one before: in this attempt or an earlier one,
    in this process or one that died.  The second of two at once, where a model is hedged, is neither.

    Args:
        budget: What the run may.

    Attributes:
        firsts: Requests that were the first of their step.
        again: Requests that were not, those about to be sent included.
    """

    __slots__ = ("_asked", "again", "budget", "firsts")

    def __init__(self, budget: RetryBudget) -> None:
        self.budget = budget
        self.firsts = 0
        self.again = 0
        self._asked: dict[NodeId, set[StepId]] = {}

    @classmethod
    def of(cls, budget: RetryBudget, events: Iterable[Event]) -> Retries:
        """Count what a history shows."""
        retries = cls(budget)
        for event in events:
            if isinstance(event, MoneyHeld) and not event.hedge:
                retries.sent(event.node, event.step)
        return retries

    def sent(self, node: NodeId, step: StepId) -> None:
        """Note a request that was not asked for with ``take``."""
        asked = self._asked.setdefault(node, set())
        if step in asked:
            self.again += 1
        else:
            asked.add(step)
            self.firsts += 1

    def forget(self, node: NodeId) -> None:
        """Forget what a node has asked, which never runs again; the counts stay."""
        self._asked.pop(node, None)

    def take(self) -> bool:
        """Ask whether one more may be sent again, and count it if so."""
        allowed = self.budget.allows(again=self.again, firsts=self.firsts)
        self.again += allowed
        return allowed

    def spent(self, error: ProviderError) -> ProviderError:
        """The same error, which says that it is final, because there is no retry left."""
        budget = self.budget
        final = type(error).__new__(type(error))
        final.__dict__.update(error.__dict__, retryable=False, retry_after=None)
        final.args = (
            f"{error}; not tried again: the retry budget of the run is spent, {self.again} of its "
            f"{self.firsts + self.again} requests were sent again. Find out why so many fail, or allow more: "
            f"Engine(retry_budget=RetryBudget(share={budget.share:g}, least={budget.least}))",
        )
        return final
