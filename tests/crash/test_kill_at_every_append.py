"""A pipeline is killed at each of its appends, for real, and taken up by another process.

What must come out of it is what comes out undisturbed: the same answer, the same rows in the bank,
nothing paid twice, and every request that left in the ledger.
"""

from __future__ import annotations

import itertools
import random
import signal
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import cache

import pytest
from laboratory import Kept, Laboratory, Site

from treadle.events import (
    Event,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAnswered,
    RunEnded,
    StepCompleted,
    StepStarted,
)

GRAPHS = ("hard", "person")
MODES = ("before", "after", "unflushed")
SAMPLE = 7
SEED = 20261122
MOST_KILLS = 4
"""So many calls under way can be charged in full before the expert's budget is used up, rightly."""

pytestmark = [pytest.mark.attack, pytest.mark.timeout(1800)]


class Reference:
    """What a run comes to when nobody disturbs it."""

    def __init__(self, laboratory: Laboratory, graph: str) -> None:
        site = laboratory.site(graph, f"{graph}-undisturbed")
        assert site.process() == {"code": 0}
        self.kept = site.kept()
        self.value = site.result["value"]
        self.appends: int = site.result["appends"]
        self.requests = len(site.sent)
        assert self.kept.faults == []
        assert self.kept.deliveries == [1]
        assert self.requests == len(model_calls(self.kept.events)) == 4


@cache
def reference(laboratory: Laboratory, graph: str) -> Reference:
    return Reference(laboratory, graph)


def model_calls(events: Iterable[Event]) -> set[tuple[str, int, str]]:
    """The model calls whose outcome is recorded."""
    listed = list(events)
    models = {key(e) for e in listed if isinstance(e, StepStarted) and e.callee_kind == "model"}
    return {key(e) for e in listed if isinstance(e, StepCompleted)} & models


def key(event: StepStarted | StepCompleted | MoneyHeld) -> tuple[str, int, str]:
    return (event.node, event.attempt, event.step)


def in_doubt(events: Iterable[Event]) -> set[tuple[str, int, str]]:
    """The effects that were begun, and of which nobody knows how they ended."""
    listed = list(events)
    begun = {key(e) for e in listed if isinstance(e, StepStarted) and e.once}
    return begun - {key(e) for e in listed if isinstance(e, StepCompleted)}


def strike(laboratory: Laboratory, graph: str, mode: str, at: int) -> bool:
    """Kill a run at an append and take it up; tell whether the kill struck an unfinished run."""
    wanted = reference(laboratory, graph)
    site = laboratory.site(graph, f"{graph}-{mode}-{at}")
    backend = ("asyncio", "trio")[at % 2]
    ended = site.process(mode=mode, at=at, backend=backend)
    if ended == {"code": 0}:
        return False
    assert ended == {"signal": signal.SIGKILL}
    before, sent = site.kept(), len(site.sent)
    assert before.faults == []
    assert site.process(backend=backend) == {"code": 0}
    check(wanted, site, before, sent)
    return not before.has_ended


def check(wanted: Reference, site: Site, before: Kept, sent: int) -> None:
    """Compare a run that was killed once with an undisturbed one."""
    after = site.kept()
    check_outcome(wanted, site, before, after)
    doubts = in_doubt(before.events)
    assert site.result["asked"].count("doubt") == len(doubts)
    assert intents(after.events) == 1 + len(doubts)
    check_requests(wanted, site, before, after, sent)


def check_outcome(wanted: Reference, site: Site, before: Kept, after: Kept) -> None:
    """The same answer and rows; what was recorded stands, was done once, and is charged."""
    assert after.faults == []
    assert after.recorded[: len(before.recorded)] == before.recorded
    assert site.result["value"] == wanted.value
    assert after.rows == wanted.kept.rows
    assert set(ended(after.events).values()) == {1}
    answered = [e for e in after.events if isinstance(e, QuestionAnswered) and e.node == "expert"]
    assert 1 <= after.deliveries[0] <= intents(after.events) <= 1 + len(answered)
    assert len(site.sent) <= sum(isinstance(event, MoneySettled) for event in after.events)
    check_money(after)


