"""The process behind a local model: started once, started again, gone when nobody needs it."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import anyio
import pytest
import tiny_gguf
from pydantic import BaseModel

from treadle import Engine, Prompt, Retry, agent, graph
from treadle.errors import ProviderUnavailable
from treadle.events import MoneySettled
from treadle.messages import Delta, ModelRequest, user
from treadle.models import LocalModel, Piece
from treadle.providers import local_process
from treadle.providers.local_process import Supervisor

pytestmark = pytest.mark.anyio

SCRIPT = Path(local_process.__file__).with_name("local_server.py")
ENGINE = Path(__file__).with_name("local_engine.py")
ASKED = ModelRequest(messages=(user("hello"),), max_output_tokens=8)
WAVES = "wave" * 300
LONG = ModelRequest(messages=(user("hello"),), max_output_tokens=1800)
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_gguf.write(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture
async def model(tiny: str) -> AsyncIterator[LocalModel]:
    opened = LocalModel(tiny, options=ENDLESS)
    yield opened
    await opened.aclose()
    assert not local_process.running()


@pytest.fixture
def loads(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """How often a process was started."""
    caplog.set_level(logging.INFO, local_process.__name__)
    return lambda: sum(record.getMessage().startswith("loading") for record in caplog.records)


def serving() -> Supervisor:
    (supervisor,) = local_process.running()
    return supervisor


def pid() -> int:
    found = serving().pid
    assert found is not None
    return found


def kill_and_wait(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def kill_on_first(pieces: list[Delta]) -> Callable[[Delta], None]:
    def take(piece: Delta) -> None:
        if not pieces:
            os.kill(pid(), signal.SIGKILL)
        pieces.append(piece)

    return take


async def test_one_that_died_between_requests_is_started_again_once(
    model: LocalModel, loads: Callable[[], int]
) -> None:
    await model.complete(ASKED)
    first = pid()
    kill_and_wait(first)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(model.complete, ASKED)
    assert pid() != first
    assert loads() == 2


async def test_one_that_dies_while_it_answers_is_an_error_that_may_pass(model: LocalModel) -> None:
    with pytest.raises(ProviderUnavailable, match="was ended by SIGKILL while it answered") as caught:
        await model.stream(LONG, kill_on_first([]))
    assert (caught.value.retryable, caught.value.sent, caught.value.provider) == (True, True, "local")
    assert (await model.complete(ASKED)).message.text


class Sea(BaseModel):
    words: Literal[WAVES]  # type: ignore[valid-type]  # so that its grammar allows nothing shorter


async def test_an_agent_whose_server_dies_asks_again(tiny: str) -> None:
    @agent(model=f"local:{tiny}", retry=Retry(attempts=2, wait=0), max_output=1800)
    async def write(topic: str) -> Prompt[Sea]:
        return Prompt(topic)

    @graph
    def written(topic: str) -> Sea:
        return write(topic)

    async with Engine("memory:") as engine:
        handle = await engine.start(written, "the sea")
        pieces: list[Delta] = []
        take = kill_on_first(pieces)
        async for item in handle.events(pieces=True):
            if isinstance(item, Piece):
                take(item.delta)
        assert await handle.result()
        settled = [e.event for e in await handle.history() if isinstance(e.event, MoneySettled)]
    assert [one.outcome for one in settled] == ["failed", "completed"]


async def test_whoever_waits_for_a_start_shares_it(model: LocalModel, loads: Callable[[], int]) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(model.complete, ASKED)
    assert loads() == 1


class AtLoading(logging.Handler):
    """Cancels what waits for a process, from the thread that starts it, as soon as there is one."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        super().__init__()
        self.scope = scope
        self.is_done = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_done:
            self.is_done = True
            anyio.from_thread.run_sync(self.scope.cancel)


@pytest.fixture
async def cancelled(loads: Callable[[], int]) -> AsyncIterator[anyio.CancelScope]:
    scope, log = anyio.CancelScope(), logging.getLogger(local_process.__name__)
    handler = AtLoading(scope)
    log.addHandler(handler)
    yield scope
    log.removeHandler(handler)


async def test_a_cancelled_request_lets_the_start_go_on(
    model: LocalModel, loads: Callable[[], int], cancelled: anyio.CancelScope
) -> None:
    with cancelled:
        await model.complete(ASKED)
    assert cancelled.cancelled_caught
    await model.complete(ASKED)
    assert loads() == 1


async def test_closing_while_it_loads_ends_it(model: LocalModel, cancelled: anyio.CancelScope) -> None:
    with cancelled:
        await model.complete(ASKED)
    process = pid()
    await model.aclose()
    assert is_gone(process)


async def test_it_ends_with_the_last_event_loop_that_has_it(tiny: str, model: LocalModel) -> None:
    def elsewhere() -> None:
        anyio.run(_ask_and_close, LocalModel(tiny, options=ENDLESS))

    await model.complete(ASKED)
    before = pid()
    await anyio.to_thread.run_sync(elsewhere)
    await model.complete(ASKED)
    assert pid() == before
    await model.aclose()
    assert is_gone(before)


async def _ask_and_close(model: LocalModel) -> None:
    await model.complete(ASKED)
    await model.aclose()


async def test_a_closed_model_can_be_used_again(model: LocalModel) -> None:
    await model.complete(ASKED)
    await model.aclose()
    assert not local_process.running()
    assert (await model.complete(ASKED)).message.text


