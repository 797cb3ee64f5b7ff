"""A handoff: the agent that receives a customer answers, or passes the conversation on to one that can.

treadle run examples/patterns/handoff.py --value '"I was charged twice for order A-1."'
"""

from treadle import Budget, Prompt, agent, graph, tool
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel, call
from treadle.tools import handoff

PAYMENTS = {"A-1": ["2026-03-01: 42.50", "2026-03-01: 42.50"]}


@tool
async def find_payments(order: str) -> list[str]:
    """List what was paid for an order."""
    return PAYMENTS.get(order, [])


@agent(model="auto", tools=[find_payments], instructions="You answer questions on payments.")
async def billing(order: str, matter: str) -> Prompt[str]:
    """Knows the payments of every order."""
    return Prompt(f"Order {order}: {matter}")


@agent(model="auto")
async def repairs(matter: str) -> Prompt[str]:
    """Knows how looms are repaired."""
    return Prompt(matter)


@agent(model="auto:small", tools=[handoff(billing), handoff(repairs)], budget=Budget(usd="0.05"))
async def reception(message: str) -> Prompt[str]:
    return Prompt(f"Answer, or pass on to who knows more.\n\n{message}")


@graph
def help_desk(message: str) -> str:
    return reception(message)


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    tools = {each.name for each in request.tools}
    if "hand_off_to_billing" in tools:
        return call("hand_off_to_billing", order="A-1", matter="charged twice")
    if request.messages[-1].role != "tool":
        return call("find_payments", order="A-1")
    return "You paid 42.50 twice; one of them comes back."


rehearsal = ScriptedModel(respond, name="rehearsal")
