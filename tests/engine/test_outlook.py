"""What ``check_against`` says of an edit is what resuming then does: on random graphs and random edits."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import Ask, Context, Engine, each, graph, human, node, tool, when
from treadle.editing import Outlook, check_against
from treadle.errors import AmbiguousHistory
from treadle.events import Event, NodeCompleted
from treadle.ids import RunId
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore

Row = tuple[str, str, int, int]
"""What is called, under which name, given what (0 and 1 constants, else a row before), and another choice."""

NUMBER = st.integers(0, 9)
KINDS = ("work", "work", "pay", "pay", "ask", "body", "paying", "when", "each", "each")
ROW = st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"), NUMBER, NUMBER)
ROWS = st.lists(ROW, min_size=1, max_size=6)
EDITS = st.lists(
    st.tuples(st.sampled_from(("drop", "add", "change", "rename", "move", "copy")), NUMBER, NUMBER, ROW),
    min_size=1,
    max_size=3,
)


@dataclass
class World:
    """What the nodes of all graphs of an example do.

    Attributes:
        paid: What was paid for, with the idempotency key; ``receipts`` the same by number of the result.
        count: Makes every result different from all others.
    """

    paid: list[tuple[str, str]] = field(default_factory=list)
    receipts: dict[int, tuple[str, str]] = field(default_factory=dict)
    count: int = 0

    def new(self, name: str) -> str:
        self.count += 1
        return f"{name} {self.count}"

    def nodes(self) -> dict[str, Any]:
        @node
        async def work(x: str) -> str:
            return self.new("work")

        @tool(effect="once")
        async def pay(ctx: Context, x: str) -> str:
            """Pay."""
            self.paid.append((ctx.idempotency_key, x))
            receipt = self.new("paid")
            self.receipts[self.count] = self.paid[-1]
            return receipt

        @human(to="boss")
        async def ask(x: str) -> Ask[str]:
            return Ask(f"About {x}?")

        @node
        async def body(ctx: Context, x: str) -> str:
            return await ctx.step(work, x)

        @node
        async def paying(ctx: Context, x: str) -> str:
            return await ctx.step(pay, x) + await ctx.step(work, x)

        @human(to="the end")
        async def end(values: list[str]) -> Ask[str]:
            return Ask("Done?")

        @node
        async def join(parts: list[str]) -> str:
            return " ".join(parts)

        @graph
        def inner(x: str) -> str:
            return work(pay(x))

        return {
            "join": join,
            "inner": inner,
            "work": work,
            "pay": pay,
            "ask": ask,
            "body": body,
            "paying": paying,
            "end": end,
        }

    def graph(self, rows: list[Row]) -> Graph[[str], str]:
        nodes = self.nodes()

        @graph(name="random")
        def random(flag: str) -> str:
            made: list[Any] = []
            for kind, name, first, second in rows:
                before = [*("0", "1"), *made]
                x, y = before[first % len(before)], before[second % len(before)]
                if kind == "when":
                    made.append(nodes["work"](when(flag == str(second % 2), x, y)))
                elif kind == "each":
                    inside = nodes[("pay", "work", "inner", "paying")[second % 4]]
                    made.append(nodes["join"].named(name)(each(inside, [y, x, "0"][second % 2 :])))
                else:
                    made.append(nodes[kind].named(name)(x))
            return nodes["end"](made)  # type: ignore[no-any-return]

        return random


def edited(rows: list[Row], edits: list[tuple[str, int, int, Row]]) -> list[Row]:
    """The rows after some edits."""
    rows = list(rows)
    for how, at, other, row in edits:
        here = at % len(rows) if rows else 0
        if how == "add" or not rows:
            rows.insert(here, row)
        elif how == "drop":
            del rows[here]
        elif how == "change":
            rows[here] = (*rows[here][:2], *row[2:])
        elif how == "rename":
            rows[here] = (rows[here][0], row[1], *rows[here][2:])
        elif how == "move":
            rows.insert(other % len(rows), rows.pop(here))
        else:
            rows.insert(other % len(rows), rows[here])
    return rows


async def begin(store: MemoryStore, wired: Graph[[str], str]) -> None:
    """Run until it waits for the end, with every second other question answered."""
    async with Engine(store, graphs=[wired]) as engine:
        handle = await engine.start(wired, "1", run_id="r")
        answered = set[str]()
        while await handle.settled() == "waiting":
            asked = [q for q in await engine.questions() if q.to == "boss" and q.id not in answered]
            if not asked:
                return
            for number, question in enumerate(sorted(asked, key=lambda q: q.id)):
                answered.add(question.id)
                if number % 2 == 0:
                    await engine.answer(question.id, f"yes {len(answered)} {question.id}", by="ada")


async def events(store: MemoryStore) -> list[Event]:
    return [one.event for one in await store.read(RunId("r"))]


async def go_on(store: MemoryStore, wired: Graph[[str], str]) -> BaseException | None:
    """Resume until the run waits or fails; give what refused it, at once or under way."""
    async with Engine(store, graphs=[wired]) as engine:
        try:
            handle = await engine.resume("r")
        except AmbiguousHistory as refused:
            return refused
        if await handle.settled() == "failed":
            with pytest.raises(AmbiguousHistory) as failed:
                await handle.result()
            return failed.value
    return None


def compare(outlook: Outlook, after: list[Event]) -> None:
    """Hold what was said against what was recorded since."""
    said = {look.node: look for look in outlook.looks if look.outcome != "dropped"}
    done = {event.node: event for event in after if isinstance(event, NodeCompleted)}
    for name, look in said.items():
        event = done.get(name)  # type: ignore[call-overload]
        if look.outcome == "kept" and outlook.is_edited:
            assert event is not None, f"{name} was not kept"
            assert event.claimed, f"{name} was not kept"
        elif look.outcome in ("runs", "waits", "kept"):
            assert event is None or not event.claimed, f"{name} did not run"
        elif look.outcome == "unneeded":
            assert event is None, f"{name} was needed"


def check_payments(world: World, paid_before: int, before: list[Event], after: list[Event]) -> None:
    """No key was used twice, no record answers two calls, and nothing was paid for while the record of the
    same payment lies unused."""
    assert max(Counter(key for key, _ in world.paid).values(), default=1) == 1
    taken = [event.claimed for event in after if isinstance(event, NodeCompleted) and event.claimed]
    assert len(taken) == len(set(taken))
    used = {name for event in after for name in payments_in(event)}
    unused = {name for event in before for name in payments_in(event)} - used
    for_what = {f"paid {number}": x for number, (_, x) in world.receipts.items()}
    again = {x for _, x in world.paid[paid_before:]} & {for_what[name] for name in unused}
    assert not again, f"{again} was paid again, and {unused} lies unused"


def payments_in(event: Event) -> list[str]:
    result = getattr(event, "result", None)
    return re.findall(r"paid \d+", result.data.decode()) if result is not None else []


async def example(rows: list[Row], edits: list[tuple[str, int, int, Row]]) -> str:
    world, store = World(), MemoryStore()
    await begin(store, world.graph(rows))
    before, now, paid = await events(store), world.graph(edited(rows, edits)), len(world.paid)
    outlook = await check_against(now, "r", store)
    refused = await go_on(store, now)
    history = await events(store)
    if outlook.refused:
        assert isinstance(refused, AmbiguousHistory)
        assert history == before
        return "refused"
    after = history[len(before) :]
    compare(outlook, after)
    check_payments(world, paid, before, after if refused is None else [*before, *after])
    return "stopped" if refused else "went on"


@given(rows=ROWS, edits=EDITS)
def test_an_edit_comes_to_what_was_said_before(rows: list[Row], edits: list[Any]) -> None:
    anyio.run(example, rows, edits)