def ended(events: Iterable[Event]) -> Counter[object]:
    """How often each node and each call was completed."""
    listed = list(events)
    nodes = [event.node for event in listed if isinstance(event, NodeCompleted)]
    return Counter([*nodes, *(key(event) for event in listed if isinstance(event, StepCompleted))])


def intents(events: Iterable[Event]) -> int:
    """How often it was recorded that an effect is about to be had: once, and when told to try again."""
    return sum(isinstance(event, StepStarted) and event.once for event in events)


def check_requests(wanted: Reference, site: Site, before: Kept, after: Kept, sent: int) -> None:
    """No recorded call is sent again; one that was under way is, once at most."""
    recorded = model_calls(before.events)
    assert len(recorded) <= sent <= len(recorded) + 1
    resumed = after.events[len(before.events) :]
    held_again = [key(event) for event in resumed if isinstance(event, MoneyHeld)]
    assert not recorded & set(held_again)
    assert len(held_again) == wanted.requests - len(recorded)
    assert wanted.requests <= len(site.sent) <= wanted.requests + 1
    assert len(site.sent) == sent + len(held_again)


def check_money(after: Kept) -> None:
    """Every request that left is charged: the ledger is the sum of what was settled."""
    held = [event for event in after.events if isinstance(event, MoneyHeld)]
    settled = [event for event in after.events if isinstance(event, MoneySettled)]
    assert sorted((*key(e), e.request) for e in held) == sorted(
        (e.node, e.attempt, e.step, e.request) for e in settled
    )
    charged = sum((event.charged.usd for event in settled), Decimal(0))
    lines = [line for line in after.ledger if line.account == "run"]
    assert sum((line.usd for line in lines), Decimal(0)) == charged > 0
    assert sum(line.requests for line in lines) == len(settled)
    [end] = [event for event in after.events if isinstance(event, RunEnded)]
    assert end.spent.usd == charged
    assert end.spent.calls == len(settled)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_killed_run_ends_as_if_undisturbed(
    laboratory: Laboratory, graph: str, mode: str, long_form: bool
) -> None:
    if long_form:
        struck = list(
            itertools.takewhile(bool, (strike(laboratory, graph, mode, n) for n in itertools.count(1)))
        )
        assert len(struck) >= reference(laboratory, graph).appends - 1
        return
    last = reference(laboratory, graph).appends - 1
    points = random.Random(f"{SEED} {graph} {mode}").sample(range(1, last + 1), SAMPLE)
    for at in sorted(points):
        assert strike(laboratory, graph, mode, at), f"append {at} of {last + 1}: the run was not struck"


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(
    laboratory: Laboratory, graph: str, long_form: bool
) -> None:
    for seed in range(40 if long_form else 3):
        kill_again_and_again(laboratory, graph, seed)


def kill_again_and_again(laboratory: Laboratory, graph: str, seed: int) -> None:
    """Let each process make a few appends and die, until one ends the run or many have died."""
    wanted, chance = reference(laboratory, graph), random.Random(f"{SEED} {graph} {seed}")
    site = laboratory.site(graph, f"{graph}-again-{seed}")
    backend = ("asyncio", "trio")[seed % 2]
    before, kills = Kept(recorded=[]), 0
    while site.process(mode=chance.choice(MODES), at=chance.randint(2, 16), backend=backend) != {"code": 0}:
        earlier, before, kills = before, site.kept(), kills + 1
        assert before.recorded[: len(earlier.recorded)] == earlier.recorded
        if kills == MOST_KILLS:
            assert site.process(backend=backend) == {"code": 0}
            break
    after = site.kept()
    check_outcome(wanted, site, before, after)
    assert len(site.sent) <= wanted.requests + kills
    assert kills > 0
