"""``treadle graph``: a picture of what is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.load import load_graph, split_reference
from treadle.errors import ConfigurationError
from treadle.plan.draw import draw


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("graph")(graph)


def graph(
    file: Annotated[
        str, typer.Argument(metavar="FILE[:GRAPH]", help="The file, and the graph where it has several.")
    ],
    *,
    form: Annotated[str, typer.Option("--format", help="text, svg, mermaid or json.")] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write it there.")
    ] = None,
) -> None:
    """Draw a graph.  Nothing runs, and no model is needed.

    Example: treadle graph examples/support.py --format svg -o support.svg
    """
    _, found = load_graph(file)
    picture = draw(found.plan, form)
    if output is None:
        typer.echo(picture, nl=False)
        return
    if output.exists() and output.samefile(split_reference(file)[0]):
        raise ConfigurationError(f"{output} is the file of the graph itself; write the picture elsewhere")
    try:
        output.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from error
