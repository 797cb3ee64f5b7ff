"""Graphs are crashed at every append inside this process, on every event loop, in memory and on SQLite."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from treadle import Ask, Budget, Context, Prompt, agent, fallback, graph, human, match, node, tool
from treadle.interfaces import Question, Store
from treadle.models import ModelRequest, Price
from treadle.stores import MemoryStore, SqliteStore
from treadle.testing import ScriptedModel, call, crash_everywhere
from treadle.testing.crash_report import WAYS

pytestmark = pytest.mark.anyio

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))


class Order(BaseModel):
    """What is asked for."""

    item: str
    size: Literal["small", "large"]


class Sums(BaseModel):
    """What it comes to."""

    total: int


@node
async def sized(item: str) -> Order:
    return Order(item=item, size="large" if len(item) > 3 else "small")


@node
async def flat(order: Order) -> Sums:
    return Sums(total=1)


@node
async def broken(order: Order) -> Sums:
    raise RuntimeError("the scales are broken")


@node
async def weighed(ctx: Context, order: Order) -> Sums:
    parts = [await ctx.step(count, letter, order.item) for letter in "ab"]
    return Sums(total=sum(parts))


@node
async def count(letter: str, text: str) -> int:
    return text.count(letter)


@graph
def priced(item: str) -> Sums:
    order = sized(item)
    return match(order.size, {"small": flat(order), "large": fallback(broken(order), weighed(order))})


@pytest.fixture
def new_store(
    anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path, long_form: bool
) -> Callable[[], Store]:
    """In memory; in the long form on SQLite with asyncio and trio."""
    numbers = itertools.count()
    if anyio_backend[1] or not long_form:
        return MemoryStore
    return lambda: SqliteStore(str(tmp_path / f"{next(numbers)}.db"))


async def test_a_graph_that_chooses_and_falls_back(new_store: Callable[[], Store]) -> None:
    report = await crash_everywhere(priced, "banana", store=new_store)
    assert report.value == Sums(total=4)
    assert report.struck == 5 * report.appends + 2 * report.commands
    commands = [crash.what for crash in report.crashes if crash.how == "before command"]
    begun = ["sized", "broken", "weighed"]
    assert [what for what in commands if what.startswith("Start")] == [
        f"StartAttempt {node}" for node in begun
    ]
    assert {"Decide match", "EndRun"} < set(commands)


class Bank:
    """A service that keeps what it was told under a key, whatever happens to who told it."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.calls = 0

    def take(self) -> object:
        """What was written since the last time, without what else was done."""
        rows, self.rows = sorted(self.rows.values()), {}
        return rows


@tool
async def balance(account: str) -> int:
    """Say what is in an account."""
    return 12


@tool(effect="once", in_doubt="ask")
async def pay(ctx: Context, account: str, amount: int) -> str:
    """Pay an amount into an account."""
    bank = ctx.resource(Bank)
    bank.calls += 1
    bank.rows[ctx.idempotency_key] = amount
    return f"{amount} paid into {account}"


def clerk_says(request: ModelRequest) -> object:
    said = len([message for message in request.messages if message.role == "tool"])
    turns = [[call("balance", account="a"), call("balance", account="b")], call("pay", account="a", amount=7)]
    return turns[0] if said == 0 else turns[1] if said == 1 else {"total": 19}


@agent(model=ScriptedModel(clerk_says, price=PRICE), tools=[balance, pay])
async def clerk(item: str) -> Prompt[Sums]:
    return Prompt(f"Book {item}.")


@graph(budget=Budget(usd="1"))
def booked(item: str) -> Sums:
    return clerk(item)


async def test_an_agent_with_tools_pays_once(new_store: Callable[[], Store]) -> None:
    bank = Bank()
    report = await crash_everywhere(booked, "a lamp", store=new_store, resources=[bank], effects=bank.take)
    assert report.value == Sums(total=19)
    assert report.doubts > 0
    assert bank.calls <= 2 * report.struck
    assert report.lost > 0


@human(to="cashiers")
async def approve(sums: Sums) -> Ask[bool]:
    return Ask("Is this right?", show=sums)


@node
async def stamped(sums: Sums, is_right: bool) -> str:
    return f"{sums.total} {'approved' if is_right else 'refused'}"


@graph
def approved(item: str) -> str:
    sums = weighed(sized(item))
    return stamped(sums, approve(sums))


