"""The plan document: everything is in it, nothing of one process, and it reads back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from treadle import (
    Ask,
    Budget,
    Context,
    Plan,
    PlanError,
    Prompt,
    Retriever,
    Retry,
    agent,
    do,
    fallback,
    graph,
    human,
    match,
    node,
    some,
    tool,
    when,
)


class Ticket(BaseModel):
    body: str
    note: str | None = None


class Triage(BaseModel):
    question: str
    difficulty: Literal["easy", "hard", "person"]


class Reply(BaseModel):
    text: str


@tool(effect="once", in_doubt="fail", retry=Retry(attempts=2, on=OSError))
async def refund(ctx: Context, amount: Decimal) -> str:
    """Refund an amount."""
    return ctx.idempotency_key


@agent(model="auto:small")
async def triage(ticket: Ticket) -> Prompt[Triage]:
    return Prompt(ticket.body)


handbook = Retriever("handbook", index="handbook.sqlite")


@agent(model="auto", tools=[refund], budget=Budget(usd="0.05"), max_turns=8, instructions="Be brief.")
async def expert(ticket: Ticket, passages: list[Any]) -> Prompt[Reply]:
    return Prompt(ticket.body)


@human(to="support-leads", within="4h")
async def desk(ticket: Ticket) -> Ask[Reply]:
    return Ask("Answer", show=ticket)


@node(timeout=2.5)
async def note(text: str, tags: list[str]) -> None:
    return None


@graph(budget=Budget(usd="0.50"))
def answer(ticket: Ticket, question: str) -> Reply:
    return fallback(expert(ticket, handbook(question, k=4)), desk(ticket))


@graph(budget=Budget(usd="0.20", seconds=120), on_failure="cancel")
def support(ticket: Ticket) -> Reply:
    t = triage(ticket)
    reply = match(
        t.difficulty,
        {
            "easy": Reply(text="easy"),
            "hard": answer(ticket, t.question),
            "person": when(t.question == "", desk(ticket), desk.named("second")(ticket)),
        },
    )
    return do(note(some(ticket.note), ["a", t.question]), refund(Decimal("1.50")), reply)


def test_a_document_reads_back_to_an_equal_plan() -> None:
    back = Plan.from_json(support.plan.to_json())
    assert back == support.plan
    assert back.to_json() == support.plan.to_json()
    assert back.digest == support.plan.digest


def test_a_document_names_its_version_and_holds_no_place_and_no_address() -> None:
    text = support.plan.to_json()
    assert json.loads(text)["treadle_plan"] == 1
    assert "test_document" not in text
    assert " at 0x" not in text


def test_policies_budgets_and_settings_are_in_the_document() -> None:
    document = json.loads(support.plan.to_json())
    nodes = {one["id"]: one for one in document["nodes"]}
    assert document["policies"] == {"budget": {"seconds": 120.0, "usd": "0.20"}}
    assert document["scopes"] == [
        {"graph": "answer", "id": "answer", "policies": {"budget": {"usd": "0.50"}}}
    ]
    assert nodes["refund"]["policies"]["effect"] == "once"
    assert nodes["refund"]["policies"]["retry"]["on"] == ["builtins.OSError"]
    assert nodes["answer/desk"]["settings"] == {"to": "support-leads", "within": 14400.0}
    assert nodes["answer/expert"]["settings"]["tools"][0]["name"] == "refund"
    assert nodes["note"]["policies"] == {"timeout": 2.5}


def test_the_digest_changes_with_a_policy_and_not_with_the_place() -> None:
    cheaper = support.using(budget=Budget(usd="0.10"))
    assert cheaper.plan.digest != support.plan.digest
    assert support.named("support").plan.digest == support.plan.digest


def test_the_definition_changes_with_name_schema_and_model_alone() -> None:
    assert desk.named("x").definition == desk.definition
    assert expert.using(model="openai:gpt-5", max_turns=2).definition == expert.definition
    assert expert.definition.model == "auto"
    assert triage.definition.digest != expert.definition.digest


def test_a_plan_read_from_a_document_has_edges_too() -> None:
    drawn = Plan.from_json(support.plan.to_json()).to_networkx()
    assert drawn.has_edge("triage", "triage.difficulty")
    assert drawn.nodes["answer/desk"]["kind"] == "human"


def _edit(**changes: Any) -> str:
    return json.dumps({**json.loads(support.plan.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "no plan document"),
        ('{"nodes": []}', "no number under 'treadle_plan'"),
        (_edit(treadle_plan=2), "version 2, and this release reads up to 1; install a newer"),
        (_edit(nodes=[{"id": "a"}]), "damaged: KeyError 'kind'"),
        (_edit(nodes=7), "damaged"),
        (_edit(result={"wire": "nowhere"}), "'nowhere'"),
        (_edit(nodes=[{"id": "a", "kind": "input"}] * 2, result={"wire": "a"}), "one id"),
        (_edit(nodes=[{"id": "a", "kind": "guess"}], result={"wire": "a"}), "unknown kind 'guess'"),
        (_edit(result={"what": 1}), "no binding"),
        (_edit(policies={"speed": 1}), "damaged"),
        (
            _edit(
                nodes=[{"id": "a", "kind": "do", "cases": [{"test": "otherwise", "value": {"wire": "b"}}]}]
            ),
            "needs 'b', which is not before it",
        ),
    ],
)
def test_what_is_no_plan_document_is_refused(text: str, why: str) -> None:
    with pytest.raises(PlanError, match="plan document") as caught:
        Plan.from_json(text)
    assert why in str(caught.value)
