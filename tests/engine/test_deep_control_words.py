"""Control words that pass values on, a thousand deep, and rounds that do: looked up without recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from treadle import Ask, do, fallback, graph, human, loop, node, not_, run, when

if TYPE_CHECKING:
    from tests.engine.conftest import Place

pytestmark = pytest.mark.anyio

DEEP = 1500


@node
async def no(x: int) -> bool:
    return False


@node
async def step(x: int) -> int:
    return x + 1


@human(to="ada")
async def desk(x: int) -> Ask[int]:
    return Ask("well?")


WORDS = {
    "when": lambda flag, v: when(flag, step(v), v),
    "fallback": lambda _flag, v: fallback(v, step(v)),
    "do": do,
}


def deep(word: str, *, asks: bool) -> Any:
    @graph
    def only(x: int) -> int:
        flag, v = no(x), x
        for _ in range(DEEP):
            v = WORDS[word](flag, v)
        return do(desk(v), flag, v) if asks else do(flag, v)

    return only


@pytest.mark.parametrize("word", WORDS)
async def test_what_a_chain_of_control_words_passes_on_is_the_result(word: str) -> None:
    assert await run(deep(word, asks=False), 7) == 7


async def test_a_chain_of_expressions_is_computed_again_from_the_history(memory: Place) -> None:
    @graph
    def only(x: int) -> bool:
        flag = no(x)
        for _ in range(DEEP):
            flag = not_(flag)
        return do(desk(x), flag)

    async with memory.engine(only) as engine:
        assert await (await engine.start(only, 1, run_id="r")).settled() == "waiting"
    async with memory.engine(only) as engine:
        handle = await engine.resume("r")
        await engine.answer((await engine.questions())[0].id, 1, by="ada")
        assert await handle.result() is False


@pytest.mark.parametrize("word", WORDS)
async def test_a_deep_chain_is_taken_up_again_and_edited(word: str, memory: Place) -> None:
    before, after = deep(word, asks=True), deep(word, asks=False)
    async with memory.engine(before) as engine:
        assert await (await engine.start(before, 7, run_id="r")).settled() == "waiting"
    assert await memory.resume(after) == 7


async def test_rounds_that_pass_their_value_on_are_taken_up_again(memory: Place) -> None:
    seen = [0]

    @node
    async def enough(x: int) -> bool:
        seen[0] += 1
        return seen[0] >= 400

    @graph
    def one(x: int) -> int:
        return when(no(x), step(x), x)

    @graph
    def only(x: int) -> int:
        return desk(loop(one, x, until=enough, at_most=500))

    async with memory.engine(only) as engine:
        assert await (await engine.start(only, 1, run_id="r")).settled() == "waiting"
    async with memory.engine(only) as engine:
        handle = await engine.resume("r")
        await engine.answer((await engine.questions())[0].id, 3, by="ada")
        with anyio.fail_after(30):
            assert await handle.result() == 3
    assert seen == [400]
