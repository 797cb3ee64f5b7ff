"""A run that is cancelled, left or no longer wanted leaves no task, socket, thread or file of its own."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from treadle import Context, Engine, Prompt, RunHandle, agent, graph, node, run
from treadle.errors import RunCancelled
from treadle.events import CancelRequested
from treadle.models import OpenAIModel

pytestmark = pytest.mark.anyio


class Port:
    """Takes connections in and never answers; counts those that are open.

    Attributes:
        open: How many are.
        came: How many have come in so far.
    """

    def __init__(self) -> None:
        self.open = self.came = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.number: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="a port").start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._hold, args=(connection,), daemon=True, name="a port").start()

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            self.open, self.came = self.open + 1, self.came + 1
        with connection:
            while connection.recv(65536):
                pass
        with self._lock:
            self.open -= 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


class Busy:
    """A run that is in the middle of everything: a model is asked, a socket is open, a file is written.

    Attributes:
        folder: Where it puts its temporary file.
        inside: How many of its bodies are under way.
    """

    def __init__(self, port: Port, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.inside = 0
        model = OpenAIModel("slow", base_url=f"http://127.0.0.1:{port.number}/v1", api_key="none")

        @agent(model=model)
        async def ask(text: str) -> Prompt[str]:
            return Prompt(text)

        @node
        async def talk(text: str) -> str:
            async with self._counted(), await anyio.connect_tcp("127.0.0.1", port.number) as stream:
                return (await stream.receive()).decode()

        @node
        async def write(ctx: Context, text: str) -> str:
            async with self._counted(), anyio.create_task_group() as tasks:
                with tempfile.NamedTemporaryFile(dir=folder):
                    tasks.start_soon(ctx.step, talk, text)
                    await anyio.sleep_forever()
            return text

        @node
        async def join(asked: str, talked: str, written: str) -> str:
            return asked + talked + written

        @graph
        def busy(text: str) -> str:
            return join(ask(text), talk(text), write(text))

        self.graph = busy

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def wait_under_way(self) -> None:
        with anyio.fail_after(20):
            while (self.inside, self.port.came) < (3, 3):
                await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert list(self.folder.iterdir())


@pytest.fixture
def busy(port: Port, tmp_path: Path) -> Busy:
    folder = tmp_path / "files"
    folder.mkdir()
    return Busy(port, folder)


@dataclass(frozen=True)
class Left:
    """What there is of a kind that a run may leave behind."""

    tasks: int
    threads: frozenset[str]
    descriptors: int
    connections: int
    inside: int
    files: int


def look(busy: Busy) -> Left:
    """See what there is, but for the port itself and the workers that an event loop keeps."""
    not_ours = ("AnyIO worker", "Trio thread", "asyncio_", "uvloop_", "a port")
    names = (thread.name for thread in threading.enumerate())
    return Left(
        tasks=len(anyio.get_running_tasks()),
        threads=frozenset(name for name in names if not name.startswith(not_ours)),
        descriptors=sum(map(_is_kept, Path("/proc/self/fd").iterdir())),
        connections=busy.port.open,
        inside=busy.inside,
        files=len(list(busy.folder.iterdir())),
    )


def _is_kept(descriptor: Path) -> bool:
    """Whether it is a socket or a file: pipes and devices are the event loop's, the database the store's."""
    try:
        link = str(descriptor.readlink())
        return link.startswith(("socket:", "/")) and not link.startswith("/dev/") and "runs.db" not in link
    except FileNotFoundError:  # of the directory that was being read
        return False


async def nothing_is_left(busy: Busy, before: Left) -> None:
    """Wait until all is as it was before: a second at most, which is what is promised."""
    with anyio.move_on_after(1):
        while (left := look(busy)) != before:
            await anyio.lowlevel.checkpoint()
    assert left == before


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"


async def test_a_cancelled_run_leaves_nothing(busy: Busy, store: str) -> None:
    async with Engine(store) as engine:
        before = look(busy)
        handle = await engine.start(busy.graph, "x")
        await busy.wait_under_way()
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        await nothing_is_left(busy, before)


async def test_a_run_cancelled_by_another_process_leaves_nothing(busy: Busy, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(store) as engine, Engine(store) as other:
        before = look(busy)
        handle = await engine.start(busy.graph, "x", run_id="r")
        await busy.wait_under_way()
        await other.cancel("r")
        assert await handle.settled() == "cancelled"
        await nothing_is_left(busy, before)


async def test_whoever_is_attached_to_a_run_takes_it_with_him(busy: Busy, store: str) -> None:
    async with Engine(store) as engine:
        before = look(busy)
        handle = await engine.start(busy.graph, "x")

        async def follow() -> None:
            async with handle.attached() as events:
                async for _ in events:
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await busy.wait_under_way()
            group.cancel_scope.cancel()
        assert handle.status == "cancelled"
        await nothing_is_left(busy, before)
        [asked] = [r.event for r in await handle.history() if isinstance(r.event, CancelRequested)]
        assert (asked.by, asked.reason) == ("attached", "whoever it ran for has gone")


async def test_leaving_an_attached_run_that_is_over_changes_nothing(store: str) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(short, "x")
        async with handle.attached() as events:
            seen = [recorded.event async for recorded in events]
        assert await handle.result() == "x"
        assert [r.event for r in await handle.history()] == seen


@node
async def say(text: str) -> str:
    return text


@graph
def short(text: str) -> str:
    return say(text)


async def test_a_reader_of_events_that_goes_leaves_the_run_alone_and_nothing_behind(
    busy: Busy, store: str
) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(busy.graph, "x")
        await busy.wait_under_way()
        before = look(busy)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(_read, handle)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await nothing_is_left(busy, before)
        assert handle.status == "running"


async def _read(handle: RunHandle[str]) -> None:
    async with aclosing(handle.events()) as events:
        async for _ in events:
            pass


async def test_a_cancelled_caller_of_run_takes_all_of_it_with_him(busy: Busy) -> None:
    before = look(busy)
    async with anyio.create_task_group() as group:
        group.start_soon(run, busy.graph, "x")
        await busy.wait_under_way()
        group.cancel_scope.cancel()
    await nothing_is_left(busy, before)


@pytest.mark.parametrize("drains", [False, True])
async def test_an_engine_that_is_left_takes_its_runs_with_it(busy: Busy, store: str, drains: bool) -> None:
    before = look(busy)
    async with Engine(store) as engine:
        handle = await engine.start(busy.graph, "x")
        await busy.wait_under_way()
        if drains:
            assert await engine.drain(0) == [handle.id]
    await nothing_is_left(busy, before)
