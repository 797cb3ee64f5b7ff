"""One run that is not as it should be costs that run, never the engine or the runs beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel, model_validator

from treadle import Ask, Context, Engine, NodeFailed, fallback, graph, human, node, run
from treadle.errors import HistoryMismatch, InternalError, PlanError, StoreError
from treadle.ids import RunId
from treadle.interfaces import RunLog
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import JumpingClock

if TYPE_CHECKING:
    from tests.engine.conftest import Place

pytestmark = pytest.mark.anyio


class Mute(Exception):
    """An error that fails at saying what it is."""

    def __str__(self) -> str:
        raise LookupError("no words")


@node
async def echo(text: str) -> str:
    return text


@node
async def later(text: str) -> str:
    await anyio.sleep(0.05)
    return text


@node
async def mute(text: str) -> str:
    raise Mute


@node
async def halves(text: str) -> str:
    return "\ud800"


@node
async def misnamed(text: str) -> str:
    raise FileNotFoundError("no file \udcff.txt")


@node
async def elsewhere(text: str) -> str:
    async with Engine("memory:", graphs=[echoed]) as other:
        await other.resume("r-not-there")
    return text


@graph
def echoed(text: str) -> str:
    return echo(text)


@human(to="maria")
async def desk(text: str) -> Ask[str]:
    return Ask("What now?")


@graph
def beside(text: str) -> str:
    return echo(later(text))


@graph
def asking(text: str) -> str:
    return desk(text)


async def test_an_error_that_cannot_be_read_fails_its_node_alone() -> None:
    @graph
    def silent(text: str) -> str:
        return mute(text)

    async with Engine() as engine:
        other, bad = await engine.start(beside, "a"), await engine.start(silent, "a")
        with pytest.raises(NodeFailed, match=r"Mute \(its text cannot be read: LookupError\)"):
            await bad.result()
        assert await other.result() == "a"


@node
async def talking(ctx: Context, text: str) -> str:
    ctx.progress("half of \ud800")
    return text


@pytest.mark.parametrize("wrong", [halves, misnamed, talking], ids=["result", "error", "progress"])
async def test_text_that_is_not_unicode_fails_its_node_and_is_taken(wrong: Any, place: Place) -> None:
    @graph
    def either(text: str) -> str:
        return fallback(wrong(text), echo(text))

    async with place.engine() as engine:
        assert await (await engine.start(either, "a", run_id="r")).result() == "a"


async def test_a_number_of_too_many_digits_is_refused() -> None:
    @node
    async def endless(text: str) -> int:
        return 10**5000

    @node
    async def short(text: str) -> int:
        return 1

    @graph
    def either(text: str) -> int:
        return fallback(endless(text), short(text))

    assert await run(either, "a") == 1


Doing = Callable[[Engine, str, str], Awaitable[object]]


async def _cancel(engine: Engine, run_id: str, question: str) -> None:
    await engine.cancel(run_id, by="\udcff")


async def _answer(engine: Engine, run_id: str, question: str) -> None:
    await engine.answer(question, "x", by="maria", reason="\ud800")


async def _start(engine: Engine, run_id: str, question: str) -> None:
    await engine.start(asking, "a", run_id="\ud800")


@pytest.mark.parametrize("doing", [_cancel, _answer, _start])
async def test_words_that_cannot_be_stored_are_refused_alone(doing: Doing, place: Place) -> None:
    async with place.engine(asking) as engine:
        other, bad = await engine.start(beside, "a"), await engine.start(asking, "a")
        await bad.settled()
        [question] = bad.questions
        with pytest.raises(StoreError, match="cannot be written"):
            await doing(engine, bad.id, question)
        assert await other.result() == "a"
        await engine.answer(question, "x", by="maria")
        assert await bad.result() == "x"


def _edited(**inputs: Any) -> Graph[..., Any]:
    """The graph ``asking`` with other inputs."""

    names = ", ".join(f"{name}: str" for name in inputs)
    space: dict[str, Any] = {"desk": desk}
    exec(f"def asking({names}) -> str: return desk({next(iter(inputs))})", space)
    return graph(space["asking"])


@pytest.mark.parametrize("inputs", [{"words": 1}, {"text": 1, "more": 1}], ids=["renamed", "added"])
async def test_a_run_whose_graph_takes_other_inputs_now_is_left_as_it_is(
    inputs: dict[str, Any], place: Place
) -> None:
    async with place.engine() as engine:
        handle = await engine.start(asking, "a", run_id="r")
        await handle.settled()
        [question] = handle.questions
    async with place.engine(_edited(**inputs)) as engine:
        with pytest.raises(HistoryMismatch, match=r"inputs .* now, and run 'r' was started with 'text'"):
            await engine.resume("r")
        await engine.answer(question, "x", by="maria")  # accepted; nobody can go on with it here
        assert await (await engine.start(beside, "b")).result() == "b"
    async with place.engine(asking) as engine:
        assert await (await engine.resume("r")).result() == "x"


async def test_a_recorded_result_that_does_not_fit_any_more_is_told_to_who_asks_for_it(place: Place) -> None:
    async with place.engine() as engine:
        await (await engine.start(beside, "a", run_id="r")).result()

    @node
    async def many(text: str) -> list[int]:
        return []

    def now(text: str) -> list[int]:
        return many(text)

    now.__name__ = now.__qualname__ = "beside"
    async with place.engine(graph(now)) as engine:
        handle = await engine.resume("r")
        assert handle.status == "completed"
        with pytest.raises(HistoryMismatch, match="result of run 'r' does not fit"):
            await handle.result()


def _with_a_note(kind: type[Any]) -> Graph[[str], str]:
    """A graph that has something recorded, and waits before it reads that."""

    async def write(text: str) -> object:
        return kind.model_construct(text=text)

    async def read(answer: str, note: object) -> str:
        return answer

    write.__annotations__["return"] = read.__annotations__["note"] = kind
    writer, reader = node(write), node(read)

    @graph
    def noted(text: str) -> str:
        return reader(desk(text), writer(text))

    return noted


class Note(BaseModel):
    text: str


class Careless(BaseModel):
    text: str

    @model_validator(mode="before")
    @classmethod
    def look(cls, data: dict[str, Any]) -> dict[str, Any]:
        data["kind"]
        return data


async def test_a_validator_that_raises_what_it_likes_costs_the_run_whose_record_it_refuses(
    place: Place,
) -> None:
    noted = _with_a_note(Note)
    async with place.engine(noted) as engine:
        handle = await engine.start(noted, "a", run_id="r")
        assert await handle.settled() == "waiting"
        [question] = handle.questions
    Careless.__name__ = Careless.__qualname__ = "Note"
    async with place.engine(_with_a_note(Careless)) as engine:
        handle = await engine.resume("r")
        await engine.answer(question, "x", by="maria")
        with pytest.raises(HistoryMismatch, match="'write' does not fit its type any more: .*KeyError"):
            await handle.result()
        assert await (await engine.start(beside, "b")).result() == "b"


class Cracked(MemoryStore):
    """A store with a fault that nobody has thought of, for the run ``"bad"``."""

    async def own(self, run_id: RunId) -> RunLog:
        if run_id == "bad":
            raise KeyError("a fault")
        return await super().own(run_id)


@pytest.mark.parametrize("within", [None, "10m"], ids=["answered", "late"])
async def test_a_fault_of_our_own_in_taking_one_run_up_is_told_to_who_waits_for_it(
    within: str | None,
) -> None:
    asked = human(to="maria", within=within)(desk.function)

    @graph
    def asks(text: str) -> str:
        return asked(text)

    async with Engine(Cracked(), clock=JumpingClock()) as engine:
        handle = await engine.start(asks, "a", run_id="bad")
        assert await handle.settled() == "waiting"
        if within is None:
            await engine.answer(handle.questions[0], "x", by="maria")
        with anyio.fail_after(5), pytest.raises(InternalError, match="KeyError: 'a fault'"):
            await handle.result()
        assert await (await engine.start(beside, "b")).result() == "b"


def test_a_graph_that_is_wired_wrongly_is_refused_when_the_engine_is_made() -> None:
    @graph
    def nothing(text: str) -> str:
        echo(text)
        return text

    with pytest.raises(PlanError, match="nobody needs its result"):
        Engine(graphs=[nothing])


async def test_what_another_store_refuses_in_a_body_is_a_failure_like_any_other() -> None:
    @graph
    def taken(text: str) -> str:
        return fallback(elsewhere(text), echo(text))

    @graph
    def untaken(text: str) -> str:
        return elsewhere(text)

    assert await run(taken, "a") == "a"
    with pytest.raises(StoreError, match="r-not-there"):
        await run(untaken, "a")


class Panic(BaseException):
    """What an extension written in another language raises."""


async def test_a_body_that_raises_no_exception_fails_alone() -> None:
    @node
    async def panics(text: str) -> str:
        raise Panic("overflow")

    @graph
    def taken(text: str) -> str:
        return fallback(panics(text), echo(text))

    @graph
    def untaken(text: str) -> str:
        return panics(text)

    @graph
    def beside(text: str) -> str:
        return later(text)

    async with Engine() as engine:
        other = await engine.start(beside, "b")
        with pytest.raises(NodeFailed, match="Panic, which is no Exception: overflow"):
            await (await engine.start(untaken, "a")).result()
        assert await (await engine.start(taken, "a")).result() == "a"
        assert await other.result() == "b"
