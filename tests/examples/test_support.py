"""The support pipeline, run: each route, what it leaves in the bank, and who is asked."""

from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import support_rehearsal

from treadle import Engine, RunWaiting, run
from treadle.errors import ProviderUnavailable
from treadle.models import ModelRequest
from treadle.retrieval import Corpus
from treadle.testing import ScriptedModel

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(bank_file: Path) -> Any:
    """The example, loaded anew: its index is this test's own."""
    spec = importlib.util.spec_from_file_location("support_under_test", EXAMPLES / "support.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def graph(example: Any) -> Any:
    """The pipeline with the rehearsal inside this process, so that no server is needed."""
    return example.support.using(model=example.rehearsal)


def rows(path: Path, statement: str) -> Sequence[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def test_an_easy_message_is_answered_from_the_handbook(
    example: Any, graph: Any, bank_file: Path
) -> None:
    reply = await run(
        graph, example.Ticket(customer="c-101", body="Can I hold money in multiple currencies?")
    )
    pages = {page.name: " ".join(page.text.split()) for page in Corpus.files(EXAMPLES / "data" / "handbook")}
    assert reply.sources == ["exchange.md"]
    assert reply.answer.partition("“")[2].rstrip("”") in pages["exchange.md"]
    assert not bank_file.exists()  # noqa: ASYNC240 - nothing else runs meanwhile


async def test_a_hard_message_changes_one_row_of_the_bank(example: Any, graph: Any, bank_file: Path) -> None:
    reply = await run(graph, example.Ticket(customer="c-101", body="Why have I been charged twice?"))
    [(payment, key, deliveries)] = rows(bank_file, "select payment, key, deliveries from refund")
    assert (payment, deliveries) == ("pay-c-101-5", 1)
    assert key
    assert "refund-pay-c-101-5" in reply.answer


async def test_a_failing_tool_is_told_to_the_model(example: Any, graph: Any) -> None:
    reply = await run(graph, example.Ticket(customer="c-9", body="Why have I been charged twice?"))
    assert "no customer 'c-9'" in reply.answer


async def test_a_message_for_a_person_waits(example: Any, graph: Any) -> None:
    with pytest.raises(RunWaiting) as waiting:
        await run(graph, example.Ticket(customer="c-101", body="Someone used my card!"))
    assert len(waiting.value.questions) == 1


async def test_a_person_answers_and_the_run_goes_on(example: Any, graph: Any) -> None:
    ticket = example.Ticket(customer="c-101", body="Someone used my card!")
    async with Engine("memory:", graphs=[graph]) as engine:
        handle = await engine.start(graph, ticket)
        await handle.settled()
        [question] = await engine.questions(to="support-leads")
        assert (question.prompt, question.shown) == ("Answer c-101", ticket.model_dump())
        await engine.answer(question.id, {"answer": "Your card is blocked."}, by="maria")
        assert await handle.result() == example.Reply(answer="Your card is blocked.")


def without_expert(request: ModelRequest) -> object:
    """The rehearsal, where the model that takes tools is down."""
    if request.tools:
        return ProviderUnavailable("the model is down", provider="scripted", status=503)
    return support_rehearsal.respond(request)


async def test_a_person_stands_in_for_an_expert_that_fails(example: Any) -> None:
    graph = example.support.using(model=ScriptedModel(without_expert))
    async with Engine("memory:", graphs=[graph]) as engine:
        handle = await engine.start(graph, example.Ticket(customer="c-101", body="My card is lost!"))
        assert await handle.settled() == "waiting"
        [question] = await engine.questions()
        assert question.node == "desk"


async def test_without_a_key_the_rehearsal_answers_over_http(example: Any) -> None:
    reply = await run(example.support, example.Ticket(customer="c-101", body="I was charged a fee"))
    assert "refund-pay-c-101-4" in reply.answer


async def test_every_shipped_message_is_answered_or_waits(
    example: Any, graph: Any, bank_file: Path, messages: list[dict[str, Any]]
) -> None:
    statuses: dict[str, str] = {}

    async def answer(engine: Engine, message: dict[str, Any]) -> None:
        handle = await engine.start(graph, example.Ticket(**message), run_id=message["id"])
        statuses[message["id"]] = await handle.settled()

    async with Engine("memory:", graphs=[graph]) as engine, anyio.create_task_group() as tasks:
        for message in messages:
            tasks.start_soon(answer, engine, message)
    assert list(statuses.values()).count("waiting") == 6
    assert list(statuses.values()).count("completed") == 34
    assert rows(bank_file, "select max(deliveries) from refund") == [(1,)]
    assert rows(bank_file, "select count(*) from refund") == [(4,)]
    assert rows(bank_file, "select count(*) from card_order") == [(5,)]


@pytest.mark.parametrize(("name", "said"), [("first.py", "7"), ("approval.py", "on their way to Ada")])
def test_the_small_examples_run(name: str, said: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout
