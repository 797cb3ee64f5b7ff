"""Wrong programs are flagged by pyright and mypy, in their strictest setting, at the very line.

Each program of ``WRONG`` has one line too many, marked ``# wrong``.  With it both checkers report that
line and nothing else; without it both accept the file.  Each checker runs once over all of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RIGHT = HERE / "right.py"

START = """from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from treadle import Ask, Budget, Context, Prompt, Retry, agent, do, each, fallback, graph, human, is_none
from treadle import loop, match, narrow, node, not_, race, run, some, tool, when

from right import Circle, Order, Reply, Ticket, Triage, desk, find_order, handbook, quick, refund
from right import area, is_good, polish, revise, shape, split, support, triage

USED = (Any, Literal, Ask, Budget, Circle, Context, Decimal, Order, Prompt, Reply, Retry, Triage, agent, area)
USED_TOO = (desk, do, fallback, find_order, human, is_none, match, narrow, node, not_, refund, run)
USED_AS_WELL = (each, is_good, loop, polish, race, revise, shape, some, split, support, tool, when)


@graph
def wired(ticket: Ticket) -> Reply:
    t = triage(ticket)
    passages = handbook(t.question)
    found = shape("circle")
    del found
    return quick(ticket, passages)


"""

IN_GRAPH = {
    "argument of another type": "quick(t, passages)",
    "arguments in the wrong order": "quick(passages, ticket)",
    "missing argument": "quick(ticket)",
    "argument too many": "quick(ticket, passages, 3)",
    "unknown keyword": "quick(ticket, pasages=passages)",
    "unknown field": "quick(ticket, passages).txt",
    "method the type does not have": "t.question.upperr()",
    "retriever asked with a model": "handbook(ticket)",
    "retriever with text for k": 'handbook(t.question, k="4")',
    "tool given the result of another type": 'find_order(refund("a", Decimal(1)))',
    "tool with a context given by hand": 'refund(None, "a", Decimal(1))',
    "tool with a missing argument": 'refund("a")',
    "person asked about another type": "desk(t)",
    "subgraph given another type": "support(t)",
    "subgraph result has another type": "desk(support(ticket))",
    "union that was not narrowed": "area(found)",
    "narrow to something that is no class": 'narrow(found, "Circle")',
    "narrow to several classes": "narrow(found, Circle | Triage)",
    "narrow to a value": 'narrow(t.difficulty, Literal["easy"])',
    "field of a union that not all have": "found.radius",
    "optional that was not made sure of": "find_order(ticket.order)",
    "result taken for another type": "order: Order = quick(ticket, passages)",
    "when without a branch": "when(is_none(ticket.order), desk(ticket))",
    "branches of match that are no mapping": "match(t.difficulty, desk(ticket))",
    "match taken for another type": 'other: int = match(t.difficulty, {"easy": "a"}, otherwise="b")',
    "fallback without anything": "fallback()",
    "fallback on something that is no error": "fallback(desk(ticket), t, on=Reply)",
    "fallback taken for the first alone": "first: Reply = fallback(desk(ticket), t)",
    "do taken for its first": "one: Triage = do(t, passages)",
    "do of nothing": "do()",
    "some taken for another type": "text: int = some(ticket.order)",
    "not_ of two": "not_(True, False)",
    "each with items of another type": "each(triage, passages)",
    "each of no list": "each(triage, ticket)",
    "each without a list": "each(triage)",
    "each without what else the body takes": "each(quick, split(ticket))",
    "each with more than the body takes": "each(triage, split(ticket), passages)",
    "each with an argument of another type": "each(quick, split(ticket), t)",
    "each with an unknown keyword": "each(triage, split(ticket), tickt=ticket)",
    "each of something that is no node": "each(3, split(ticket))",
    "each with a setting beside its list": "each(triage, split(ticket), at_once=3)",
    "each with an unknown setting": 'each(on_eror="drop")(triage, split(ticket))',
    "each with an unknown reaction": 'each(on_error="ignore")(triage, split(ticket))',
    "each with text for at_once": 'each(at_once="3")(triage, split(ticket))',
    "each taken for another list": "replies: list[Reply] = each(triage, split(ticket))",
    "each that collects taken for its results": (
        'all_of_them: list[Triage] = each(on_error="collect")(triage, split(ticket))'
    ),
    "loop whose result does not fit": "loop(triage, ticket, until=lambda x: True, at_most=3)",
    "loop that starts with another type": "loop(polish, t, until=is_good, at_most=3)",
    "loop without until": "loop(polish, desk(ticket), at_most=3)",
    "loop without an end": "loop(polish, desk(ticket), until=is_good)",
    "loop until another type": "loop(polish, desk(ticket), until=triage, at_most=3)",
    "loop until a text": 'loop(polish, desk(ticket), until="done", at_most=3)',
    "loop until a field that is not there": "loop(polish, desk(ticket), until=lambda x: x.good, at_most=3)",
    "loop with text for at_most": 'loop(polish, desk(ticket), until=is_good, at_most="3")',
    "loop without what else the body takes": "loop(revise, desk(ticket), until=is_good, at_most=3)",
    "loop said first without what else it takes": "loop(until=is_good, at_most=3)(revise, desk(ticket))",
    "loop taken for another type": "looped: Triage = loop(polish, desk(ticket), until=is_good, at_most=3)",
    "race of nobody": "race()",
    "race taken for its first": "winner: Reply = race(desk(ticket), t)",
    "race with a setting": "race(desk(ticket), t, at_once=3)",
    "sum with a model": "t + 1",
    "unknown policy": "quick.using(retries=3)",
    "policy of another type": 'quick.using(retry="3")',
    "name that is no text": "quick.named(3)",
    "awaited retry": "quick.using(timeout=None)",
}

WRONG = {name: f"    {line}  # wrong" for name, line in IN_GRAPH.items()} | {
    "graph returns another type": """
