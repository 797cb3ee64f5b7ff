"""Pictures and documents through an agent: sent with the prompt, stored with the run, held by a budget."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from interfaces import KINDS, Serve

from treadle import Budget, BudgetExceeded, Engine, Prompt, agent, graph
from treadle.budget import Price
from treadle.events import MoneyHeld
from treadle.messages import Image
from treadle.models import document, image
from treadle.testing import ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("name", KINDS)]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))


def inspection(model: Any, tokens: int | None) -> Any:
    @agent(model=model, max_output=100)
    async def look(question: str) -> Prompt[str]:
        terms = document(b"within 14 days", media_type="text/plain", name="terms.txt")
        return Prompt(question, attach=(image(PNG, tokens=tokens), terms))

    @graph(budget=Budget(usd="0.05"))
    def inspect(question: str) -> str:
        return look(question)

    return inspect


async def test_a_picture_of_known_cost_is_held_sent_and_found_again(
    serve: Serve, name: str, tmp_path: Path
) -> None:
    scripted = ScriptedModel(["broken"])
    model = KINDS[name][1]("m", base_url=serve(scripted).url, price=PRICE)
    inspect, url = inspection(model, 1600), f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, graphs=[inspect]) as engine:
        handle = await engine.start(inspect, "what is it?", run_id="r-1")
        assert await handle.result() == "broken"
        [held] = [r.event for r in await handle.history() if isinstance(r.event, MoneyHeld)]
        assert held.held.tokens > 1600 + 100
    sent = scripted.requests[0].messages[0].parts
    assert any(isinstance(part, Image) and part.data for part in sent)
    async with Engine(url, graphs=[inspect]) as engine:  # from the record: nobody is asked again
        assert await (await engine.resume("r-1")).result() == "broken"
    assert len(scripted.requests) == 1


async def test_a_picture_of_unknown_cost_is_refused_under_a_budget_of_money(serve: Serve, name: str) -> None:
    server = serve(ScriptedModel([]))
    model = KINDS[name][1]("m", base_url=server.url, price=PRICE)
    inspect = inspection(model, None)
    async with Engine("memory:") as engine:
        with pytest.raises(BudgetExceeded, match=r"say the most it counts as, image\(\.\.\., tokens="):
            await (await engine.start(inspect, "what is it?")).result()
    assert server.count == 0
