"""A payroll: an agent whose budget is too small for its prompt, nested budgets, and a person in its place."""

from __future__ import annotations

from graphs.case import Case, Till, turns
from treadle import Ask, Budget, Context, Prompt, agent, fallback, graph, human, node, tool
from treadle.errors import BudgetExceeded
from treadle.messages import ModelRequest
from treadle.testing import call


@tool
async def timesheet(name: str) -> str:
    """Look up somebody's hours; there are many of them."""
    return f"{name}: " + "8 hours, " * 400


@tool(effect="once", in_doubt="ask")
async def transfer(ctx: Context, name: str, amount: int) -> str:
    """Transfer a salary."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"transferred {amount} to {name}", f"{name} {amount}")


@agent(model="auto", tools=[timesheet], budget=Budget(usd="0.05"))
async def hours(name: str) -> Prompt[int]:
    return Prompt(f"Sum the hours of {name}.")


@agent(model="auto", budget=Budget(usd="0.03"))
async def dear(name: str) -> Prompt[int]:
    return Prompt("Check these hours. " + "8 hours, " * 5000 + name)


@human(to="clerks")
async def counted(name: str) -> Ask[int]:
    return Ask(f"Count the hours of {name}")


@node
async def salary(worked: int, checked: int) -> int:
    return 20 * max(worked, checked)


@graph(budget=Budget(usd="0.20", calls=8))
def paid(name: str) -> str:
    checked = fallback(dear(name), counted(name), on=BudgetExceeded)
    return transfer(name, salary(hours(name), checked))


@graph(budget=Budget(usd="0.50"))
def payroll() -> list[str]:
    return [paid("ada"), paid("bo")]


def says(request: ModelRequest) -> object:
    name = request.messages[0].text.split()[-1].rstrip(".")
    return [call("timesheet", name=name), {"answer": 160}][turns(request)]


CASE = Case(wired=payroll, args=[], says=says, answers={"Count": 168})
