"""Accounts of a run: whose they are, and how a history makes them again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from treadle.budget import NOTHING, Amounts, Bound, Budget, Price
from treadle.engine.money import hold, settle
from treadle.engine.purse import Made, Purse, RunAccounts, lost, requests_made
from treadle.engine.times import covered, read_times
from treadle.events import (
    AttemptFailed,
    AttemptParked,
    CircuitActed,
    Event,
    Failure,
    MoneyHeld,
    MoneySettled,
    NodeCompleted,
    QuestionAnswered,
    RunResumed,
    StepCompleted,
    StepStarted,
)
from treadle.ids import NodeId, QuestionId, RunId, StepId
from treadle.plan.parts import PlanNode, Policies, Scope, Wire
from treadle.plan.plan import Plan
from treadle.values import JSON, Payload

RUN = RunId("r-1")
FREE = Price(input_mtok=Decimal(0), output_mtok=Decimal(0))


def node(name: str, *, scope: str = "", budget: Budget | None = None) -> PlanNode:
    return PlanNode(id=NodeId(name), kind="agent", scope=scope, policies=Policies(budget=budget))


PLAN = Plan(
    name="support",
    nodes=(
        node("triage"),
        node("inner/expert", scope="inner", budget=Budget(usd="0.05")),
        node("inner/deep/quick", scope="inner/deep"),
    ),
    result=Wire(NodeId("triage")),
    scopes=(
        Scope(id="inner", graph="solve", policies=Policies(budget=Budget(calls=9))),
        Scope(id="inner/deep", graph="look", parent="inner"),
    ),
    policies=Policies(budget=Budget(usd="0.20")),
)


def held(step: str = "m:0", *, request: int = 1, at: float = 10.0, name: str = "triage") -> MoneyHeld:
    return MoneyHeld(
        at=at,
        node=NodeId(name),
        attempt=1,
        step=StepId(step),
        request=request,
        accounts=("run",),
        held=Amounts(usd=Decimal("0.01"), tokens=100, calls=1),
        model="m",
        provider="fake",
    )


def settled(of: MoneyHeld, *, tokens: int = 10, at: float = 11.0) -> MoneySettled:
    return MoneySettled(
        at=at,
        node=of.node,
        attempt=of.attempt,
        step=of.step,
        request=of.request,
        accounts=of.accounts,
        charged=Amounts(usd=Decimal("0.001"), tokens=tokens, calls=1),
        started_at=of.at,
    )


def names(accounts: RunAccounts, of: str) -> list[str]:
    return [account.id for account in accounts.path(NodeId(of))]


def test_a_path_goes_from_the_tenant_to_the_node_through_what_has_a_budget() -> None:
    accounts = Purse({"acme": Budget(usd="10")}).open(RUN, PLAN, tenant="acme")
    assert names(accounts, "triage") == ["tenant acme", "run"]
    assert names(accounts, "inner/deep/quick") == ["tenant acme", "run", "subgraph inner"]
    assert names(accounts, "inner/expert")[2:] == ["subgraph inner", "node inner/expert"]


def test_a_run_without_any_budget_still_has_its_own_account() -> None:
    plan = Plan(name="g", nodes=(node("a"),), result=Wire(NodeId("a")))
    accounts = Purse().open(RUN, plan)
    assert accounts.path(NodeId("a")) == (accounts.run,)
    assert accounts.run.budget is None


def test_what_a_run_is_started_with_stands_in_place_of_the_graphs_budget() -> None:
    assert Purse().open(RUN, PLAN).run.budget == Budget(usd="0.20")
    assert Purse().open(RUN, PLAN, budget=Budget(usd="3")).run.budget == Budget(usd="3")


def test_the_accounts_of_a_node_are_the_same_each_time() -> None:
    accounts = Purse().open(RUN, PLAN)
    assert accounts.path(NodeId("inner/expert")) is accounts.path(NodeId("inner/expert"))


def test_a_history_charges_the_run_and_what_the_node_stands_under_now() -> None:
    first = held(name="inner/expert")  # when it was recorded only the run had a budget
    accounts = Purse().open(RUN, PLAN, events=[first, settled(first)])
    spent = [account.spent.tokens for account in accounts.path(NodeId("inner/expert"))]
    assert spent == [10, 10, 10]


def test_what_a_removed_node_spent_stays_with_the_run() -> None:
    first = held(name="gone")
    accounts = Purse().open(RUN, PLAN, events=[first, settled(first)])
    assert accounts.run.spent.tokens == 10


def test_a_step_with_a_budget_finds_what_it_spent_before() -> None:
    first = held()
    object.__setattr__(first, "accounts", ("run", "step triage:expert#1:0"))
    accounts = Purse().open(RUN, PLAN, events=[first, settled(first)])
    path = accounts.path(NodeId("triage"))
    nested = accounts.nested(path, NodeId("triage"), StepId("expert#1:0"), Budget(tokens=15))
    assert [account.id for account in nested] == ["run", "step triage:expert#1:0"]
    assert nested[-1].spent.tokens == 10
    assert accounts.nested(path, NodeId("triage"), StepId("x"), None) is path


def test_a_recorded_surprise_keeps_the_account_closed() -> None:
    first = held(name="inner/expert")
    surprise = settled(first)
    object.__setattr__(surprise, "charged", Amounts(usd=Decimal("0.02"), tokens=100, calls=1))
    accounts = Purse().open(RUN, PLAN, events=[first, surprise])
    assert [account.closed for account in accounts.path(NodeId("inner/expert"))] == [True, False, True]


def test_a_recorded_surprise_keeps_the_account_of_a_step_closed_and_that_of_the_tenant() -> None:
    first = replace(held(), accounts=("tenant acme", "run", "step triage:expert#1:0"))
    surprise = replace(settled(first), charged=Amounts(usd=Decimal("0.02"), tokens=5000, calls=1))
    purse = Purse({"acme": Budget(tokens=10**6)})
    accounts = purse.open(RUN, PLAN, tenant="acme", events=[first, surprise])
    path = accounts.path(NodeId("triage"))
    for limit, is_closed in ((Budget(tokens=9000), True), (Budget(calls=9), False)):
        accounts = purse.open(RUN, PLAN, tenant="acme", events=[first, surprise])
        path = accounts.path(NodeId("triage"))
        nested = accounts.nested(path, NodeId("triage"), StepId("expert#1:0"), limit)
        assert (nested[0].closed, nested[-1].closed) == (True, is_closed)


def test_the_hold_of_a_process_that_died_is_charged_in_full_and_marked() -> None:
    done, open_one = held(), held(request=2)
    events: list[Event] = [done, settled(done), open_one]
    (mend,) = lost(events, at=99.0)
    assert (mend.request, mend.outcome, mend.charged, mend.at) == (2, "lost", open_one.held, 99.0)
    accounts = Purse().open(RUN, PLAN, events=[*events, mend])
    assert accounts.run.spent.tokens == 110
    assert lost([*events, mend], at=100.0) == []


def test_requests_made_are_counted_by_step() -> None:
    first, second, other = held(), held(request=2), held("n:0")
    made = requests_made([first, settled(first), second, other])
    assert made == {("triage", 1): {"m:0": Made(2, 2), "n:0": Made(1, 1)}}


def test_a_step_begun_anew_may_try_as_often_and_no_request_has_the_number_of_another() -> None:
    made = requests_made([held(), held(request=2), model_step(12.0)])
    assert made[NodeId("triage"), 1][StepId("m:0")] == Made(2, 0)


@pytest.mark.anyio
async def test_runs_of_a_tenant_share_its_account() -> None:
    purse = Purse({"acme": Budget(tokens=100)})
    one, two = (purse.open(RunId(name), PLAN, tenant="acme") for name in ("r-1", "r-2"))
    taken = await hold(
        one.path(NodeId("triage")), Bound(input_tokens=60, price=FREE), max_output=10, min_output=10
    )
    settle(taken, Amounts(tokens=60, calls=1))
    assert two.path(NodeId("triage"))[0].spent.tokens == 60
    assert (one.run.spent.tokens, two.run.spent.tokens) == (60, 0)


@pytest.mark.anyio
async def test_a_run_opened_again_is_not_charged_to_its_tenant_twice() -> None:
    purse = Purse({"acme": Budget(tokens=100)})
    accounts = purse.open(RUN, PLAN, tenant="acme")
    taken = await hold(accounts.path(NodeId("triage")), Bound(input_tokens=1, price=FREE), max_output=9)
    settle(taken, Amounts(tokens=10, calls=1))
    purse.close(RUN, accounts, tenant="acme")
    first = held()
    again = purse.open(RUN, PLAN, tenant="acme", events=[first, settled(first)])
    assert again.path(NodeId("triage"))[0].spent.tokens == 10


def test_a_tenants_stored_runs_count_before_they_are_opened() -> None:
    purse = Purse({"acme": Budget(tokens=100)})
    purse.remember("acme", RUN, Amounts(tokens=70))
    accounts = purse.open(RUN, PLAN, tenant="acme", events=[])
    assert accounts.path(NodeId("triage"))[0].spent == NOTHING  # its own history is the truth


def payload() -> Payload:
    return JSON.pack(1)


def completed(at: float, started: float, *, name: str = "triage", claimed: int = 0) -> NodeCompleted:
    return NodeCompleted(
        at=at, node=NodeId(name), attempt=1, started_at=started, result=payload(), claimed=claimed
    )


def model_step(at: float) -> StepStarted:
    return StepStarted(
        at=at,
        node=NodeId("triage"),
        attempt=1,
        step=StepId("m:0"),
        callee="m",
        callee_kind="model",
        definition="",
        input_digest="",
    )


def model_done(at: float) -> StepCompleted:
    return StepCompleted(
        at=at, node=NodeId("triage"), attempt=1, step=StepId("m:0"), started_at=12.0, result=payload()
    )


def test_seconds_are_counted_from_attempts_parallel_ones_once() -> None:
    failed = AttemptFailed(
        at=5.0, node=NodeId("triage"), attempt=1, started_at=1.0, failure=Failure(types=(), message="")
    )
    events: list[Event] = [failed, completed(9.0, 3.0, name="inner/expert"), completed(20.0, 18.0)]
    accounts = Purse().open(RUN, PLAN, budget=Budget(seconds=100), events=events)
    assert accounts.run.seconds_left(0.0) == 90  # 1 to 9, and 18 to 20


def test_claimed_results_took_no_time() -> None:
    assert read_times([completed(9.0, 3.0, claimed=1)]).nodes == {}


def test_waiting_for_money_and_between_requests_is_not_counted() -> None:
    first, second = held(at=14.0), held(request=2, at=20.0)
    events: list[Event] = [
        model_step(12.0),
        first,
        replace(settled(first, at=15.0), outcome="failed"),
        second,
        settled(second, at=22.0),
        model_done(22.0),
        completed(23.0, 10.0),
    ]
    assert read_times(events).nodes == {"triage": [(10.0, 12.0), (14.0, 15.0), (20.0, 23.0)]}


def test_waiting_for_a_person_is_not_counted() -> None:
    question = QuestionId("q-1")
    parked = AttemptParked(at=13.0, node=NodeId("triage"), attempt=1, questions=(question,))
    answered = QuestionAnswered(at=900.0, node=NodeId("triage"), question=question, value=payload(), by="m")
    looked_up = replace(model_step(12.0), callee_kind="tool")
    events: list[Event] = [looked_up, parked, answered, completed(903.0, 10.0)]
    assert sum(end - start for start, end in read_times(events).nodes[NodeId("triage")]) == 4


def test_an_attempt_that_died_counts_up_to_its_last_event() -> None:
    first = held(at=12.0)
    events: list[Event] = [
        model_step(12.0),
        first,
        settled(first, at=15.0),
        model_done(15.0),
        RunResumed(at=500.0, owner="o", fence=2),
        completed(503.0, 501.0),
    ]
    assert read_times(events).nodes[NodeId("triage")] == [(12.0, 15.0), (501.0, 503.0)]


def test_covered_counts_overlaps_once() -> None:
    assert covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.5)]) == 4


def test_a_try_that_the_circuit_refused_is_counted_and_the_second_of_two_at_once_is_not() -> None:
    refused = CircuitActed(
        at=1.0,
        node=NodeId("triage"),
        attempt=1,
        step=StepId("m:0"),
        request=3,
        did="refused",
        model="m",
        provider="p",
    )
    made = requests_made(
        [held(), replace(held(request=2), hedge=True), refused, replace(refused, did="probed")]
    )
    assert made[NodeId("triage"), 1][StepId("m:0")][:2] == (3, 2)
