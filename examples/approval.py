"""A person as a node: small expenses are paid at once, larger ones wait for a manager.

python examples/approval.py
"""

from decimal import Decimal

import anyio
from pydantic import BaseModel

from treadle import Ask, Engine, graph, human, node, when


class Expense(BaseModel):
    who: str
    what: str
    amount: Decimal


class Decision(BaseModel):
    approved: bool
    reason: str = ""


@human(to="managers")
async def approve(expense: Expense) -> Ask[Decision]:
    return Ask(f"May {expense.who} spend {expense.amount} on {expense.what}?", show=expense)


@node
async def pay(expense: Expense) -> str:
    return f"{expense.amount} are on their way to {expense.who}"


@node
async def decline(expense: Expense, reason: str) -> str:
    return f"{expense.who} does not get {expense.amount}: {reason}"


@graph
def claim(expense: Expense) -> str:
    decision = approve(expense)
    paid = pay(expense)
    return when(
        expense.amount <= Decimal(50), paid, when(decision.approved, paid, decline(expense, decision.reason))
    )


async def main() -> None:
    """Start a claim, and be the manager who is asked."""
    async with Engine("memory:", graphs=[claim]) as engine:
        handle = await engine.start(claim, Expense(who="Ada", what="a loom", amount=Decimal(120)))
        await handle.settled()
        [question] = await engine.questions()
        print(question.prompt)
        await engine.answer(question.id, Decision(approved=True, reason="we weave"), by="maria")
        print(await handle.result())


if __name__ == "__main__":
    anyio.run(main)
