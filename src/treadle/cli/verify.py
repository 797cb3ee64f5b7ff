"""``treadle verify``: whether a history is as it was written."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from treadle.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    RunArgument,
    StoreOption,
    existing_store,
    find_run,
    run_async,
)
from treadle.cli.words import console, print_json
from treadle.errors import ConfigurationError
from treadle.interfaces import Fault, RunSummary


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


def verify(
    run: RunArgument,
    *,
    head: Annotated[
        str | None, typer.Option(metavar="HASH", help="The head as you kept it elsewhere, to compare with.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Recompute a run's chain of hashes, and report every event that is not as it was written.

    Prints the head: keep it elsewhere, and compare later with --head.

    Example: treadle verify r-1a2b3c4d5 --head 5f0c...
    """
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise ConfigurationError(
            f"--head {head!r} is no head; give the 64 hexadecimal digits that `treadle verify {run}` prints"
        )
    summary, faults = run_async(lambda: _verify(store, run, head))
    if as_json:
        _print_json(summary, faults)
    else:
        _print(summary, faults)
    raise typer.Exit(1 if faults else 0)


async def _verify(url: str, run_id: str, head: str | None) -> tuple[RunSummary, list[Fault]]:
    async with existing_store(url) as store:
        summary = await find_run(store, run_id)
        return summary, await store.verify(summary.id, head=head)


def _print_json(summary: RunSummary, faults: list[Fault]) -> None:
    found = [{"seq": fault.seq, "what": fault.what} for fault in faults]
    print_json({"run": summary.id, "events": summary.events, "head": summary.head, "faults": found})


def _print(summary: RunSummary, faults: list[Fault]) -> None:
    if not faults:
        console().print(
            f"{summary.id}: {summary.events} events, all as they were written\nhead {summary.head}"
        )
        return
    err = console(err=True)
    err.print(f"{summary.id}: {len(faults)} of its events are not as they were written", style="bold red")
    for fault in faults:
        err.print(f"  {f'event {fault.seq}' if fault.seq else 'run'}: {fault.what}")
    err.print("restore the store from a backup made before, and find out who wrote to it")
