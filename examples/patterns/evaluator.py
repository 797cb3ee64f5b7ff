"""An evaluator in a loop: one agent writes, another judges, until the judge is content.

treadle run examples/patterns/evaluator.py --value '"A slogan for a weaving mill"'
"""

from pydantic import BaseModel

from treadle import Prompt, agent, graph, loop, node
from treadle.models import ModelRequest
from treadle.testing import ScriptedModel


class Verdict(BaseModel):
    score: int = 0
    advice: str = "none"


class Draft(Verdict):
    text: str = "nothing"


def is_good(draft: Draft) -> bool:
    return draft.score >= 8


@agent(model="auto")
async def write(draft: Draft, task: str) -> Prompt[str]:
    return Prompt(f"{task}\n\nSo far: {draft.text}\nAdvice: {draft.advice}")


@agent(model="auto:small")
async def judge(text: str, task: str) -> Prompt[Verdict]:
    return Prompt(f"Task: {task}\nText: {text}\nGive a score from 0 to 10, and advice.")


@node
async def judged(text: str, verdict: Verdict) -> Draft:
    return Draft(text=text, score=verdict.score, advice=verdict.advice)


@graph
def improve(draft: Draft, task: str) -> Draft:
    return judged(text := write(draft, task), judge(text, task))


@graph
def polished(task: str) -> Draft:
    return loop(until=is_good, at_most=4)(improve, Draft(), task)


def respond(request: ModelRequest) -> object:
    """Stands in for a model where none is configured."""
    asked = request.messages[-1].text
    if request.output is not None:
        return Verdict(score=3 * asked.count("weave"), advice="Again.")
    return "weave " + asked.partition("So far: ")[2].partition("\n")[0].removesuffix("nothing")


rehearsal = ScriptedModel(respond, name="rehearsal")
