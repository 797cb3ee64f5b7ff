"""Answering a bank's customers: triage, handbook, a quick agent, an expert with tools, and people.

    treadle run examples/support.py --input examples/data/messages.jsonl --concurrency 8

Without a key or a local server the rehearsal answers instead of a model.  The bank's rows are in
``SUPPORT_BANK`` (support-bank.db), the index of the handbook in ``SUPPORT_INDEX`` (support-handbook.sqlite).
"""

import os
from decimal import Decimal
from pathlib import Path
from typing import Literal

import support_bank as bank
from pydantic import BaseModel
from support_rehearsal import respond

from treadle import Ask, Budget, Context, Prompt, Retriever, agent, fallback, graph, human, match, tool
from treadle.models import Price
from treadle.retrieval import Corpus, Passage, open_index, quote
from treadle.testing import ScriptedModel


class Ticket(BaseModel):
    """A customer's message."""

    id: str = ""
    customer: str = "unknown"
    body: str


class Triage(BaseModel):
    """What a message asks, and who can answer it."""

    question: str
    difficulty: Literal["easy", "hard", "person"]


class Reply(BaseModel):
    """An answer to a customer, and the handbook pages it rests on."""

    answer: str
    sources: list[str] = []


@tool
async def find_account(customer: str) -> bank.Account:
    """Look up a customer's balance and cards by the customer's number."""
    return await bank.account(customer)


@tool
async def find_payments(customer: str) -> list[bank.Payment]:
    """List a customer's payments, the newest first, by the customer's number."""
    return await bank.payments(customer)


@tool(effect="once", in_doubt="ask")
async def replace_card(
    ctx: Context, card: str, reason: Literal["lost", "stolen", "broken", "not arrived"]
) -> bank.Receipt:
    """Block a card and send a new one."""
    return await bank.replace_card(card, reason, key=ctx.idempotency_key)


@tool(effect="once", in_doubt="ask")
async def refund(ctx: Context, payment: str, reason: str) -> bank.Receipt:
    """Give back a fee, or a payment that was charged twice."""
    return await bank.refund(payment, reason, key=ctx.idempotency_key)


@agent(model="auto:small")
async def triage(ticket: Ticket) -> Prompt[Triage]:
    return Prompt(
        "Classify this message to Heddle Bank. As `question`, say in a few words what it asks, to search the"
        " handbook. As `difficulty`, say `easy` where the handbook can answer, `hard` where somebody must"
        " look at or change this customer's cards or payments, and `person` for fraud, complaints, closing an"
        f" account, or anything unclear.\n\nThe customer writes:\n{ticket.body}"
    )


handbook = Retriever(
    "handbook",
    index=open_index(
        os.environ.get("SUPPORT_INDEX", "support-handbook.sqlite"),
        documents=Corpus.files(Path(__file__).parent / "data" / "handbook"),
    ),
)


@agent(model="auto:small")
async def quick(ticket: Ticket, passages: list[Passage]) -> Prompt[Reply]:
    return Prompt(
        "Answer the customer from these passages only. Quote them, and name their pages as sources."
        f"\n\n{quote(passages)}\n\nThe customer writes:\n{ticket.body}"
    )


@agent(
    model="auto",
    tools=[find_account, find_payments, replace_card, refund],
    budget=Budget(usd="0.05"),
    max_turns=8,
)
async def expert(ticket: Ticket, passages: list[Passage]) -> Prompt[Reply]:
    return Prompt(
        f"Solve the problem of customer {ticket.customer}, and of no other. Look before you change anything."
        f"\n\n{quote(passages)}\n\nThe customer writes:\n{ticket.body}"
    )


@human(to="support-leads")
async def desk(ticket: Ticket) -> Ask[Reply]:
    return Ask(f"Answer {ticket.customer}", show=ticket)


@graph(budget=Budget(usd="0.20", seconds=120))
def support(ticket: Ticket) -> Reply:
    t = triage(ticket)
    passages = handbook(t.question, k=4)
    return match(
        t.difficulty,
        {
            "easy": quick(ticket, passages),
            "hard": fallback(expert(ticket, passages), desk(ticket)),
            "person": desk(ticket),
        },
    )


# Answers where no model is configured; priced like a small model, so that a rehearsed run has a bill.
rehearsal = ScriptedModel(
    respond, name="rehearsal", price=Price(input_mtok=Decimal("0.25"), output_mtok=Decimal("2.00"))
)
