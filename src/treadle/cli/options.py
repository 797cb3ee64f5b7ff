"""Options that several verbs take, and the store they name."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, TypeVar

import anyio
import typer

from treadle.cli.stopping import GOES_ON, leave
from treadle.compose import open_store
from treadle.errors import ConfigurationError, StoreError, UnknownRun, nearest
from treadle.ids import RunId
from treadle.interfaces import RunSummary, Store

T = TypeVar("T")

DEFAULT_STORE: Final = "sqlite:///treadle.db"

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="TREADLE_STORE",
        metavar="URL",
        help="Where runs are kept, such as sqlite:///runs.db.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ClaimOption = Annotated[
    list[str] | None,
    typer.Option(
        "--claim", metavar="CALL=RECORD", help="Under an edited graph: the recorded call that a call takes."
    ),
]
FreshOption = Annotated[
    list[str] | None,
    typer.Option("--fresh", metavar="CALL", help="Under an edited graph: a call that is made anew."),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as `treadle runs` lists it.")]


def claims_in(claim: Sequence[str] | None, fresh: Sequence[str] | None) -> dict[str, str | None]:
    """What calls of an edited graph are said to take: ``None`` for those that are made anew.

    Raises:
        ConfigurationError: A claim is not written as ``CALL=RECORD``.
    """
    found: dict[str, str | None] = dict.fromkeys(fresh or ())
    for one in claim or ():
        call, mark, record = one.partition("=")
        if not call or not mark or not record:
            raise ConfigurationError(
                f"--claim {one!r} is no claim; write CALL=RECORD, by the names that "
                "`treadle check FILE --against RUN` gives them"
            )
        found[call] = record
    return found


PATIENCE: Final = 0.1
"""Seconds in which more signals are taken for the first one: wrappers pass on what the terminal sends too."""


def run_async(function: Callable[[], Awaitable[T]], *, kept: str = GOES_ON) -> T:
    """Run an async function to its end, on asyncio; SIGINT and SIGTERM stop it where it stands.

    The first signal has it clean up.  One that comes later than ``PATIENCE`` ends the process at once;
    what was recorded is kept all the same.

    Args:
        kept: What then stands of its runs, and how they go on.

    Raises:
        typer.Exit: It was stopped, after it has cleaned up; the code is 128 and the signal's number.  Or
            a body called ``sys.exit``; the code is 1.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    heard: list[int] = []
    try:
        return anyio.run(_interruptible, function, heard, kept)
    except KeyboardInterrupt as error:
        before = dict.fromkeys(before, signal.SIG_IGN)  # the process ends: there is nothing more to stop
        typer.echo(f"stopped; {kept}", err=True)
        raise typer.Exit(128 + (heard[0] if heard else signal.SIGINT)) from error
    except SystemExit as error:
        # What a body asks for is not how the command ended: 0 would say that all is done.
        typer.echo(
            f"a body called sys.exit({error.code!r}); `treadle resume` goes on where it stands", err=True
        )
        raise typer.Exit(1) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _interruptible(function: Callable[[], Awaitable[T]], heard: list[int], kept: str) -> T:
    """Pass the first signal on to the event loop, which cancels; a second one would break the cleaning up."""
    cancel = signal.getsignal(signal.SIGINT)
    at: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if at and time.monotonic() - at[0] > PATIENCE:
            leave(128 + heard[0], kept)
        if not at and callable(cancel):
            at.append(time.monotonic())
            heard.append(number)
            cancel(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return await function()


@asynccontextmanager
async def existing_store(url: str) -> AsyncGenerator[Store]:
    """Open a store that must be there already, and close it at the end.

    Raises:
        ConfigurationError: There is none, so there is nothing to look at; or it cannot be opened.
    """
    store = open_store(url)
    _require(url)
    async with opened(store):
        yield store


@asynccontextmanager
async def opened(store: Store) -> AsyncGenerator[None]:
    """Open a store, and close it at the end.

    Raises:
        ConfigurationError: It cannot be opened, so nothing was changed: it is another program's, say.
    """
    try:
        await store.open()
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    try:
        yield
    finally:
        await store.aclose()


def _require(url: str) -> None:
    """Refuse a store that opening would only make."""
    if url.startswith("memory:"):
        raise ConfigurationError(
            f"{url!r} ends with each command; name a store that stays, as --store {DEFAULT_STORE}"
        )
    path = Path(url.partition(":///")[2])
    if url.startswith("sqlite:") and not path.exists():
        raise ConfigurationError(
            f"there is no store at {str(path)!r} yet; `treadle run` makes it, "
            "and --store or TREADLE_STORE names another one"
        )


async def find_run(store: Store, run_id: str) -> RunSummary:
    """Give a run's summary, by its id or by what no other id begins with.

    Raises:
        UnknownRun: There is no such run; the message names the one whose id comes nearest.
        ConfigurationError: Several begin like that.
    """
    try:
        return await store.run(RunId(run_id))
    except UnknownRun as error:
        known: list[Any] = [summary.id for summary in await store.runs(limit=1000)]
        meant = [one for one in known if run_id and one.startswith(run_id)]
        if len(meant) == 1:
            return await store.run(meant[0])
        if meant:
            some = f"{', '.join(meant[:3])}{', ...' * (len(meant) > 3)}"
            raise ConfigurationError(
                f"{len(meant)} runs begin with {run_id!r}: {some}; write more of the id"
            ) from error
        hint = nearest(run_id, known) or "; `treadle runs` lists them"
        raise UnknownRun(f"there is no run {run_id!r} in {store.url}{hint}") from error
