"""``treadle check FILE --against RUN``, and ``treadle resume`` where the graph was edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import GRAPHS, Treadle

Waiting = tuple[str, str]

PAYMENTS = """
from treadle import Ask, Context, graph, human, tool

paid = []


@tool(effect="once")
async def pay(ctx: Context, amount: int) -> str:
    \"\"\"Pay.\"\"\"
    paid.append(amount)
    return f"payment {len(paid)}"


@human(to="clerks")
async def approve(payments: list[str]) -> Ask[str]:
    return Ask(f"Are {payments} right?")


@graph
def payments() -> str:
    return approve([NAMED])
"""


def payments(folder: Path, file: str, *names: str) -> str:
    wired = ", ".join(f"pay.named({name!r})(3)" for name in names)
    (folder / file).write_text(PAYMENTS.replace("NAMED", wired))
    return file


@pytest.fixture
def parked(treadle: Treadle, folder: Path) -> str:
    """The id of a run that has made two equal payments and waits for a person."""
    treadle("run", payments(folder, "before.py", "first", "second"), "--value", "{}")
    run_id: str = treadle("inbox", "--json").json_lines()[0]["run_id"]
    return run_id


def test_an_unedited_graph_keeps_all_and_waits(treadle: Treadle, waiting_run: Waiting) -> None:
    seen = treadle("check", "orders.py", "--against", waiting_run[0], "--json")
    told = json.loads(seen.out)
    outcomes = {call["node"]: call["outcome"] for call in told["calls"]}
    assert (seen.code, told["is_edited"], told["refused"]) == (0, False, "")
    assert outcomes == {"sort": "kept", "ship": "unneeded", "approve": "waits", "fail": "unneeded"}


def test_an_edit_shows_what_is_kept_and_what_runs_and_why(
    treadle: Treadle, folder: Path, waiting_run: Waiting
) -> None:
    text = GRAPHS.replace("approve(order)", "approve(order)").replace(
        "sort(order)", "sort.named('kind')(order)"
    )
    text = text.replace(
        "async def approve(order: Order)", "async def approve(order: Order, tone: str = 'kind')"
    )
    (folder / "edited.py").write_text(text)
    seen = treadle("check", "edited.py", "--against", waiting_run[0])
    words = " ".join(seen.out.split())
    assert seen.code == 0
    assert "graph 'orders' was edited" in words
    assert "kind kept as sort" in words
    assert "approve runs its parameters are declared otherwise" in words


def test_what_is_uncertain_is_refused_until_it_is_told(treadle: Treadle, folder: Path, parked: str) -> None:
    file = payments(folder, "after.py", "one", "two")
    seen = treadle("check", file, "--against", parked)
    assert (seen.code, "2 equal calls were recorded" in " ".join(seen.err.split())) == (1, True)
    refused = treadle("resume", parked, file)
    assert (refused.code, "--claim one=first" in refused.err) == (1, True)
    told = ["--claim", "one=second", "--claim", "two=first"]
    assert treadle("check", file, "--against", parked, *told).code == 0
    assert treadle("resume", parked, file, *told).code == 3
    [question] = treadle("inbox", "--json").json_lines()
    assert "['payment 2', 'payment 1']" in question["prompt"]


def test_a_call_can_be_made_anew(treadle: Treadle, folder: Path, parked: str) -> None:
    file = payments(folder, "anew.py", "first", "third")
    assert treadle("resume", parked, file, "--claim", "third=second").code == 3
    seen = json.loads(treadle("check", file, "--against", parked, "--fresh", "first", "--json").out)
    first = next(call for call in seen["calls"] if call["node"] == "first")
    assert (first["outcome"], first["why"]) == ("runs", "you said so")


BODY = """
from treadle import Ask, Context, graph, human, node, tool


@tool(effect="once")
async def pay(amount: int) -> str:
    \"\"\"Pay.\"\"\"
    return f"payment of {amount}"


@human(to="clerks")
async def approve(payments: str) -> Ask[str]:
    return Ask(f"Is {payments} right?")


@node
async def settle(ctx: Context) -> str:
    return await ctx.step(approve, await ctx.step(pay, 3))


@graph
def settled() -> str:
    return settle()
"""


@pytest.mark.parametrize("said", ["--fresh", "--claim"])
def test_what_is_told_of_a_call_inside_a_body_is_shown(treadle: Treadle, folder: Path, said: str) -> None:
    (folder / "body.py").write_text(BODY)
    treadle("run", "body.py", "--value", "{}")
    [run] = treadle("runs", "--json").json_lines()
    step = json.loads(treadle("show", run["run"], "--events", "--json").out.splitlines()[1])["step"]
    call = f"settle/{step}"
    told = call if said == "--fresh" else f"{call}={call}"
    shown = " ".join(treadle("check", "body.py", "--against", run["run"], said, told).out.split())
    outcome = "runs you said so" if said == "--fresh" else f"kept as {call}: you said so"
    assert f"{call} {outcome}, when 'settle' makes it" in shown
    wrong = treadle("check", "body.py", "--against", run["run"], "--fresh", f"setle/{step}")
    assert (wrong.code, "there is no node" in wrong.err) == (2, True)


def test_nothing_is_told_of_a_run_that_is_over(treadle: Treadle) -> None:
    treadle("run", "orders.py", "--value", '{"number": 1}')
    [run] = treadle("runs", "--json").json_lines()
    for verb in (["check", "orders.py", "--against", run["run"]], ["resume", run["run"], "orders.py"]):
        refused = treadle(*verb, "--fresh", "sort")
        assert (refused.code, "is completed: nothing of it is to be claimed" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--claim", "first"], "write CALL=RECORD"),
        (["--fresh", "thrid"], "did you mean 'third'?"),
        (["--claim", "third=secnd"], "did you mean 'second'?"),
    ],
)
def test_a_wrong_claim_is_told_with_the_right_name(
    arguments: list[str], said: str, treadle: Treadle, folder: Path, parked: str
) -> None:
    file = payments(folder, "wrong.py", "first", "third")
    seen = treadle("check", file, "--against", parked, *arguments)
    assert (seen.code, said in seen.err) == (2, True), seen.err


def test_claims_are_for_a_run(treadle: Treadle) -> None:
    assert "--against RUN" in treadle("check", "orders.py", "--fresh", "sort").err
    assert "single run" in treadle("resume", "--all", "orders.py", "--fresh", "sort").err


def test_a_run_of_another_graph_is_refused(treadle: Treadle, folder: Path, waiting_run: Waiting) -> None:
    seen = treadle("check", payments(folder, "other.py", "one"), "--against", waiting_run[0])
    assert (seen.code, "name the file they were started from" in seen.err) == (2, True)
