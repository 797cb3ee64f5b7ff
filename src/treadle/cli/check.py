"""``treadle check``: every fault of a file's graphs, before anything is spent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from treadle.nodes.graph import Graph


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file; else those of [tool.treadle] graphs.")
    ] = None,
) -> None:
    """Wire every graph of a file and report all faults at once.  Nothing runs.

    Example: treadle check examples/support.py
    """
    from treadle.cli.load import load_file, project_files

    faults = 0
    for path in project_files(file):
        for name, graph in load_file(path).graphs.items():
            faults += _check(path, name, graph)
    raise typer.Exit(1 if faults else 0)


def _check(path: Path, name: str, graph: Graph[..., Any]) -> int:
    """Report on one graph; gives the number of its faults."""
    from treadle.cli.words import console
    from treadle.errors import PlanError, WiringError

    try:
        plan = graph.plan
    except (PlanError, WiringError) as error:
        faults = getattr(error, "faults", ()) or (str(error),)
        err = console(err=True)
        err.print(f"{path}:{name}: {len(faults)} fault{'s' * (len(faults) > 1)}", style="bold red")
        for fault in faults:
            err.print(f"  {fault}", soft_wrap=True)
        return len(faults)
    kinds = Counter(node.kind for node in plan.nodes if node.kind not in {"input", "expression"})
    words = ", ".join(_counted(kind, number) for kind, number in kinds.items())
    console().print(f"{path}:{name}: no faults ({words}); plan {plan.digest[:12]}", soft_wrap=True)
    return 0


def _counted(kind: str, number: int) -> str:
    """So many of a kind; words of the graph such as ``when`` have no plural."""
    from treadle.plan.parts import WORK

    return f"{number} {kind}{'s' * (number > 1 and kind in WORK)}"
