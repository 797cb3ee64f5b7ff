"""Budgets that the cheapest path cannot meet are faults of the plan."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest

from treadle import Budget, PlanError, Prompt, agent, do, fallback, graph, when
from treadle.models import OpenAIModel, Price
from treadle.testing import ScriptedModel


@agent(model="auto")
async def ask(question: str) -> Prompt[str]:
    return Prompt(question)


def test_a_budget_of_calls_that_no_run_can_meet_is_a_fault() -> None:
    @graph(budget=Budget(calls=1))
    def inner(question: str) -> str:
        return ask(ask(question))

    @graph(budget=Budget(calls=2))
    def outer(question: str) -> str:
        return do(ask.using(budget=Budget(calls=0))(question), inner(question))

    with pytest.raises(PlanError) as caught:
        _ = outer.plan
    assert [one.partition(" (")[0] for one in caught.value.faults] == [
        "graph 'outer'", "node 'ask'", "subgraph 'inner'",
    ]  # fmt: skip
    assert "every run asks a model at least 3 times" in caught.value.faults[0]


def test_what_a_choice_or_a_fallback_may_leave_out_needs_no_budget() -> None:
    @graph(budget=Budget(calls=1))
    def cheap(question: str) -> str:
        return fallback(ask(question), when(question == "", ask.named("b")(question), "nobody"))

    assert len(cheap.plan.nodes) == 6


def faults_of(budget: Budget, *agents: object) -> tuple[str, ...]:
    @graph(budget=budget)
    def asked(question: str) -> str:
        answers = [one(question) for one in agents]  # type: ignore[operator]
        return do(*answers)

    try:
        _ = asked.plan
    except PlanError as error:
        return error.faults
    return ()


def test_a_budget_of_tokens_below_the_least_answer_is_a_fault_that_shows_it() -> None:
    (fault,) = faults_of(Budget(tokens=255), ask, ask)
    assert fault.startswith("graph 'asked' (")
    assert (
        "Budget(tokens=255) cannot be met: every run asks 'ask', and a request of it sets aside 256" in fault
    )


def test_requests_that_have_ended_may_have_taken_less_than_they_set_aside() -> None:
    assert faults_of(Budget(tokens=257), ask, ask, ask) == ()


@pytest.mark.parametrize(
    ("changes", "least"), [({"min_output": 20}, 20), ({"max_output": 30}, 30), ({"min_output": 900}, 900)]
)
def test_the_least_answer_is_what_the_agent_was_given(changes: dict[str, int], least: int) -> None:
    one = ask.using(**changes)  # type: ignore[typeddict-item]
    assert faults_of(Budget(tokens=least), one) == ()
    (fault,) = faults_of(Budget(tokens=least - 1), one)
    assert f"sets aside {least} tokens for the least answer" in fault


def test_the_budget_of_a_node_and_of_a_subgraph_count_too() -> None:
    @graph(budget=Budget(tokens=200))
    def inner(question: str) -> str:
        return ask(question)

    @graph
    def outer(question: str) -> str:
        return do(ask.using(budget=Budget(tokens=100))(question), inner(question))

    with pytest.raises(PlanError) as caught:
        _ = outer.plan
    assert [one.partition(" (")[0] for one in caught.value.faults] == ["node 'ask'", "subgraph 'inner'"]


def priced(usd: str) -> ScriptedModel:
    price = Price(input_mtok=Decimal(0), output_mtok=Decimal(usd))
    return ScriptedModel(lambda _: "yes", price=price)


def test_a_budget_of_money_below_the_price_of_the_least_answer_is_a_fault_that_shows_the_sum() -> None:
    (fault,) = faults_of(Budget(usd="0.002"), ask.using(model=priced("1")), ask.using(model=priced("10")))
    assert "Budget(usd='0.002') cannot be met: every run asks 'ask.2'" in fault
    assert "0.00256 US dollars for the least answer (256 tokens at 10 a million)" in fault
    assert faults_of(Budget(usd="0.00256"), ask.using(model=priced("10"))) == ()


def test_the_listed_price_of_a_model_object_counts() -> None:
    gpt = ask.using(model=OpenAIModel("gpt-4o", base_url="https://api.openai.com/v1", api_key="none"))
    (fault,) = faults_of(Budget(usd="0.000001"), gpt, gpt)
    assert "(256 tokens at 10 a million)" in fault


def test_a_soft_limit_that_brings_another_model_leaves_the_price_open() -> None:
    budget = Budget(usd="0.002", soft=0.5, on_soft="auto:small")
    assert faults_of(budget, ask.using(model=priced("10"))) == ()


def test_what_money_buys_is_not_known_of_a_model_that_is_declared_by_name() -> None:
    assert faults_of(Budget(usd="0.000001"), ask.using(model="openai:gpt-4o")) == ()


def test_prices_are_looked_up_only_where_a_budget_of_money_asks_for_them() -> None:
    program = """
import sys
from treadle import Budget, Prompt, agent, graph
from treadle.models import OpenAIModel

@agent(model=OpenAIModel("gpt-4o", base_url="https://api.openai.com/v1", api_key="none"))
async def ask(question: str) -> Prompt[str]:
    return Prompt(question)

@graph(budget=Budget(tokens=1000, calls=3))
def asked(question: str) -> str:
    return ask(question)

asked.plan
sys.exit("genai_prices" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