@graph
def answer(ticket: Ticket) -> Reply:
    return triage(ticket)  # wrong
    return desk(ticket)
""",
    "agent body without a prompt": """
@agent(model="auto")  # wrong
async def ask(ticket: Ticket) -> Triage:
    return Triage(question=ticket.body, difficulty="easy")
""",
    "person body without a question": """
@human(to="leads")  # wrong
async def person(ticket: Ticket) -> Reply:
    return Reply(text=ticket.body)
""",
    "person without an address": """
@human(within="4h")  # wrong
async def person(ticket: Ticket) -> Ask[Reply]:
    return Ask(ticket.body)
""",
    "body that is not async": """
@node  # wrong
def body(ticket: Ticket) -> Reply:
    return Reply(text=ticket.body)
""",
    "unknown effect": """
@tool(effect="twice")  # wrong
async def pay(amount: Decimal) -> str:
    return str(amount)
""",
    "unknown option of a node": """
@node(retries=3)  # wrong
async def pay(amount: Decimal) -> str:
    return str(amount)
""",
    "tools that are no nodes": """
@agent(tools=[len])  # wrong
async def ask(ticket: Ticket) -> Prompt[Triage]:
    return Prompt(ticket.body)
""",
    "money as a float": """
LIMITS: list[Budget] = [
    Budget(usd=0.2),  # wrong
]
""",
    "attempts as text": """
RETRIES: list[Retry] = [
    Retry(attempts="3"),  # wrong
]
""",
    "steps": """
async def body(ctx: Context, ticket: Ticket) -> Order:
    await ctx.step(find_order, 3)  # wrong
    return await ctx.step(find_order, "a")
""",
    "step without an argument": """
async def body(ctx: Context, ticket: Ticket) -> Order:
    await ctx.step(refund, "a")  # wrong
    return await ctx.step(find_order, "a")
""",
    "step taken for another type": """
async def body(ctx: Context, ticket: Ticket) -> Order:
    receipt: Order = await ctx.step(refund, "a", Decimal(1))  # wrong
    return await ctx.step(find_order, "a")
""",
    "question that is a text": """
async def body(ctx: Context) -> bool:
    await ctx.ask("may I?")  # wrong
    return await ctx.ask(Ask("may I?", to="leads", answer=bool))
""",
    "answer of another type": """
async def body(ctx: Context) -> bool:
    text: str = await ctx.ask(Ask("may I?", to="leads", answer=bool))  # wrong
    return True
""",
    "run with another input": """
async def main(ticket: Ticket) -> Reply:
    await run(support, 3)  # wrong
    return await run(support, ticket)
""",
    "result of a run taken for another type": """
async def main(ticket: Ticket) -> Reply:
    triaged: Triage = await run(support, ticket)  # wrong
    return await run(support, ticket)
""",
}


@dataclass(frozen=True)
class Program:
    """A wrong program as a file, and the line that is wrong."""

    file: str
    text: str
    line: int

    @property
    def mended(self) -> str:
        lines = self.text.splitlines(keepends=True)
        return "".join(lines[: self.line - 1] + lines[self.line :])


def program(name: str) -> Program:
    body = WRONG[name]
    if name in IN_GRAPH:
        text = START.replace("    del found\n", f"{body}\n    del found\n")
    else:
        text = START + body.lstrip("\n")
    line = next(number for number, one in enumerate(text.splitlines(), 1) if one.endswith("# wrong"))
    return Program(file=re.sub(r"\W", "_", name), text=text, line=line)


PROGRAMS = {name: program(name) for name in WRONG}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All programs, wrong and mended, and the right one."""
    made = tmp_path_factory.mktemp("programs")
    for one in PROGRAMS.values():
        (made / f"wrong_{one.file}.py").write_text(one.text)
        (made / f"mended_{one.file}.py").write_text(one.mended)
    (made / "right.py").write_text(RIGHT.read_text())
    (made / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11", "include": ["*.py"]})
    )
    return made


Found = dict[str, set[int]]
"""The lines with errors, by the file's name."""


@pytest.fixture(scope="module")
def by_pyright(folder: Path) -> Found:
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(folder),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found: Found = {}
    for one in json.loads(ran.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            found.setdefault(Path(one["file"]).stem, set()).add(one["range"]["start"]["line"] + 1)
    return found


@pytest.fixture(scope="module")
def by_mypy(folder: Path) -> Found:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--python-executable", sys.executable, *sorted(one.name for one in folder.glob("*.py"))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert not ran.stderr, ran.stderr
    found: Found = {}
    for file, line in re.findall(r"^(\w+)\.py:(\d+): error:", ran.stdout, re.MULTILINE):
        found.setdefault(file, set()).add(int(line))
    return found


@pytest.fixture(params=["by_pyright", "by_mypy"])
def found(request: pytest.FixtureRequest) -> Found:
    """What one of the checkers reports."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # pytest cannot type it


pytestmark = pytest.mark.timeout(300)


def test_right_programs_pass(found: Found) -> None:
    assert "right" not in found


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_wrong_program_is_flagged_at_its_line_alone(name: str, found: Found) -> None:
    one = PROGRAMS[name]
    assert found.get(f"wrong_{one.file}") == {one.line}


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_that_line_the_program_passes(name: str, found: Found) -> None:
    assert f"mended_{PROGRAMS[name].file}" not in found
