"""``treadle check``: every fault of a file's graphs, and what a run would keep, before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from treadle.cli.load import load_file, named_graphs, project_files, split_reference, wire
from treadle.cli.options import (
    DEFAULT_STORE,
    ClaimOption,
    FreshOption,
    JsonOption,
    StoreOption,
    claims_in,
    existing_store,
    find_run,
    run_async,
)
from treadle.cli.resume import require_claimable, require_graphs
from treadle.cli.words import console, print_json, table
from treadle.engine.outlook import Outlook, check_against
from treadle.errors import ConfigurationError, PlanError, WiringError
from treadle.nodes.graph import Graph
from treadle.plan.parts import WORK


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:GRAPH]", help="The file, or one graph of it; else those of [tool.treadle] graphs."
        ),
    ] = None,
    *,
    against: Annotated[
        str | None, typer.Option("--against", metavar="RUN", help="A run that is to go on with the file.")
    ] = None,
    claim: ClaimOption = None,
    fresh: FreshOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Wire every graph of a file and report all faults at once.  Nothing runs.

    With --against it tells what resuming the run would keep, what would run and why, and what is not
    certain; it exits with 1 where resuming would refuse.

    Example: treadle check examples/support.py --against r-1a2b3c4d5
    """
    if against is None and (claim or fresh or as_json):
        raise ConfigurationError("--claim, --fresh and --json tell of a run; name it with --against RUN")
    named, name = (None, "") if file is None else split_reference(file)
    files = project_files(None if named is None else Path(named))
    found = [(path, named_graphs(load_file(path), name)) for path in files]
    if against is not None:
        graphs = {name: graph for _, in_file in found for name, graph in in_file.items()}
        _compare(graphs, against, store, claims_in(claim, fresh), as_json=as_json)
    faults = sum(_check(path, name, graph) for path, graphs in found for name, graph in graphs.items())
    raise typer.Exit(1 if faults else 0)


def _check(path: Path, name: str, graph: Graph[..., Any]) -> int:
    """Report on one graph; gives the number of its faults."""
    try:
        plan = wire(graph)
    except (PlanError, WiringError) as error:
        faults = getattr(error, "faults", ()) or (str(error),)
        err = console(err=True)
        err.print(f"{path}:{name}: {len(faults)} fault{'s' * (len(faults) > 1)}", style="bold red")
        for fault in faults:
            err.print(f"  {fault}", soft_wrap=True)
        return len(faults)
    kinds = Counter(node.kind for node in plan.all_nodes() if node.kind not in {"input", "expression"})
    words = ", ".join(_counted(kind, number) for kind, number in kinds.items())
    console().print(f"{path}:{name}: no faults ({words}); plan {plan.digest[:12]}", soft_wrap=True)
    return 0


def _counted(kind: str, number: int) -> str:
    """So many of a kind; words of the graph such as ``when`` have no plural."""
    return f"{number} {kind}{'s' * (number > 1 and kind in WORK)}"


# -- against a run ---------------------------------------------------------------------------------------


def _compare(
    graphs: Mapping[str, Graph[..., Any]],
    run_id: str,
    store: str,
    claims: Mapping[str, str | None],
    *,
    as_json: bool,
) -> None:
    """Tell what resuming a run comes to.

    Raises:
        typer.Exit: Always, with 1 where it would be refused.
    """
    outlook = run_async(lambda: _look(graphs, run_id, store, claims))
    if as_json:
        looks = [asdict(look) for look in outlook.looks]
        print_json(
            {
                "run": outlook.run_id,
                "graph": outlook.graph,
                "is_edited": outlook.is_edited,
                "refused": outlook.refused,
                "calls": looks,
            }
        )
    else:
        _print(outlook)
    raise typer.Exit(1 if outlook.refused else 0)


async def _look(
    graphs: Mapping[str, Graph[..., Any]], run_id: str, url: str, claims: Mapping[str, str | None]
) -> Outlook:
    async with existing_store(url) as store:
        run = await find_run(store, run_id)
        require_graphs(dict(graphs), [run])
        require_claimable(run, claims)
        return await check_against(graphs[run.graph], run.id, store, claims=claims)


def _print(outlook: Outlook) -> None:
    changed = "was edited" if outlook.is_edited else "is the one it has"
    out = console()
    out.print(f"run {outlook.run_id}: graph {outlook.graph!r} {changed}", style="bold", soft_wrap=True)
    shown = table("call", "on resuming", "why", wrap=("call", "why"))
    for look in outlook.looks:
        shown.add_row(look.node, look.outcome, look.why or (f"as {look.source}" if look.source else ""))
    out.print(shown)
    if outlook.refused:
        console(err=True).print(f"resuming refuses: {outlook.refused}", style="bold red", soft_wrap=True)
