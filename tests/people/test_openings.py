"""A question that opens again: an answer that is sent twice counts once, the next one names its opening."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from treadle import Engine, RunHandle, graph, tool
from treadle.errors import QuestionError
from treadle.interfaces import Question

pytestmark = pytest.mark.anyio

AGAIN = {"outcome": "run_again"}


class Bank:
    """A bank to which the line breaks each time.

    Attributes:
        acted: How often it was asked to pay.
    """

    def __init__(self) -> None:
        self.acted = 0

        @tool(effect="once", in_doubt="ask")
        async def pay(amount: int) -> int:
            """Pay."""
            self.acted += 1
            raise ConnectionError("the line broke")

        @graph
        def shop(amount: int) -> int:
            return pay(amount)

        self.graph: Any = shop

    @asynccontextmanager
    async def in_doubt(self, store: str) -> AsyncGenerator[tuple[Engine, RunHandle[Any], Question]]:
        """The payment, in doubt again after somebody had it made again."""
        async with Engine(store, graphs=[self.graph]) as engine:
            handle = await engine.start(self.graph, 1)
            await handle.settled()
            [first] = await engine.questions()
            await engine.answer(first.id, AGAIN, by="maria")
            await handle.settled()
            [question] = await engine.questions()
            assert (question.id, question.opening, self.acted) == (first.id, 2, 2)
            yield engine, handle, question


async def test_a_request_that_is_repeated_does_not_authorise_another_act(store: str) -> None:
    bank = Bank()
    async with bank.in_doubt(store) as (engine, handle, question):
        for _ in range(2):
            with pytest.raises(QuestionError, match=r"to opening 1, .* opened again since.* opening=2"):
                await engine.answer(question.id, AGAIN, by="maria")
            assert await handle.settled() == "waiting"
        assert bank.acted == 2


async def test_the_same_person_may_say_the_same_again_of_the_next_opening(store: str) -> None:
    bank = Bank()
    async with bank.in_doubt(store) as (engine, handle, question):
        await engine.answer(question.id, AGAIN, by="maria", opening=2)
        await handle.settled()
        assert bank.acted == 3
        for opening in (1, 2):  # repeated, each of them changes nothing
            await engine.answer(question.id, AGAIN, by="maria", opening=opening)
        assert await handle.settled() == "waiting"
        assert bank.acted == 3


async def test_another_person_or_another_answer_needs_no_opening(store: str) -> None:
    bank = Bank()
    async with bank.in_doubt(store) as (engine, handle, question):
        await engine.answer(question.id, AGAIN, by="joe")
        await handle.settled()
        await engine.answer(question.id, {"outcome": "happened", "result": 1}, by="maria")
        assert await handle.result() == 1
        assert bank.acted == 3
        await engine.answer(question.id, {"outcome": "happened", "result": 1}, by="maria")


@pytest.mark.parametrize("opening", [0, 3])
async def test_an_opening_that_is_not_there_is_refused(opening: int, store: str) -> None:
    async with Bank().in_doubt(store) as (engine, _, question):
        with pytest.raises(QuestionError, match=f"no opening {opening} of it, the newest is 2"):
            await engine.answer(question.id, AGAIN, by="joe", opening=opening)


async def test_another_answer_to_an_opening_that_is_over_is_refused(store: str) -> None:
    async with Bank().in_doubt(store) as (engine, _, question):
        with pytest.raises(QuestionError, match="opened again since"):
            await engine.answer(question.id, {"outcome": "did_not_happen"}, by="maria", opening=1)
