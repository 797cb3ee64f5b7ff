"""``treadle``: the verbs together, and errors as people should see them."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import typer

from treadle.cli import answer, cancel, check, doubt, graph, inbox, resume, run, runs, serve_mcp, show, verify
from treadle.errors import (
    ConfigurationError,
    InternalError,
    PlanError,
    QuestionError,
    TreadleError,
    UnknownRun,
    WiringError,
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

app: Final = typer.Typer(
    name="treadle",
    help=_ABOUT,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module in (run, runs, show, inbox, answer, doubt, resume, graph, check, cancel, verify, serve_mcp):
    _module.register(app)


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
