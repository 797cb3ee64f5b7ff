"""The rehearsal: a scripted model that stands in for a real one where none is configured.

It answers from the text of each request alone: no memory, no clock, no chance, no intent labels.  So a
restarted one answers alike, and a run can be compared with another word by word.  It is no language
model: it looks for words, as the tables below say, and what they do not cover goes to a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from treadle.models import ModelRequest, ToolCall, ToolResult
from treadle.testing import call

MARK = "\n\nThe customer writes:\n"

PERSON = re.compile(
    r"fraud|scam|hack|compromis|suspicious|strange|recogni[sz]e|complain|lawyer|terrible"
    r"|(some ?(one|body)|who) (else )?(has |is )?(us(ed|ing)|made)|(didn'?t|not|never) (make|made|do|authori)"
    r"|(close|delete|terminate) my|(real|human|speak|talk to)\b|source of (my )?(funds|money)"
    r"|(cannot|can'?t|failed to|unable to|not able to|won'?t) (verify|prove)"
    r"|(stole|stolen|lost) my phone|phone (is|was|has)",
    re.IGNORECASE,
)
"""Messages with these words go to a person, whatever else they say."""

HARD = re.compile(
    r"\b(lost|stole|stolen|swallowed|stuck|trapped|disappeared|broken|damaged|twice|extra|pending|reverted"
    r"|declin\w+|fail\w*|cancel\w*|wrong|refund\w*|denied|blocked|missing)\b"
    r"|was (i )?charged|charge on my|only given|less (cash|money)|still|how do i get it back"
    r"|(have|has|is)(n'?t| not) (yet )?(received|arrived|got|gone)|(not|n'?t|stopped) work",
    re.IGNORECASE,
)
"""Messages with these words ask for a look at the customer's own cards or payments."""

EASY = re.compile(
    r"\b(card|cards|account|top|topping|transfer|pin|passcode|code|exchange|rates?|currenc|limits?|fees?|charge|atms?"
    r"|cash|visa|mastercard|identity|verify|salary|details|countr|deliver|pay|bank|money|contactless|app|refund"
    r"|transaction|purchas|order|statement|balance|age\b|gbp|eur|usd|convert|address|moved)",
    re.IGNORECASE,
)
"""Messages with these words ask for something the handbook may know."""

CARD_REASONS = {
    "stolen": r"\bstole",
    "lost": r"\blost\b|missing",
    "not arrived": r"(not|n'?t) (yet )?(received|arrived)|still (waiting|not)|deliver",
    "broken": r"broken|damaged|swallowed|stuck|trapped|disappeared|(not|n'?t|stopped) work",
}
"""Why a card is replaced, by what the customer writes."""

PAYMENT_KINDS = {
    "fee": r"\bfee|charge|extra",
    "transfer": r"transfer|sent|send",
    "top-up": r"top",
    "cash": r"cash|atm|withdr",
}
"""Which of the payments a message is about, by its words."""


COMMON = re.compile(
    r"and|are|but|can|did|for|from|had|has|have|not|some|th\w+|was|w(h|ill|ith|ould)\w*|you\w*"
)
"""Words that say nothing about the matter."""


def respond(request: ModelRequest) -> dict[str, object] | list[ToolCall] | str:
    """Answer any request: the form asked for decides what it is about."""
    prompt = next((message.text for message in request.messages if message.role == "user"), "")
    before, _, text = prompt.partition(MARK)
    if request.output is None:
        return _plain(text)
    if "difficulty" in request.output.schema.get("properties", {}):
        return _triage(text or prompt)
    results = _results(request)
    calls = _calls(before, text, results, {tool.name for tool in request.tools})
    return calls or _reply(before, text, results)


def _triage(text: str) -> dict[str, object]:
    question = " ".join(text.split())[:300] or "help"
    return {"question": question, "difficulty": _difficulty(text)}


def _difficulty(text: str) -> str:
    if PERSON.search(text) or not EASY.search(text):
        return "person"
    return "hard" if HARD.search(text) else "easy"


def _results(request: ModelRequest) -> dict[str, Any]:
    """What each tool gave so far; where it failed, the text that says so."""
    names = {each.id: each.name for message in request.messages for each in message.tool_calls}
    parts = (part for message in request.messages for part in message.parts if isinstance(part, ToolResult))
    return {names.get(part.call_id, part.name): _json(part.content) for part in parts}


