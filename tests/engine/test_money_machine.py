"""Money under any order of events: a state machine drives holds, settlements and cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.budget import NOTHING, Amounts, Bound, Budget
from treadle.engine.money import Account, Hold, hold, settle


@dataclass(eq=False)
class Asked:
    """A request of the machine: its task, and what it asked for."""

    task: asyncio.Task[Hold]
    path: tuple[Account, ...]
    number: int
    within: Asked | None

    @property
    def held(self) -> Hold | None:
        if not self.task.done() or self.task.cancelled() or self.task.exception():
            return None
        return self.task.result()

    @property
    def is_live(self) -> bool:
        return self.held is not None and not self.held.is_settled


class Counters(RuleBasedStateMachine):
    """Any holds, settlements and cancellations in nested accounts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.run = Account("run", Budget(tokens=200, calls=30))
        self.inner = [Account("node a", Budget(tokens=90)), Account("node b", Budget(tokens=120))]
        self.deep = Account("step a:s", Budget(tokens=60))
        self.asked: list[Asked] = []
        self.granted: set[Asked] = set()
        self.charged = dict.fromkeys(self.accounts, NOTHING)

    @property
    def accounts(self) -> list[Account]:
        return [self.run, *self.inner, self.deep]

    def teardown(self) -> None:
        while live := [asked for asked in self.asked if self._may_be_settled(asked)]:
            self._settle(live[0], 0.5)
        assert all(asked.task.done() for asked in self.asked), "somebody waits for ever"
        assert all(account.held == NOTHING and not account.line for account in self.accounts)
        self.loop.close()

    @rule(
        place=st.integers(0, 3),
        size=st.integers(0, 80),
        output=st.integers(1, 60),
        least=st.integers(1, 60),
        within=st.none() | st.integers(0, 20),
    )
    def ask(self, place: int, size: int, output: int, least: int, within: int | None) -> None:
        paths = [(self.run,), (self.run, self.inner[0]), (self.run, self.inner[1])]
        path = [*paths, (self.run, self.inner[0], self.deep)][place]
        live = [asked for asked in self.asked if asked.is_live]
        outer = live[within % len(live)] if within is not None and live else None
        coroutine = hold(
            path,
            Bound(input_tokens=size, price=None),
            max_output=output,
            min_output=least,
            within=None if outer is None else outer.held,
        )
        asked = Asked(self.loop.create_task(coroutine), path, len(self.asked), outer)
        self.asked.append(asked)
        self._let_run()

    @precondition(lambda self: any(self._may_be_settled(asked) for asked in self.asked))
    @rule(which=st.integers(0, 20), share=st.floats(0, 1))
    def settle_one(self, which: int, share: float) -> None:
        live = [asked for asked in self.asked if self._may_be_settled(asked)]
        self._settle(live[which % len(live)], share)

    @precondition(lambda self: any(not asked.task.done() for asked in self.asked))
    @rule(which=st.integers(0, 20))
    def cancel_one(self, which: int) -> None:
        waiting = [asked for asked in self.asked if not asked.task.done()]
        waiting[which % len(waiting)].task.cancel()
        self._let_run()

    @precondition(lambda self: any(not asked.task.done() for asked in self.asked))
    @rule(which=st.integers(0, 20), settled=st.integers(0, 20))
    def cancel_one_as_another_settles(self, which: int, settled: int) -> None:
        waiting = [asked for asked in self.asked if not asked.task.done()]
        live = [asked for asked in self.asked if self._may_be_settled(asked)]
        cancelled = waiting[which % len(waiting)]
        if live:
            self._settle(live[settled % len(live)], 0.0, then=cancelled.task.cancel)
        self._let_run()
        # Money was given back twice: who was passed over in between cannot be seen from outside.
        self.granted |= {asked for asked in self.asked if asked.held is not None}

    @invariant()
    def no_limit_is_passed(self) -> None:
        for account in self.accounts:
            held = [a.held for a in self.asked if a.held and a.is_live and account in a.path]
            total = NOTHING
            for each in held:
                total += each.amounts
            assert account.held == total
            assert account.spent == self.charged[account]
            assert account.short(NOTHING, held=total) is None

    @invariant()
    def the_first_in_line_does_not_fit(self) -> None:
        for account in self.accounts:
            for head in account.line[:1]:
                assert account.short(head.bound.worst(head.max_output), held=account.held)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        for asked in self.asked:
            if not asked.task.done():
                assert any(self._may_be_settled(other) for other in self.asked)

    @invariant()
    def nobody_is_passed_over(self) -> None:
        waiting = [asked for asked in self.asked if not asked.task.done()]
        tickets = sorted((r.key[1], place) for place, a in enumerate(self.accounts) for r in a.line)
        stands_at = {asked: self.accounts[place] for asked, (_, place) in zip(waiting, tickets, strict=True)}
        for asked in self.asked:
            if asked.held is None or asked in self.granted:
                continue
            self.granted.add(asked)
            passed = [older for older in waiting if older.number < asked.number]
            assert asked.within or not any(stands_at[older] in asked.path for older in passed)

    def _may_be_settled(self, asked: Asked) -> bool:
        inside = (other for other in self.asked if other.within is asked)
        return asked.is_live and not any(other.is_live or not other.task.done() for other in inside)

    def _settle(self, asked: Asked, share: float, *, then: Callable[[], object] | None = None) -> None:
        held = asked.held
        assert held is not None
        charged = Amounts(
            usd=held.amounts.usd, tokens=int(held.amounts.tokens * share), calls=held.amounts.calls
        )
        for account in asked.path:
            self.charged[account] += charged
        settle(held, charged)
        if then is not None:
            then()
        self._let_run()

    def _let_run(self) -> None:
        for _ in range(5):
            self.loop.run_until_complete(asyncio.sleep(0))


TestCounters = Counters.TestCase
