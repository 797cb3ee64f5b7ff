"""Routing: one small agent says what a message is about, and only the branch that fits runs.

treadle run examples/patterns/routing.py --value '"The pedal of my loom is broken."'
"""

from typing import Literal

from treadle import Prompt, agent, graph, match
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel

Kind = Literal["order", "technical", "other"]


@agent(model="auto:small")
async def sort(message: str) -> Prompt[Kind]:
    return Prompt(f"What is this message about?\n\n{message}")


@agent(model="auto:small", instructions="You know all about orders.")
async def orders(message: str) -> Prompt[str]:
    return Prompt(message)


@agent(model="auto", instructions="You repair looms.")
async def repairs(message: str) -> Prompt[str]:
    return Prompt(message)


@agent(model="auto:small", instructions="You are polite, and say where to ask.")
async def anything(message: str) -> Prompt[str]:
    return Prompt(message)


@graph
def reply(message: str) -> str:
    return match(
        sort(message),
        {"order": orders(message), "technical": repairs(message), "other": anything(message)},
    )


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    text = request.messages[-1].text.lower()
    if request.output is not None:
        return {"answer": "technical" if "broken" in text else "order" if "order" in text else "other"}
    return f"{request.messages[0].text} So here is what to do."


rehearsal = ScriptedModel(respond, name="rehearsal")
