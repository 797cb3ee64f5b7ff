"""What is refused is told with the node, the line and the argument it is about."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Context, graph, node, run, tool
from treadle.errors import ReadFailed, ResultRefused
from treadle.plan.where import defined_at

pytestmark = pytest.mark.anyio


@node
async def same(text: str) -> str:
    return text


@node
async def bad(text: str) -> int:
    return text  # type: ignore[return-value]  # the fault that is told


@node
async def bad_with_context(ctx: Context, text: str) -> int:
    return text  # type: ignore[return-value]  # the fault that is told


REFUSED = "'zz' (str) cannot be stored as int, the declared type: give a value of that type, or declare str"


@pytest.mark.parametrize("named", [bad, bad_with_context])
async def test_a_result_of_another_type_is_told_with_node_attempt_and_line(named: Any) -> None:
    @graph
    def only(text: str) -> int:
        return named(text)

    with pytest.raises(ResultRefused) as refused:
        await run(only, "zz")
    where = f"node {named.name!r} (attempt 1), {defined_at(named.function)}"
    assert str(refused.value) == f"{where}: its result is refused: {REFUSED}"
    assert (refused.value.node, refused.value.attempt) == (named.name, 1)


@tool(effect="once")
async def pay(text: str) -> int:
    """Pay."""
    return text  # type: ignore[return-value]  # the fault that is told


@pytest.mark.parametrize("callee", [bad, pay])
async def test_the_refused_result_of_a_step_is_told_with_callee_and_node(callee: Any) -> None:
    @node
    async def calls(ctx: Context, text: str) -> int:
        return int(await ctx.step(callee, text))

    @graph
    def only(text: str) -> int:
        return calls(text)

    with pytest.raises(ResultRefused) as refused:
        await run(only, "zz")
    told = "'pay' has acted, so do not call it again; what it" if callee is pay else "what 'bad'"
    assert str(refused.value) == f"{told} returned in node 'calls' (attempt 1) is refused: {REFUSED}"


async def test_a_wrong_argument_of_a_step_is_told_as_an_argument() -> None:
    @node
    async def calls(ctx: Context, text: str) -> str:
        return await ctx.step(same, 5)  # type: ignore[arg-type]  # the fault that is told

    @graph
    def only(text: str) -> str:
        return calls(text)

    told = r"^argument 'text' of 'same' is refused: 5 \(int\) cannot"
    with pytest.raises(ResultRefused, match=told) as refused:
        await run(only, "x")
    assert refused.value.node == "calls"


async def test_a_forgotten_await_is_told_as_one() -> None:
    made: list[Any] = []

    @node
    async def calls(ctx: Context, text: str) -> str:
        made.append(ctx.step(same, text))
        return made[0]  # type: ignore[no-any-return]  # the fault that is told

    @graph
    def only(text: str) -> str:
        return calls(text)

    with pytest.raises(ResultRefused, match=r"was not awaited: write `await` before the call") as refused:
        await run(only, "x")
    assert "declare coroutine" not in str(refused.value)
    made[0].close()  # or Python warns of it


@node
async def listed(text: str) -> list[str]:
    return [text]


async def test_a_read_that_finds_nothing_says_in_what() -> None:
    @graph
    def only(text: str) -> str:
        return same(listed(text)[3])

    told = r"^\[3\] of 'listed', wired at .*:\d+, found nothing in a list of 1: IndexError"
    with pytest.raises(ReadFailed, match=told):
        await run(only, "x")
