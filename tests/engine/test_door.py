"""What an engine is made with is looked at before anything is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from treadle import Budget, BudgetExceeded, Engine, Prompt, agent, graph
from treadle.errors import ConfigurationError
from treadle.models import Limit, OpenAIModel
from treadle.testing import ScriptedModel


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        (
            {"acme": 3},
            r"budgets=\{'acme': 3\} gives no Budget; write budgets=\{'acme': Budget\(usd=\"3\"\)\}",
        ),
        ({"acme": None}, r"gives no Budget"),
        ({3: Budget(usd="3")}, r"the name of a tenant is text, not 3"),
        (Budget(usd="3"), r"says not whose they are; write budgets=\{'acme': Budget\(usd=\"25\"\)\}"),
        ([("acme", Budget(usd="3"))], r"says not whose they are"),
    ],
)
def test_budgets_that_are_none_are_refused_with_what_to_write(budgets: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Engine(budgets=budgets)


@agent(model=ScriptedModel(lambda _: "yes"))
async def clerk(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def asked(text: str) -> str:
    return clerk(text)


@pytest.mark.anyio
async def test_budgets_by_tenant_hold_for_their_tenants_alone() -> None:
    async with Engine("memory:", budgets={"acme": Budget(calls=0)}) as engine:
        with pytest.raises(BudgetExceeded, match="tenant acme"):
            await (await engine.start(asked, "a", tenant="acme")).result()
        assert await (await engine.start(asked, "a", tenant="other")).result() == "yes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"store": 3}, "3 is no store; write 'sqlite:///path.db', or 'memory:', or give a store object"),
        ({"store": Path("runs.db")}, r"is no store; write 'sqlite:///runs\.db'"),
        ({"store": None}, "None is no store"),
        ({"graphs": asked}, r"graphs=<graph asked> is no list; write graphs=\[asked\]"),
        ({"graphs": 3}, "graphs=3 is no list"),
        ({"graphs": "asked"}, "graphs='asked' is no list"),
        ({"resources": 3}, r"resources=3 is no list; write resources=\[...\]"),
        ({"tenant": 3}, "tenant=3 is no text; write tenant='3'"),
        ({"clock": 3}, r"Engine\(clock=...\) is a clock such as that of treadle.testing, not 3"),
        ({"fresh_copies": "yes"}, r"Engine\(fresh_copies=...\) is True or False, not 'yes'"),
        ({"limit": {}}, "Engine has no option 'limit'; did you mean 'limits'?"),
        ({"limits": [3]}, r"limits= maps names of models to Limit\(...\), and is not \[3\]"),
        ({"retry_budget": 0.1}, r"retry_budget= is RetryBudget\(...\) of treadle.models, not 0.1"),
    ],
)
def test_what_an_engine_is_made_with_is_told_where_it_is_of_another_kind(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Engine(**options)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openia:*", "openai:*"),
        ("opnai:gpt-6-luna", "openai:gpt-6-luna"),
        ("opennai:*", "openai:*"),
        ("openaj:*", "openai:*"),
        ("OpenAI:*", "openai:*"),
        ("antrhopic:*", "anthropic:*"),
        ("anthropics:*", "anthropic:*"),
        ("loacl:x.gguf", "local:x.gguf"),
        ("openai-responses:gpt-6-sol", "openai:gpt-6-sol"),
    ],
)
def test_a_misspelt_provider_of_a_limit_is_told_with_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{re.escape(name)}.*{re.escape(meant)}"):
        Engine(limits={name: Limit()})


@pytest.mark.parametrize(
    "name", ["openrouter:*", "openai2:*", "openai-eu:*", "my-openai:x", "vllm:*", "mistral:x"]
)
def test_a_provider_of_ones_own_may_be_limited(name: str) -> None:
    Engine(limits={name: Limit()})


def test_a_provider_that_a_model_of_its_graphs_has_is_no_slip() -> None:
    named = asked.using(model=OpenAIModel("x", api_key="k", provider="openia"))
    Engine(graphs=[named], limits={"openia:*": Limit()})
    with pytest.raises(ConfigurationError, match=r"did you mean 'openia:\*'"):
        Engine(graphs=[named], limits={"opneia:*": Limit()})
