"""A chain of prompts: each agent works on what the one before gave, and a gate stops what is too thin.

treadle run examples/patterns/prompt_chain.py --value '"why looms have pedals"'
"""

from pydantic import BaseModel

from treadle import Prompt, agent, graph, node, when
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel


class Outline(BaseModel):
    title: str
    points: list[str]


@agent(model="auto:small")
async def outline(topic: str) -> Prompt[Outline]:
    return Prompt(f"Outline a short text on: {topic}")


@node
async def is_rich(plan: Outline) -> bool:
    return len(plan.points) >= 2


@agent(model="auto")
async def write(plan: Outline) -> Prompt[str]:
    points = "\n".join(f"- {point}" for point in plan.points)
    return Prompt(f"Write one sentence on each point.\n\n{plan.title}\n{points}")


@agent(model="auto:small")
async def translate(text: str) -> Prompt[str]:
    return Prompt(f"Translate into German: {text}")


@graph
def article(topic: str) -> str:
    plan = outline(topic)
    return when(is_rich(plan), translate(write(plan)), "There is not enough to say.")


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    if request.output is not None:
        return Outline(title="Looms", points=["They have pedals.", "Pedals free the hands."])
    asked = request.messages[-1].text
    return "Webstühle haben Pedale." if asked.startswith("Translate") else "Looms have pedals."


rehearsal = ScriptedModel(respond, name="rehearsal")
