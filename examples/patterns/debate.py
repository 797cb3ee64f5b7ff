"""A debate: two agents argue for and against at the same time, answer each other, and a third decides.

treadle run examples/patterns/debate.py --value '"Should we buy a loom?"'
"""

from pydantic import BaseModel

from treadle import Prompt, agent, graph
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel

ROUNDS = 2


class Decision(BaseModel):
    answer: bool
    reason: str


@agent(model="auto")
async def argue(side: str, question: str, heard: list[str]) -> Prompt[str]:
    before = "\n".join(heard) or "Nothing yet."
    return Prompt(f"Argue {side} this, in one sentence: {question}\n\nSaid so far:\n{before}")


@agent(model="auto")
async def decide(question: str, speeches: list[str]) -> Prompt[Decision]:
    return Prompt(f"Decide: {question}\n\n" + "\n".join(speeches))


@graph
def debate(question: str) -> Decision:
    heard: list[str] = []
    for number in range(1, ROUNDS + 1):  # known while wiring: as many nodes, drawn one by one
        pro = argue.named(f"pro {number}")("for", question, list(heard))
        contra = argue.named(f"contra {number}")("against", question, list(heard))
        heard += [pro, contra]
    return decide(question, heard)


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    asked = request.messages[-1].text
    if request.output is not None:
        speeches = len(asked.partition("\n\n")[2].splitlines())
        return Decision(answer=True, reason=f"{speeches} speeches were heard.")
    return "Yes, cloth is warm." if asked.startswith("Argue for") else "No, looms are loud."


rehearsal = ScriptedModel(respond, name="rehearsal")
