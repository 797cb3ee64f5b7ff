"""What tests of the engine share: crashes within one process, and nodes that note their calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from treadle import Context, Engine, Prompt, agent, graph, node, tool
from treadle.events import Event, RunStarted, StepCompleted
from treadle.ids import RunId
from treadle.interfaces import Clock, RunLog
from treadle.messages import ModelRequest
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore, SqliteStore
from treadle.testing import ScriptedModel, call

When = Callable[[Event], bool]


class MortalLog:
    """Takes appends until its store has died; what comes after is lost, as in a crash."""

    def __init__(self, log: RunLog, store: MortalStore) -> None:
        self._log = log
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *events: Event) -> None:
        store = self._store
        if not store.is_dead and any(store.dies_before(event) for event in events):
            store.die()
        if not store.is_dead:
            self._log.append(*events)
        if not store.is_dead and any(store.dies_after(event) for event in events):
            store.die()

    async def flush(self) -> None:
        if self._store.is_dead:
            await anyio.sleep_forever()
        await self._log.flush()


class MortalStore:
    """Another store that takes nothing more from the event on that kills it.

    Attributes:
        dead: Set when it has died.
    """

    def __init__(self, store: Any, *, before: When | None = None, after: When | None = None) -> None:
        self._store = store
        self.dies_before: When = before or (lambda _event: False)
        self.dies_after: When = after or (lambda _event: False)
        self.dead = anyio.Event()
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def die(self) -> None:
        self.is_dead = True
        self.dead.set()

    async def create(self, started: RunStarted) -> Any:
        return MortalLog(await self._store.create(started), self)

    async def own(self, run_id: RunId) -> Any:
        return MortalLog(await self._store.own(run_id), self)


class Place:
    """Where runs are kept between the lives of engines: a store object, or the path of a file."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open_store = open_store

    @asynccontextmanager
    async def engine(
        self, *graphs: Graph[..., Any], clock: Clock | None = None, resources: tuple[object, ...] = ()
    ) -> AsyncIterator[Engine]:
        """An engine that lives on."""
        async with Engine(self._open_store(), graphs=graphs, clock=clock, resources=resources) as engine:
            yield engine

    async def crash(
        self,
        graph: Graph[..., Any],
        *args: Any,
        before: When | None = None,
        after: When | None = None,
        dies: anyio.Event | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start or resume run ``"r"``, and lose the engine at an event, or when ``dies`` is set."""
        store = MortalStore(self._open_store(), before=before, after=after)
        async with Engine(store, graphs=[graph], clock=clock) as engine:
            await engine.start(graph, *args, run_id="r")
            with anyio.fail_after(10):
                await (store.dead if dies is None else dies).wait()
            store.die()

    async def resume(self, graph: Graph[..., Any], *, clock: Clock | None = None) -> Any:
        """Resume run ``"r"`` in a new engine and give its result."""
        async with self.engine(graph, clock=clock) as engine:
            handle = await engine.resume("r")
            with anyio.fail_after(20):
                return await handle.result()

    async def events(self, graph: Graph[..., Any], kind: type | None = None) -> list[Any]:
        """The recorded events of run ``"r"``."""
        async with self.engine(graph) as engine:
            recorded = [one.event for one in await engine.store.read(RunId("r"))]
        return [event for event in recorded if kind is None or isinstance(event, kind)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file of runs; each engine opens it anew."""
    return Place(lambda: SqliteStore(str(tmp_path / "runs.db")))


@pytest.fixture
def memory() -> Place:
    """Runs in memory that outlive their engine."""
    store = MemoryStore()
    return Place(lambda: store)


class Calls:
    """Nodes that note each call they really get.

    Attributes:
        made: The arguments of the calls, in order.
        failing: Arguments that fail as long as they stand here.
        gates: Arguments that wait for an event.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failing: set[str] = set()
        self.gates: dict[str, anyio.Event] = {}

        @node
        async def work(name: str) -> str:
            return await self._work(name)

        @node
        async def other(name: str) -> str:
            return await self._work(name)

        self.work, self.other = work, other

    async def _work(self, name: str) -> str:
        self.made.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.failing:
            raise ValueError(f"no {name}")
        return name.upper()


def around(body: Callable[..., Any], **policies: Any) -> Graph[[str], Any]:
    """A graph of one node with this body, which takes a context and a text."""
    one = node(**policies)(body)

    @graph
    def only(text: str) -> object:
        return one(text)

    only.function.__annotations__["return"] = body.__annotations__["return"]
    return only


def ends(*names: str) -> Callable[[Event], bool]:
    """Whether an event completes the step of the last of these calls, once all were seen."""
    left = list(names)

    def see(event: Event) -> bool:
        if isinstance(event, StepCompleted) and event.result.json() == left[0].upper():
            left.pop(0)
        return not left

    return see


@pytest.fixture
def calls() -> Calls:
    return Calls()


def edited(calls: Calls, texts: list[str]) -> Graph[[str], Any]:
    """A node that makes these calls one after another; edit the list to edit the body."""

    async def body(ctx: Context, text: str) -> list[str]:
        return [await ctx.step(calls.other if t.startswith("o") else calls.work, t) for t in texts]

    return around(body)


Shop = Graph[[int], str]


class Declined(Exception):
    """The bank says that it did nothing."""


class Broken(Exception):
    """Nobody knows what the bank did."""


class Bank:
    """Notes the key of every payment, and then does what the test wants.

    Args:
        then: For each payment in turn what follows: text to return, an error to raise, ``"hang"``;
            ``"paid"`` once there is nothing left.
    """

    def __init__(self, *then: str | Exception) -> None:
        self.keys: list[str] = []
        self.then = list(then)
        self.acting = anyio.Event()

    async def pay(self, key: str) -> str:
        self.keys.append(key)
        self.acting.set()
        then = self.then.pop(0) if self.then else "paid"
        if isinstance(then, Exception):
            raise then
        if then == "hang":
            await anyio.sleep_forever()
        return then


def as_node(pay: Any) -> Shop:
    @graph
    def shop(amount: int) -> str:
        return pay(amount)  # type: ignore[no-any-return]

    return shop


def as_step(pay: Any) -> Shop:
    @node
    async def order(ctx: Context, amount: int) -> str:
        return await ctx.step(pay, amount)  # type: ignore[no-any-return]

    @graph
    def shop(amount: int) -> str:
        return order(amount)

    return shop


def as_tool_of_an_agent(pay: Any) -> Shop:
    def respond(request: ModelRequest) -> object:
        told = [part for message in request.messages for part in message.parts if message.role == "tool"]
        return told[-1].content if told else call("pay", amount=3)  # type: ignore[union-attr]

    @agent(model=ScriptedModel(respond), tools=[pay])
    async def clerk(amount: int) -> Prompt[str]:
        return Prompt(f"pay {amount}")

    @graph
    def shop(amount: int) -> str:
        return clerk(amount)

    return shop


WAYS = [as_node, as_step, as_tool_of_an_agent]
Way = Callable[[Any], Shop]


def payment(bank: Bank, **policies: Any) -> Any:
    @tool(effect="once", **policies)
    async def pay(ctx: Context, amount: int) -> str:
        """Pay an amount."""
        return await bank.pay(ctx.idempotency_key)

    return pay


async def the_question(engine: Engine) -> str:
    [question] = await engine.questions()
    assert question.about == "doubt"
    return question.id
