"""Random bodies: small programs of steps, what they come to by themselves, and nodes that run them.

A program is a list of statements, written as JSON so that it can be the input of a node:

- ``["call", name]``: a step, which fails a few times before it gives something
- ``["refuse", name]``: a step that always fails
- ``["pay", name]``: a step that must not be repeated
- ``["ask", name]``: a question to a person
- ``["draw"]``: the time, and a piece of chance
- ``["try", body, handler]``, ``["loop", times, body]``, ``["both", left, right]`` side by side
- ``["inner", is_tried_again, body]``: the same in a body of its own, inside a step
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import strategies as st

from treadle import Ask, Context, NodeFailed, Retry, graph, node, tool
from treadle.errors import DidNotHappen

Program = list[Any]


class Flaky(Exception):
    """It goes well the next time, or the time after."""


class Refused(Exception):
    """It never goes well."""


@dataclass(kw_only=True)
class World:
    """What is outside of the engine, and outlives it.

    Attributes:
        flaky: How often the calls of a name fail before they succeed.
        paid: How often each key was paid.
        draws: What each place of each attempt drew.
        differences: What was drawn otherwise when a body ran again.
        is_dead: Whether what happens now is done by nobody: its process is taken for dead.
    """

    flaky: Counter[str]
    paid: Counter[str] = field(default_factory=Counter)
    draws: dict[str, list[str]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    is_dead: Callable[[], bool] = lambda: False

    def fail_perhaps(self, name: str) -> None:
        if self.flaky[name] > 0:
            self.flaky[name] -= 1
            raise Flaky(name)

    def draw(self, place: str, drawn: list[str]) -> None:
        if self.is_dead():
            return
        if self.draws.setdefault(place, drawn) != drawn:
            self.differences.append(f"{place}: {self.draws[place]}, then {drawn}")


@node
async def leaf(ctx: Context, name: str) -> str:
    await checkpoint()
    ctx.resource(World).fail_perhaps(name[0])
    return name


@node
async def refuse(name: str) -> str:
    await checkpoint()
    raise Refused(name)


async def find_payment(ctx: Context, name: str) -> str:
    await checkpoint()
    if not ctx.resource(World).paid[ctx.idempotency_key]:
        raise DidNotHappen("no such payment")
    return f"paid {name}"


@tool(effect="once", in_doubt=find_payment, retry=Retry(attempts=9, on=Flaky, wait=0))
async def pay(ctx: Context, name: str) -> str:
    """Pay: it may be refused before, and the line may break before and after."""
    world = ctx.resource(World)
    world.fail_perhaps(f"before {name[0]}")
    await checkpoint()
    world.paid[ctx.idempotency_key] += 1
    await checkpoint()
    if world.flaky[f"after {name[0]}"] > 0:
        world.flaky[f"after {name[0]}"] -= 1
        raise ConnectionError("nobody knows")
    return f"paid {name}"


@node
async def inner(ctx: Context, program: str) -> list[str]:
    return await interpret(ctx, json.loads(program), "inner")


@node(retry=Retry(attempts=60, on=Flaky, wait=0))
async def main(ctx: Context, program: str) -> list[str]:
    return await guarded(ctx, json.loads(program), "main")


@graph
def performed(program: str) -> list[str]:
    return main(program)


async def interpret(ctx: Context, program: Program, where: str) -> list[str]:
    """Run a program for real."""
    said: list[str] = []
    for number, (verb, *rest) in enumerate(program):
        place = f"{where}.{number}"
        said += await _VERBS[verb](ctx, place, *rest)
    return said


async def guarded(ctx: Context, program: Program, where: str) -> list[str]:
    """Run a program, and survive what is refused."""
    try:
        return await interpret(ctx, program, where)
    except NodeFailed as error:
        if is_refused(error):
            return ["refused"]
        raise


def is_refused(error: NodeFailed) -> bool:
    return getattr(error.failure, "type", "") == "Refused"


async def _call(ctx: Context, place: str, name: str) -> list[str]:
    return [await ctx.step(leaf, name)]


async def _refuse(ctx: Context, place: str, name: str) -> list[str]:
    return [await ctx.step(refuse, name)]


async def _pay(ctx: Context, place: str, name: str) -> list[str]:
    return [await ctx.step(pay, name)]


async def _ask(ctx: Context, place: str, name: str) -> list[str]:
    where = re.sub(r":\d+", "", place)  # only rounds of a loop ask the same twice
    return [await ctx.ask(Ask(f"what about {name}?", show=where, to="ann", answer=str))]


async def _draw(ctx: Context, place: str) -> list[str]:
    if "/" in place:
        return []  # tasks of one body share its chance: which of them draws first is up to the event loop
    drawn = [ctx.now().isoformat(), f"{ctx.random.random()}"]
    ctx.resource(World).draw(f"{ctx.attempt} {ctx.idempotency_key} {place}", drawn)
    return []


async def _try(ctx: Context, place: str, body: Program, handler: Program) -> list[str]:
    try:
        return await interpret(ctx, body, f"{place}t")
    except NodeFailed as error:
        if not is_refused(error):
            raise
    return await interpret(ctx, handler, f"{place}h")


async def _loop(ctx: Context, place: str, times: int, body: Program) -> list[str]:
    return [one for i in range(times) for one in await interpret(ctx, body, f"{place}:{i}")]


async def _both(ctx: Context, place: str, *bodies: Program) -> list[str]:
    said: list[list[str]] = [[] for _ in bodies]

    async def one(index: int) -> None:
        said[index] = await guarded(ctx, bodies[index], f"{place}/{index}")

    try:
        async with anyio.create_task_group() as tasks:
            for index in range(len(bodies)):
                tasks.start_soon(one, index)
    except ExceptionGroup as group:
        raise first(group) from group
    return [line for lines in said for line in lines]


def first(error: Exception) -> Exception:
    return first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def _inner(ctx: Context, place: str, is_tried_again: bool, body: Program) -> list[str]:
    step = inner.using(retry=Retry(attempts=9, on=Flaky, wait=0)) if is_tried_again else inner
    return await ctx.step(step, json.dumps(body))


_VERBS = {
    "call": _call,
    "refuse": _refuse,
    "pay": _pay,
    "ask": _ask,
    "draw": _draw,
    "try": _try,
    "loop": _loop,
    "both": _both,
    "inner": _inner,
}


def told_apart(program: Program, branch: str = "") -> Program:
    """Give calls side by side different names: equal ones whose tasks go on differently cannot be told apart
    for certain when the event loop starts them in another order."""
    found: Program = []
    for verb, *rest in program:
        tags = [f"{branch}{index}" if verb == "both" else branch for index in range(len(rest))]
        found.append([verb, *map(_relabelled, rest, tags)])
    return found


def _relabelled(part: Any, branch: str) -> Any:
    if isinstance(part, list):
        return told_apart(part, branch)
    return f"{part}{branch}" if isinstance(part, str) else part


# -- the oracle ------------------------------------------------------------------------------------------


class Refusal(Exception):
    """A refused step, in the oracle."""


class Oracle:
    """What a program comes to where nothing is flaky and nobody dies.

    Attributes:
        ends: How often each step ends for good: ``leaf a``, ``refuse b``, ``pay c``.
    """

    def __init__(self, program: Program) -> None:
        self.ends: Counter[str] = Counter()
        self.said = self._guarded(program)

    def _guarded(self, program: Program) -> list[str]:
        try:
            return self._interpret(program)
        except Refusal:
            return ["refused"]

    def _interpret(self, program: Program) -> list[str]:
        return [line for verb, *rest in program for line in self._perform(verb, rest)]

    def _perform(self, verb: str, rest: Sequence[Any]) -> list[str]:
        if verb == "refuse":
            self.ends[f"refuse {rest[0]}"] += 1
            raise Refusal
        if verb in ("call", "pay"):
            self.ends[f"{'leaf' if verb == 'call' else verb} {rest[0]}"] += 1
            return [f"paid {rest[0]}" if verb == "pay" else rest[0]]
        if verb == "ask":
            return [f"about {rest[0]}"]
        if verb == "try":
            try:
                return self._interpret(rest[0])
            except Refusal:
                return self._interpret(rest[1])
        if verb == "loop":
            return [line for _ in range(rest[0]) for line in self._interpret(rest[1])]
        if verb == "both":
            return [line for body in rest for line in self._guarded(body)]
        return self._interpret(rest[1]) if verb == "inner" else []


# -- programs --------------------------------------------------------------------------------------------

_NAMES = st.sampled_from("abc")
_LEAVES = st.one_of(
    st.tuples(st.just("call"), _NAMES),
    st.tuples(st.just("call"), _NAMES),
    st.tuples(st.just("pay"), _NAMES),
    st.tuples(st.just("refuse"), _NAMES),
    st.tuples(st.just("ask"), _NAMES),
    st.tuples(st.just("draw")),
)


def _above(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    body = st.lists(below, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("try"), body, body),
        st.tuples(st.just("loop"), st.integers(1, 3), body),
        st.tuples(st.just("both"), body, body),
        st.tuples(st.just("inner"), st.booleans(), body),
    )


PROGRAMS = st.lists(st.recursive(_LEAVES, _above, max_leaves=8), min_size=1, max_size=4)
FLAKY = st.dictionaries(
    st.sampled_from([*"abc", *(f"{when} {name}" for when in ("before", "after") for name in "abc")]),
    st.integers(1, 2),
    max_size=3,
)