async def test_closing_waits_for_the_requests_under_way(model: LocalModel) -> None:
    group = anyio.create_task_group()
    pieces: list[Delta] = []

    def close_on_first(piece: Delta) -> None:
        if not pieces:
            group.start_soon(model.aclose)
        pieces.append(piece)

    async with group:
        response = await model.stream(LONG, close_on_first)
        assert response.usage.output_tokens == 1800
    assert not local_process.running()


async def test_signals_that_everybody_gets_do_not_end_it(model: LocalModel) -> None:
    await model.complete(ASKED)
    before = pid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(before, number)
    await model.complete(ASKED)
    assert pid() == before


# -- starts that fail ------------------------------------------------------------------------------------


@pytest.fixture
def cut(tiny: str, tmp_path: Path) -> Path:
    """A download that broke off."""
    path = tmp_path / "cut.gguf"
    path.write_bytes(Path(tiny).read_bytes()[:60_000])
    return path


@pytest.fixture
async def broken(cut: Path) -> AsyncIterator[LocalModel]:
    opened = LocalModel(cut)
    yield opened
    await opened.aclose()


async def test_a_cut_file_is_told_in_llama_cpp_s_words(broken: LocalModel, loads: Callable[[], int]) -> None:
    errors: list[ProviderUnavailable] = []

    async def one() -> None:
        with pytest.raises(ProviderUnavailable, match="could not load it; see .*not within the file") as no:
            await broken.complete(ASKED)
        errors.append(no.value)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
    assert {(error.retryable, error.sent) for error in errors} == {(False, False)}
    assert len({id(error) for error in errors}) == 3
    assert loads() == 1


async def test_a_file_that_has_gone_meanwhile_is_told(broken: LocalModel, cut: Path) -> None:
    await anyio.Path(cut).unlink()
    with pytest.raises(ProviderUnavailable, match="cannot be read .No such file") as caught:
        await broken.complete(ASKED)
    assert not caught.value.sent


async def test_a_machine_that_gives_no_process_is_told(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ProviderUnavailable, match="no process could be started .* .No such file") as caught:
        await model.complete(ASKED)
    assert (caught.value.retryable, caught.value.sent) == (True, False)


@pytest.fixture
async def hurried(tiny: str) -> AsyncIterator[LocalModel]:
    opened = LocalModel(tiny, start_timeout=0.000001)
    yield opened
    await opened.aclose()


async def test_one_that_takes_too_long_is_stopped(hurried: LocalModel) -> None:
    with pytest.raises(ProviderUnavailable, match=r"did not answer within 1e-06 s, .* raise start_timeout="):
        await hurried.complete(ASKED)
    assert serving().how_it_ended(0) == "was ended by SIGKILL"


# -- who may ask -----------------------------------------------------------------------------------------


async def test_only_this_machine_and_only_with_the_key(model: LocalModel) -> None:
    await model.complete(ASKED)
    address = serving().address
    assert address is not None
    port = urlsplit(address.url).port
    with pytest.raises(ConnectionRefusedError):  # as it would not be if it listened everywhere
        socket.create_connection(("127.0.0.2", port or 0))
    with pytest.raises(urllib.error.HTTPError, match="401") as refusal:
        await anyio.to_thread.run_sync(urllib.request.urlopen, f"{address.url}/models")
    refusal.value.close()
    assert address.key not in repr(address)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_key_stands_nowhere_that_others_look(
    model: LocalModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await model.complete(ASKED)
    address, seen = serving().address, Path(f"/proc/{pid()}")
    assert address is not None
    assert address.key.encode() not in (seen / "cmdline").read_bytes()
    assert address.key.encode() not in (seen / "environ").read_bytes()
    assert address.key not in caplog.text


# -- whose engine was killed -----------------------------------------------------------------------------


def wait_gone(process: int) -> None:
    """Wait for a process that is no child of this one."""
    descriptor = os.pidfd_open(process)
    try:
        assert select.select([descriptor], [], [], 20)[0], f"process {process} is still there"
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to wait for another's child")
@pytest.mark.parametrize("how", ["alone", "forks"])
def test_it_ends_when_the_engine_is_killed(tiny: str, how: str) -> None:
    with subprocess.Popen([sys.executable, ENGINE, tiny, how], stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        server, copy = map(int, engine.stdout.readline().split())
        os.kill(server, 0)
        engine.kill()
        wait_gone(server)  # a forked copy still holds the other end of its input
        if copy > 0:
            os.kill(copy, signal.SIGKILL)


HOLDS_THE_LOCK = """
import ctypes, os, sys
sys.path.append(sys.argv[1])
import local_server
local_server.end_when_input_ends()
os.write(1, b"armed")
ctypes.PyDLL(None).pause()  # as loading does, it keeps the interpreter's lock
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the kernel's part is POSIX")
def test_it_ends_even_while_loading_holds_the_interpreter() -> None:
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(SCRIPT.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(5) == b"armed"
        process.stdin.close()
        assert process.wait(20) == -signal.SIGIO


def test_an_interpreter_that_forgets_to_close_leaves_nothing(tiny: str) -> None:
    code = f"""
import anyio
from treadle.messages import ModelRequest, user
from treadle.models import LocalModel
from treadle.providers import local_process
anyio.run(LocalModel({tiny!r}).complete, ModelRequest(messages=(user("hi"),), max_output_tokens=4))
print(local_process.running()[0].pid)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
