"""Random graphs under nested budgets, crashed at any append: never is more spent and held than granted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.timed import Timed

from treadle import Budget, Context, Engine, Prompt, agent, each, fallback, graph, node
from treadle.budget import Amounts
from treadle.errors import PlanError, ProviderUnavailable, TreadleError
from treadle.events import Event, MoneyHeld, MoneySettled, RunEnded
from treadle.ids import RunId
from treadle.models import hedge
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock
from treadle.testing.crashing import Crashed, CrashingLog, CrashingStore, When

DOWN = ProviderUnavailable("down", provider="fake", status=500, retryable=True)
LIMIT = Budget(tokens=700)  # a request holds 200, and takes 2 or 3

Shape = tuple[Any, ...]

shapes: st.SearchStrategy[Shape] = st.recursive(
    st.tuples(st.just("ask"), st.booleans()),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["then", "both", "else"]), inner, inner),
        st.tuples(st.sampled_from(["graph", "each", "step"]), inner),
    ),
    max_leaves=6,
)


@node
async def first(texts: list[str]) -> str:
    return texts[0] if texts else "nothing"


@node
async def words(text: str) -> list[str]:
    return [text, f"{text}!"]


class Maker:
    """Wires shapes; each part has a name of its own."""

    def __init__(self, model: Timed) -> None:
        self.model = model
        self.made = 0

    def named(self, part: Any) -> Any:
        self.made += 1
        return part.named(f"{part.name}{self.made}")

    def wire(self, shape: Shape, text: Any) -> Any:
        kind, *inner = shape
        if kind == "ask":
            return self.asking(hedged=inner[0])(text)
        if kind == "then":
            return self.wire(inner[1], self.wire(inner[0], text))
        if kind == "both":
            return self.named(first)([self.wire(one, text) for one in inner])
        if kind == "else":
            return fallback(self.wire(inner[0], text), self.wire(inner[1], text))
        part = self.part(inner[0])
        if kind == "each":
            return self.named(first)(each(on_error="drop")(part, self.named(words)(text)))
        return part(text) if kind == "graph" else self.stepping(part)(text)

    def asking(self, *, hedged: bool) -> Any:
        @agent(model=hedge(self.model, after="2s") if hedged else self.model, max_output=100, min_output=50)
        async def ask(text: str) -> Prompt[str]:
            return Prompt(text)

        return self.named(ask)

    def part(self, shape: Shape) -> Any:
        @graph(budget=LIMIT)
        def part(text: str) -> str:
            return self.wire(shape, text)

        return self.named(part)

    def stepping(self, part: Any) -> Any:
        @node
        async def body(ctx: Context, text: str) -> str:
            return await ctx.step(part, text)

        return self.named(body)


def check_wall(events: Sequence[Event], budget: Budget) -> None:
    """Whatever is settled and held fits at each moment, and each request is held and settled once."""
    taken: defaultdict[str, Amounts] = defaultdict(Amounts)
    held: dict[tuple[object, ...], Amounts] = {}
    settled = set[tuple[object, ...]]()
    for event in events:
        if not isinstance(event, MoneyHeld | MoneySettled):
            continue
        key = event.node, event.attempt, event.step, event.request
        assert key not in settled
        if isinstance(event, MoneyHeld):
            assert key not in held
            more = held[key] = event.held
        else:
            settled.add(key)
            more = event.charged - held.pop(key)
        for account in event.accounts:
            taken[account] += more
            tokens = (budget if account == "run" else LIMIT).tokens
            assert tokens is None or taken[account].tokens <= tokens, account
    assert not held
    ended = [event for event in events if isinstance(event, RunEnded)]
    assert ended[-1].spent == taken["run"]


async def crashed_and_resumed(
    shape: Shape, budget: Budget, day: Sequence[float | Exception], at: int
) -> list[Event]:
    """The history of a run whose first process dies at an append."""

    def strike(number: int, when: When, _log: CrashingLog | None) -> None:
        if (number, when) == (at, "after"):
            raise Crashed("as it was to")

    clock, kept = JumpingClock(), MemoryStore()
    maker = Maker(Timed(clock, lambda number, _: day[number % len(day)]))

    @graph(budget=budget)
    def whole(text: str) -> str:
        return maker.wire(shape, text)

    for store in (CrashingStore(kept, strike), kept):
        async with Engine(store, graphs=[whole], clock=clock) as engine:
            try:
                await (await engine.start(whole, "a", run_id="r")).result()
            except TreadleError:
                continue  # of no interest: what it cost is
    return [one.event for one in await kept.read(RunId("r"))]


@given(
    shapes,
    st.sampled_from([250, 500, 1100]).map(lambda tokens: Budget(tokens=tokens)),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0, DOWN]), min_size=1, max_size=6),
    st.integers(2, 40),
)
def test_a_budget_is_a_wall_at_every_moment_of_a_history(
    shape: Shape, budget: Budget, day: list[float | Exception], at: int
) -> None:
    try:
        events = anyio.run(crashed_and_resumed, shape, budget, day, at)
    except PlanError:
        return  # the budget cannot be met: nothing ran
    check_wall(events, budget)
