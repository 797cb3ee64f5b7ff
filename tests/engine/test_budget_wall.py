"""A budget is a wall: through the engine, the real SDK and a real server that counts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from treadle import Budget, BudgetExceeded, Engine, Prompt, agent, fallback, graph, node
from treadle.budget import Usage
from treadle.events import MoneyHeld, MoneySettled
from treadle.messages import Message, ModelResponse, Text
from treadle.models import OpenAIModel, Price
from treadle.testing import ModelServer, ScriptedModel

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(0), output_mtok=Decimal(1_000))  # a tenth of a cent for an output token
CALLS = 50
FULL = ModelResponse(
    message=Message(role="assistant", parts=(Text(text="yes"),)),
    usage=Usage(input_tokens=5, output_tokens=10),
)


@node
async def refused(number: int) -> str:
    return f"no money for {number}"


@node
async def count(answers: list[str]) -> int:
    return sum(answer == "yes" for answer in answers)


def pipeline(url: str, budget: Budget) -> object:
    model = OpenAIModel("scripted", base_url=url, api_key="none", price=PRICE)

    @agent(model=model, max_output=10, min_output=10)
    async def ask(number: int) -> Prompt[str]:
        return Prompt(f"Question {number}")

    @graph(budget=budget)
    def fifty() -> int:
        return count([fallback(ask(n), refused(n), on=BudgetExceeded) for n in range(CALLS)])

    return fifty


@pytest.mark.parametrize(
    "budget", [Budget(usd="0.07"), Budget(calls=7), Budget(usd="0.0799")], ids=["usd", "calls", "short of 8"]
)
async def test_with_money_for_seven_of_fifty_at_most_seven_requests_are_sent(budget: Budget) -> None:
    full = ScriptedModel(lambda _: FULL, price=PRICE)
    with ModelServer(full) as server:
        async with Engine("memory:") as engine:
            handle = await engine.start(pipeline(server.url, budget))  # type: ignore[arg-type]
            assert await handle.result() == server.count
            events = [recorded.event for recorded in await handle.history()]
    assert 0 < server.count <= 7
    charged = sum((e.charged.usd for e in events if isinstance(e, MoneySettled)), Decimal(0))
    assert charged <= (budget.usd or Decimal("0.07"))
    assert sum(isinstance(e, MoneyHeld) for e in events) == server.count
