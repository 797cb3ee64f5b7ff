"""Items of ``each`` and rounds of ``loop`` under an edited graph: an item is known by what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.engine.conftest import Place

from treadle import Context, each, graph, loop, node, tool
from treadle.editing import check_against
from treadle.errors import AmbiguousHistory
from treadle.nodes.graph import Graph

pytestmark = pytest.mark.anyio


class Line:
    """Graphs called ``line`` whose last node hangs until it may end.

    Attributes:
        ran: What was really done.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stuck = anyio.Event()
        self.may_end = False

        @node
        async def draft(item: str, tone: str = "kind") -> str:
            self.ran.append(f"draft {item}")
            return f"{item}{tone[0]}"

        @node
        async def review(text: str) -> str:
            self.ran.append(f"review {text}")
            return f"<{text}>"

        @tool(effect="once")
        async def pay(ctx: Context, item: str) -> str:
            """Pay."""
            self.ran.append(f"pay {item}")
            return f"paid {item} #{len(self.ran)}"

        @node
        async def order(ctx: Context, item: str) -> str:
            return await ctx.step(pay, item)

        @graph
        def both(item: str) -> str:
            return review(draft(item))

        @node
        async def last(values: list[str]) -> list[str]:
            self.stuck.set()
            if not self.may_end:
                await anyio.sleep_forever()
            return values

        self.draft, self.review, self.pay, self.order, self.both, self.last = (
            draft,
            review,
            pay,
            order,
            both,
            last,
        )

    def graph(self, wire: Callable[[], Any]) -> Graph[[], list[str]]:
        @graph(name="line")
        def line() -> list[str]:
            return self.last(wire())

        return line

    async def edit(
        self, place: Place, before: Callable[[], Any], after: Callable[[], Any]
    ) -> tuple[Any, list[str]]:
        """Run until the last node, edit, and go on; give the result, and what was done anew."""
        await place.crash(self.graph(before), dies=self.stuck)
        done, self.may_end = len(self.ran), True
        result = await place.resume(self.graph(after))
        return result, sorted(self.ran[done:])


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize(
    ("items", "runs"),
    [
        pytest.param(["n", "a", "b", "c"], ["n"], id="inserted"),
        pytest.param(["b", "c"], [], id="removed"),
        pytest.param(["c", "a", "b"], [], id="moved"),
        pytest.param(["a", "a", "b", "c"], ["a"], id="doubled"),
        pytest.param(["x", "b", "c"], ["x"], id="changed"),
    ],
)
@pytest.mark.parametrize("body", ["draft", "both", "order", "pay"])
async def test_an_item_that_is_there_already_is_not_done_again(
    body: str, items: list[str], runs: list[str], line: Line, place: Place
) -> None:
    one: Any = getattr(line, body)
    result, ran = await line.edit(place, lambda: each(one, ["a", "b", "c"]), lambda: each(one, items))
    words = {
        "draft": ["draft {}"],
        "both": ["draft {}", "review {}k"],
        "order": ["pay {}"],
        "pay": ["pay {}"],
    }
    assert ran == sorted(word.format(item) for word in words[body] for item in runs)
    assert [value.partition(" #")[0].strip("<>k").rpartition(" ")[2] for value in result] == items


async def test_items_without_end_of_slots_are_kept_too(line: Line, place: Place) -> None:
    """More items than may be under way at once."""
    many = [str(number) for number in range(150)]
    _, ran = await line.edit(place, lambda: each(line.both, many), lambda: each(line.both, ["new", *many]))
    assert ran == ["draft new", "review newk"]


async def test_what_follows_the_list_is_kept_where_the_list_comes_out_equal(line: Line, place: Place) -> None:
    @node
    async def join(texts: list[str]) -> str:
        line.ran.append("join")
        return " ".join(texts)

    def wired(name: str) -> Callable[[], Any]:
        return lambda: [join.named(name)(each(line.both, ["a", "b"]))]

    assert await line.edit(place, wired("one"), wired("other")) == (["<ak> <bk>"], [])


async def test_a_further_argument_that_changes_changes_all_items(line: Line, place: Place) -> None:
    result, ran = await line.edit(
        place, lambda: each(line.draft, ["a", "b"]), lambda: each(line.draft, ["a", "b"], tone="rough")
    )
    assert (result, ran) == (["ar", "br"], ["draft a", "draft b"])


async def test_an_item_lifted_into_the_graph_is_kept(line: Line, place: Place) -> None:
    result, ran = await line.edit(place, lambda: each(line.draft, ["a", "b"]), lambda: [line.draft("b")])
    assert (result, ran) == (["bk"], [])


async def test_rounds_are_kept(line: Line, place: Place) -> None:
    def rounds(limit: str) -> Callable[[], Any]:
        return lambda: [loop(line.draft, "a", until=lambda text: text == limit, at_most=5)]

    assert await line.edit(place, rounds("akk"), rounds("akkk")) == (["akkk"], ["draft akk"])


async def test_an_edit_of_an_edit_keeps_items(line: Line, place: Place) -> None:
    def wired(*items: str) -> Graph[[], list[str]]:
        return line.graph(lambda: each(line.both, list(items)))

    await place.crash(wired("a", "b"), dies=line.stuck)
    line.stuck = anyio.Event()
    await place.crash(wired("n", "b", "a"), dies=line.stuck)
    line.stuck, done = anyio.Event(), len(line.ran)
    await place.crash(wired("n", "b", "a"), dies=line.stuck)
    line.may_end = True
    assert await place.resume(wired("a", "n", "m")) == ["<ak>", "<nk>", "<mk>"]
    assert line.ran[done:] == ["draft m", "review mk"]


async def test_equal_payments_of_renamed_lists_are_refused(line: Line, place: Place) -> None:
    await place.crash(line.graph(lambda: each(line.pay, ["a", "a"])), dies=line.stuck)
    line.may_end = True
    with pytest.raises(AmbiguousHistory):
        await place.resume(line.graph(lambda: [line.pay("a")]))


async def test_items_are_told_before(line: Line, place: Place) -> None:
    await place.crash(line.graph(lambda: each(line.draft, ["a", "b"])), dies=line.stuck)
    edited = line.graph(lambda: each(line.draft, ["a", "n", "b"]))
    async with place.engine(edited) as engine:
        outlook = await check_against(edited, "r", engine.store)
    told = {(look.node, look.outcome) for look in outlook.looks}
    assert told >= {("each(0)/draft", "kept"), ("each(1)/draft", "runs"), ("each(2)/draft", "kept")}
    assert ("last", "later") in told