def _json(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def _calls(before: str, text: str, results: Mapping[str, Any], offered: set[str]) -> list[ToolCall]:
    """The next tools to call: first both that look, side by side, then at most one that changes."""
    looks = [name for name in ("find_account", "find_payments") if name in offered and name not in results]
    if looks:
        customer = re.search(r"customer (\S+?),", before)
        return [call(name, customer=customer.group(1) if customer else "unknown") for name in looks]
    if offered & {"replace_card", "refund"} & set(results):
        return []
    change = _change(text, results)
    return [change] if change and change.name in offered else []


def _change(text: str, results: Mapping[str, Any]) -> ToolCall | None:
    reason = (
        _first_match(CARD_REASONS, text)
        if re.search(r"\bcard|\bit disappeared", text, re.IGNORECASE)
        else None
    )
    cards = [card["id"] for card in _cards(results) if card["state"] == "active"]
    if reason and cards and not re.search(r"pay|transaction|charged", text, re.IGNORECASE):
        return call("replace_card", card=cards[0], reason=reason)
    payment = _refundable(text, results)
    return call("refund", payment=payment["id"], reason=" ".join(text.split())[:80]) if payment else None


def _refundable(text: str, results: Mapping[str, Any]) -> dict[str, str] | None:
    """The payment to give back: one of two equal ones, or a fee."""
    if not re.search(r"charge|\bfee|twice", text, re.IGNORECASE):
        return None
    payments = [p for p in _payments(results) if p["state"] == "completed"]
    if re.search(r"twice|multiple|several", text, re.IGNORECASE):
        facts = [(p["made_on"], p["text"], p["amount"]) for p in payments]
        return next((p for p, fact in zip(payments, facts, strict=True) if facts.count(fact) > 1), None)
    return next((p for p in payments if p["kind"] == "fee"), None)


def _reply(before: str, text: str, results: Mapping[str, Any]) -> dict[str, object]:
    quotation, page = _quotation(before, text)
    sentences = [*_done(results), *_seen(text, results)]
    if quotation:
        sentences.append(f"Our handbook says: “{quotation}”")
    answer = " ".join(sentences) or "I could not find this in our handbook; please tell us a little more."
    return {"answer": answer, "sources": [page] if page else []}


def _done(results: Mapping[str, Any]) -> list[str]:
    receipts = [results[name] for name in ("replace_card", "refund") if name in results]
    return [
        f"Done: {receipt['note']} ({receipt['number']})."
        if isinstance(receipt, dict) and receipt["accepted"]
        else f"That could not be done: {receipt['note'] if isinstance(receipt, dict) else receipt}."
        for receipt in receipts
    ]


def _seen(text: str, results: Mapping[str, Any]) -> list[str]:
    """What the statement says about the payment in question, where nothing was changed."""
    if "find_payments" not in results or {"replace_card", "refund"} & set(results):
        return []
    if not _payments(results):
        return [f"I could not look at your payments: {results['find_payments']}."]
    kind = _first_match(PAYMENT_KINDS, text)
    of_kind = [payment for payment in _payments(results) if payment["kind"] == kind]
    if not of_kind:
        return ["I looked at your account and see nothing unusual there."]
    payment = of_kind[0]
    return [f"Your {payment['text']!r} of £{Decimal(payment['amount']):.2f} is {payment['state']}."]


def _quotation(before: str, text: str) -> tuple[str, str]:
    """The sentence of the passages that shares most words with the message, and its page."""
    wanted = _words(text)
    found = [
        (len(wanted & _words(sentence)), -place, sentence, page)
        for place, (page, sentence) in enumerate(_sentences(before))
    ]
    _, _, sentence, page = max(found, default=(0, 0, "", ""))
    return sentence, page


def _sentences(before: str) -> Iterable[tuple[str, str]]:
    """The sentences of the numbered passages in a prompt, each with its page, as they stand there."""
    for passage in re.split(r"(?m)^\[\d+\] ", before)[1:]:
        source, _, body = passage.partition("\n")
        page = source.partition(": ")[0]
        for paragraph in body.split("\n\n"):
            if not paragraph.startswith("#"):
                yield from (
                    (page, " ".join(sentence.split()))
                    for sentence in re.split(r"(?<=[.!?])\s+", paragraph)
                    if sentence
                )


def _words(text: str) -> set[str]:
    """The longer words, cut to their first letters, so that most endings do not matter."""
    words = re.findall(r"\w{3,}", text.lower())
    return {word[:5] for word in words if not COMMON.fullmatch(word)}


def _cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    account = results.get("find_account")
    return cast("dict[str, Any]", account)["cards"] if isinstance(account, dict) else []


def _payments(results: Mapping[str, Any]) -> list[dict[str, str]]:
    payments = results.get("find_payments")
    return cast("list[dict[str, str]]", payments) if isinstance(payments, list) else []


def _first_match(table: Mapping[str, str], text: str) -> str | None:
    return next((name for name, pattern in table.items() if re.search(pattern, text, re.IGNORECASE)), None)


def _plain(text: str) -> str:
    return f"I have read your message: {' '.join(text.split())[:80]}"