async def test_a_person_is_asked_once_and_the_answer_is_kept(new_store: Callable[[], Store]) -> None:
    asked: list[str] = []

    def answer(question: Question) -> object:
        asked.append(question.prompt)
        return True

    report = await crash_everywhere(approved, "banana", answer=answer, store=new_store)
    assert report.value == "4 approved"
    undisturbed = 1 + len(WAYS)
    struck_before_the_answer_was_kept = len(asked) - report.struck - undisturbed
    assert 2 <= struck_before_the_answer_was_kept <= 4


@human(to="cashiers")
async def how_many(item: str) -> Ask[int]:
    return Ask(f"How many of {item}?")


@graph
def counted(item: str) -> int:
    return weighed_in(how_many(item))


@node
async def weighed_in(number: int) -> int:
    return 2 * number


@graph
def two_people(item: str) -> list[int]:
    return [counted(item), counted("pears"), how_many(item)]


async def test_people_are_asked_side_by_side_in_subgraphs(new_store: Callable[[], Store]) -> None:
    report = await crash_everywhere(two_people, "plums", answer=lambda _: 3, store=new_store)
    assert report.value == [6, 6, 3]


@node
async def spoilt(item: str) -> int:
    raise RuntimeError(f"{item} are spoilt")


@graph
def spoiling(item: str) -> list[int]:
    return [how_many(item), spoilt(item)]


async def test_a_failing_run_fails_alike_and_withdraws_its_questions(new_store: Callable[[], Store]) -> None:
    report = await crash_everywhere(spoiling, "plums", fails=True, store=new_store)
    assert report.value is None
    assert report.struck > 0


@tool(effect="once", in_doubt="retry")
async def post(ctx: Context, text: str) -> int:
    """Post a text under a key: the same key again changes nothing."""
    ctx.resource(Bank).rows[ctx.idempotency_key] = len(text)
    return len(text)


@node
async def posting(ctx: Context, item: str) -> int:
    before = await ctx.step(post, item)
    is_sure = await ctx.ask(Ask("Once more?", to="cashiers", answer=bool))
    return before + await ctx.step(post, f"{item} again") if is_sure else before


@graph
def posted(item: str) -> int:
    return posting(item)


async def test_an_effect_that_may_be_retried_asks_nobody(new_store: Callable[[], Store]) -> None:
    bank = Bank()
    report = await crash_everywhere(
        posted, "a card", answer=lambda _: True, store=new_store, resources=[bank], effects=bank.take
    )
    assert report.value == 18
    assert report.doubts == 0


async def test_a_difference_is_told_with_its_place() -> None:
    calls = itertools.count()

    @node
    async def forgetful(item: str) -> int:
        return next(calls)

    @graph
    def forgetting(item: str) -> int:
        return forgetful(item)

    with pytest.raises(AssertionError, match=r"crashed before append 1 \(run_started\): the run ended with"):
        await crash_everywhere(forgetting, "x")


@node
async def letter(ctx: Context, item: str) -> str:
    ctx.resource(Bank).calls += 1
    return item


@graph
def sent(item: str) -> str:
    return letter(item)


async def test_an_effect_that_is_not_declared_is_found_before_a_command_and_after(
    new_store: Callable[[], Store],
) -> None:
    bank = Bank()

    def letters() -> int:
        calls, bank.calls = bank.calls, 0
        return calls

    with pytest.raises(AssertionError, match=r"before append 2 \(node_completed\): it did 2, undis"):
        await crash_everywhere(sent, "a card", store=new_store, resources=[bank], effects=letters)


async def test_a_crash_before_a_command_comes_before_anything_that_the_command_does(
    new_store: Callable[[], Store],
) -> None:
    report = await crash_everywhere(sent, "a card", store=new_store, resources=[Bank()])
    recorded = {str(crash): crash.recorded for crash in report.crashes}
    assert recorded["before command 1 (StartAttempt letter)"] == 1  # the run's beginning
    assert recorded["before command 2 (EndRun)"] == 2  # and the letter, but not the run's end
    assert recorded["after command 2 (EndRun)"] == 3


async def test_the_report_is_a_table_for_people() -> None:
    bank = Bank()
    report = await crash_everywhere(booked, "a lamp", resources=[bank], effects=bank.take)
    head, titles, *lines = str(report).splitlines()
    assert head.startswith("graph 'booked': 18 appends and 2 commands; crashed 94 times and taken up again")
    assert titles.split() == ["times", "in", "doubt", "charged", "as", "lost"]
    assert [line.split()[-5:] for line in lines][:1] == [["append", "18", "1", "0.025574", "USD"]]
    assert len(lines) == len(WAYS)
    assert str(report.crashes[1]) == "before append 2 (step_started)"
