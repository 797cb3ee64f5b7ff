"""A conversation that is passed on: to another agent, to a person, or to any node."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from treadle import (
    Ask,
    Budget,
    Engine,
    NodeFailed,
    PlanError,
    Prompt,
    WiringError,
    agent,
    graph,
    human,
    node,
    run,
    tool,
)
from treadle.errors import AgentStopped
from treadle.events import StepCompleted, StepStarted
from treadle.messages import Message, Text, image
from treadle.models import Price
from treadle.nodes.handoff import passed_on
from treadle.testing import ScriptedModel, call, crash_everywhere
from treadle.tools import handoff

pytestmark = pytest.mark.anyio

OPENED: list[str] = []


@tool
async def open_account(number: str) -> str:
    """Open a customer's account."""
    OPENED.append(number)
    return f"account {number}: 3 payments"


def specialist(*answers: Any, **options: Any) -> tuple[Any, ScriptedModel]:
    model = ScriptedModel(answers, name="billing")

    @agent(model=model, instructions="you bill", **options)
    async def billing(matter: str) -> Prompt[str]:
        """Answers questions on payments."""
        return Prompt(f"The matter: {matter}")

    return billing, model


async def received(tools: list[Any], *answers: Any, **options: Any) -> str:
    model = ScriptedModel(answers)

    @agent(model=model, tools=tools, instructions="you receive", **options)
    async def reception(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return reception(text)

    return await run(ask, "I paid twice")


HAND = call("hand_off_to_billing", matter="paid twice")


async def test_who_takes_over_gives_the_answer() -> None:
    billing, _ = specialist("You get 5 back.")
    assert await received([open_account, handoff(billing)], HAND) == "You get 5 back."


async def test_what_was_said_and_done_is_passed_on_and_the_instructions_are_not() -> None:
    billing, model = specialist("Done.")
    await received([open_account, handoff(billing)], call("open_account", number="7"), HAND)
    [request] = model.requests
    said = [message.text for message in request.messages]
    assert said[0] == "you bill"
    assert said[1] == "I paid twice"
    assert "[called open_account with" in said[2]
    assert "[open_account gave: account 7: 3 payments]" in said[2]
    assert said[3] == "The matter: paid twice"
    assert "you receive" not in "".join(said)
    assert request.tools == ()


async def test_other_tools_of_the_same_turn_run_before() -> None:
    OPENED.clear()
    billing, model = specialist("Done.")
    await received([open_account, handoff(billing)], [HAND, call("open_account", number="8")])
    assert OPENED == ["8"]
    assert "account 8" in model.requests[0].messages[2].text


async def test_invalid_arguments_are_answered_with_the_complaint() -> None:
    billing, _ = specialist("Done.")
    wrong = call("hand_off_to_billing", reason="paid twice")
    assert await received([handoff(billing)], wrong, "I stay.") == "I stay."


async def test_the_last_turn_may_still_pass_on() -> None:
    billing, _ = specialist("Done.")
    assert await received([handoff(billing)], HAND, max_turns=1) == "Done."
    with pytest.raises(AgentStopped, match="1 requests without a final answer"):
        await received([open_account, handoff(billing)], call("open_account", number="1"), max_turns=1)


async def test_of_two_handoffs_the_first_is_taken() -> None:
    billing, _ = specialist("Billing.")
    other, model = specialist("Other.")
    tools = [handoff(billing), handoff(other.named("other"))]
    both = [HAND, call("hand_off_to_other", matter="x")]
    assert await received(tools, both) == "Billing."
    assert not model.requests


async def test_whoever_takes_over_has_turns_tools_and_a_budget_of_its_own() -> None:
    OPENED.clear()
    billing, _ = specialist(
        call("open_account", number="1"), call("open_account", number="2"), "Done.",
        tools=[open_account], max_turns=3,
    )  # fmt: skip
    assert await received([handoff(billing)], HAND, max_turns=1) == "Done."
    assert OPENED == ["1", "2"]
    with pytest.raises(Exception, match="calls"):
        await received([handoff(billing.using(budget=Budget(calls=0)))], HAND)


async def test_the_failure_of_who_took_over_is_that_of_the_agent() -> None:
    @node
    async def breaks(matter: str) -> str:
        raise ValueError(matter)

    with pytest.raises(NodeFailed, match="ValueError: it"):
        await received([handoff(breaks)], call("hand_off_to_breaks", matter="it"), "never")


async def test_a_person_takes_over() -> None:
    @human(to="support")
    async def desk(summary: str) -> Ask[str]:
        """A person who can decide."""
        return Ask(summary)

    @agent(model=ScriptedModel([call("hand_off_to_desk", summary="angry")]), tools=[handoff(desk)])
    async def reception(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return reception(text)

    async with Engine("memory:", graphs=[ask]) as engine:
        handle = await engine.start(ask, "hello")
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        await engine.answer(question.id, "sorry", by="maria")
        assert await handle.result() == "sorry"


async def test_a_handoff_is_a_recorded_step_of_the_agent_that_takes_over() -> None:
    billing, _ = specialist("Done.")

    @agent(model=ScriptedModel([HAND]), tools=[handoff(billing)])
    async def reception(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return reception(text)

    async with Engine("memory:", graphs=[ask]) as engine:
        handle = await engine.start(ask, "hello")
        await handle.result()
        events = [entry.event for entry in await handle.history()]
    started = [(event.callee, event.callee_kind) for event in events if isinstance(event, StepStarted)]
    assert started == [("scripted:scripted", "model"), ("billing", "agent"), ("scripted:billing", "model")]
    assert len([event for event in events if isinstance(event, StepCompleted)]) == 3


class Bill(BaseModel):
    amount: int


def test_who_would_give_another_type_is_refused_when_the_plan_is_made() -> None:
    @agent(model=ScriptedModel([]))
    async def biller(matter: str) -> Prompt[Bill]:
        return Prompt(matter)

    @agent(model=ScriptedModel([]), tools=[handoff(biller)])
    async def reception(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def ask(text: str) -> str:
        return reception(text)

    with pytest.raises(PlanError, match="'biller' would give Bill where the agent has to give str"):
        ask.plan.to_json()


def test_what_is_no_node_is_refused_at_once() -> None:
    with pytest.raises(WiringError, match="len is nobody to hand off to"):
        handoff(len)  # type: ignore[arg-type]  # as a user without a type checker might write


def test_the_model_is_shown_a_tool_with_the_targets_parameters() -> None:
    billing, _ = specialist("Done.")
    spec = handoff(billing).shown
    assert spec.name == "hand_off_to_billing"
    assert spec.description == (
        "Hand the conversation over to billing, who gives the final answer. Answers questions on payments."
    )
    assert list(spec.parameters["properties"]) == ["matter"]


def test_pictures_that_users_sent_are_passed_on_as_they_are() -> None:
    picture = Message(role="user", parts=(image(b"\x89PNG\r\n1234"), Text(text="what is it?")))
    asked = Message(role="assistant", parts=(Text(text="let me see"),))
    assert passed_on((picture, asked))[0] == picture
    assert passed_on((picture, asked))[1].text == "What happened so far:\nassistant: let me see"


def by_request(request: Any) -> object:
    return HAND if request.tools else "Done."


@agent(model=ScriptedModel(by_request, price=Price(input_mtok=Decimal(1), output_mtok=Decimal(1))))
async def billing(matter: str) -> Prompt[str]:
    return Prompt(matter)


@agent(model=ScriptedModel(by_request, name="first"), tools=[handoff(billing)])
async def reception(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def helped(text: str) -> str:
    return reception(text)


async def test_a_crash_anywhere_in_a_handoff_pays_nothing_twice() -> None:
    report = await crash_everywhere(helped, "I paid twice", at_most=4)
    assert report.value == "Done."
