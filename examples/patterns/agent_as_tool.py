"""An agent as a tool: the one that leads asks others, reads what they say, and goes on.

treadle run examples/patterns/agent_as_tool.py --value '"the pedals of looms"'
"""

from treadle import Budget, Prompt, agent, graph
from treadle.models import ModelRequest, ToolResult
from treadle.testing import ScriptedModel, call


@agent(model="auto:small", budget=Budget(usd="0.01"))
async def historian(question: str) -> Prompt[str]:
    """Ask a historian of weaving.

    Args:
        question: One question, in one sentence.
    """
    return Prompt(f"As a historian of weaving, answer briefly: {question}")


@agent(model="auto:small", budget=Budget(usd="0.01"))
async def engineer(question: str) -> Prompt[str]:
    """Ask an engineer of looms.

    Args:
        question: One question, in one sentence.
    """
    return Prompt(f"As an engineer of looms, answer briefly: {question}")


@agent(model="auto", tools=[historian.using(max_calls=2), engineer.using(max_calls=2)], max_turns=6)
async def editor(topic: str) -> Prompt[str]:
    return Prompt(f"Ask whom you need, then write a paragraph on {topic}.")


@graph
def paragraph(topic: str) -> str:
    return editor(topic)


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    if not request.tools:
        return "Around 1200." if "historian" in request.messages[-1].text else "They free the hands."
    parts = (part for message in request.messages for part in message.parts)
    told = [part.content for part in parts if isinstance(part, ToolResult)]
    if told:
        return f"Pedals: {' '.join(told)}"
    return [call("historian", question="Since when?"), call("engineer", question="What for?")]


rehearsal = ScriptedModel(respond, name="rehearsal")
