"""An orchestrator and its workers: one splits the task, each part is done by itself, one gathers.

treadle run examples/patterns/orchestrator.py --value '"warp and weft"'
"""

from pydantic import BaseModel

from treadle import Prompt, agent, each, graph
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel


class Finding(BaseModel):
    question: str
    answer: str


@agent(model="auto")
async def split(task: str) -> Prompt[list[str]]:
    return Prompt(f"Split this into questions that can be answered by themselves: {task}")


@agent(model="auto:small")
async def work(question: str, task: str) -> Prompt[Finding]:
    return Prompt(f"As a part of {task!r}, answer: {question}")


@agent(model="auto")
async def gather(task: str, findings: list[Finding]) -> Prompt[str]:
    listed = "\n".join(f"- {one.question} {one.answer}" for one in findings)
    return Prompt(f"Answer {task!r} from these findings:\n{listed}")


@graph
def research(task: str) -> str:
    findings = each(at_once=8, on_error="drop")(work, split(task), task)
    return gather(task, findings)


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    asked = request.messages[-1].text
    if asked.startswith("Split"):
        return ["What is warp?", "What is weft?"]
    if asked.startswith("As a part"):
        return Finding(question=asked.partition("answer: ")[2], answer="A thread.")
    return f"From {asked.count('- ')} findings: both are threads."


rehearsal = ScriptedModel(respond, name="rehearsal")
