"""An insurance claim: an agent looks into it and pays; a person decides where it was too much."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from graphs.case import Case, Till, turns
from treadle import Ask, Budget, Context, Prompt, agent, fallback, graph, human, match, node, tool
from treadle.messages import ModelRequest
from treadle.testing import call


class Claim(BaseModel):
    """What somebody claims."""

    number: str
    amount: int


class Sorted(BaseModel):
    """How large a claim is."""

    size: Literal["small", "large"]


class Verdict(BaseModel):
    """What was paid, and why."""

    paid: int
    why: str


@tool
async def policy(number: str) -> str:
    """Look up a policy by the number of the claim."""
    return f"policy of {number}: covers 500"


@tool
async def history(number: str) -> list[str]:
    """List earlier claims by the number of this one."""
    return [f"{number}-1", f"{number}-2"]


@tool(effect="once", in_doubt="ask")
async def pay(ctx: Context, number: str, amount: int) -> str:
    """Pay an amount on a claim."""
    return ctx.resource(Till).act(ctx.idempotency_key, f"paid {amount} on {number}", f"receipt {number}")


@agent(model="auto")
async def sort(claim: Claim) -> Prompt[Sorted]:
    return Prompt(f"Sort claim {claim.number} of {claim.amount}.")


@agent(model="auto", tools=[policy, history, pay], budget=Budget(usd="0.50"), max_turns=6)
async def assess(claim: Claim) -> Prompt[Verdict]:
    return Prompt(f"Assess claim {claim.number} of {claim.amount}.")


@node
async def by_rule(claim: Claim) -> Verdict:
    raise RuntimeError(f"no rule for claim {claim.number}")


@human(to="assessors")
async def decide(claim: Claim, assessed: Verdict) -> Ask[Verdict]:
    return Ask(f"Decide on {claim.number}", show=assessed)


@graph
def assessed(claim: Claim) -> Verdict:
    return fallback(by_rule(claim), assess(claim))


@graph(budget=Budget(usd="1"))
def claims(claim: Claim) -> Verdict:
    verdict = assessed(claim)
    return match(sort(claim).size, {"small": verdict, "large": decide(claim, verdict)})


def says(request: ModelRequest) -> object:
    if request.messages[0].text.startswith("Sort"):
        return {"size": "large"}
    return [
        [call("policy", number="c-7"), call("history", number="c-7")],
        call("pay", number="c-7", amount=400),
        {"paid": 400, "why": "covered"},
    ][turns(request)]


CASE = Case(
    wired=claims,
    args=[Claim(number="c-7", amount=900)],
    says=says,
    answers={"Decide": {"paid": 400, "why": "as assessed"}},
)
