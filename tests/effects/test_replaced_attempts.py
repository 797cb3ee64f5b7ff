"""An attempt that waited for people is withdrawn with its run, and begins again under the next number.

What it had done is not done again, and what it left in doubt is not repeated unasked.
"""

from __future__ import annotations

import anyio
import pytest

from treadle import Ask, Context, Engine, graph, node, tool

pytestmark = pytest.mark.anyio


class Shop:
    """Pays, then asks; beside it something fails until it is mended."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.paid: list[str] = []
        self.is_mended = False
        self.asked = anyio.Event()

        @tool(effect="once")
        async def pay(what: str) -> str:
            """Pay."""
            self.paid.append(what)
            if breaks and len(self.paid) == 1:
                raise OSError("the line broke")
            return f"paid {what}"

        @node
        async def order(ctx: Context) -> str:
            paid = await ctx.step(pay, "a loom")
            return paid + await ctx.ask(Ask("Right?", to="ada", answer=str))

        @node
        async def fail(ctx: Context) -> str:
            while not [one async for one in self.engine.questions(run_id=ctx.run_id)]:
                await anyio.wait_all_tasks_blocked()
            if not self.is_mended:
                raise ValueError("no")
            return "well"

        @node
        async def join(left: str, right: str) -> str:
            return left + right

        @graph
        def both() -> str:
            return join(order(), fail())

        self.both = both

    async def fails_and_goes_on(self) -> None:
        """Let the run fail beside the question, and resume it."""
        async with Engine("memory:", graphs=[self.both]) as self.engine:
            handle = await self.engine.start(self.both, run_id="r")
            assert await handle.settled() == "failed"
            self.is_mended = True
            assert await (await self.engine.resume("r")).settled() == "waiting"


async def test_what_an_attempt_had_paid_before_it_asked_is_not_paid_again_when_the_run_failed_beside_it() -> (
    None
):
    shop = Shop()
    await shop.fails_and_goes_on()
    assert shop.paid == ["a loom"]


async def test_a_doubt_that_somebody_was_asked_about_is_asked_about_again_and_not_repeated() -> None:
    shop = Shop(breaks=True)
    await shop.fails_and_goes_on()
    assert shop.paid == ["a loom"]
