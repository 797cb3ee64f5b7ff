"""``treadle``: the verbs together, and errors as people should see them."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

import treadle
from treadle.errors import (
    ConfigurationError,
    InternalError,
    PlanError,
    QuestionError,
    TreadleError,
    UnknownRun,
    WiringError,
    nearest,
)

FAILED: Final = 1
USAGE: Final = 2

_ABOUT: Final = """
Runs agent pipelines that their owners can answer for.

Examples:

  treadle run examples/support.py --input tickets.jsonl --concurrency 8

  treadle inbox

  treadle answer q-4k7d2m9c --value '{"answer": "..."}' --as maria

  treadle resume --all examples/support.py

  treadle show r-1a2b3c4d5

Runs are kept in the store of --store, else TREADLE_STORE, else sqlite:///treadle.db.
Exit codes: 0 done, 1 failed, 2 usage, 3 a single run waits for a person.
"""

VERBS: Final = {
    "run": "Run a graph, on one value or on every line of a file.",
    "runs": "List runs, the newest first.",
    "show": "Show one run: the tree of nodes, attempts and steps.",
    "inbox": "List the questions that wait for an answer, the oldest first.",
    "answer": "Answer a question.",
    "doubt": "List effects in doubt, or settle one.",
    "resume": "Go on where runs stand: after an answer, a crash, a failure.",
    "graph": "Draw a graph.",
    "check": "Wire every graph of a file and report all faults at once.",
    "cancel": "Cancel a run.",
    "verify": "Recompute a run's chain of hashes.",
    "serve-mcp": "Serve a graph as an MCP tool.",
}
"""What each verb is for, in the order in which they are listed; its file is loaded when it is used."""

_HELP: Final = {"help_option_names": ["-h", "--help"]}


class Verbs(TyperGroup):
    """The verbs, each loaded with its own file when it is named: help for all of them loads none."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's
        """Their names."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a verb.

        Raises:
            UsageError: There is none of this name.
        """
        if cmd_name not in VERBS:
            ctx.fail(f"there is no verb {cmd_name!r}{nearest(cmd_name, VERBS)}")
        alone = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_HELP)
        importlib.import_module(f"treadle.cli.{cmd_name.replace('-', '_')}").register(alone)
        command = typer.main.get_command(alone)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base class's
        """List them without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


app: Final = typer.Typer(
    name="treadle",
    help=_ABOUT,
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=_HELP,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"treadle {treadle.__version__}")
        raise typer.Exit(0)


@app.callback()
def _treadle(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which release this is."),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        app()
    except InternalError as error:
        _say(f"{error}\nthis is a bug of Treadle; please report it with the command you ran")
        sys.exit(FAILED)
    except TreadleError as error:
        _say(_words(error))
        sys.exit(USAGE if isinstance(error, _CALLERS) else FAILED)
    sys.exit(0)


_CALLERS: Final = (ConfigurationError, PlanError, WiringError, QuestionError, UnknownRun)
"""Errors of what was asked for: nothing has run, and nothing was changed."""


def _words(error: TreadleError) -> str:
    """An error's text, with the single faults of a plan below it where the text leaves them out."""
    message = str(error)
    faults = error.faults if isinstance(error, PlanError) else ()
    return "\n".join([message, *(f"  - {fault}" for fault in faults if fault not in message)])


def _say(message: str) -> None:
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)
