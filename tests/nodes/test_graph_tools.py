"""A graph among an agent's tools: how it is shown, how it runs in the tool call, what the model is told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from treadle import (
    Ask,
    Budget,
    BudgetExceeded,
    Context,
    Engine,
    InDoubt,
    PlanError,
    Prompt,
    WiringError,
    agent,
    fallback,
    graph,
    human,
    node,
    run,
    tool,
)
from treadle.events import MoneySettled, StepClaimed, StepCompleted, StepStarted
from treadle.messages import ModelRequest, ToolResult
from treadle.models import Price
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import ScriptedModel, call, crash_everywhere

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(100))


@node
async def doubled(number: int) -> int:
    return 2 * number


@node
async def failing(number: int) -> int:
    raise ValueError(f"no {number}")


@graph
def quadrupled(number: int) -> int:
    """Multiply a number by four.

    Args:
        number: The number.
    """
    return doubled(doubled(number))


@graph
def broken(number: int) -> int:
    """Fail."""
    return doubled(failing(number))


def asking(model: ScriptedModel, *tools: Any, **options: Any) -> Graph[[str], str]:
    @agent(model=model, tools=tools, **options)
    async def asked(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return asked(text)

    return ask


def told(model: ScriptedModel) -> list[str]:
    """What the model was told last."""
    parts = model.requests[-1].messages[-1].parts
    return [part.content for part in parts if isinstance(part, ToolResult)]


async def test_its_signature_and_docstring_are_what_the_model_is_shown() -> None:
    model = ScriptedModel(["done"])
    await run(asking(model, quadrupled), "go")
    [shown] = model.requests[0].tools
    assert (shown.name, shown.description) == ("quadrupled", "Multiply a number by four.")
    assert shown.parameters["properties"] == {"number": {"type": "integer", "description": "The number."}}
    assert shown.parameters["required"] == ["number"]


async def test_the_model_is_told_its_result_and_each_node_is_a_step_inside_the_call() -> None:
    model = ScriptedModel([call("quadrupled", number=3), "done"])
    async with Engine(graphs=[ask := asking(model, quadrupled)]) as engine:
        handle = await engine.start(ask, "go")
        assert await handle.result() == "done"
        events = [one.event for one in await handle.history()]
    assert told(model) == ["12"]
    steps = [event.step for event in events if isinstance(event, StepStarted) and "/" in event.step]
    [outer] = {step.partition("/")[0] for step in steps}
    assert outer.startswith("quadrupled#")
    assert [step.rpartition("/")[2].partition("#")[0] for step in steps] == ["doubled", "doubled.2"]


async def test_its_failure_is_told_to_the_model_in_the_words_of_the_node() -> None:
    model = ScriptedModel([call("broken", number=3), "sorry"])
    assert await run(asking(model, broken), "go") == "sorry"
    assert told(model) == ["broken failed: ValueError: no 3"]


async def test_an_effect_in_doubt_in_it_is_not_told_to_the_model() -> None:
    @tool(effect="once", in_doubt="fail")
    async def pay(number: int) -> int:
        """Pay."""
        raise ConnectionError("lost")

    @graph
    def paying(number: int) -> int:
        """Pay a number."""
        return fallback(pay(number), doubled(number))

    model = ScriptedModel([call("paying", number=3), "sorry"])
    with pytest.raises(InDoubt):
        await run(asking(model, paying), "go")
    assert len(model.requests) == 1


async def test_limits_of_a_tool_hold_for_it() -> None:
    limited = quadrupled.using(max_calls=1, max_result=1)
    model = ScriptedModel([[call("quadrupled", number=3), call("quadrupled", number=4)], "done"])
    await run(asking(model, limited), "go")
    first, second = told(model)
    assert first.startswith("1\n[cut: ")
    assert "may be called once here" in second


async def test_its_budget_is_a_wall_within_that_of_the_agent() -> None:
    inner = ScriptedModel(lambda _: "yes")

    @agent(model=inner)
    async def ask(number: int) -> Prompt[str]:
        return Prompt(f"{number}")

    @graph(budget=Budget(calls=2))
    def researched(number: int) -> list[str]:
        """Ask as often as there is money for."""
        return [fallback(ask.named(name)(number), name, on=BudgetExceeded) for name in ("a", "b", "c")]

    model = ScriptedModel([call("researched", number=1), "done"])
    assert await run(asking(model, researched, budget=Budget(calls=9)), "go") == "done"
    assert len(inner.requests) == 2
    assert told(model)[0].count("yes") == 2


async def test_all_that_is_wrong_in_it_is_told_before_anything_runs() -> None:
    @agent(model="opnai:gpt-5")
    async def wrong(number: int) -> Prompt[int]:
        return Prompt(f"{number}")

    @graph
    def silent(number: int) -> int:
        return wrong(number)

    @graph
    def several(number: int) -> int:
        """Do several things."""
        return doubled(doubled(number, 1), quadrupled("x"))  # type: ignore[call-arg,arg-type]

    with pytest.raises(PlanError) as refused:
        _ = asking(ScriptedModel([]), silent, several).plan
    text = str(refused.value)
    for fault in ("no model 'opnai:gpt-5'", "needs a docstring", "takes 1 positional", "'number': "):
        assert fault in text


async def test_a_graph_that_would_contain_itself_is_refused() -> None:
    @graph
    def around(number: int) -> str:
        """Ask an agent that may ask for this."""
        return asked(number)

    @agent(model=ScriptedModel([]), tools=[around])
    async def asked(number: int) -> Prompt[str]:
        return Prompt(f"{number}")

    with pytest.raises(WiringError, match="'around' contains itself: one of its agents has it for a tool"):
        _ = around.plan


# -- people, effects, money, crashes ---------------------------------------------------------------------


@human(to="maria")
async def approved(number: int) -> Ask[bool]:
    return Ask(f"May {number} be paid?")


class Rows(set[str]):
    """What was paid, by idempotency key."""


@tool(effect="once", in_doubt="ask")
async def paid(ctx: Context, number: int, approval: bool) -> str:
    """Pay."""
    ctx.resource(Rows).add(ctx.idempotency_key)
    return f"paid {number}: {approval}"


def priced(text: str) -> ScriptedModel:
    return ScriptedModel(lambda _: text, price=PRICE)


@agent(model=priced("7"))
async def estimated(number: int) -> Prompt[str]:
    return Prompt(f"What of {number}?")


@node
async def read(text: str) -> int:
    return int(text)


@graph(budget=Budget(usd="1"))
def settled(number: int) -> str:
    """Estimate a number, ask whether it may be paid, and pay it."""
    amount = read(estimated(number))
    return paid(amount, approved(number))


def spoken(request: ModelRequest) -> Any:
    last = request.messages[-1].parts[0]
    return last.content if isinstance(last, ToolResult) else call("settled", number=3)


async def finish(only: Graph[..., Any], *args: Any) -> tuple[Any, set[str], Decimal]:
    """The result, the effects, and what the model inside cost."""
    rows = Rows()
    async with Engine(graphs=[only], resources=[rows]) as engine:
        handle = await engine.start(only, *args)
        with anyio.fail_after(10):
            while await handle.settled() == "waiting":
                [question] = await engine.questions()
                await engine.answer(question.id, True, by="maria")
        events = [one.event for one in await handle.history()]
        costs = [event.charged.usd for event in events if isinstance(event, MoneySettled)]
        return await handle.result(), rows, sum(costs, Decimal(0))


async def test_results_effects_and_money_are_those_of_the_graph_at_the_top() -> None:
    top, rows, cost = await finish(settled, 3)
    found, inner_rows, inner_cost = await finish(asking(ScriptedModel(spoken), settled), "go")
    assert found == top == "paid 7: True"
    assert (len(inner_rows), inner_cost) == (len(rows), cost)


async def test_a_crash_anywhere_in_it_makes_no_difference() -> None:
    rows = Rows()

    def effects() -> object:
        made = sorted(rows)
        rows.clear()
        return made

    ask = asking(ScriptedModel(spoken, price=PRICE), settled)
    await crash_everywhere(ask, "go", answer=lambda _: True, effects=effects, resources=[rows], at_most=12)


async def test_an_edited_graph_runs_only_what_is_new_in_it() -> None:
    made: list[str] = []

    @node
    async def work(name: str) -> str:
        made.append(name)
        return name

    @human(to="maria")
    async def desk(name: str) -> Ask[str]:
        return Ask(f"What of {name}?")

    def version(*names: str) -> Graph[[str], str]:
        @graph
        def inner(first: str) -> list[str]:
            """Work on names."""
            return [desk(work(first)), *[work.named(name)(name) for name in names]]

        return asking(ScriptedModel(said), inner)

    def said(request: ModelRequest) -> Any:
        last = request.messages[-1].parts[0]
        return last.content if isinstance(last, ToolResult) else call("inner", first="a")

    store = MemoryStore()
    async with Engine(store, graphs=[before := version("b", "c")]) as engine:
        handle = await engine.start(before, "go", run_id="r")
        assert await handle.settled() == "waiting"
    async with Engine(store, graphs=[version("c", "d")]) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        await engine.answer(question.id, "e", by="maria")
        assert await handle.result() == '["e","c","d"]'
        events = [one.event for one in await handle.history()]
    assert sorted(made) == ["a", "b", "c", "d"]
    assert any(isinstance(event, StepClaimed) for event in events)
    assert [event.step for event in events if isinstance(event, StepCompleted)]
